package contract_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"
	"golang.org/x/oauth2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// Logins (docs/guarantees.md): a login that fails before Snowflake could refuse anything, where
// the credential comes from or on the way to the server, is no refusal, and is tried again.

// longestStep is the longest pause between two logins after a few seconds of failures.
const longestStep = 12 * time.Second

// checkHiccup checks a login that fails for some seconds for a reason that passes.
func checkHiccup(t *testing.T, c *snowtether.Connector, lasts time.Duration) {
	t.Helper()
	begun := time.Now()
	conn, err := c.Connect(t.Context())
	if err != nil {
		t.Fatalf("after %v: %v", time.Since(begun), err)
	}
	defer conn.Close()
	if took := time.Since(begun); took > lasts+longestStep {
		t.Errorf("it took %v, and the hiccup %v", took, lasts)
	}
}

func retrieveError(status int) error {
	return &oauth2.RetrieveError{Response: &http.Response{StatusCode: status, Status: fmt.Sprint(status)}}
}

// awsError is an error as AWS's SDK makes them.
type awsError int

func (e awsError) Error() string       { return fmt.Sprintf("https response error StatusCode: %d", int(e)) }
func (e awsError) HTTPStatusCode() int { return int(e) }

// TestProvidersHiccupIsTriedAgain: 5xx, 429 and 408 of a token source's identity provider
// pass by themselves; 400 and 401 do not. Before: one 503 failed the call.
func TestProvidersHiccupIsTriedAgain(t *testing.T) {
	for _, wrap := range []func(int) error{
		retrieveError,
		func(status int) error { return fmt.Errorf("asking the provider: %w", retrieveError(status)) },
		func(status int) error { return awsError(status) },
	} {
		for status, passes := range map[int]bool{500: true, 502: true, 503: true, 504: true, 429: true, 408: true, 400: false, 401: false, 403: false} {
			t.Run(fmt.Sprint(wrap(status)), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					begun, asked := time.Now(), 0
					cfg := srv.Config()
					cfg.Authenticator = gosnowflake.AuthTypeOAuth
					c, err := snowtether.NewConnector(cfg, snowtether.WithTokenSource(tokenFunc(func() (*oauth2.Token, error) {
						if asked++; time.Since(begun) < 3*time.Second {
							return nil, wrap(status)
						}
						return &oauth2.Token{AccessToken: srv.Token()}, nil
					})))
					if err != nil {
						t.Fatal(err)
					}
					defer c.Close()
					if passes {
						checkHiccup(t, c, 3*time.Second)
						return
					}
					if _, err := c.Connect(t.Context()); snowtether.Classify(err) != snowtether.ClassPermanent || asked != 1 || time.Since(begun) != 0 {
						t.Errorf("asked %d times, after %v: %v", asked, time.Since(begun), err)
					}
				})
			})
		}
	}
}

// route is a transport that answers some requests itself.
type route struct {
	http.RoundTripper
	answer func(*http.Request) (*http.Response, error)
}

func (r route) RoundTrip(req *http.Request) (*http.Response, error) {
	if res, err := r.answer(req); res != nil || err != nil {
		return res, err
	}
	return r.RoundTripper.RoundTrip(req)
}

func httpAnswer(req *http.Request, status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Status: fmt.Sprint(status), Request: req, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body))}
}

// TestHiccupOfGosnowflakesOwnFlowIsTriedAgain: the token endpoint of its OAuth flow, and the
// metadata service of a workload's identity. Before: it suspended logins for 30 s.
func TestHiccupOfGosnowflakesOwnFlowIsTriedAgain(t *testing.T) {
	for name, set := range map[string]func(*gosnowflake.Config){
		"client credentials": func(cfg *gosnowflake.Config) {
			cfg.Authenticator, cfg.OauthClientID, cfg.OauthClientSecret = gosnowflake.AuthTypeOAuthClientCredentials, "id", "s3cret"
			cfg.OauthTokenRequestURL = "http://provider.example.com/token"
		},
		"workload identity": func(cfg *gosnowflake.Config) {
			cfg.Authenticator, cfg.WorkloadIdentityProvider = gosnowflake.AuthTypeWorkloadIdentityFederation, "GCP"
		},
	} {
		for _, status := range []int{503, 429, 400} {
			t.Run(fmt.Sprintf("%s/%d", name, status), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					begun := time.Now()
					cfg := srv.Config()
					set(cfg)
					cfg.Transporter = route{cfg.Transporter, func(req *http.Request) (*http.Response, error) {
						switch {
						case strings.HasPrefix(req.URL.Host, "127.0.0.1"):
							return nil, nil
						case time.Since(begun) < 3*time.Second:
							return httpAnswer(req, status, `{"error":"x"}`), nil
						case name == "client credentials":
							return httpAnswer(req, 200, `{"access_token":"`+srv.Token()+`","token_type":"bearer","expires_in":600}`), nil
						}
						// a JWT with the subject and issuer that gosnowflake looks for
						return httpAnswer(req, 200, "eyJhbGciOiJub25lIn0.eyJzdWIiOiJzIiwiaXNzIjoiaSJ9."), nil
					}}
					c, err := snowtether.NewConnector(cfg)
					if err != nil {
						t.Fatal(err)
					}
					defer c.Close()
					if status == 400 && name == "client credentials" {
						if _, err := c.Connect(t.Context()); snowtether.Classify(err) != snowtether.ClassPermanent {
							t.Errorf("error is %v", err)
						}
						return
					}
					checkHiccup(t, c, 3*time.Second)
				}, snowtest.WithToken(func(string) error { return nil }))
			})
		}
	}
}

// TestTokenFileThatIsBeingWrittenIsWaitedFor. Before: the empty token was refused, and
// logins suspended for 30 s.
func TestTokenFileThatIsBeingWrittenIsWaitedFor(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		file := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(2*time.Second, func() {
			if err := os.WriteFile(file, []byte(srv.Token()), 0o600); err != nil {
				t.Error(err)
			}
		})
		cfg := srv.Config()
		cfg.Authenticator, cfg.TokenFilePath = gosnowflake.AuthTypeOAuth, file
		c, err := snowtether.NewConnector(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		checkHiccup(t, c, 2*time.Second)
		if n := srv.Stats().LoginFailures; n != 0 {
			t.Errorf("%d logins were refused", n)
		}
	})
}

// TestTokenFileThatIsMissingIsToldSoon: it may never have been right.
func TestTokenFileThatIsMissingIsToldSoon(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		cfg := srv.Config()
		cfg.Authenticator, cfg.TokenFilePath = gosnowflake.AuthTypeOAuth, filepath.Join(t.TempDir(), "none")
		c, err := snowtether.NewConnector(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		begun := time.Now()
		_, err = c.Connect(t.Context())
		if took := time.Since(begun); err == nil || took > 25*time.Second || !strings.Contains(err.Error(), "token file") || !strings.Contains(err.Error(), "check the credentials' settings") {
			t.Errorf("after %v: %v", took, err)
		}
	})
}

// TestClocksThatDifferForSecondsCostSeconds: a JWT is refused while the clocks differ.
// Before: 30 s.
func TestClocksThatDifferForSecondsCostSeconds(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 1024) // nobody checks what it signs
	if err != nil {
		t.Fatal(err)
	}
	var begun time.Time
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		begun = time.Now()
		cfg := srv.Config()
		cfg.Authenticator, cfg.PrivateKey = gosnowflake.AuthTypeJwt, key
		c, err := snowtether.NewConnector(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		checkHiccup(t, c, 3*time.Second)
	}, snowtest.WithToken(func(string) error {
		if time.Since(begun) < 3*time.Second {
			return &snowtest.Error{Code: "390144", SQLState: "08001", Message: "JWT token is invalid."}
		}
		return nil
	}))
}

// TestKeyPairIsSentForSecondsAndANewOneAtOnce: a JWT that is refused may be the clock's
// fault, and gosnowflake signs it afresh; another key is another credential.
func TestKeyPairIsSentForSecondsAndANewOneAtOnce(t *testing.T) {
	keys := make([]*rsa.PrivateKey, 2)
	for i := range keys {
		key, err := rsa.GenerateKey(rand.Reader, 1024) // nobody checks what it signs
		if err != nil {
			t.Fatal(err)
		}
		keys[i] = key
	}
	var sent, now int
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		cfg := srv.Config()
		cfg.Password, cfg.Authenticator, cfg.PrivateKey = "", gosnowflake.AuthTypeJwt, keys[0]
		db, _ := connect(t, cfg, snowtether.WithBeforeConnect(func(_ context.Context, cfg *gosnowflake.Config) error {
			cfg.PrivateKey = keys[now]
			return nil
		}))
		for range 3 {
			if err := db.PingContext(t.Context()); number(err) != 390144 {
				t.Errorf("error is %v", err)
			}
		}
		if sent != 4 {
			t.Errorf("%d logins with the first key, want 4", sent)
		}
		now = 1
		if err := db.PingContext(t.Context()); err != nil {
			t.Errorf("with the second: %v", err)
		}
	}, snowtest.WithToken(func(string) error {
		if sent++; now == 0 {
			return &snowtest.Error{Code: "390144", SQLState: "08001", Message: "JWT token is invalid."}
		}
		return nil
	}))
}

// TestCertificateWhoseStateIsNotKnownIsTriedAgain: an OCSP responder that is out says
// nothing about the credential. Before: it suspended logins for 30 s.
func TestCertificateWhoseStateIsNotKnownIsTriedAgain(t *testing.T) {
	for _, number := range []int{gosnowflake.ErrOCSPStatusUnknown, gosnowflake.ErrOCSPInvalidValidity, gosnowflake.ErrOCSPNoOCSPResponderURL, 0} {
		t.Run(fmt.Sprint(number), func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				begun := time.Now()
				cfg := srv.Config()
				cfg.Transporter = route{cfg.Transporter, func(req *http.Request) (*http.Response, error) {
					switch {
					case time.Since(begun) > 3*time.Second:
						return nil, nil
					case number == 0:
						return nil, errors.New("OCSP others. 5")
					}
					return nil, &gosnowflake.SnowflakeError{Number: number, Message: "not known"}
				}}
				c, err := snowtether.NewConnector(cfg)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				checkHiccup(t, c, 3*time.Second)
			})
		})
	}
}
