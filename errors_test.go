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
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/internal/bulk"
	"github.com/snowtether/snowtether/internal/sqltext"
	"github.com/snowtether/snowtether/internal/transcript"
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

// guises are the shapes in which an error may come.
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

// TestEveryCodeOfALoginHasItsClass: in every guise, and whatever its SQLState.
func TestEveryCodeOfALoginHasItsClass(t *testing.T) {
	type row struct {
		err  error
		want Class
	}
	var rows []row
	at := func(want Class, codes ...int) {
		for _, code := range codes {
			rows = append(rows, row{snow(code), want})
		}
	}
	at(ClassCredential, credential...)
	at(ClassPermanent, permanent...)
	for _, code := range lostAtStatement {
		if !slices.Contains(credential, code) {
			at(ClassPermanent, code)
		}
	}
	// Codes that nobody knows must not lock a user out either.
	at(ClassPermanent, 390999, 394401, 1, -1, 390116, 999999)
	at(ClassTransient, 260007)
	for _, status := range []int{401, 403} {
		rows = append(rows, row{gateway(261004, status), ClassPermanent})
	}
	for _, status := range []int{408, 429, 500, 502, 503, 504} {
		rows = append(rows, row{gateway(261004, status), ClassTransient})
	}
	rows = append(rows, row{gateway(261000, 401), ClassPermanent}, row{errors.New("malformed chunked encoding"), ClassPermanent})
	for _, garbled := range []error{gzip.ErrHeader, gzip.ErrChecksum, flate.CorruptInputError(7)} {
		rows = append(rows, row{garbled, ClassTransient})
	}
	// What fails between the login and the first use is no refused login.
	for err, want := range map[error]Class{
		snow(390114): ClassTransient, snow(390318): ClassTransient, io.EOF: ClassTransient, errRenewalLoop: ClassTransient,
		context.DeadlineExceeded: ClassTransient, context.Canceled: ClassTransient,
		snow(390303): ClassPermanent, snow(2003): ClassPermanent, errors.New("the hook says no"): ClassPermanent,
	} {
		rows = append(rows, row{&setUpError{"hook", err}, want})
	}
	for _, r := range rows {
		for guise, err := range guises(r.err) {
			if got := classifyLogin(err, nil); got != r.want {
				t.Errorf("%v, %s: %q, want %q", r.err, guise, got, r.want)
			}
		}
		se, ok := r.err.(*gosnowflake.SnowflakeError) // only the bare ones
		for _, state := range []string{"", "-1", "02000", "08004", "42601", "57014"} {
			if !ok {
				break
			}
			other := *se
			other.SQLState = state
			if got := classifyLogin(&other, nil); got != r.want {
				t.Errorf("%v with SQLState %q: %q, want %q", r.err, state, got, r.want)
			}
		}
	}
}

// TestWhatAnErrorSaysOfItsStatement: that the session is gone, that the network failed,
// or that it can be Snowflake's own answer.
func TestWhatAnErrorSaysOfItsStatement(t *testing.T) {
	type said struct{ gone, refused, network, answer bool }
	type row struct {
		err  error
		want said
	}
	var rows []row
	at := func(want said, codes ...int) {
		for _, code := range codes {
			rows = append(rows, row{snow(code), want})
		}
	}
	at(said{gone: true}, lostAtStatement...)
	// 390302 is a revoked token: a reconnect with it would be a loop. No 39xxxx is about
	// a statement, known or not, and none of gosnowflake's own numbers is an answer.
	at(said{}, 390302, 390303, 394400, 390999, 390116, 399999, 260008, 264003, 268006, 279301)
	at(said{answer: true}, 1, 604, 605, 630, 709, 1003, 2003, 100038, 500177)
	at(said{}, -1, 0) // no code, which Snowflake always gives: a gateway's JSON
	at(said{network: true}, 260007)
	rows = append(rows,
		row{gateway(261000, 401), said{gone: true, refused: true}},
		row{gateway(261000, 400), said{}},
		row{gateway(261000, 403), said{}},
		row{gateway(261000, 503), said{network: true}},
		row{gateway(261001, 401), said{gone: true}},
		row{errRenewalLoop, said{refused: true}},
		row{errors.New("malformed chunked encoding"), said{}},
		row{driver.ErrBadConn, said{gone: true}},
		row{errors.New("390114: AUTHENTICATION TOKEN HAS EXPIRED"), said{gone: true}},
		row{io.EOF, said{network: true}}, row{gzip.ErrHeader, said{network: true}},
		row{context.Canceled, said{network: true}}, row{clientTimeout(t), said{network: true}},
	)
	for _, r := range rows {
		for guise, err := range guises(r.err) {
			o := outcomeOf(err)
			if got := (said{o.Gone, o.Refused, o.Network, o.Answer}); got != r.want || !o.Failed {
				t.Errorf("%v, %s: %+v, want %+v", r.err, guise, got, r.want)
			}
		}
	}
	if o := outcomeOf(nil); o != (transcript.Outcome{}) {
		t.Errorf("no error says %+v", o)
	}
	// gosnowflake names the failure of its cancelling before what it cancelled for.
	for _, code := range append([]int{604, 261002}, lostAtStatement...) {
		err := fmt.Errorf("failed to cancel query. cancelErr: %w, queryErr: %w", snow(code), clientTimeout(t))
		if o := outcomeOf(err); o.Gone || o.Answer || o.Refused {
			t.Errorf("%v: %+v", err, o)
		}
	}
	quoted := &gosnowflake.SnowflakeError{Number: 100038, Message: "'Authentication token has expired' is not a number"}
	if lost(quoted) {
		t.Errorf("%v is taken for a lost session", quoted)
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
	if got := Classify(nil); got != "" {
		t.Errorf("no error is %q", got)
	}
}

// TestAsynchronousErrorIsInDoubt: the statement was accepted; what came of it the error
// does not say.
func TestAsynchronousErrorIsInDoubt(t *testing.T) {
	for _, inside := range []error{snow(390114), snow(390303), snow(1003), errors.New("no code in here"), gateway(261000, 401), gateway(261000, 503)} {
		for guise, err := range guises(async(inside)) {
			if got := Classify(err); got != ClassInDoubt {
				t.Errorf("asynchronous %v, %s, is %q", inside, guise, got)
			}
			if outcomeOf(err).Answer {
				t.Errorf("asynchronous %v, %s, is taken for an answer", inside, guise)
			}
		}
	}
}

func TestCallersContextComesFirst(t *testing.T) {
	for _, ctxErr := range []error{context.Canceled, context.DeadlineExceeded} {
		for _, err := range []error{snow(390114), snow(390100), snow(1003), ctxErr, io.EOF, clientTimeout(t), driver.ErrBadConn, errRenewalLoop} {
			if got := classifyLogin(err, ctxErr); got != ClassContext {
				t.Errorf("%v, caller's context %v: %q", err, ctxErr, got)
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

func TestNetworkErrorsOfALoginAreTransient(t *testing.T) {
	syntax := json.Unmarshal([]byte("<html>"), new(int))
	_, notANumber := strconv.Atoi("x")
	for _, tt := range []struct {
		err       error
		permanent bool
	}{
		{err: io.EOF}, {err: io.ErrUnexpectedEOF}, {err: net.ErrClosed},
		{err: &net.OpError{Op: "dial", Err: errors.New("refused")}},
		{err: &net.DNSError{Err: "no such host", IsNotFound: true}},
		{err: &url.Error{Op: "Post", URL: "https://a", Err: errors.New("broken pipe")}},
		{err: gateway(261000, 503)}, {err: gateway(261000, 429)},
		{err: context.DeadlineExceeded}, {err: context.Canceled}, {err: clientTimeout(t)},
		{err: syntax}, {err: notANumber, permanent: true},
		{err: &url.Error{Op: "Post", Err: &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}}, permanent: true},
	} {
		for guise, err := range guises(tt.err) {
			want := ClassTransient
			if tt.permanent {
				want = ClassPermanent
			}
			if got := classifyLogin(err, nil); got != want {
				t.Errorf("%v, %s: %q, want %q", tt.err, guise, got, want)
			}
		}
	}
	if got := Classify(errors.New("timeout after 4m0s. HTTP Status: 503. Hanging?")); got != ClassTransient {
		t.Errorf("gosnowflake's words after its last try are %q", got)
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
	_, short := bulk.Bound{Rows: 2}.Compare(driver.RowsAffected(1))
	for _, tt := range []struct {
		err       SessionError
		says, not []string
	}{
		{SessionError{Class: ClassSessionLost}, []string{"did not run", "run again"}, nil},
		{SessionError{Class: ClassSessionLost, lost: sqltext.LossVariables}, []string{"variables", "nothing was carried out; set the session up again"}, []string{"did not run", "nothing was sent"}},
		{SessionError{Class: ClassSessionLost, ran: true}, []string{"nothing of the statement lasts"}, []string{"did not run"}},
		{SessionError{Class: ClassSessionLost, InTx: true, lost: sqltext.LossTemporary}, []string{"whole transaction again", "temporary"}, nil},
		{SessionError{Class: ClassSessionLost, InTx: true}, []string{"rolls back", "whole transaction again"}, nil},
		{SessionError{Class: ClassInDoubt}, []string{"may have run; look in QUERY_HISTORY for what ran in session 4711, and", "run it again only if nothing of it is there: "}, []string{"did not run"}},
		{SessionError{Class: ClassInDoubt, QueryID: "01b2"}, []string{"01b2", "accepted", "look up query 01b2 in QUERY_HISTORY"}, []string{"did not run"}},
		{SessionError{Class: ClassInDoubt, RequestID: "7e57"}, []string{"request 7e57", "may have run; look in QUERY_HISTORY"}, []string{"did not run"}},
		{SessionError{Class: ClassInDoubt, InTx: true, unsent: true}, []string{"part of which may last", "this statement did not run; look in QUERY_HISTORY for what the transaction ran"}, []string{"run the statement"}},
		{SessionError{Class: ClassSessionLost, asks: true}, []string{"what the statement asks about went with it", "run a statement of your own first"}, []string{"can be run again"}},
		{SessionError{Class: ClassInDoubt, InTx: true}, []string{"may have run", "look in QUERY_HISTORY"}, []string{"rolls back"}},
		{SessionError{Class: ClassInDoubt, QueryID: "01b2", Err: short}, []string{"ran, but not with all rows; compare the table with the rows that were bound"}, []string{"failed there"}},
		{SessionError{Class: ClassCredential}, []string{"refused", "until the credentials or the account change"}, nil},
		{SessionError{Class: ClassPermanent}, []string{"refused", "until the credentials or the account change"}, nil},
		{SessionError{Class: ClassPermanent, Code: 390189}, []string{"refused", "change the role, or grant it to the user"}, nil},
		{SessionError{Class: ClassPermanent, Err: &setUpError{"statement 1 of WithSessionInit", snow(2043)}}, []string{"the login succeeded", "correct what failed: statement 1 of WithSessionInit failed"}, []string{"refused", "credentials"}},
		{SessionError{Class: ClassPermanent, Err: &programError{"token source", errors.New("client disabled")}}, []string{"no login was sent", "the token source failed: client disabled"}, []string{"refused", "credentials"}},
		{SessionError{Class: ClassPermanent, Err: &tls.CertificateVerificationError{Err: errors.New("unknown authority")}}, []string{"certificate was not accepted", "root certificates"}, []string{"refused", "credentials"}},
		{SessionError{Class: ClassTransient, Err: &localError{errors.New("the file is empty")}}, []string{"failed before Snowflake answered", "the file is empty"}, []string{"cannot be reached"}},
		{SessionError{Class: ClassPermanent, suspended: true}, []string{"no login was tried", "change them, or wait"}, nil},
		{SessionError{Class: ClassTransient}, []string{"cannot be reached", "nothing was carried out"}, nil},
		{SessionError{Class: ClassTransient, Err: new(json.SyntaxError)}, []string{"answers cannot be read", "nothing was carried out"}, []string{"reached"}},
		{SessionError{Class: ClassTransient, ran: true}, []string{"cannot be reached", "nothing of the statement lasts"}, []string{"carried out"}},
		// The session lives, and so does the transaction.
		{SessionError{Class: ClassTransient, InTx: true}, []string{"cannot be reached"}, []string{"session lost"}},
		{SessionError{Class: ClassStatement, InTx: true}, []string{"failed"}, []string{"session lost"}},
	} {
		tt.err.Op, tt.err.SessionID = "exec", 4711
		if tt.err.Err == nil {
			tt.err.Err = snow(390114)
			tt.says = append(tt.says, "390114", "no luck")
		}
		text := tt.err.Error()
		if do := tt.err.Remedy(); (do != "") != (tt.err.Class == ClassInDoubt) || !strings.Contains(text, do) {
			t.Errorf("%q is to be done, and the error is %q", do, text)
		}
		for _, want := range append(tt.says, "snowtether: exec (session 4711)") {
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
	if text := (&SessionError{Op: "exec", Class: ClassInDoubt}).Error(); !strings.Contains(text, "look at what the statement should have changed") {
		t.Error(text)
	}
}

func TestLoginsThatWereTurnedAwayAreKnown(t *testing.T) {
	for name, err := range map[string]error{
		"429":                            gateway(gosnowflake.ErrFailedToAuth, 429),
		"429 in gosnowflake's own words": errors.New("timeout after 1ns. HTTP Status: 429. Hanging?"),
	} {
		if !isThrottled(err) {
			t.Errorf("%s: %v is taken for another failure", name, err)
		}
	}
	if err := gateway(gosnowflake.ErrFailedToAuth, 503); isThrottled(err) {
		t.Errorf("%v is taken for too many logins", err)
	}
	if isThrottled(nil) {
		t.Error("no error is taken for too many logins")
	}
}

// putBack is a time that was read when the wall clock had been put back by d. package time has
// no way to make one: the seconds of the wall clock are bits 30 to 62 of its first word.
func putBack(t time.Time, d time.Duration) time.Time {
	before := t
	*(*uint64)(unsafe.Pointer(&t)) -= uint64(d/time.Second) << 30
	if before.Sub(t) != 0 || before.Round(0).Sub(t.Round(0)) != d {
		panic("package time keeps its clocks elsewhere")
	}
	return t
}

// TestClockThatIsPutBackProlongsNoOutage: nor is an answer from before it the last one for as long
// as the clock was put back.
func TestClockThatIsPutBackProlongsNoOutage(t *testing.T) {
	s := defaults()
	if err := s.apply([]Option{WithLogger(slog.New(slog.DiscardHandler))}); err != nil {
		t.Fatal(err)
	}
	c := start(&Connector{settings: s})
	defer func() { _ = c.Close() }()
	c.served(t.Context(), time.Now())
	c.unreachable(t.Context(), time.Time{}, errors.New("no route to host"))
	if !c.isOut() {
		t.Fatal("there is no outage")
	}
	asked := putBack(time.Now(), time.Hour)
	if c.waits.answeredSince(asked) {
		t.Error("an answer from before counts as one since")
	}
	if began := c.waits.notBeforeAnswer(asked); !began.Equal(asked) {
		t.Errorf("an outage that was seen at %v would begin at %v", asked, began)
	}
	c.served(t.Context(), putBack(time.Now(), time.Hour))
	if c.isOut() {
		t.Error("an answer does not end the outage")
	}
	if !c.waits.answeredSince(asked) {
		t.Error("the answer does not count")
	}
}
