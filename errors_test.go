package snowtether

import (
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
		"twice":        fmt.Errorf("again: %w", fmt.Errorf("opening: %w", err)),
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
	hangs := transport(func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	})
	_, err := (&http.Client{Transport: hangs, Timeout: time.Millisecond}).Get("http://a.invalid") //nolint:bodyclose // there is none
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("net/http has changed: %v is no context.DeadlineExceeded", err)
	}
	return err
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

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
	at(phaseStatement, refusedAtOnce, ClassStatement, 604, 630, 1003, 2003, 100038, 390999, 390116, 1, -1)

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
		row{gateway(261000, 400), phaseStatement, unauthorized, ClassStatement},
		row{gateway(261000, 403), phaseStatement, unauthorized, ClassStatement},
		row{gateway(261000, 403), phaseStatement, acceptance{requests: 2, replies: 2}, ClassInDoubt},
		row{gateway(261000, 503), phaseStatement, unauthorized, ClassInDoubt},
		row{gateway(261004, 401), phaseLogin, acceptance{}, ClassPermanent},
		row{gateway(261004, 403), phaseLogin, acceptance{}, ClassPermanent},
		row{gateway(261000, 401), phaseLogin, acceptance{}, ClassPermanent},
	)
	for _, status := range []int{429, 500, 502, 503, 504} {
		rows = append(rows, row{gateway(261004, status), phaseLogin, acceptance{}, ClassTransient})
	}
	for _, r := range rows {
		for guise, err := range guises(r.err) {
			if got := classify(err, r.ph, r.acc); got != r.want {
				t.Errorf("%v, phase %d, %+v, %s: %q, want %q", r.err, r.ph, r.acc, guise, got, r.want)
			}
		}
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
	if got := Classify(async(errors.New("no code in here"))); got != ClassStatement {
		t.Errorf("an asynchronous error without a code is %q", got)
	}
	if got := Classify(async(gateway(261000, 401))); got != ClassSessionLost {
		t.Errorf("HTTP 401 of an asynchronous statement is %q", got)
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
	for _, err := range []error{
		errors.New("authentication token expired"),
		&gosnowflake.SnowflakeError{Number: 100038, Message: "'Authentication token has expired' is not a number"},
	} {
		if got := classify(err, phaseStatement, acceptance{}); got != ClassStatement {
			t.Errorf("%v: %q", err, got)
		}
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
}

func TestClientTimeoutIsNotTheCallers(t *testing.T) {
	for guise, err := range guises(clientTimeout(t)) {
		if got := Classify(err); got != ClassTransient {
			t.Errorf("Classify, %s: %q", guise, got)
		}
		if got := classify(err, phaseLogin, acceptance{}); got != ClassTransient {
			t.Errorf("at a login, %s: %q", guise, got)
		}
		if got := classify(err, phaseStatement, acceptance{requests: 1}); got != ClassInDoubt {
			t.Errorf("at a statement, %s: %q", guise, got)
		}
	}
}

func TestNetworkErrorsAreTransientOnlyIfNothingWasSent(t *testing.T) {
	var syntax *json.SyntaxError
	if err := json.Unmarshal([]byte("<html>"), new(int)); !errors.As(err, &syntax) {
		t.Fatal(err)
	}
	_, notANumber := strconv.Atoi("x")
	for _, tt := range []struct {
		err       error
		permanent bool // at a login
	}{
		{err: io.EOF}, {err: io.ErrUnexpectedEOF}, {err: net.ErrClosed},
		{err: &net.OpError{Op: "dial", Err: errors.New("refused")}},
		{err: &net.DNSError{Err: "no such host", IsNotFound: true}},
		{err: &url.Error{Op: "Post", URL: "https://a", Err: errors.New("broken pipe")}},
		{err: errors.New("timeout after 4m0s. HTTP Status: 503. Hanging?")},
		{err: gateway(261000, 503)}, {err: gateway(261000, 429)},
		{err: context.DeadlineExceeded}, {err: context.Canceled},
		{err: syntax, permanent: true}, {err: notANumber, permanent: true},
	} {
		for guise, err := range guises(tt.err) {
			if strings.HasPrefix(tt.err.Error(), "timeout after") && guise != "bare" {
				continue // gosnowflake's text is at the start or nowhere
			}
			if got := classify(err, phaseStatement, acceptance{}); got != ClassTransient {
				t.Errorf("%v, %s, nothing sent: %q", tt.err, guise, got)
			}
			for _, acc := range []acceptance{{requests: 1}, {requests: 1, replies: 1}, acceptedOnce} {
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
	for _, err := range []error{&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, x509.UnknownAuthorityError{}} {
		wrapped := &url.Error{Op: "Post", URL: "https://a", Err: err}
		if got := classify(wrapped, phaseLogin, acceptance{}); got != ClassPermanent {
			t.Errorf("%v at a login: %q", wrapped, got)
		}
	}
}

func TestSQLStateNeverMatters(t *testing.T) {
	for _, code := range slices.Concat(lostAtStatement, credential, permanent, []int{1003, 260007, 266001}) {
		for _, ph := range []phase{phaseStatement, phaseLogin} {
			want := classify(snow(code), ph, refusedAtOnce)
			for _, state := range []string{"", "-1", "02000", "08001", "08004", "22000", "42601", "57014"} {
				err := snow(code)
				err.SQLState = state
				if got := classify(err, ph, refusedAtOnce); got != want {
					t.Errorf("%d with SQLState %q, phase %d: %q, want %q", code, state, ph, got, want)
				}
			}
		}
	}
}

func TestQueryIDInTheErrorIsProofOfAcceptance(t *testing.T) {
	for _, tt := range []struct {
		id   string
		want Class
	}{{"", ClassSessionLost}, {"-1", ClassSessionLost}, {"01b2c3d4-0000-0000-0000-000000000001", ClassInDoubt}} {
		err := snow(390114)
		err.QueryID = tt.id
		// Without traffic the error's word is all there is, as with a wrapped driver.
		if got := classify(err, phaseStatement, acceptance{}); got != tt.want {
			t.Errorf("QueryID %q: %q, want %q", tt.id, got, tt.want)
		}
	}
}

func TestNumbersInAMessageAreNotAnHTTPStatus(t *testing.T) {
	// gosnowflake's error for array binds of different lengths: column, rows, rows.
	mismatch := &gosnowflake.SnowflakeError{
		Number: gosnowflake.ErrBindSerialization, Message: "column %v has a different number of binds (%v) than column 1 (%v)",
		MessageArgs: []any{500, 3, 4},
	}
	for _, acc := range []acceptance{{}, {requests: 2, replies: 2}} {
		if got := classify(mismatch, phaseStatement, acc); got != ClassStatement {
			t.Errorf("column 500 with too few values, %+v: %q", acc, got)
		}
	}
}

func TestRenewalLoop(t *testing.T) {
	err := fmt.Errorf("renewing: %w", errRenewalLoop)
	for _, tt := range []struct {
		acc  acceptance
		want Class
	}{
		{acceptance{requests: 11, replies: 11, renewals: 5}, ClassTransient}, // nothing but refusals
		{acceptance{requests: 12, replies: 12, renewals: 5}, ClassInDoubt},
		{acceptance{requests: 11, replies: 10, renewals: 5}, ClassInDoubt},
		{acceptance{requests: 11, replies: 11, renewals: 5, lookups: 1, lastID: "01b2", queryID: "01b2"}, ClassInDoubt},
	} {
		if got := classify(err, phaseStatement, tt.acc); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.acc, got, tt.want)
		}
	}
}

func TestSetUpFailureIsNeverARefusedLogin(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want Class
	}{
		{snow(390114), ClassTransient}, {io.EOF, ClassTransient}, {context.DeadlineExceeded, ClassTransient},
		{snow(2003), ClassPermanent}, {snow(390318), ClassTransient}, {snow(390303), ClassPermanent}, {errors.New("hook says no"), ClassPermanent},
	} {
		err := fmt.Errorf("connecting: %w", &setUpError{"hook", tt.err})
		if got := classify(err, phaseLogin, acceptance{}); got != tt.want {
			t.Errorf("%v: %q, want %q", err, got, tt.want)
		}
	}
}

// TestRefusedIsProvenByTheTraffic: the table at acceptance.refused, and what is
// only nearly like it.
func TestRefusedIsProvenByTheTraffic(t *testing.T) {
	for _, tt := range []struct {
		name         string
		acc          acceptance
		unauthorized bool
		want         bool
	}{
		{"refused at once", acceptance{lookups: 1, requests: 1, replies: 1}, false, true},
		{"refused by the renewal", acceptance{requests: 2, replies: 2}, false, true},
		{"HTTP 401", acceptance{requests: 1, replies: 1}, true, true},
		{"accepted, lost while polled", acceptance{lookups: 1, requests: 4, replies: 4, lastID: "01b2"}, false, false},
		{"reply lost, then expiry", acceptance{requests: 3, replies: 2}, false, false},
		{"503 after execution, then expiry", acceptance{requests: 3, replies: 3}, false, false},
		{"503 after execution, then 390111", acceptance{lookups: 1, requests: 2, replies: 2}, false, false},
		{"503 after execution, then HTTP 401", acceptance{requests: 2, replies: 2}, true, false},

		{"another driver, no traffic", acceptance{}, false, true},
		{"renewed, then refused at once", acceptance{lookups: 1, requests: 3, replies: 3, renewals: 1}, false, true},
		{"renewed, then refused by the renewal", acceptance{requests: 4, replies: 4, renewals: 1}, false, true},
		{"renewed, then HTTP 401", acceptance{requests: 3, replies: 3, renewals: 1}, true, true},
		{"renewed twice, then refused at once", acceptance{lookups: 1, requests: 5, replies: 5, renewals: 2}, false, true},
		{"array bind: two of its own, then refused", acceptance{lookups: 3, requests: 3, replies: 3}, false, true},

		{"one reply short", acceptance{lookups: 1, requests: 2, replies: 1}, false, false},
		{"one reply too many", acceptance{lookups: 1, requests: 1, replies: 2}, false, false},
		{"one request, no look-up, no 401", acceptance{requests: 1, replies: 1}, false, false},
		{"HTTP 401 with one reply short", acceptance{requests: 1}, true, false},
		{"HTTP 401 without traffic", acceptance{}, true, false},
		{"an ID and nothing else", acceptance{lastID: "01b2"}, false, false},
		{"an ID that came with the refusal", acceptance{lookups: 1, requests: 1, replies: 1, lastID: "01b2"}, false, false},
		{"array bind with a retry", acceptance{lookups: 3, requests: 4, replies: 4}, false, false},
		{"two look-ups, one request", acceptance{lookups: 2, requests: 1, replies: 1}, false, false},
		{"renewed, and one request left over", acceptance{lookups: 1, requests: 4, replies: 4, renewals: 1}, false, false},
		{"renewed, reply of the first lost", acceptance{lookups: 1, requests: 4, replies: 3, renewals: 1}, false, false},
	} {
		if got := tt.acc.refused(tt.unauthorized); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
