package snowtether

import (
	"compress/flate"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"
)

// The acceptances that prove something, and one that proves nothing.
var (
	refusedAtOnce  = acceptance{lookups: 1, requests: 1, replies: 1}
	refusedByRenew = acceptance{requests: 2, replies: 2}
	acceptedOnce   = acceptance{lookups: 1, requests: 1, replies: 1, lastID: "01b2", queryID: "01b2"}
	replyLost      = acceptance{requests: 3, replies: 2}
)

// snow is an error as gosnowflake makes one of a reply.
func snow(code int) *gosnowflake.SnowflakeError {
	return &gosnowflake.SnowflakeError{Number: code, SQLState: "08001", Message: "no luck"}
}

// gateway is an error as gosnowflake makes one of an HTTP status.
func gateway(code, status int) *gosnowflake.SnowflakeError {
	return &gosnowflake.SnowflakeError{
		Number: code, SQLState: "08006", Message: "HTTP: %v, URL: %v",
		MessageArgs: []any{status, &url.URL{Scheme: "https", Host: "a.snowflakecomputing.com"}},
	}
}

// guises are the shapes in which an error may reach classify.
func guises(err error) map[string]error {
	return map[string]error{
		"bare":         err,
		"wrapped":      fmt.Errorf("opening: %w", err),
		"joined":       errors.Join(errors.New("other"), err),
		"joined first": errors.Join(err, errors.New("other")),
	}
}

// async is the guise in which the result of an asynchronous statement reports err.
func async(err error) error {
	return &gosnowflake.SnowflakeError{Number: gosnowflake.ErrAsync, Message: err.Error()}
}

// clientTimeout is what net/http makes of Client.Timeout: it says that it Is
// context.DeadlineExceeded, and no context of the caller's has ended.
func clientTimeout(t testing.TB) error {
	t.Helper()
	hangs := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	_, err := (&http.Client{Transport: hangs, Timeout: time.Millisecond}).Get("http://a.invalid") // there is none
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("net/http has changed: %v is no context.DeadlineExceeded", err)
	}
	return err
}

var (
	lostAtStatement = []int{390104, 390110, 390111, 390112, 390113, 390114, 390115, 390195, 390318, 390400, 261001}
	credential      = []int{390303, 390318, 394400, 390195, 390110}
	permanent       = []int{
		390100, 390120, 390121, 390122, 390123, 390124, 390125, 390126, 390127, 390128, 390129, 390139, 390144,
		390189, 390191, 390201, 390302, 390309, 390422, 390432, 394300, 394399, 394500, 394599, 394633, 260008,
	}
)

func TestEveryCodeHasItsClass(t *testing.T) {
	type row struct {
		err  error
		ph   phase
		acc  acceptance
		want Class
	}
	var rows []row
	at := func(ph phase, acc acceptance, want Class, codes ...int) {
		for _, code := range codes {
			rows = append(rows, row{snow(code), ph, acc, want})
		}
	}
	at(phaseStatement, refusedAtOnce, ClassSessionLost, lostAtStatement...)
	at(phaseStatement, refusedByRenew, ClassSessionLost, lostAtStatement...)
	at(phaseStatement, acceptedOnce, ClassInDoubt, lostAtStatement...)
	at(phaseStatement, replyLost, ClassInDoubt, lostAtStatement...)
	// 390302 is a revoked token: a reconnect with it would be a loop.
	at(phaseStatement, refusedAtOnce, ClassStatement, 390302, 390303, 394400)
	at(phaseStatement, refusedAtOnce, ClassStatement, permanent...)
	at(phaseStatement, refusedAtOnce, ClassStatement, 604, 630, 1003, 2003, 100038, 390999, 390116, 1)
	at(phaseStatement, refusedAtOnce, ClassInDoubt, -1) // no code: a gateway's JSON
	at(phaseStatement, acceptance{}, ClassStatement, -1)
	// Not the statement's own error once it was accepted or may have been, known or not.
	at(phaseStatement, acceptedOnce, ClassInDoubt, 390302, 390422, 390999, 394633, 399999)
	at(phaseStatement, acceptance{lookups: 1, requests: 2, replies: 2}, ClassInDoubt, 390302, 390422, 390999, 394633, 399999)

	at(phaseLogin, acceptance{}, ClassCredential, credential...)
	at(phaseLogin, acceptance{}, ClassPermanent, permanent...)
	for _, code := range lostAtStatement {
		if !slices.Contains(credential, code) {
			at(phaseLogin, acceptance{}, ClassPermanent, code)
		}
	}
	// Codes that nobody knows must not lock a user out either.
	at(phaseLogin, acceptance{}, ClassPermanent, 390999, 394401, 1, -1, 390116, 999999)
	at(phaseLogin, acceptance{}, ClassTransient, 260007)
	at(phaseStatement, acceptance{}, ClassTransient, 260007)
	at(phaseStatement, refusedAtOnce, ClassInDoubt, 260007)

	unauthorized := acceptance{requests: 1, replies: 1}
	rows = append(rows,
		row{gateway(261000, 401), phaseStatement, unauthorized, ClassSessionLost},
		row{gateway(261000, 401), phaseStatement, acceptance{requests: 2, replies: 2}, ClassInDoubt}, // 503 after execution, then 401
		row{gateway(261000, 400), phaseStatement, unauthorized, ClassInDoubt},
		row{gateway(261000, 403), phaseStatement, unauthorized, ClassInDoubt},
		row{gateway(261000, 403), phaseStatement, acceptance{lookups: 1, requests: 2, replies: 2, lastID: "01b2", queryID: "01b2"}, ClassInDoubt}, // of a poll
		row{gateway(261000, 403), phaseStatement, acceptance{requests: 2, replies: 2}, ClassInDoubt},
		row{gateway(261000, 503), phaseStatement, unauthorized, ClassInDoubt},
		row{gateway(261004, 401), phaseLogin, acceptance{}, ClassPermanent},
		row{gateway(261004, 403), phaseLogin, acceptance{}, ClassPermanent},
		row{gateway(261000, 401), phaseLogin, acceptance{}, ClassPermanent},
	)
	for _, status := range []int{408, 429, 500, 502, 503, 504} {
		rows = append(rows, row{gateway(261004, status), phaseLogin, acceptance{}, ClassTransient})
	}
	// gosnowflake's error for array binds of different lengths: column, rows, rows.
	// Its numbers are no HTTP status.
	mismatch := &gosnowflake.SnowflakeError{Number: gosnowflake.ErrBindSerialization, Message: "column %v: %v, %v", MessageArgs: []any{500, 3, 4}}
	rows = append(rows,
		row{mismatch, phaseStatement, acceptance{}, ClassStatement},
		row{mismatch, phaseStatement, acceptance{requests: 2, replies: 2}, ClassStatement},
	)
	// A query ID in the error is proof of acceptance too, with a wrapped driver
	// perhaps the only one.
	for id, want := range map[string]Class{"": ClassSessionLost, "-1": ClassSessionLost, "01b2": ClassInDoubt} {
		err := snow(390114)
		err.QueryID = id
		rows = append(rows, row{err, phaseStatement, acceptance{}, want})
	}
	for acc, want := range map[acceptance]Class{
		{requests: 11, replies: 11}:             ClassTransient, // nothing but "renew"
		{requests: 12, replies: 12}:             ClassInDoubt,
		{requests: 11, replies: 10}:             ClassInDoubt,
		{lookups: 1, requests: 11, replies: 11}: ClassInDoubt, // one of them was the statement's own
		acceptedOnce:                            ClassInDoubt,
	} {
		rows = append(rows, row{errRenewalLoop, phaseStatement, acc, want})
	}
	// What is neither Snowflake's answer nor gosnowflake's word about the statement
	// that it was given says nothing about whether it ran.
	unreadable := errors.New("malformed chunked encoding")
	rows = append(rows,
		row{unreadable, phaseStatement, acceptance{}, ClassStatement},
		row{unreadable, phaseStatement, acceptance{visible: true}, ClassStatement},
		row{unreadable, phaseStatement, unauthorized, ClassInDoubt},
		row{unreadable, phaseLogin, acceptance{}, ClassPermanent},
	)
	for _, garbled := range []error{gzip.ErrHeader, gzip.ErrChecksum, flate.CorruptInputError(7)} {
		rows = append(rows, row{garbled, phaseStatement, unauthorized, ClassInDoubt}, row{garbled, phaseLogin, acceptance{}, ClassTransient})
	}
	// What fails between the login and the first use is no refused login.
	for err, want := range map[error]Class{
		snow(390114): ClassTransient, snow(390318): ClassTransient, io.EOF: ClassTransient, errRenewalLoop: ClassTransient,
		context.DeadlineExceeded: ClassTransient, context.Canceled: ClassTransient,
		snow(390303): ClassPermanent, snow(2003): ClassPermanent, errors.New("the hook says no"): ClassPermanent,
	} {
		rows = append(rows, row{&setUpError{"hook", err}, phaseLogin, acceptance{}, want})
	}
	for _, r := range rows {
		for guise, err := range guises(r.err) {
			if got := classify(err, r.ph, r.acc); got != r.want {
				t.Errorf("%v, phase %d, %+v, %s: %q, want %q", r.err, r.ph, r.acc, guise, got, r.want)
			}
		}
		se, ok := r.err.(*gosnowflake.SnowflakeError) // only the bare ones
		for _, state := range []string{"", "-1", "02000", "08004", "42601", "57014"} {
			if !ok {
				break
			}
			other := *se
			other.SQLState = state
			if got := classify(&other, r.ph, r.acc); got != r.want {
				t.Errorf("%v with SQLState %q, phase %d, %+v: %q, want %q", r.err, state, r.ph, r.acc, got, r.want)
			}
		}
	}
}

// TestClassifyTellsTheClassOfAnyError: wherever it was met.
func TestClassifyTellsTheClassOfAnyError(t *testing.T) {
	type row struct {
		err  error
		want Class
	}
	rows := []row{
		{snow(1003), ClassStatement},
		{gateway(261004, 503), ClassTransient},
		// A request that its caller's context ended.
		{&url.Error{Op: "Post", URL: "https://a", Err: context.Canceled}, ClassContext},
	}
	for _, code := range lostAtStatement {
		rows = append(rows, row{snow(code), ClassSessionLost})
	}
	for _, code := range credential {
		if !slices.Contains(lostAtStatement, code) {
			rows = append(rows, row{snow(code), ClassCredential})
		}
	}
	for _, code := range permanent {
		rows = append(rows, row{snow(code), ClassPermanent})
	}
	for _, r := range rows {
		for guise, err := range guises(r.err) {
			if got := Classify(err); got != r.want {
				t.Errorf("%v, %s: %q, want %q", r.err, guise, got, r.want)
			}
		}
	}
	if got := Classify(nil); got != ClassNone {
		t.Errorf("no error is %q", got)
	}
}

func TestAsynchronousErrorHasTheClassOfItsCode(t *testing.T) {
	for _, ph := range []phase{phaseStatement, phaseLogin} {
		for _, code := range slices.Concat(lostAtStatement, credential, permanent, []int{390999}) {
			want := classify(snow(code), ph, refusedAtOnce)
			for guise, err := range guises(async(snow(code))) {
				if got := classify(err, ph, refusedAtOnce); got != want {
					t.Errorf("%d, phase %d, %s: %q, want %q", code, ph, guise, got, want)
				}
			}
		}
	}
	for _, tt := range []struct {
		err  error
		want Class
	}{
		{errors.New("no code in here"), ClassStatement}, {gateway(261000, 401), ClassSessionLost},
		{gateway(261000, 403), ClassStatement}, {gateway(261000, 503), ClassTransient},
	} {
		if got := Classify(async(tt.err)); got != tt.want {
			t.Errorf("asynchronous %v is %q, want %q", tt.err, got, tt.want)
		}
	}
}

func TestExpiredTokenOfOtherDriversIsKnownByItsText(t *testing.T) {
	for _, text := range []string{
		"Authentication token has expired.  The user must authenticate again.",
		"390114: AUTHENTICATION TOKEN HAS EXPIRED", "rpc: authentication token has expired",
	} {
		for guise, err := range guises(errors.New(text)) {
			if got := classify(err, phaseStatement, acceptance{}); got != ClassSessionLost {
				t.Errorf("%q, %s: %q", text, guise, got)
			}
			if got := classify(err, phaseStatement, acceptedOnce); got != ClassInDoubt {
				t.Errorf("%q, %s, accepted: %q", text, guise, got)
			}
		}
	}
	quoted := &gosnowflake.SnowflakeError{Number: 100038, Message: "'Authentication token has expired' is not a number"}
	if got := classify(quoted, phaseStatement, acceptance{}); got != ClassStatement {
		t.Errorf("%v: %q", quoted, got)
	}
}

func TestCallersContextComesFirst(t *testing.T) {
	for _, ctxErr := range []error{context.Canceled, context.DeadlineExceeded} {
		for _, ph := range []phase{phaseStatement, phaseLogin} {
			for _, err := range []error{snow(390114), snow(390100), snow(1003), ctxErr, io.EOF, clientTimeout(t), driver.ErrBadConn, errRenewalLoop} {
				acc := refusedAtOnce
				acc.ctxErr = ctxErr
				if got := classify(err, ph, acc); got != ClassContext {
					t.Errorf("%v, phase %d, caller's context %v: %q", err, ph, ctxErr, got)
				}
			}
		}
		for guise, err := range guises(ctxErr) {
			if got := Classify(err); got != ClassContext {
				t.Errorf("Classify(%v), %s: %q", err, guise, got)
			}
		}
	}
	for guise, err := range guises(clientTimeout(t)) { // nobody's context
		if got := Classify(err); got != ClassTransient {
			t.Errorf("Classify of a timeout of the HTTP client's, %s: %q", guise, got)
		}
	}
}

func TestNetworkErrorsAreTransientOnlyIfNothingWasSent(t *testing.T) {
	syntax := json.Unmarshal([]byte("<html>"), new(int))
	_, notANumber := strconv.Atoi("x")
	for _, tt := range []struct {
		err       error
		permanent bool // at a login
	}{
		{err: io.EOF}, {err: io.ErrUnexpectedEOF}, {err: net.ErrClosed},
		{err: &net.OpError{Op: "dial", Err: errors.New("refused")}},
		{err: &net.DNSError{Err: "no such host", IsNotFound: true}},
		{err: &url.Error{Op: "Post", URL: "https://a", Err: errors.New("broken pipe")}},
		{err: gateway(261000, 503)}, {err: gateway(261000, 429)},
		{err: context.DeadlineExceeded}, {err: context.Canceled}, {err: clientTimeout(t)},
		{err: syntax}, {err: notANumber, permanent: true},
	} {
		for guise, err := range guises(tt.err) {
			for _, acc := range []acceptance{{}, {dials: 1, visible: true}, {dials: 8, visible: true}} {
				if got := classify(err, phaseStatement, acc); got != ClassTransient {
					t.Errorf("%v, %s, nothing sent, %+v: %q", tt.err, guise, acc, got)
				}
			}
			for _, acc := range []acceptance{{watched: true}, {watched: true, visible: true}, {requests: 1}, {dials: 2, requests: 1}, {requests: 1, replies: 1}, acceptedOnce} {
				if got := classify(err, phaseStatement, acc); got != ClassInDoubt {
					t.Errorf("%v, %s, %+v: %q", tt.err, guise, acc, got)
				}
			}
			want := ClassTransient
			if tt.permanent {
				want = ClassPermanent
			}
			if got := classify(err, phaseLogin, acceptance{}); got != want {
				t.Errorf("%v, %s, at a login: %q, want %q", tt.err, guise, got, want)
			}
		}
	}
	// gosnowflake names the failure of its cancelling before what it cancelled for.
	for _, code := range append([]int{604, 261002}, lostAtStatement...) {
		err := fmt.Errorf("failed to cancel query. cancelErr: %w, queryErr: %w", snow(code), clientTimeout(t))
		if got := classify(err, phaseStatement, refusedByRenew); got != ClassInDoubt {
			t.Errorf("%v: %q", err, got)
		}
	}
	if got := Classify(errors.New("timeout after 4m0s. HTTP Status: 503. Hanging?")); got != ClassTransient {
		t.Errorf("gosnowflake's words after its last try are %q", got)
	}
	untrusted := &url.Error{Op: "Post", Err: &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}}
	if got := classify(untrusted, phaseLogin, acceptance{}); got != ClassPermanent {
		t.Errorf("%v at a login: %q", untrusted, got)
	}
}

func TestSessionErrorIsWhatItsClassSays(t *testing.T) {
	cause := snow(390114)
	for _, tt := range []struct {
		err *SessionError
		is  []error
	}{
		{&SessionError{Class: ClassSessionLost}, []error{ErrSessionLost}},
		{&SessionError{Class: ClassSessionLost, retry: true}, []error{ErrSessionLost, driver.ErrBadConn}},
		{&SessionError{Class: ClassInDoubt}, []error{ErrInDoubt}},
		{&SessionError{Class: ClassInDoubt, retry: true}, []error{ErrInDoubt}},
		{&SessionError{Class: ClassPermanent, suspended: true}, []error{ErrLoginSuspended}},
		{&SessionError{Class: ClassPermanent, retry: true}, nil},
		{&SessionError{Class: ClassTransient, retry: true}, nil},
		{&SessionError{Class: ClassStatement, retry: true}, nil},
	} {
		for _, bad := range []bool{false, true} {
			tt.err.Err = cause
			if bad { // an inner driver's word must not make database/sql run anything again
				tt.err.Err = fmt.Errorf("%w: %w", cause, driver.ErrBadConn)
			}
			for guise, err := range guises(tt.err) {
				if bad && guise != "bare" {
					continue
				}
				for _, s := range []error{ErrSessionLost, ErrInDoubt, ErrLoginSuspended, driver.ErrBadConn} {
					if got, want := errors.Is(err, s), slices.Contains(tt.is, s); got != want {
						t.Errorf("%q, retry %v, cause %q, %s: Is(%v) = %v", tt.err.Class, tt.err.retry, tt.err.Err, guise, s, got)
					}
				}
				if se, ok := as[*gosnowflake.SnowflakeError](err); !ok || se != cause {
					t.Errorf("%+v, %s: the cause is not found", *tt.err, guise)
				}
				if Classify(err) != tt.err.Class {
					t.Errorf("%+v, %s: Classify says %q", *tt.err, guise, Classify(err))
				}
			}
		}
	}
}

func TestSessionErrorSaysWhatToDo(t *testing.T) {
	for _, tt := range []struct {
		err       SessionError
		says, not []string
	}{
		{SessionError{Class: ClassSessionLost}, []string{"did not run", "run again"}, nil},
		{SessionError{Class: ClassSessionLost, state: true}, []string{"did not run", "set the session up again"}, nil},
		{SessionError{Class: ClassSessionLost, InTx: true}, []string{"rolls back", "whole transaction again"}, nil},
		{SessionError{Class: ClassInDoubt}, []string{"may have run", "check before"}, []string{"did not run"}},
		{SessionError{Class: ClassInDoubt, QueryID: "01b2"}, []string{"01b2", "accepted", "look it up before"}, []string{"did not run"}},
		{SessionError{Class: ClassInDoubt, RequestID: "7e57"}, []string{"request 7e57", "may have run", "check before"}, []string{"did not run"}},
		{SessionError{Class: ClassInDoubt, InTx: true}, []string{"may have run", "check before"}, []string{"rolls back"}},
		{SessionError{Class: ClassCredential}, []string{"refused", "until something is changed"}, nil},
		{SessionError{Class: ClassPermanent}, []string{"refused", "until something is changed"}, nil},
		{SessionError{Class: ClassPermanent, suspended: true}, []string{"no login was tried", "change them, or wait"}, nil},
		{SessionError{Class: ClassTransient}, []string{"cannot be reached", "nothing was carried out"}, nil},
		// The session lives, and so does the transaction.
		{SessionError{Class: ClassTransient, InTx: true}, []string{"cannot be reached"}, []string{"session lost"}},
		{SessionError{Class: ClassStatement, InTx: true}, []string{"failed"}, []string{"session lost"}},
	} {
		tt.err.Op, tt.err.SessionID, tt.err.Err = "exec", 4711, snow(390114)
		text := tt.err.Error()
		for _, want := range append(tt.says, "snowtether: exec (session 4711)", "390114", "no luck") {
			if !strings.Contains(text, want) {
				t.Errorf("%q, in tx %v: %q does not say %q", tt.err.Class, tt.err.InTx, text, want)
			}
		}
		for _, bad := range tt.not {
			if strings.Contains(text, bad) {
				t.Errorf("%q, in tx %v: %q says %q", tt.err.Class, tt.err.InTx, text, bad)
			}
		}
	}
	// A program's own tests make some without a cause.
	if text := (&SessionError{Op: "exec", Class: ClassInDoubt}).Error(); !strings.Contains(text, "check before") {
		t.Error(text)
	}
}
