package contract_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"
	"golang.org/x/oauth2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about what a login is sent with, and what is done to a session
// before its first use.

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

// TestSessionIsSetUpAfterEveryLogin: also after one in the place of a lost
// session, before its first use.
func TestSessionIsSetUpAfterEveryLogin(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var hooks atomic.Int64
		db, _ := connect(t, srv.Config(),
			snowtether.WithSessionInit("ALTER SESSION SET QUERY_TAG = 'a'", "USE ROLE r"),
			snowtether.WithAfterConnect(func(ctx context.Context, c driver.Conn) error {
				hooks.Add(1)
				_, err := c.(driver.ExecerContext).ExecContext(ctx, "USE WAREHOUSE w", nil)
				return err
			}))
		for i := range 3 {
			if _, err := db.ExecContext(t.Context(), row(i)); err != nil {
				t.Error(err)
			}
			srv.AbortSessions()
		}
		var order []string
		for _, e := range srv.Ledger() {
			order = append(order, e.SQL)
		}
		want := ""
		for i := range 3 {
			want += "ALTER SESSION SET QUERY_TAG = 'a'; USE ROLE r; USE WAREHOUSE w; " + row(i) + "; "
		}
		if got := strings.Join(order, "; ") + "; "; got != want || hooks.Load() != 3 {
			t.Errorf("%d hooks, statements\n%s, want\n%s", hooks.Load(), got, want)
		}
	})
}

// TestFailedSetUpClosesTheSession: and is reported as what it is.
func TestFailedSetUpClosesTheSession(t *testing.T) {
	for name, opt := range map[string]snowtether.Option{
		"statement 2 of WithSessionInit": snowtether.WithSessionInit("SELECT 1", "USE ROLE missing"),
		"hook after the login":           snowtether.WithAfterConnect(func(context.Context, driver.Conn) error { return errors.New("no such role") }),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				srv.Handle("^USE", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
					return nil, &snowtest.Error{Code: "002043", SQLState: "02000", Message: "no such role"}
				})
				db, c := connect(t, srv.Config(), opt)
				err := db.PingContext(t.Context())
				if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "no such role") {
					t.Errorf("error is %v", err)
				}
				synctest.Wait()
				if n := len(srv.Sessions()); n != 0 || c.Stats().Open != 0 {
					t.Errorf("%d sessions left", n)
				}
				if srv.Stats().Logins != 1 {
					t.Errorf("%d logins", srv.Stats().Logins)
				}
			})
		})
	}
}

// TestSessionLostDuringSetUpIsTransient: the login is simply repeated.
func TestSessionLostDuringSetUpIsTransient(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		once(srv, "USE ROLE r", snowtest.Fault{Code: "390111", Message: "Session gone."})
		db, _ := connect(t, srv.Config(), snowtether.WithSessionInit("USE ROLE r"))
		if err := db.PingContext(t.Context()); err != nil {
			t.Error(err)
		}
	}, snowtest.AllowOpenSessions())
}

// TestHookMaySetTheParametersAnew: and no option of the connector, which it could
// not change any more, nor one without a value.
func TestHookMaySetTheParametersAnew(t *testing.T) {
	tag, on := "t", "true"
	for name, tt := range map[string]struct {
		params map[string]*string
		want   string
	}{
		"nothing":          {nil, ""},
		"one":              {map[string]*string{"QUERY_TAG": &tag}, ""},
		"without a value":  {map[string]*string{"QUERY_TAG": nil}, "QUERY_TAG"},
		"of the connector": {map[string]*string{"tetherResume": &on}, "tetherResume"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db, _ := connect(t, srv.Config(), snowtether.WithBeforeConnect(func(_ context.Context, cfg *gosnowflake.Config) error {
					cfg.Params = tt.params
					return nil
				}))
				err := db.PingContext(t.Context())
				if (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error is %v, want %q", err, tt.want)
				}
			})
		})
	}
}
