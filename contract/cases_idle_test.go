package contract_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about a pool that was idle behind a load balancer: its network connections
// were dropped, and as a rule its sessions have ended as well.

// caseDropped makes the first request of each session's own connection, from now on, meet
// a network connection that is gone: it is reset, and nothing arrives.
func caseDropped(srv *snowtest.Server) {
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
	for _, way := range caseWays {
		ways[way.name] = func(srv *snowtest.Server) { srv.EndSessions(way.end) }
	}
	for name, end := range ways {
		for _, idle := range []time.Duration{4 * time.Minute, 25 * time.Minute, 9 * time.Hour} {
			for _, pinned := range []bool{false, true} {
				for _, use := range caseUses {
					t.Run(fmt.Sprintf("%s after %v, pinned %v, %s", name, idle, pinned, use.name), func(t *testing.T) {
						inBubble(t, func(t *testing.T, srv *snowtest.Server) {
							db := casePool(t, srv, 2)
							on := caseDB(db)
							if pinned {
								on = casePin(t, db)
							}
							caseExec(t, on, caseRow(0))
							time.Sleep(idle)
							end(srv)
							caseDropped(srv)
							for i := range 3 {
								if err := use.run(t.Context(), on, caseRow(1+i)); err != nil {
									t.Errorf("statement %d: %v", i, err)
								}
								caseSum(t, srv, caseRow(1+i), 1, 1)
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
		db := casePool(t, srv, 1)
		for i, pause := range []time.Duration{0, 10 * time.Minute} {
			time.Sleep(10 * time.Minute)
			logins := srv.Stats().Logins
			caseDropped(srv)
			tx := caseBegin(t, db)
			for j := range 2 {
				time.Sleep(pause)
				if pause > 0 {
					caseDropped(srv)
				}
				caseExec(t, tx, caseRow(10*i+j))
			}
			if err := tx.Commit(); err != nil {
				t.Error(err)
			}
			if n := srv.Stats().Logins - logins; n != 0 {
				t.Errorf("%d logins", n)
			}
			caseSum(t, srv, caseRow(10*i), 1, 1)
		}
	})
}

// TestStatementOfARestedSessionIsAskedAboutOnce: and a read, or one that came a moment after
// another, not at all.
func TestStatementOfARestedSessionIsAskedAboutOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := casePool(t, srv, 1)
		requests := func(f func()) int {
			before := srv.Stats().Requests[snowtest.RequestQuery]
			f()
			return srv.Stats().Requests[snowtest.RequestQuery] - before
		}
		write := func() { caseExec(t, db, "INSERT INTO t VALUES (1)") }
		read := func() { caseExec(t, db, "SELECT a FROM t") }
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
		conn := casePin(t, casePool(t, srv, 1))
		caseExec(t, conn, "INSERT INTO t VALUES (1)")
		time.Sleep(10 * time.Minute)
		caseExec(t, conn, "INSERT INTO log SELECT LAST_QUERY_ID()")
	})
}

// TestDeadlineCountsWhileARestedSessionIsAsked.
func TestDeadlineCountsWhileARestedSessionIsAsked(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := casePool(t, srv, 1)
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
