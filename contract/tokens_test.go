package contract_test

import (
	"database/sql/driver"
	"errors"
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

// This file is about tokens: where they come from, where a program keeps them, and
// renewals that do not end.

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

// A store is a program's own holder of tokens, as several processes share one.
type store struct {
	mu             sync.Mutex
	token, master  string
	id             int64
	locked, broken bool
}

func (s *store) GetTokens() (token, master string, id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token, s.master, s.id
}

func (s *store) SetTokens(token, master string, id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token, s.master, s.id = token, master, id
}

func (s *store) Lock() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken {
		return errors.New("the store is down")
	}
	s.locked = true
	return nil
}

func (s *store) Unlock() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.locked = false
}

// TestProgramsOwnTokenAccessorIsTold: it has the tokens, and is not asked for them or for
// its leave, because each session of a pool has its own.
func TestProgramsOwnTokenAccessorIsTold(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var own store
		cfg := srv.Config()
		cfg.TokenAccessor = &own
		db, _ := connect(t, cfg)
		if err := db.PingContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		if own.id != srv.Sessions()[0].ID || own.token == "" {
			t.Errorf("it has the tokens of session %d", own.id)
		}
		before := own.token
		srv.ExpireSessionTokens()
		if err := db.PingContext(t.Context()); err != nil {
			t.Error(err)
		}
		if own.token == before || own.locked {
			t.Errorf("it has the old token: %v; it is locked: %v", own.token == before, own.locked)
		}
		own.broken = true
		srv.ExpireSessionTokens()
		if _, err := db.ExecContext(t.Context(), insert); err != nil {
			t.Error(err)
		}
	})
}

// TestEndlessRenewalEndsWithAClearError: gosnowflake asks for ever, 92 times a
// second.
func TestEndlessRenewalEndsWithAClearError(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		var over atomic.Bool
		srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
			if r.Kind != snowtest.RequestQuery || over.Load() {
				return snowtest.Fault{}, false
			}
			return snowtest.Fault{Code: "390112", Message: "Session token expired."}, true
		})
		_, err := db.ExecContext(t.Context(), insert)
		if err == nil || !strings.Contains(err.Error(), "refuses the session token again after each renewal") {
			t.Errorf("error is %v", err)
		}
		if errors.Is(err, snowtether.ErrInDoubt) || errors.Is(err, driver.ErrBadConn) {
			t.Errorf("%v Is ErrInDoubt or ErrBadConn", err)
		}
		if n := srv.Stats().Renewals; n > 10 {
			t.Errorf("%d renewals", n)
		}
		over.Store(true)
		srv.ExpireSessionTokens()
		if _, err := db.ExecContext(within(t, time.Minute), insert); err != nil {
			t.Errorf("afterwards, with a token to renew: %v", err)
		}
		if n := srv.Stats().Logins; n != 1 {
			t.Errorf("%d logins", n)
		}
	})
}

// TestManyRenewalsOfALongStatementAreNoLoop: it is polled for two days and renewed
// each hour.
func TestManyRenewalsOfALongStatementAreNoLoop(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		release := hold(srv, "^INSERT")
		time.AfterFunc(48*time.Hour, release)
		if _, err := db.ExecContext(t.Context(), insert); err != nil {
			t.Error(err)
		}
		if n := srv.Stats().Renewals; n < 40 {
			t.Errorf("only %d renewals", n)
		}
	})
}
