package snowtether

import (
	"compress/flate"
	"compress/gzip"
	"context"
	"crypto/tls"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/snowflakedb/gosnowflake/v2"
)

// This file decides what an error means. It has one function for that,
// classify; every other file asks it and none looks at a number itself.

var (
	// ErrSessionLost is in an error's chain when the session ended under a
	// statement that provably did not run, and snowtether could not make it run
	// on another session: inside a transaction (see [SessionError].InTx), or on a
	// connection whose session state was lost with it. Nothing of it lasts: run the
	// statement, or the whole transaction, again.
	ErrSessionLost = errors.New("snowtether: session lost")

	// ErrInDoubt is in an error's chain when a statement may have taken effect, and
	// it cannot be known whether it did. It is never a driver.ErrBadConn, so neither
	// database/sql nor snowtether runs the statement a second time. Before you run it
	// again, look at what it should have changed, or look for [SessionError].QueryID
	// in QUERY_HISTORY.
	ErrInDoubt = errors.New("snowtether: statement in doubt")

	// ErrLoginSuspended is in an error's chain when no login was tried, because the
	// last one with the same credentials was refused for good; see [WithAuthCooldown].
	// The refusal itself is in the chain too.
	ErrLoginSuspended = errors.New("snowtether: logins suspended")
)

// Class is the kind of failure that an error is, and so says what can be done
// about it.
type Class string

// The classes of errors.
const (
	ClassNone        Class = ""             // no error
	ClassStatement   Class = "statement"    // the statement's own error, nothing to do with sessions
	ClassContext     Class = "context"      // the caller's context ended
	ClassSessionLost Class = "session_lost" // the session is gone; where it is a SessionError's class, the statement did not run
	ClassInDoubt     Class = "in_doubt"     // the statement may have run
	ClassCredential  Class = "credential"   // refused, but a fresh token may help
	ClassPermanent   Class = "permanent"    // a login that fails until somebody changes something
	ClassTransient   Class = "transient"    // network, timeouts, 5xx and 429: try again later
)

// Classify returns the class of any error: one that this driver returned, or one
// of gosnowflake's own. About an error of gosnowflake's it does not know whether
// the statement ran, so it never returns ClassInDoubt for one.
func Classify(err error) Class {
	if se, ok := as[*SessionError](err); ok {
		return se.Class
	}
	switch {
	case err == nil:
		return ClassNone
	case isContext(err):
		return ClassContext
	case lost(err, phaseStatement):
		return ClassSessionLost
	case slices.Contains(credentialCodes, number(err)):
		return ClassCredential
	case isTransient(err):
		return ClassTransient
	case slices.Contains(permanentCodes, number(err)) || number(err)/100 == 3943 || number(err)/100 == 3945:
		return ClassPermanent
	}
	return ClassStatement
}

// phase is where an error was met. The same code can mean different things at a
// login and at a statement.
type phase int

const (
	phaseStatement phase = iota
	phaseLogin
)

// The codes, from Snowflake's error messages and from what its drivers act on.
// At a statement the session is lost with 390104 (token unknown), 390110 (session
// moved), 390111 (session gone), 390112 (session token expired and not renewed),
// 390113–390115 (master token absent, expired, unknown), 390195 (ID token
// invalid), 390318 (OAuth token expired), 390400 (renewal refused). 390302 is
// deliberately absent: a revoked token is permanent, and reconnecting with it
// would be a loop.
var (
	lostCodes       = []int{390104, 390110, 390111, 390112, 390113, 390114, 390115, 390195, 390318, 390400, gosnowflake.ErrFailedToRenewSession}
	credentialCodes = []int{390303, 390318, 394400, 390195, 390110}
	permanentCodes  = []int{390100, 390120, 390121, 390122, 390123, 390124, 390125, 390126, 390127, 390128, 390129, 390139, 390144, 390189, 390191, 390201, 390302, 390309, 390422, 390432, 394633, gosnowflake.ErrCodeFailedToConnect}
)

// classify is the one place that decides what an error means. acc is what the
// acceptance watch saw of the statement; at a login only its context counts.
func classify(err error, ph phase, acc acceptance) Class {
	switch {
	case err == nil:
		return ClassNone
	case acc.ctxErr != nil:
		// The caller's own context comes first: whatever else went wrong, the caller
		// no longer waits. Only that context counts: a timeout of the HTTP client's
		// own Is context.DeadlineExceeded too.
		return ClassContext
	case ph == phaseLogin:
		if su, ok := as[*setUpError](err); ok {
			// The login went well; what failed came after it.
			if lost(su.err, phaseStatement) || isTransient(su.err) || isContext(su.err) || errors.Is(su.err, errRenewalLoop) {
				return ClassTransient
			}
			return ClassPermanent
		}
		switch {
		case slices.Contains(credentialCodes, number(err)):
			return ClassCredential
		case isTransient(err) || isContext(err) || isGarbled(err) && !isNotANumber(err):
			return ClassTransient // a page of HTML comes from a gateway
		}
		return ClassPermanent // known or not: an unknown code must not lock a user out
	case lost(err, ph) && !cutOff(err):
		if queryIDOf(err) == "" && acc.refused(number(err) == gosnowflake.ErrFailedToPostQuery) {
			return ClassSessionLost
		}
		return ClassInDoubt
	case errors.Is(err, errRenewalLoop):
		if acc.lookups == 0 && acc.requests == 2*maxRenewals+1 && acc.replies == acc.requests {
			return ClassTransient // every request was answered with "renew": it took none
		}
		return ClassInDoubt
	case cutOff(err) || isTransient(err) || isGarbled(err):
		if acc.unsent() {
			return ClassTransient
		}
		return ClassInDoubt
	case queryIDOf(err) == "" && (acc.queryID != "" || acc.requests > 1) && number(err)/10000 == 39:
		return ClassInDoubt // about the session or from a gateway, after the statement was accepted or may have been
	case httpStatus(err) != 0 && acc.requests > 0:
		return ClassInDoubt // a gateway's word: it may have let the statement through, now or at an earlier try
	case number(err) == -1 && queryIDOf(err) == "" && (acc.queryID != "" || acc.requests > 0):
		return ClassInDoubt // no code, which Snowflake always gives: a gateway's JSON
	case number(err) == 0 && acc.queryID == "" && acc.requests > 0 && !isPanic(err):
		return ClassInDoubt // no answer of Snowflake's: what came could not be read
	}
	return ClassStatement
}

// lost reports whether the error says that the session is gone.
func lost(err error, ph phase) bool {
	if err == nil || ph != phaseStatement {
		return false
	}
	if n := number(err); n != 0 {
		// gosnowflake turns the HTTP 401 that a gateway answers for a dead session
		// into 261000 and drops the 390104 in its body.
		return slices.Contains(lostCodes, n) || n == gosnowflake.ErrFailedToPostQuery && httpStatus(err) == 401
	}
	return errors.Is(err, driver.ErrBadConn) ||
		strings.Contains(strings.ToLower(err.Error()), "authentication token has expired") // other inner drivers
}

// number is Snowflake's number for the error, or 0.
func number(err error) int {
	se, ok := as[*gosnowflake.SnowflakeError](err)
	if !ok {
		return 0
	}
	if se.Number == gosnowflake.ErrAsync {
		// An asynchronous statement reports its failure as text inside 266001.
		if m := asyncCode.FindString(se.Message); m != "" {
			n, _ := strconv.Atoi(m)
			return n
		}
	}
	return se.Number
}

var asyncCode = regexp.MustCompile(`\b(?:39\d{4}|26\d{4})\b`)

// httpStatus is the HTTP status that gosnowflake put into its error, or 0.
func httpStatus(err error) (status int) {
	se, ok := as[*gosnowflake.SnowflakeError](err)
	switch {
	case !ok:
	case se.Number == gosnowflake.ErrAsync:
		if m := asyncStatus.FindStringSubmatch(se.Message); m != nil {
			status, _ = strconv.Atoi(m[1])
		}
	case len(se.MessageArgs) > 0 && slices.Contains(statusCodes, se.Number):
		status, _ = se.MessageArgs[0].(int)
	}
	return status
}

// The numbers whose first argument is an HTTP status (restful.go, auth.go).
var (
	statusCodes = []int{
		gosnowflake.ErrCodeServiceUnavailable, gosnowflake.ErrCodeFailedToConnect, gosnowflake.ErrFailedToPostQuery,
		gosnowflake.ErrFailedToRenewSession, gosnowflake.ErrFailedToAuth, gosnowflake.ErrFailedToAuthSAML, gosnowflake.ErrFailedToAuthOKTA,
	}
	asyncStatus = regexp.MustCompile(`HTTP: (\d{3})\b`)
)

// queryIDOf is the query ID that the error carries, or "". gosnowflake writes
// "-1" where it knows none.
func queryIDOf(err error) string {
	if se, ok := as[*gosnowflake.SnowflakeError](err); ok && se.QueryID != "-1" {
		return se.QueryID
	}
	return ""
}

// isContext reports whether a context's own error is in the chain. A
// context.DeadlineExceeded inside an *url.Error is the HTTP client's own timeout:
// that of a caller gosnowflake returns bare (retry.go, isRetryableError).
func isContext(err error) bool {
	if _, ok := as[*url.Error](err); ok && !errors.Is(err, context.Canceled) {
		return false
	}
	return cutOff(err)
}

// cutOff reports whether a request was cut off by a time-out that is not the caller's.
// gosnowflake then sends another that cancels the statement, and where that one fails
// too the number in the error is its own and says nothing about the statement.
func cutOff(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// isTransient reports whether trying again later may help.
func isTransient(err error) bool {
	if n := number(err); n != 0 {
		status := httpStatus(err)
		return n == gosnowflake.ErrCodeServiceUnavailable || status >= 500 || status == 429 || status == 408
	}
	if _, ok := as[*tls.CertificateVerificationError](err); ok {
		return false // a certificate does not become right by itself
	}
	if _, ok := as[net.Error](err); ok {
		// "No such host" too: resolvers say it during outages. As a host that was never
		// right it costs the connect budget once.
		return true
	}
	// gosnowflake's words after its last try (retry.go).
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		strings.HasPrefix(err.Error(), "timeout after ")
}

// isGarbled reports whether the reply could not be read: a page of HTML in place
// of JSON, half a reply, a code that is no number, bad compression.
func isGarbled(err error) bool {
	if _, ok := as[flate.CorruptInputError](err); ok || errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) {
		return true
	}
	if _, ok := as[*json.SyntaxError](err); ok {
		return true
	}
	if _, ok := as[*json.UnmarshalTypeError](err); ok {
		return true
	}
	return isNotANumber(err)
}

func isNotANumber(err error) bool {
	_, ok := as[*strconv.NumError](err)
	return ok
}

// as is errors.As with its type first.
func as[E error](err error) (target E, ok bool) {
	ok = errors.As(err, &target)
	return target, ok
}

// SessionError is the error that a caller gets when a session failed, or the login
// for a new one. It unwraps to its cause, so errors.As finds the
// [gosnowflake.SnowflakeError] in it.
type SessionError struct {
	Op        string // the operation: "query", "exec", "begin", "commit", "ping", "login", …
	Class     Class
	Code      int    // Snowflake's number, or 0
	SessionID int64  // of the session that failed, or 0
	QueryID   string // of the statement, where it is known
	RequestID string // of the statement, where the caller set one (gosnowflake.WithRequestID)
	InTx      bool   // a transaction was open: the server has rolled it back, or will
	Err       error  // the cause

	suspended bool // no login was tried
	retry     bool // database/sql may try on another connection
	state     bool // the connection had session state, which is lost too
}

// Error says what happened and what can be done about it.
func (e *SessionError) Error() string {
	var what string
	switch {
	case e.suspended:
		what = "no login was tried, because the last one with these credentials was refused; change them, or wait"
	case e.Class == ClassInDoubt && e.QueryID != "":
		what = fmt.Sprintf("statement %s was accepted, but its outcome is not known; look it up before you run it again", e.QueryID)
	case e.Class == ClassInDoubt && e.RequestID != "":
		what = fmt.Sprintf("the statement of request %s may have run; check before you run it again", e.RequestID)
	case e.Class == ClassInDoubt:
		what = "the statement may have run; check before you run it again"
	case e.InTx && e.Class == ClassSessionLost:
		what = "session lost inside a transaction, which the server rolls back; run the whole transaction again"
	case e.Class == ClassSessionLost && e.state:
		what = "session lost, and its settings and temporary objects with it; the statement did not run; set the session up again on a new connection"
	case e.Class == ClassSessionLost:
		what = "session lost; the statement did not run and can be run again"
	case e.Class == ClassCredential || e.Class == ClassPermanent:
		what = "the login was refused; it will be until something is changed"
	case e.Class == ClassTransient:
		what = "Snowflake cannot be reached; nothing was carried out"
	default:
		what = "failed"
	}
	var at string
	if e.SessionID > 0 {
		at = fmt.Sprintf(" (session %d)", e.SessionID)
	}
	return fmt.Sprintf("snowtether: %s%s: %s: %s", e.Op, at, what, redact(e.Err))
}

// redact is an error's text without the queries of the URLs in it: that of an Okta
// login holds a one-time token. Where a request was redirected net/http names the
// Location as it came, which need not be a whole URL.
func redact(err error) string {
	if err == nil {
		return ""
	}
	return urlQuery.ReplaceAllString(err.Error(), "$1")
}

var urlQuery = regexp.MustCompile(`((?:https?://|(?:Get|Post|Put) ")[^\s"?]*)\?[^\s"]*`)

// notBadConn hides a driver.ErrBadConn of the inner driver's own: in the chain of
// an error it would make database/sql run the statement again.
func notBadConn(err error) error {
	if errors.Is(err, driver.ErrBadConn) {
		return hiddenBadConn{err}
	}
	return err
}

// A hiddenBadConn is an error as it is, but for being driver.ErrBadConn.
type hiddenBadConn struct{ err error }

func (h hiddenBadConn) Error() string { return h.err.Error() }
func (h hiddenBadConn) Is(target error) bool {
	return target != driver.ErrBadConn && errors.Is(h.err, target)
}
func (h hiddenBadConn) As(target any) bool { return errors.As(h.err, target) }

// Unwrap returns the cause. A driver.ErrBadConn is not in its chain.
func (e *SessionError) Unwrap() error { return notBadConn(e.Err) }

// Is matches [ErrSessionLost], [ErrInDoubt] and [ErrLoginSuspended], and
// driver.ErrBadConn where database/sql may run the statement on another
// connection. An error in doubt is never driver.ErrBadConn.
func (e *SessionError) Is(target error) bool {
	switch target {
	case ErrSessionLost:
		return e.Class == ClassSessionLost
	case ErrInDoubt:
		return e.Class == ClassInDoubt
	case ErrLoginSuspended:
		return e.suspended
	case driver.ErrBadConn:
		return e.retry && e.Class == ClassSessionLost
	}
	return false
}
