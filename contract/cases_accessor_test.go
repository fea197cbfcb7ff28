package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about a program's own Config.TokenAccessor under a pool.

// caseStore is one: it holds the tokens that it was told last.
type caseStore struct {
	lock sync.Mutex

	mu            sync.Mutex
	token, master string
	id            int64
}

func (s *caseStore) GetTokens() (token, master string, id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token, s.master, s.id
}

func (s *caseStore) SetTokens(token, master string, id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token, s.master, s.id = token, master, id
}

func (s *caseStore) Lock() error { s.lock.Lock(); return nil }
func (s *caseStore) Unlock()     { s.lock.Unlock() }

// caseStored opens a pool of n connections that has the store for its accessor.
func caseStored(t *testing.T, srv *snowtest.Server, n int) (*sql.DB, *caseStore) {
	t.Helper()
	store := &caseStore{}
	cfg := srv.Config()
	cfg.TokenAccessor = store
	return caseConnect(t, cfg, n), store
}

// TestTransactionStaysOnItsSessionWhateverTheAccessorHolds: another connection logs in
// between its statements.
// Before: BEGIN went to one session and COMMIT to another: nil, and no row.
func TestTransactionStaysOnItsSessionWhateverTheAccessorHolds(t *testing.T) {
	for _, login := range []string{"after BEGIN", "before COMMIT"} {
		t.Run(login, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db, store := caseStored(t, srv, 1)
				db.SetMaxOpenConns(2)
				tx := caseBegin(t, db)
				if login == "after BEGIN" {
					casePin(t, db)
				}
				caseExec(t, tx, caseRow(1))
				if login == "before COMMIT" {
					casePin(t, db)
				}
				if err := tx.Commit(); err != nil {
					t.Error(err)
				}
				caseSum(t, srv, caseRow(1), 1, 1)
				for _, e := range srv.Ledger() {
					if e.SessionID != srv.Ledger()[0].SessionID {
						t.Errorf("%s was run in session %d", e.SQL, e.SessionID)
					}
				}
				if _, _, id := store.GetTokens(); srv.Stats().Logins != 2 || id != 2 {
					t.Errorf("after %d logins the accessor has the tokens of session %d", srv.Stats().Logins, id)
				}
			})
		})
	}
}

// TestLogOutEndsItsOwnSessionWhateverTheAccessorHolds: of a session that was replaced, or
// of a connection that the pool closes.
// Before: it ended the new session.
func TestLogOutEndsItsOwnSessionWhateverTheAccessorHolds(t *testing.T) {
	t.Run("replaced", func(t *testing.T) {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			db, _ := caseStored(t, srv, 1)
			for i := range 5 {
				if i == 1 {
					srv.AbortSessions()
				}
				caseExec(t, db, caseRow(i))
				time.Sleep(time.Minute)
			}
			if n := srv.Stats().Logins; n != 2 {
				t.Errorf("%d logins", n)
			}
		})
	})
	t.Run("closed by the pool", func(t *testing.T) {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			db, _ := caseStored(t, srv, 2)
			first, second := casePin(t, db), casePin(t, db)
			db.SetMaxIdleConns(-1)
			caseExec(t, first, "ALTER SESSION SET TIMEZONE = 'UTC'")
			caseExec(t, second, "ALTER SESSION SET TIMEZONE = 'UTC'")
			if err := first.Close(); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Minute)
			caseExec(t, second, caseRow(1))
			if n, open := srv.Stats().Logins, len(srv.Sessions()); n != 2 || open != 1 {
				t.Errorf("%d logins, %d sessions are open", n, open)
			}
		})
	})
}

// TestAccessorIsToldOfRenewals: of whichever session.
func TestAccessorIsToldOfRenewals(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db, store := caseStored(t, srv, 2)
		first, second := casePin(t, db), casePin(t, db)
		for i, conn := range []*sql.Conn{first, second, first} {
			before, _, _ := store.GetTokens()
			srv.ExpireSessionTokens()
			caseExec(t, conn, caseRow(i))
			if after, _, _ := store.GetTokens(); after == before {
				t.Error("it has the token of before")
			}
		}
		if n, m := srv.Stats().Logins, srv.Stats().Renewals; n != 2 || m != 3 {
			t.Errorf("%d logins, %d renewals", n, m)
		}
	})
}

// caseShared runs f with a pool of n connections, all of them one session that somebody
// else has logged in.
func caseShared(t *testing.T, n int, f func(t *testing.T, srv *snowtest.Server, db *sql.DB)) {
	t.Helper()
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		store := &caseStore{}
		cfg := srv.Config()
		cfg.TokenAccessor = store
		owner := sql.OpenDB(gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *cfg))
		t.Cleanup(func() { _ = owner.Close() })
		if err := owner.PingContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		shared := srv.Config()
		shared.TokenAccessor, shared.Authenticator = store, gosnowflake.AuthTypeTokenAccessor
		f(t, srv, caseConnect(t, shared, n))
	})
}

// TestSharedSessionRefusesWhatIsNotForAll: transactions and state would be everybody's.
// Before: one connection's rows vanished in another's transaction.
func TestSharedSessionRefusesWhatIsNotForAll(t *testing.T) {
	for _, query := range append([]string{"BeginTx", "BEGIN", "start transaction", "ALTER SESSION SET AUTOCOMMIT = FALSE"}, caseStates[:7]...) {
		t.Run(query, func(t *testing.T) {
			caseShared(t, 2, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
				first, second := casePin(t, db), casePin(t, db)
				var err error
				if query == "BeginTx" {
					_, err = first.BeginTx(t.Context(), nil)
				} else {
					_, err = first.ExecContext(t.Context(), query)
				}
				if err == nil || errors.Is(err, driver.ErrBadConn) || errors.Is(err, snowtether.ErrInDoubt) || errors.Is(err, context.Canceled) {
					t.Errorf("error is %v", err)
				}
				if n := srv.Accepted(query) + srv.Accepted("BEGIN"); n != 0 {
					t.Errorf("accepted %d times", n)
				}
				caseExec(t, second, caseRow(1))
				caseExec(t, first, caseRow(2), "SELECT 1")
				caseSum(t, srv, caseRow(1), 1, 1)
				caseSum(t, srv, caseRow(2), 1, 1)
			})
		})
	}
}

// TestSessionOfOneConnectionIsNotShared: it may have transactions.
func TestSessionOfOneConnectionIsNotShared(t *testing.T) {
	caseShared(t, 1, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		tx := caseBegin(t, db)
		caseExec(t, tx, caseRow(1))
		if err := tx.Commit(); err != nil {
			t.Error(err)
		}
		caseSum(t, srv, caseRow(1), 1, 1)
	})
}

// TestSharedSessionIsNeverLoggedOut: it is somebody else's.
// Before: the first connection that the pool closed ended it for all.
func TestSharedSessionIsNeverLoggedOut(t *testing.T) {
	caseShared(t, 3, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		caseExec(t, db, caseRow(1))
		db.SetMaxIdleConns(1)
		time.Sleep(time.Minute)
		caseExec(t, db, caseRow(2))
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		if n, open := srv.Stats().Logouts, len(srv.Sessions()); n != 0 || open != 1 {
			t.Errorf("%d log-outs, %d sessions are open", n, open)
		}
		caseSum(t, srv, caseRow(2), 1, 1)
	})
}
