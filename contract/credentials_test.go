package contract_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"
	"golang.org/x/oauth2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// Credentials (docs/guarantees.md): a token source is asked once for all logins that wait, a
// refused token is replaced once and not sent again, and new credentials are used at once.

// tokens is a source that counts how often it is asked.
type tokens struct {
	asked atomic.Int64
	next  func(n int64) (*oauth2.Token, error)
}

func (s *tokens) Token() (*oauth2.Token, error) { return s.next(s.asked.Add(1)) }

// TestTokenSourceIsAskedOnceForAll: 64 redials, one question; again ahead of its
// expiry.
func TestTokenSourceIsAskedOnceForAll(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		source := &tokens{next: func(int64) (*oauth2.Token, error) {
			return &oauth2.Token{AccessToken: srv.Token(), Expiry: time.Now().Add(time.Hour)}, nil
		}}
		cfg := srv.Config()
		cfg.User, cfg.Password = "", ""
		cfg.Authenticator = gosnowflake.AuthTypeOAuth
		db, _ := connect(t, cfg, snowtether.WithTokenSource(source))
		db.SetMaxOpenConns(64)
		db.SetMaxIdleConns(64)
		redial := func(want int64) {
			t.Helper()
			srv.AbortSessions()
			everyone(t, db, 64, 1)
			if n := source.asked.Load(); n != want {
				t.Errorf("asked %d times, want %d", n, want)
			}
		}
		redial(1)
		redial(1)
		time.Sleep(58 * time.Minute)
		redial(1)
		time.Sleep(time.Minute) // a minute is left
		redial(2)
	})
}

// TestTokenThatExpiresUnderSeveralLoginsIsAskedForOnce: while the gate is open.
func TestTokenThatExpiresUnderSeveralLoginsIsAskedForOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		source := &tokens{next: func(int64) (*oauth2.Token, error) {
			time.Sleep(10 * time.Millisecond)
			return &oauth2.Token{AccessToken: srv.Token(), Expiry: time.Now().Add(time.Minute + 50*time.Millisecond)}, nil
		}}
		cfg := srv.Config()
		cfg.Authenticator = gosnowflake.AuthTypeOAuth
		db, _ := connect(t, cfg, snowtether.WithTokenSource(source))
		db.SetMaxIdleConns(9)
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(60 * time.Millisecond)
		everyone(t, db, 8, 1)
		if n := source.asked.Load(); n != 2 {
			t.Errorf("asked %d times, want 2", n)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestTokenSourceThatHangsOnceIsAskedAgain: nobody waits any more for the call that hangs.
// Before: no login was sent for as long as it hung.
func TestTokenSourceThatHangsOnceIsAskedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		cfg := srv.Config()
		cfg.Authenticator = gosnowflake.AuthTypeOAuth
		var asked atomic.Int64
		hang := make(chan struct{})
		defer close(hang)
		c, err := snowtether.NewConnector(cfg, logTo(srv.Log()), snowtether.WithTokenSource(tokenFunc(func() (*oauth2.Token, error) {
			if asked.Add(1) == 1 {
				<-hang
			}
			return &oauth2.Token{AccessToken: srv.Token()}, nil
		})))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conn, err := c.Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n := asked.Load(); n != 2 {
			t.Errorf("it was asked %d times", n)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestTokenSourceThatFailsIsToldAsItIs: a caller whose time ended hears that, a token that was
// refused before is not hidden, and Snowflake is not said to be out of reach.
// Before: a caller's deadline was no context's error, and the refusal of a token was "no login was
// sent".
func TestTokenSourceThatFailsIsToldAsItIs(t *testing.T) {
	down := &net.OpError{Op: "dial", Err: errors.New("i/o timeout")}
	for _, tt := range []struct {
		name     string
		deadline bool
		first    string // a token that Snowflake refuses
		fails    error
		class    snowtether.Class
		code     int
		says     string
		not      string
	}{
		{"the caller's time ends", true, "", down, snowtether.ClassContext, 0, "the context ended", "Snowflake cannot be reached"},
		{"the budget ends", false, "", down, snowtether.ClassTransient, 0, "there is nothing to log in with", "Snowflake cannot be reached"},
		{"for good", false, "", errors.New("sealed"), snowtether.ClassPermanent, 0, "no login was sent", "refused"},
		{"for good after a refusal", false, "old", errors.New("sealed"), snowtether.ClassPermanent, 390303, "the login was refused", "no login was sent"},
		{"for now after a refusal", false, "old", down, snowtether.ClassTransient, 390303, "there is nothing to log in with", "Snowflake cannot be reached"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				cfg := srv.Config()
				cfg.Authenticator = gosnowflake.AuthTypeOAuth
				srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
					return snowtest.Fault{Code: "390303", Message: "Invalid OAuth access token."}, r.Kind == snowtest.RequestLogin
				})
				db, _ := connect(t, cfg, snowtether.WithTokenSource(&tokens{next: func(n int64) (*oauth2.Token, error) {
					if n == 1 && tt.first != "" {
						return &oauth2.Token{AccessToken: tt.first}, nil
					}
					return nil, tt.fails
				}}))
				ctx := t.Context()
				if tt.deadline {
					ctx = within(t, 5*time.Second)
				}
				err := db.PingContext(ctx)
				if got := snowtether.Classify(err); got != tt.class || number(err) != tt.code || errors.Is(err, context.DeadlineExceeded) != tt.deadline || !errors.Is(err, tt.fails) {
					t.Errorf("it is %q with number %d: %v", got, number(err), err)
				}
				if err != nil && (!strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), tt.not)) {
					t.Errorf("want %q in it and not %q: %v", tt.says, tt.not, err)
				}
			})
		})
	}
}

// TestSourceThatHangsHoldsUpNoLoginForEver: nor is it asked a second time within its minute;
// after that it is.
func TestSourceThatHangsHoldsUpNoLoginForEver(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		source := &tokens{next: func(n int64) (*oauth2.Token, error) {
			if n == 2 {
				time.Sleep(time.Hour)
			}
			return &oauth2.Token{AccessToken: srv.Token(), Expiry: time.Now().Add(time.Minute + 50*time.Millisecond)}, nil
		}}
		cfg := srv.Config()
		cfg.Authenticator = gosnowflake.AuthTypeOAuth
		db, _ := connect(t, cfg, snowtether.WithTokenSource(source), snowtether.WithConnectBudget(70*time.Second))
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		time.Sleep(60 * time.Millisecond)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				begun := time.Now()
				err := db.PingContext(t.Context())
				if took := time.Since(begun); took < time.Minute || took > 70*time.Second || err != nil {
					t.Errorf("after %v: %v", took, err)
				}
			})
		}
		wg.Wait()
		if n := source.asked.Load(); n < 3 || n > 5 { // its tokens live for a moment
			t.Errorf("asked %d times", n)
		}
		time.Sleep(2 * time.Hour)
	})
}

// TestRefusedTokenIsReplacedOnce: then it is permanent, and nothing is sent twice.
func TestRefusedTokenIsReplacedOnce(t *testing.T) {
	for _, code := range []string{"390303", "390318", "394400"} {
		for _, good := range []int64{2, 3} { // which answer of the source is accepted
			t.Run(fmt.Sprintf("%s/%d", code, good), func(t *testing.T) {
				var sent atomic.Int64
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					source := &tokens{next: func(n int64) (*oauth2.Token, error) {
						return &oauth2.Token{AccessToken: fmt.Sprintf("t0ken-%d", n), Expiry: time.Now().Add(time.Hour)}, nil
					}}
					cfg := srv.Config()
					cfg.Authenticator = gosnowflake.AuthTypeOAuth
					db, _ := connect(t, cfg, snowtether.WithTokenSource(source))
					err := db.PingContext(t.Context())
					if (err == nil) != (good == 2) {
						t.Errorf("error is %v", err)
					}
					if err != nil && snowtether.Classify(err) != snowtether.ClassPermanent {
						t.Errorf("%v is %s", err, snowtether.Classify(err))
					}
					if sent.Load() != 2 || source.asked.Load() != 2 {
						t.Errorf("%d logins and %d tokens, want 2 of each", sent.Load(), source.asked.Load())
					}
				}, snowtest.WithToken(func(token string) error {
					sent.Add(1)
					if token == fmt.Sprintf("t0ken-%d", good) {
						return nil
					}
					return &snowtest.Error{Code: code, SQLState: "08001", Message: "Invalid OAuth access token."}
				}))
			})
		}
	}
}

// TestSourceThatBelievesInItsTokenIsNotSentTwice: the same token again would be a
// second step towards a lock-out.
func TestSourceThatBelievesInItsTokenIsNotSentTwice(t *testing.T) {
	var sent atomic.Int64
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		cfg := srv.Config()
		cfg.Authenticator = gosnowflake.AuthTypeOAuth
		db, _ := connect(t, cfg, snowtether.WithTokenSource(oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "revoked-t0ken"})))
		err := db.PingContext(t.Context())
		if err == nil || sent.Load() != 1 {
			t.Errorf("%d logins, error %v", sent.Load(), err)
		}
		if strings.Contains(fmt.Sprint(err), "revoked-t0ken") || !strings.Contains(fmt.Sprint(err), "returned the token that was just refused") {
			t.Errorf("error is %v", err)
		}
	}, snowtest.WithToken(func(string) error {
		sent.Add(1)
		return &snowtest.Error{Code: "390318", SQLState: "08001", Message: "OAuth access token expired."}
	}))
}

// refresher is a source with a cache of its own that can be passed by.
type refresher struct{ token atomic.Value }

func (r *refresher) Token() (*oauth2.Token, error) {
	return &oauth2.Token{AccessToken: r.token.Load().(string)}, nil
}

func (r *refresher) Refresh(context.Context) (*oauth2.Token, error) {
	r.token.Store("fresh")
	return r.Token()
}

// TestSourcesOwnCacheIsPassedBy: through its method Refresh.
func TestSourcesOwnCacheIsPassedBy(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		source := new(refresher)
		source.token.Store("stale")
		cfg := srv.Config()
		cfg.Authenticator = gosnowflake.AuthTypePat
		cfg.Token = "replaced"
		db, _ := connect(t, cfg, snowtether.WithTokenSource(source))
		if err := db.PingContext(t.Context()); err != nil {
			t.Error(err)
		}
	}, snowtest.WithToken(func(token string) error {
		if token != "fresh" {
			return &snowtest.Error{Code: "394400", SQLState: "08001", Message: "Programmatic access token is invalid."}
		}
		return nil
	}))
}

// TestBadTokenSourceGivesAClearError: and never an empty login.
func TestBadTokenSourceGivesAClearError(t *testing.T) {
	for name, tt := range map[string]struct {
		next func(int64) (*oauth2.Token, error)
		want string
	}{
		"fails":   {func(int64) (*oauth2.Token, error) { return nil, errors.New("vault is sealed") }, "vault is sealed"},
		"panics":  {func(int64) (*oauth2.Token, error) { panic("s3cret") }, "panicked"},
		"empty":   {func(int64) (*oauth2.Token, error) { return &oauth2.Token{}, nil }, "empty token"},
		"nil":     {func(int64) (*oauth2.Token, error) { return nil, nil }, "empty token"},
		"expired": {func(int64) (*oauth2.Token, error) { return &oauth2.Token{AccessToken: "x", Expiry: time.Now()}, nil }, "expired at"},
		"hangs":   {func(int64) (*oauth2.Token, error) { time.Sleep(time.Hour); return nil, errors.New("late") }, "context deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				cfg := srv.Config()
				cfg.Authenticator = gosnowflake.AuthTypeOAuth
				db, _ := connect(t, cfg, snowtether.WithTokenSource(&tokens{next: tt.next}))
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				begun := time.Now()
				err := db.PingContext(ctx)
				if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "s3cret") {
					t.Errorf("error is %v, want %q", err, tt.want)
				}
				if time.Since(begun) > 30*time.Second {
					t.Errorf("waited %v", time.Since(begun))
				}
				if n := srv.Stats().LoginFailures + srv.Stats().Logins; n != 0 {
					t.Errorf("%d logins were sent", n)
				}
				time.Sleep(2 * time.Hour)
			})
		})
	}
}

// TestNewCredentialsLiftTheSuspensionAtOnce: from a hook or a token file.
func TestNewCredentialsLiftTheSuspensionAtOnce(t *testing.T) {
	t.Run("hook", func(t *testing.T) {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			var password atomic.Value
			password.Store("wrong")
			db, _ := connect(t, srv.Config(), snowtether.WithBeforeConnect(func(_ context.Context, cfg *gosnowflake.Config) error {
				cfg.Password = password.Load().(string)
				return nil
			}))
			for range 3 {
				if err := db.PingContext(t.Context()); number(err) != 390100 {
					t.Errorf("error is %v", err)
				}
			}
			password.Store(srv.Password())
			if err := db.PingContext(t.Context()); err != nil {
				t.Errorf("with the right password: %v", err)
			}
			if s := srv.Stats(); s.LoginFailures != 1 || s.Logins != 1 {
				t.Errorf("%d logins failed, %d succeeded", s.LoginFailures, s.Logins)
			}
		})
	})
	t.Run("token file", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "token")
		write := func(token string) {
			if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("stale")
		srv := snowtest.New(t)
		cfg := srv.Config()
		cfg.Authenticator, cfg.TokenFilePath = gosnowflake.AuthTypeOAuth, file
		db, _ := connect(t, cfg)
		for range 3 {
			if err := db.PingContext(t.Context()); err == nil {
				t.Error("a stale token was taken")
			}
		}
		if n := srv.Stats().LoginFailures; n != 1 {
			t.Errorf("%d logins with the stale token, want 1: gosnowflake sends each twice", n)
		}
		write(srv.Token())
		if err := db.PingContext(t.Context()); err != nil {
			t.Errorf("with the fresh token: %v", err)
		}
	})
}

// TestChangedPrincipalIsInTheLog: a hook may do it, but never unheard.
func TestChangedPrincipalIsInTheLog(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var log lines
		role := "ANALYST"
		db := pool(t, srv, 1, snowtether.WithLogger(newLogger(&log)), snowtether.WithBeforeConnect(func(_ context.Context, cfg *gosnowflake.Config) error {
			cfg.Role = role
			return nil
		}))
		for _, next := range []string{"ANALYST", "LOADER"} {
			role = next
			srv.AbortSessions()
			if err := db.PingContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(log.String(), "new_role=LOADER") != (next == "LOADER") || strings.Contains(log.String(), "new_role=ANALYST") {
				t.Errorf("log:\n%s", log.String())
			}
		}
	}, snowtest.WithRole("ANALYST", "LOADER"))
}
