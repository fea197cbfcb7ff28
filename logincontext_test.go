package snowtether

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"
)

// TestLoginMaySucceedAtTheMomentItEnds: its session is then kept, and package context
// does not panic over a parent that has ended and has not.
func TestLoginMaySucceedAtTheMomentItEnds(t *testing.T) {
	for range 100 {
		l := newLoginContext(context.Background(), context.Background(), nil)
		request, cancel := context.WithTimeout(l, time.Hour)
		l.end(context.Canceled)
		l.succeeded()
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
		l.release()
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
			l := newLoginContext(t.Context(), t.Context(), &gosnowflake.Config{Authenticator: tt.auth, LoginTimeout: tt.login, ExternalBrowserTimeout: tt.browser})
			defer l.release()
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
		l := newLoginContext(t.Context(), t.Context(), &gosnowflake.Config{Authenticator: auth})
		l.refused()
		if (l.Err() != nil) != ends {
			t.Errorf("%v: the login goes on: %v", auth, l.Err() == nil)
		}
		l.release()
	}
}

func TestLoginsThatWereTurnedAwayAreKnown(t *testing.T) {
	for name, err := range map[string]error{
		"429":                            gateway(gosnowflake.ErrFailedToAuth, 429),
		"429 in gosnowflake's own words": errors.New("timeout after 1ns. HTTP Status: 429. Hanging?"),
		"advice":                         &throttledError{time.Second, errors.New("503")},
	} {
		if !isThrottled(err) {
			t.Errorf("%s: %v is taken for another failure", name, err)
		}
	}
	if err := gateway(gosnowflake.ErrFailedToAuth, 503); isThrottled(err) {
		t.Errorf("%v is taken for too many logins", err)
	}
	if err := fmt.Errorf("a login: %w", &throttledError{time.Second, errors.New("503")}); retryAfter(err) != time.Second || !isThrottled(err) || err.Error() != "a login: 503" {
		t.Errorf("the advice is lost in %v", err)
	}
	if retryAfter(errors.New("503")) != 0 || isThrottled(nil) {
		t.Error("advice out of nothing")
	}
}
