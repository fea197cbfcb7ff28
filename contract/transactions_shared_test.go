package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// Transactions (docs/guarantees.md): pools in which all connections are one session, or whose
// sessions are not logged out, and a program's own TokenAccessor under a pool.

// poolWithStore opens a pool of n connections that has the store for its accessor.
func poolWithStore(t *testing.T, srv *snowtest.Server, n int) (*sql.DB, *tokenStore) {
	t.Helper()
	store := &tokenStore{}
	cfg := srv.Config()
	cfg.TokenAccessor = store
	return poolOf(t, cfg, n), store
}

// TestTransactionStaysOnItsSessionWhateverTheAccessorHolds: another connection logs in
// between its statements.
// Before: BEGIN went to one session and COMMIT to another: nil, and no row.
func TestTransactionStaysOnItsSessionWhateverTheAccessorHolds(t *testing.T) {
	for _, login := range []string{"after BEGIN", "before COMMIT"} {
		t.Run(login, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db, store := poolWithStore(t, srv, 1)
				db.SetMaxOpenConns(2)
				tx := mustBegin(t, db)
				if login == "after BEGIN" {
					pin(t, db)
				}
				mustExec(t, tx, row(1))
				if login == "before COMMIT" {
					pin(t, db)
				}
				if err := tx.Commit(); err != nil {
					t.Error(err)
				}
				checkRan(t, srv, row(1), 1, 1)
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
			db, _ := poolWithStore(t, srv, 1)
			for i := range 5 {
				if i == 1 {
					srv.AbortSessions()
				}
				mustExec(t, db, row(i))
				time.Sleep(time.Minute)
			}
			if n := srv.Stats().Logins; n != 2 {
				t.Errorf("%d logins", n)
			}
		})
	})
	t.Run("closed by the pool", func(t *testing.T) {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			db, _ := poolWithStore(t, srv, 2)
			first, second := pin(t, db), pin(t, db)
			db.SetMaxIdleConns(-1)
			mustExec(t, first, "ALTER SESSION SET TIMEZONE = 'UTC'")
			mustExec(t, second, "ALTER SESSION SET TIMEZONE = 'UTC'")
			if err := first.Close(); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Minute)
			mustExec(t, second, row(1))
			if n, open := srv.Stats().Logins, len(srv.Sessions()); n != 2 || open != 1 {
				t.Errorf("%d logins, %d sessions are open", n, open)
			}
		})
	})
}

// TestAccessorIsToldOfRenewals: of whichever session.
func TestAccessorIsToldOfRenewals(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db, store := poolWithStore(t, srv, 2)
		first, second := pin(t, db), pin(t, db)
		for i, conn := range []*sql.Conn{first, second, first} {
			before, _, _ := store.GetTokens()
			srv.ExpireSessionTokens()
			mustExec(t, conn, row(i))
			if after, _, _ := store.GetTokens(); after == before {
				t.Error("it has the token of before")
			}
		}
		if n, m := srv.Stats().Logins, srv.Stats().Renewals; n != 2 || m != 3 {
			t.Errorf("%d logins, %d renewals", n, m)
		}
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

// TestSharedSessionRefusesWhatIsNotForAll: transactions and state would be everybody's.
// Before: one connection's rows vanished in another's transaction.
func TestSharedSessionRefusesWhatIsNotForAll(t *testing.T) {
	for _, query := range append([]string{"BeginTx", "BEGIN", "start transaction", "ALTER SESSION SET AUTOCOMMIT = FALSE"}, stateSQL[:7]...) {
		t.Run(query, func(t *testing.T) {
			sharingPools(t, 2, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
				first, second := pin(t, db), pin(t, db)
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
				mustExec(t, second, row(1))
				mustExec(t, first, row(2), "SELECT 1")
				checkRan(t, srv, row(1), 1, 1)
				checkRan(t, srv, row(2), 1, 1)
			})
		})
	}
}

// TestSessionOfOneConnectionIsNotShared: it may have transactions.
func TestSessionOfOneConnectionIsNotShared(t *testing.T) {
	sharingPools(t, 1, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		tx := mustBegin(t, db)
		mustExec(t, tx, row(1))
		if err := tx.Commit(); err != nil {
			t.Error(err)
		}
		checkRan(t, srv, row(1), 1, 1)
	})
}

// TestSharedSessionIsNeverLoggedOut: it is somebody else's.
// Before: the first connection that the pool closed ended it for all.
func TestSharedSessionIsNeverLoggedOut(t *testing.T) {
	sharingPools(t, 3, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		mustExec(t, db, row(1))
		db.SetMaxIdleConns(1)
		time.Sleep(time.Minute)
		mustExec(t, db, row(2))
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		if n, open := srv.Stats().Logouts, len(srv.Sessions()); n != 0 || open != 1 {
			t.Errorf("%d log-outs, %d sessions are open", n, open)
		}
		checkRan(t, srv, row(2), 1, 1)
	})
}

// TestSharedSessionIsGivenBackWhenNothingWasBegun: a BeginTx that was not begun holds
// nothing: others may share the session.
func TestSharedSessionIsGivenBackWhenNothingWasBegun(t *testing.T) {
	sharingPools(t, 1, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		db.SetMaxOpenConns(2)
		conn := pin(t, db)
		if _, err := conn.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelSerializable}); err == nil {
			t.Fatal("begun")
		}
		if _, err := db.ExecContext(t.Context(), "SELECT 2"); err != nil {
			t.Errorf("nobody has a transaction: %v", err)
		}
	})
}

// givings are the ways in which a transaction is given up, each with a row in it.
var givings = map[string]func(t *testing.T, srv *snowtest.Server, db *sql.DB){
	"its context ends": func(t *testing.T, _ *snowtest.Server, db *sql.DB) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		mustExec(t, tx, row(1))
		cancel()
		_ = tx.Rollback()
	},
	"a statement's context ends": func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		tx := mustBegin(t, db)
		mustExec(t, tx, row(1))
		once(srv, row(2), snowtest.Fault{Delay: 10 * time.Second})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := tx.ExecContext(ctx, row(2)); err == nil {
			t.Error("a statement whose context ended succeeded")
		}
		_ = tx.Rollback()
	},
	"a reply is lost": func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		tx := mustBegin(t, db)
		mustExec(t, tx, row(1))
		once(srv, "ROLLBACK", snowtest.Fault{Drop: true})
		_ = tx.Rollback()
	},
	"begun by a statement": func(t *testing.T, _ *snowtest.Server, db *sql.DB) {
		conn := pin(t, db)
		mustExec(t, conn, "BEGIN", row(1))
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	},
}

// givenUp checks that the transaction is rolled back, and that the next users' rows are
// in none.
func givenUp(t *testing.T, srv *snowtest.Server, db *sql.DB, give func(*testing.T, *snowtest.Server, *sql.DB)) {
	t.Helper()
	mustExec(t, db, "SELECT 1")
	give(t, srv, db)
	nextUser(t, srv, db)
	time.Sleep(time.Minute)
	if n := srv.Accepted("ROLLBACK"); n == 0 {
		t.Error("there was no ROLLBACK")
	}
	if took := updateInTx(t, db, updateOne); took > soonEnough {
		t.Errorf("the next transaction took %v", took)
	}
	checkRan(t, srv, updateOne, 1, 1)
	checkRan(t, srv, row(1), 1, 0)
	if srv.Effects(row(2)) != 0 {
		t.Error("a row of the transaction that was given up lasts")
	}
}

// TestTransactionGivenUpInASharedSessionIsRolledBack: before anybody else may use it.
// Before: the next user's INSERT returned nil in the transaction that was left open, and
// was lost with it.
func TestTransactionGivenUpInASharedSessionIsRolledBack(t *testing.T) {
	for name, give := range givings {
		t.Run(name, func(t *testing.T) {
			sharingPools(t, 1, func(t *testing.T, srv *snowtest.Server, db *sql.DB) { givenUp(t, srv, db, give) })
		})
	}
}

// TestTransactionGivenUpInAKeptSessionIsRolledBack: a session that the program does not
// have logged out keeps no transaction, and no lock.
// Before: they stayed for as long as the master token lived.
func TestTransactionGivenUpInAKeptSessionIsRolledBack(t *testing.T) {
	for name, give := range givings {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				cfg := srv.Config()
				cfg.ServerSessionKeepAlive = true
				givenUp(t, srv, poolOf(t, cfg, 1), give)
			}, snowtest.AllowOpenSessions())
		})
	}
}

// TestDiscardChangedNeedsSessionsOfItsOwn: to discard a session is to log in anew, which a
// pool with somebody else's session cannot.
// Before: the next user's statement ran under the last one's role.
func TestDiscardChangedNeedsSessionsOfItsOwn(t *testing.T) {
	cfg := &gosnowflake.Config{Account: "a", Authenticator: gosnowflake.AuthTypeTokenAccessor, TokenAccessor: &tokenStore{}}
	for changed, refused := range map[snowtether.ChangedSession]bool{snowtether.KeepChanged: false, snowtether.ErrorOnLoss: false, snowtether.DiscardChanged: true} {
		c, err := snowtether.NewConnector(cfg, snowtether.WithChangedSession(changed))
		if (err != nil) != refused || refused && !strings.Contains(err.Error(), "DiscardChanged") {
			t.Errorf("%v: error is %v", changed, err)
		}
		if err == nil {
			_ = c.Close()
		}
	}
}
