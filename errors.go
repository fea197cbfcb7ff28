package snowtether

import (
	"context"
	"crypto/tls"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/internal/bulk"
	"github.com/snowtether/snowtether/internal/causes"
	"github.com/snowtether/snowtether/internal/program"
	"github.com/snowtether/snowtether/internal/sferr"
	"github.com/snowtether/snowtether/internal/sqltext"
	"github.com/snowtether/snowtether/internal/transcript"
)

// This file says what an error means, to the driver and to its callers. It is the only reader of
// numbers: every other file asks it. internal/verdict decides what becomes of a statement.

var (
	// ErrSessionLost is in an error's chain when a session ended under a statement,
	// nothing of the statement lasts, and snowtether could not run it on another session:
	// inside a transaction (see [SessionError].InTx), or because the connection's session
	// state was lost too, which the connection's user is told once. Run the whole
	// transaction again, or set the session up again and run the statement.
	ErrSessionLost = errors.New("snowtether: session lost")

	// ErrInDoubt is in an error's chain when Snowflake may or may not have run a
	// statement. Such an error never matches driver.ErrBadConn, so neither database/sql
	// nor snowtether runs the statement a second time. Before you run it again, do what
	// [SessionError.Remedy] says: look at what the statement should have changed, or look
	// for [SessionError].QueryID in QUERY_HISTORY.
	ErrInDoubt = errors.New("snowtether: statement in doubt")

	// ErrLoginSuspended is in an error's chain when snowtether tried no login, because
	// Snowflake refused the last one with the same credentials; see [WithAuthCooldown].
	// That refusal is in the chain too.
	ErrLoginSuspended = errors.New("snowtether: logins suspended")
)

// Class is the kind of an error, which says what can be done about it. That of a nil error is
// empty.
type Class string

// The classes of errors.
const (
	ClassStatement   Class = "statement"    // the statement's own error, nothing to do with sessions
	ClassContext     Class = "context"      // the caller's context ended
	ClassSessionLost Class = "session_lost" // the session is gone; where it is a SessionError's class, nothing of the statement lasts
	ClassInDoubt     Class = "in_doubt"     // the statement may have run
	ClassCredential  Class = "credential"   // refused, but a fresh token may help
	ClassPermanent   Class = "permanent"    // a login that fails until somebody changes something
	ClassTransient   Class = "transient"    // network, timeouts, 5xx and 429: try again later; where it is a SessionError's class, nothing of the statement lasts
)

// Classify returns the class of any error, whether this driver or gosnowflake returned it,
// and the empty class for nil. An error of gosnowflake's does not say whether its statement
// ran. Classify returns ClassInDoubt for one only if it is about the result of an
// asynchronous statement, which Snowflake had accepted.
func Classify(err error) Class {
	if se, ok := as[*SessionError](err); ok {
		return se.Class
	}
	switch said, _ := sferr.Of(err); {
	case err == nil:
		return ""
	case isContext(err):
		return ClassContext
	case said.Async:
		return ClassInDoubt // it was accepted; what came of it is not known
	case lost(err):
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

// classifyLogin says what the error of a login means. ctxErr is the caller's context's.
func classifyLogin(err, ctxErr error) Class {
	switch {
	case err == nil:
		return ""
	case ctxErr != nil:
		// The caller's own context comes first: whatever else went wrong, the caller no
		// longer waits. Only that context counts: a timeout of the HTTP client's own
		// matches context.DeadlineExceeded too.
		return ClassContext
	}
	if su, ok := as[*setUpError](err); ok {
		// The login went well; what failed came after it.
		if lost(su.err) || isTransient(su.err) || isContext(su.err) || errors.Is(su.err, errRenewalLoop) {
			return ClassTransient
		}
		return ClassPermanent
	}
	switch {
	case slices.Contains(credentialCodes, number(err)):
		return ClassCredential
	case isTransient(err) || isContext(err) || sferr.IsGarbled(err) && !sferr.IsNotANumber(err):
		return ClassTransient // a page of HTML comes from a gateway
	}
	if _, ok := as[*localError](err); ok {
		return ClassTransient
	}
	return ClassPermanent // known or not: an unknown code must not lock a user out
}

// outcome says what the error of a statement says about whether it ran, for
// [transcript.Transcript.Judge].
func outcomeOf(err error) transcript.Outcome {
	if err == nil {
		return transcript.Outcome{}
	}
	said, _ := sferr.Of(err)
	// gosnowflake cancels a statement that a time-out cut off, and where that fails too
	// the number is about the cancelling.
	cut := cutOff(err)
	return transcript.Outcome{
		Failed:   true,
		Local:    errors.Is(err, driver.ErrSkip) || said.Number == gosnowflake.ErrNoReadOnlyTransaction || said.Number == gosnowflake.ErrNoDefaultTransactionIsolationLevel,
		Gone:     lost(err) && !cut,
		Refused:  said.Number == gosnowflake.ErrFailedToPostQuery && said.Status == 401 && !cut || errors.Is(err, errRenewalLoop),
		Network:  cut || isTransient(err) || sferr.IsGarbled(err),
		Answer:   said.Number > 0 && !said.Own() && !said.AboutSession() && !said.Async && !cut,
		QueryID:  said.QueryID,
		SQLState: said.SQLState,
	}
}

// lost reports whether the error of a statement says that the session is gone.
func lost(err error) bool {
	if err == nil {
		return false
	}
	if said, ok := sferr.Of(err); ok {
		// gosnowflake turns the HTTP 401 that a gateway answers for a dead session
		// into 261000 and drops the 390104 in its body.
		return slices.Contains(lostCodes, said.Number) || said.Number == gosnowflake.ErrFailedToPostQuery && said.Status == 401
	}
	return errors.Is(err, driver.ErrBadConn) ||
		strings.Contains(strings.ToLower(err.Error()), "authentication token has expired") // other inner drivers
}

// renewalFailed reports whether it is only known that the session token could not be
// renewed, by whatever answered.
func renewalFailed(err error) bool { return number(err) == gosnowflake.ErrFailedToRenewSession }

// hasEnded reports whether the server has said that the session is gone.
func hasEnded(err error) bool { return lost(err) && !renewalFailed(err) }

// number is Snowflake's number for the error, or 0.
func number(err error) int {
	said, _ := sferr.Of(err)
	return said.Number
}

// isHopeless reports whether a request is refused by something that will refuse it the
// next time too: a gateway's 4xx, or a server that wants one renewal after the other.
func isHopeless(err error) bool {
	said, _ := sferr.Of(err)
	return said.Status/100 == 4 && !isTransient(err) || errors.Is(err, errRenewalLoop)
}

// errRenewalLoop ends the loop into which a server sends gosnowflake by answering 390112
// for ever while renewals succeed.
var errRenewalLoop = errors.New("the server refuses the session token again after each renewal")

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
	if said, _ := sferr.Of(err); said.Number != 0 {
		return said.Number == gosnowflake.ErrCodeServiceUnavailable || isBusy(said.Status)
	}
	if status := sferr.ProviderStatus(err); status != 0 {
		return isBusy(status)
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

// isBusy reports whether an HTTP status says that trying again later may help.
func isBusy(status int) bool { return status >= 500 || status == 429 || status == 408 }

// A localError is what a login failed with before Snowflake could refuse anything, on the
// way to the credential or to the server.
type localError struct{ err error }

func (e *localError) Error() string { return e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

// isLocal reports whether the login with this Config, to which Snowflake has said nothing,
// failed by what may be over soon, and locked nobody out. A person is not asked twice, and a
// password may have been sent to an identity provider.
func isLocal(cfg *gosnowflake.Config, err error) bool {
	switch cfg.Authenticator {
	case gosnowflake.AuthTypeOkta, gosnowflake.AuthTypeExternalBrowser, gosnowflake.AuthTypeOAuthAuthorizationCode:
		return false
	}
	if _, ok := as[*tls.CertificateVerificationError](err); ok {
		return false
	}
	if _, ok := as[*program.PanicError](err); ok || errors.Is(err, program.ErrGoexit) || sferr.ProviderStatus(err) != 0 {
		return false
	}
	n := number(err)
	return n == 0 || slices.Contains(ocspCodes, n)
}

// ocspCodes are gosnowflake's numbers for a certificate whose state cannot be found out.
var ocspCodes = []int{gosnowflake.ErrOCSPStatusUnknown, gosnowflake.ErrOCSPInvalidValidity, gosnowflake.ErrOCSPNoOCSPResponderURL}

// as is errors.As with its type first.
func as[E error](err error) (target E, ok bool) {
	ok = errors.As(err, &target)
	return target, ok
}

// isRetry reports whether database/sql may try on another connection.
func isRetry(err error) bool {
	se, ok := as[*SessionError](err)
	return ok && se.retry
}

// isPanic reports whether gosnowflake panicked, or would have made the caller do so.
func isPanic(err error) bool {
	_, ok := as[*program.PanicError](err)
	return ok || err == program.ErrNoAnswer // never wrapped
}

// SessionError is the error that a caller gets when a session failed, or the login
// for a new one. It unwraps to its cause, so errors.As finds the
// [gosnowflake.SnowflakeError] in it.
type SessionError struct {
	Op        string // the operation: "query", "exec", "prepare", "begin", "commit", "rollback", "ping" or "login"
	Class     Class  // what can be done about it
	Code      int    // Snowflake's number, or 0
	SessionID int64  // of the session that failed, or 0
	QueryID   string // of the statement, where it is known
	RequestID string // of the statement: the caller's (gosnowflake.WithRequestID), or the one it was sent with; empty where it is not known
	InTx      bool   // a transaction was open: unless the error matches ErrInDoubt, the server has rolled it back, or will
	Err       error  // the cause

	at        time.Time    // when a statement in doubt failed
	suspended bool         // no login was tried
	retry     bool         // database/sql may try on another connection
	ran       bool         // the statement may have run, though nothing of it lasts
	unsent    bool         // it is in doubt for what came before it in its transaction, and did not run itself
	asks      bool         // it asks about what another session did
	lost      sqltext.Loss // what the connection's holder has lost with the session
	earlier   sqltext.Loss // what of it was set before the transaction
	inside    bool         // of a transaction that was begun inside another: what that held is lost too
}

// Error says what happened and what can be done about it.
func (e *SessionError) Error() string {
	var what string
	switch {
	case e.Err == errWithin: // identity is meant
		what = "no login was tried"
	case e.suspended:
		what = "no login was tried, because the last one with these credentials was refused; change them, or wait"
	case bulk.IsShort(e.Err) && e.Class == ClassInDoubt:
		what = fmt.Sprintf("statement %s ran, but not with all rows", e.QueryID)
	case bulk.IsShort(e.Err) && e.InTx:
		what = "the transaction was ended because not all rows arrived, and the server rolls it back; run the whole transaction again"
	case e.Class == ClassInDoubt && e.unsent:
		what = "session lost inside a transaction, part of which may last; this statement did not run"
	case e.Class == ClassInDoubt && e.QueryID != "":
		what = fmt.Sprintf("statement %s was accepted, and its outcome is not known", e.QueryID)
	case e.Class == ClassInDoubt && e.RequestID != "":
		what = fmt.Sprintf("the statement of request %s may have run", e.RequestID)
	case e.Class == ClassInDoubt:
		what = "the statement may have run"
	case e.InTx && e.Class == ClassSessionLost:
		what = "session lost inside a transaction, which the server rolls back; run the whole transaction again"
		if isContext(e.Err) {
			what = "the transaction was ended because its statement was cut off, and the server rolls it back; run the whole transaction again"
		}
		if e.lost != 0 {
			what += "; before that, set again what was lost: " + e.lost.String()
		}
	case e.Class == ClassSessionLost && e.lost != 0 && e.ran:
		what = "session lost, and with it " + e.lost.String() + "; nothing of the statement lasts; set the session up again"
	case e.Class == ClassSessionLost && e.lost != 0:
		what = "session lost, and with it " + e.lost.String() + "; nothing was carried out; set the session up again"
	case e.Class == ClassSessionLost && e.asks:
		what = "session lost, and what the statement asks about went with it; run a statement of your own first, or ask by its query ID"
	case e.Class == ClassSessionLost && e.ran:
		what = "session lost; nothing of the statement lasts"
	case e.Class == ClassSessionLost:
		what = "session lost; the statement did not run and can be run again"
	case e.Class == ClassCredential || e.Class == ClassPermanent:
		what = refusal(e.Err, e.Code)
	case e.Class == ClassContext && e.Op == "login":
		what = "the context ended while the call waited for a login; nothing was sent"
	case errors.Is(e.Err, bulk.ErrShortUpload):
		what = "the object store does not take the bound values; nothing was carried out"
	case e.Class == ClassTransient:
		cause, left := "Snowflake cannot be reached", "nothing was carried out"
		if _, local := as[*localError](e.Err); local {
			cause = "the login failed before Snowflake answered"
		}
		if _, ok := as[*programError](e.Err); ok {
			cause = "there is nothing to log in with"
		}
		if sferr.IsGarbled(e.Err) {
			cause = "Snowflake's answers cannot be read"
		}
		if e.ran {
			left = "nothing of the statement lasts"
		}
		what = cause + "; " + left
	default:
		what = "failed"
	}
	if do := e.Remedy(); do != "" {
		what += "; " + do
	}
	var at string
	if e.SessionID > 0 {
		at = fmt.Sprintf(" (session %d)", e.SessionID)
	}
	return fmt.Sprintf("snowtether: %s%s: %s: %s", e.Op, at, what, redact(e.Err))
}

// refusal says what a login failed with that will fail again, and what to do about it.
func refusal(err error, code int) string {
	if isSetUp(err) {
		return "the login succeeded, but its session could not be set up and was closed; correct what failed"
	}
	if _, ok := err.(*programError); ok { // not one that followed a refusal
		return "no login was sent; correct what failed"
	}
	if _, ok := as[*tls.CertificateVerificationError](err); ok {
		return "the server's certificate was not accepted; check the host, the proxy and the root certificates"
	}
	what := "the login was refused, and will be until the credentials or the account change"
	if do := causes.Of(code).ForPerson(); do != "" {
		what += "; " + do
	}
	return what
}

// Remedy says in one line what somebody has to do about a statement in doubt, as the log and
// the page do ([Event.Remedy]), and is empty for any other error.
func (e *SessionError) Remedy() string {
	if e.Class != ClassInDoubt {
		return ""
	}
	return remedy(e.doubt(), e.Op, e.QueryID, e.SessionID, e.at)
}

func (e *SessionError) doubt() doubt {
	switch {
	case bulk.IsShort(e.Err):
		return rows
	case e.unsent:
		return partOfTx
	}
	return whether
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

// A redacted error says what it says without the queries of URLs.
type redacted struct{ err error }

func (r redacted) Error() string { return redact(r.err) }
func (r redacted) Unwrap() error { return r.err }

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
