package contract_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// Idle connections (docs/guarantees.md): a session that rested is asked first whether it lives,
// because a load balancer may have dropped its network connections. That Snowflake cannot be
// reached then is no answer, and costs the caller nothing.

// dropConnections makes the first request of each session's own connection, from now on, meet
// a network connection that is gone: it is reset, and nothing arrives.
func dropConnections(srv *snowtest.Server) {
	var mu sync.Mutex
	met := map[int64]bool{}
	srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
		mu.Lock()
		defer mu.Unlock()
		if r.SessionID == 0 || met[r.SessionID] || r.Kind == snowtest.RequestLogin {
			return snowtest.Fault{}, false
		}
		met[r.SessionID] = true
		return snowtest.Fault{Drop: true}, true
	})
}

// TestFirstStatementOfTheMorningIsNotInDoubt: whether the session has ended too or not.
// Before: the INSERT was reset, met the dead session when it was sent again, and was in
// doubt, although it was never accepted.
func TestFirstStatementOfTheMorningIsNotInDoubt(t *testing.T) {
	ways := map[string]func(*snowtest.Server){"alive": func(*snowtest.Server) {}}
	for _, way := range endings {
		ways[way.name] = func(srv *snowtest.Server) { srv.EndSessions(way.end) }
	}
	for name, end := range ways {
		for _, idle := range []time.Duration{4 * time.Minute, 25 * time.Minute, 9 * time.Hour} {
			for _, pinned := range []bool{false, true} {
				for _, use := range forms {
					t.Run(fmt.Sprintf("%s after %v, pinned %v, %s", name, idle, pinned, use.name), func(t *testing.T) {
						inBubble(t, func(t *testing.T, srv *snowtest.Server) {
							db := pool(t, srv, 2)
							on := dbtx(db)
							if pinned {
								on = pin(t, db)
							}
							mustExec(t, on, row(0))
							time.Sleep(idle)
							end(srv)
							dropConnections(srv)
							for i := range 3 {
								if err := use.run(t.Context(), on, row(1+i)); err != nil {
									t.Errorf("statement %d: %v", i, err)
								}
								checkRan(t, srv, row(1+i), 1, 1)
							}
						})
					})
				}
			}
		}
	}
}

// TestFirstTransactionOfTheMorningRuns: BEGIN costs no session, and a transaction that
// rested with its session alive goes on.
func TestFirstTransactionOfTheMorningRuns(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		for i, pause := range []time.Duration{0, 10 * time.Minute} {
			time.Sleep(10 * time.Minute)
			logins := srv.Stats().Logins
			dropConnections(srv)
			tx := mustBegin(t, db)
			for j := range 2 {
				time.Sleep(pause)
				if pause > 0 {
					dropConnections(srv)
				}
				mustExec(t, tx, row(10*i+j))
			}
			if err := tx.Commit(); err != nil {
				t.Error(err)
			}
			if n := srv.Stats().Logins - logins; n != 0 {
				t.Errorf("%d logins", n)
			}
			checkRan(t, srv, row(10*i), 1, 1)
		}
	})
}

// TestStatementOfARestedSessionIsAskedAboutOnce: and a read, or one that came a moment after
// another, not at all.
func TestStatementOfARestedSessionIsAskedAboutOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		requests := func(f func()) int {
			before := srv.Stats().Requests[snowtest.RequestQuery]
			f()
			return srv.Stats().Requests[snowtest.RequestQuery] - before
		}
		write := func() { mustExec(t, db, "INSERT INTO t VALUES (1)") }
		read := func() { mustExec(t, db, "SELECT a FROM t") }
		if n := requests(write); n != 1 {
			t.Errorf("%d requests for a write at once", n)
		}
		time.Sleep(10 * time.Minute)
		if n := requests(read); n != 1 {
			t.Errorf("%d requests for a read after a rest", n)
		}
		time.Sleep(10 * time.Minute)
		if n := requests(write); n != 2 {
			t.Errorf("%d requests for a write after a rest, want a question and the write", n)
		}
		if n := requests(write); n != 1 {
			t.Errorf("%d requests for the next write", n)
		}
	}, snowtest.AllowRepeats())
}

// TestRestIsNoAnswerToTheProgramsQuestions: what asks for the session's history finds the
// program's own statements there, also after a rest.
func TestRestIsNoAnswerToTheProgramsQuestions(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		conn := pin(t, pool(t, srv, 1))
		mustExec(t, conn, "INSERT INTO t VALUES (1)")
		time.Sleep(10 * time.Minute)
		mustExec(t, conn, "INSERT INTO log SELECT LAST_QUERY_ID()")
	})
}

// TestDeadlineCountsWhileARestedSessionIsAsked.
func TestDeadlineCountsWhileARestedSessionIsAsked(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		time.Sleep(10 * time.Minute)
		var over atomic.Bool
		srv.FaultAlways(func(*snowtest.Request) (snowtest.Fault, bool) {
			return snowtest.Fault{Delay: time.Hour}, !over.Load()
		})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		begun := time.Now()
		_, err := db.ExecContext(ctx, "INSERT INTO t VALUES (1)")
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, snowtether.ErrInDoubt) || time.Since(begun) != 5*time.Second {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
		over.Store(true)
		time.Sleep(2 * time.Hour)
	}, snowtest.AllowOpenSessions())
}

// TestOutageAfterARestLosesNoTransaction: it is waited out, as without the rest.
// Before: after 20 s of 503 the session was given up, and the transaction with it.
func TestOutageAfterARestLosesNoTransaction(t *testing.T) {
	for _, outage := range []time.Duration{10 * time.Second, 30 * time.Second, time.Minute} {
		t.Run(outage.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				tx := mustBegin(t, db)
				mustExec(t, tx, row(1))
				time.Sleep(4 * time.Minute)
				allUnavailable(srv, outage)
				mustExec(t, tx, row(2))
				if err := tx.Commit(); err != nil {
					t.Error(err)
				}
				checkRan(t, srv, row(1), 1, 1)
				checkRan(t, srv, row(2), 1, 1)
			})
		})
	}
}

// TestOutageAfterARestLosesNoState: of whatever kind, on a pinned connection.
// Before: ErrSessionLost, although the session lived.
func TestOutageAfterARestLosesNoState(t *testing.T) {
	for _, s := range sessionSettings {
		t.Run(s.kind, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				conn := pin(t, db)
				mustExec(t, conn, s.set)
				time.Sleep(4 * time.Minute)
				allUnavailable(srv, 30*time.Second)
				mustExec(t, conn, row(1))
				checkRan(t, srv, row(1), 1, 1)
				if n := srv.Stats().Logins; n != 1 {
					t.Errorf("%d logins", n)
				}
			})
		})
	}
}

// TestOutageAfterARestCostsNoSessions: all of them live, and none is replaced.
// Before: each was given up, and as many logins were sent as the outage ended.
func TestOutageAfterARestCostsNoSessions(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var j journal
		db := pool(t, srv, 8, snowtether.WithEventHook(j.hook))
		time.Sleep(4 * time.Minute)
		allUnavailable(srv, 30*time.Second)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				if _, err := db.ExecContext(t.Context(), row(i)); err != nil {
					t.Error(err)
				}
				checkRan(t, srv, row(i), 1, 1)
			})
		}
		wg.Wait()
		if n := len(j.of(snowtether.EventOpened)); n != 8 {
			t.Errorf("%d sessions were opened", n)
		}
	})
}

// TestOutageInASharedSessionLosesNoTransaction: it is waited out, also after a rest.
// Before: the transaction was given up, and the next user's row ended in it.
func TestOutageInASharedSessionLosesNoTransaction(t *testing.T) {
	sharingPools(t, 1, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		tx := mustBegin(t, db)
		mustExec(t, tx, row(1))
		time.Sleep(4 * time.Minute)
		allUnavailable(srv, 30*time.Second)
		mustExec(t, tx, row(2))
		if err := tx.Commit(); err != nil {
			t.Error(err)
		}
		checkRan(t, srv, row(1), 1, 1)
		checkRan(t, srv, row(2), 1, 1)
		nextUser(t, srv, db)
	})
}

// TestSuspectSessionIsAskedOnceAndNeedsNoWarehouse: however often it is handed out.
func TestSuspectSessionIsAskedOnceAndNeedsNoWarehouse(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 2)
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.ExecContext(t.Context(), row(1)); err != nil {
			t.Fatal(err)
		}
		srv.AbortSessions(srv.Ledger()[0].SessionID)
		if _, err := conn.ExecContext(t.Context(), row(2)); err != nil {
			t.Fatal(err) // it has found the session dead, and the other is suspect
		}
		before := srv.Stats().Requests[snowtest.RequestQuery]
		for range 3 {
			if _, err := db.ExecContext(t.Context(), "SELECT 2"); err != nil {
				t.Error(err)
			}
		}
		if n := srv.Stats().Requests[snowtest.RequestQuery] - before - 3; n != 1 {
			t.Errorf("asked %d times", n)
		}
		if n := len(srv.Ledger()); n != 5 {
			t.Errorf("%d statements were run, want the two INSERTs and the three SELECTs", n)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestSuspectSessionThatDoesNotAnswerIsReplaced: by the statement that it is taken out for.
func TestSuspectSessionThatDoesNotAnswerIsReplaced(t *testing.T) {
	for name, fault := range map[string]snowtest.Fault{"refused": {Status: 403}, "silent": {Delay: time.Hour}} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 2)
				use(t, db, 2)
				ids := srv.Sessions()
				conn, err := db.Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if _, err := conn.ExecContext(t.Context(), row(1)); err != nil {
					t.Fatal(err)
				}
				ledger := srv.Ledger()
				srv.AbortSessions(ledger[len(ledger)-1].SessionID)
				if _, err := conn.ExecContext(t.Context(), row(2)); err != nil {
					t.Fatal(err) // it has found the session dead, and the other is suspect
				}
				once(srv, "SELECT 1", fault)
				begun := time.Now()
				if _, err := db.ExecContext(t.Context(), row(3)); err != nil {
					t.Errorf("the statement: %v", err)
				}
				if d := time.Since(begun); d > time.Minute {
					t.Errorf("it waited %v", d)
				}
				ledger = srv.Ledger()
				for _, ses := range ids {
					if ledger[len(ledger)-1].SessionID == ses.ID {
						t.Error("it was sent to the session that did not answer")
					}
				}
				if err := conn.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
