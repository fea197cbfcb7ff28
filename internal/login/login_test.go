package login

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"
)

// TestLoginMaySucceedAtTheMomentItEnds: its session is then kept, and package context
// does not panic over a parent that has ended and has not.
func TestLoginMaySucceedAtTheMomentItEnds(t *testing.T) {
	for range 100 {
		l := New(context.Background(), context.Background(), nil, time.Second)
		request, cancel := context.WithTimeout(l, time.Hour)
		l.end(context.Canceled)
		l.Succeeded()
		<-request.Done()
		if l.Err() != nil {
			t.Fatalf("the login succeeded and its context has ended: %v", l.Err())
		}
		late, cancelLate := context.WithCancel(l)
		if late.Err() != nil {
			t.Fatal("what follows the login has ended")
		}
		cancelLate()
		cancel()
		l.Release()
	}
}

// TestLoginInWhichAPersonTakesPartHasTheTimeItNeeds: every other one is bounded by a
// minute, and by LoginTimeout if that is less.
func TestLoginInWhichAPersonTakesPartHasTheTimeItNeeds(t *testing.T) {
	for _, tt := range []struct {
		auth           gosnowflake.AuthType
		login, browser time.Duration
		want           time.Duration
	}{
		{gosnowflake.AuthTypeSnowflake, 0, 0, time.Minute},
		{gosnowflake.AuthTypeSnowflake, 300 * time.Second, 0, time.Minute},
		{gosnowflake.AuthTypeJwt, 10 * time.Second, 0, 10 * time.Second},
		{gosnowflake.AuthTypeExternalBrowser, 300 * time.Second, 120 * time.Second, 300 * time.Second},
		{gosnowflake.AuthTypeExternalBrowser, 10 * time.Second, 120 * time.Second, 180 * time.Second},
		{gosnowflake.AuthTypeOAuthAuthorizationCode, 10 * time.Second, 120 * time.Second, 180 * time.Second},
		{gosnowflake.AuthTypeOAuthClientCredentials, 300 * time.Second, 120 * time.Second, 300 * time.Second},
		{gosnowflake.AuthTypeUsernamePasswordMFA, 300 * time.Second, 0, 300 * time.Second},
		{gosnowflake.AuthTypeUsernamePasswordMFA, 10 * time.Second, 0, time.Minute},
		{gosnowflake.AuthTypeOkta, 90 * time.Second, 0, 90 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			begun := time.Now()
			l := New(t.Context(), t.Context(), &gosnowflake.Config{Authenticator: tt.auth, LoginTimeout: tt.login, ExternalBrowserTimeout: tt.browser}, time.Second)
			defer l.Release()
			<-l.Done()
			if took := time.Since(begun); took != tt.want || !errors.Is(l.Err(), context.DeadlineExceeded) {
				t.Errorf("%v, LoginTimeout %v, ExternalBrowserTimeout %v: ended after %v, want %v", tt.auth, tt.login, tt.browser, took, tt.want)
			}
		})
	}
}

// TestRefusalEndsALoginUnlessGosnowflakeHasAnotherTry: with a token that it fetches
// itself.
func TestRefusalEndsALoginUnlessGosnowflakeHasAnotherTry(t *testing.T) {
	for auth, ends := range map[gosnowflake.AuthType]bool{
		gosnowflake.AuthTypeOAuth: true, gosnowflake.AuthTypeOAuthAuthorizationCode: false, gosnowflake.AuthTypeOAuthClientCredentials: false,
	} {
		l := New(t.Context(), t.Context(), &gosnowflake.Config{Authenticator: auth}, time.Second)
		l.Refused()
		if (l.Err() != nil) != ends {
			t.Errorf("%v: the login goes on: %v", auth, l.Err() == nil)
		}
		l.Release()
	}
}

// TestAdviceOfTheServerIsInTheError: whatever wraps that, and there is none where the server
// gave none.
func TestAdviceOfTheServerIsInTheError(t *testing.T) {
	l := New(t.Context(), t.Context(), nil, time.Second)
	defer l.Release()
	failed := errors.New("503")
	if RetryAfter(l.Explain(failed, 0)) != 0 || RetryAfter(nil) != 0 {
		t.Error("advice out of nothing")
	}
	request, cancel := context.WithCancel(l)
	defer cancel()
	Advise(request, time.Second)
	if err := fmt.Errorf("a login: %w", l.Explain(failed, 0)); RetryAfter(err) != time.Second || err.Error() != "a login: 503" || !errors.Is(err, failed) {
		t.Errorf("the advice is lost in %v", err)
	}
	Advise(t.Context(), time.Second) // of no login: nothing happens
}

// TestTimeEndsALogin: by its bound, or soon after the connector has stopped, and the error
// says so.
func TestTimeEndsALogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for stops, want := range map[bool]time.Duration{false: time.Minute, true: 6 * time.Second} {
			stopped, stop := context.WithCancel(t.Context())
			begun := time.Now()
			l := New(t.Context(), stopped, nil, 5*time.Second)
			if stops {
				time.AfterFunc(time.Second, stop)
			}
			<-l.Late()
			if took := time.Since(begun); took != want || l.Err() != ErrTimeout {
				t.Errorf("stopped %v: it ended after %v with %v, want %v", stops, took, l.Err(), want)
			}
			if err := l.Explain(io.EOF, 0); !errors.Is(err, ErrTimeout) || !errors.Is(err, io.EOF) {
				t.Errorf("the error is %v", err)
			}
			l.Release()
			stop()
		}
	})
}

// TestRefusalThatEndedALoginIsTold: gosnowflake reports the context's end in its place.
func TestRefusalThatEndedALoginIsTold(t *testing.T) {
	l := New(t.Context(), t.Context(), &gosnowflake.Config{Authenticator: gosnowflake.AuthTypeOAuth}, time.Second)
	defer l.Release()
	l.Refused()
	var told *gosnowflake.SnowflakeError
	if err := l.Explain(fmt.Errorf("post: %w", context.Canceled), 0); !l.WasRefused() || !errors.As(err, &told) || told.Number != codeInvalidToken {
		t.Errorf("the error is %v", err)
	}
	if err := l.Explain(io.EOF, 390100); err != io.EOF {
		t.Errorf("an error that says it all became %v", err)
	}
}
