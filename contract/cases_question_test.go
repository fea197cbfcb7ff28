package contract_test

import (
	"sync"
	"testing"
	"time"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about the questions that the driver asks by itself: whether a session that
// rested is alive, and what its lost sessions have left. One that is not answered proves
// nothing, and costs the caller nothing.

// caseOutage answers everything with 503 for so long, from now on.
func caseOutage(srv *snowtest.Server, d time.Duration) {
	begun := time.Now()
	srv.FaultAlways(func(*snowtest.Request) (snowtest.Fault, bool) {
		if time.Since(begun) > d {
			return snowtest.Fault{}, false
		}
		return snowtest.Fault{Status: 503}, true
	})
}

// TestOutageAfterARestLosesNoTransaction: it is waited out, as without the rest.
// Before: after 20 s of 503 the session was given up, and the transaction with it.
func TestOutageAfterARestLosesNoTransaction(t *testing.T) {
	for _, outage := range []time.Duration{10 * time.Second, 30 * time.Second, time.Minute} {
		t.Run(outage.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := casePool(t, srv, 1)
				tx := caseBegin(t, db)
				caseExec(t, tx, caseRow(1))
				time.Sleep(4 * time.Minute)
				caseOutage(srv, outage)
				caseExec(t, tx, caseRow(2))
				if err := tx.Commit(); err != nil {
					t.Error(err)
				}
				caseSum(t, srv, caseRow(1), 1, 1)
				caseSum(t, srv, caseRow(2), 1, 1)
			})
		})
	}
}

// TestOutageAfterARestLosesNoState: of whatever kind, on a pinned connection.
// Before: ErrSessionLost, although the session lived.
func TestOutageAfterARestLosesNoState(t *testing.T) {
	for _, s := range caseSettings {
		t.Run(s.kind, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := casePool(t, srv, 1)
				conn := casePin(t, db)
				caseExec(t, conn, s.set)
				time.Sleep(4 * time.Minute)
				caseOutage(srv, 30*time.Second)
				caseExec(t, conn, caseRow(1))
				caseSum(t, srv, caseRow(1), 1, 1)
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
		var j caseEvents
		db := casePool(t, srv, 8, snowtether.WithEventHook(j.hook))
		time.Sleep(4 * time.Minute)
		caseOutage(srv, 30*time.Second)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				if _, err := db.ExecContext(t.Context(), caseRow(i)); err != nil {
					t.Error(err)
				}
				caseSum(t, srv, caseRow(i), 1, 1)
			})
		}
		wg.Wait()
		if n := len(j.of(snowtether.EventOpened)); n != 8 {
			t.Errorf("%d sessions were opened", n)
		}
	})
}

// caseUnanswered holds back what is answered about transactions, and to cancellings, until the
// function is called.
func caseUnanswered(srv *snowtest.Server) (release func()) {
	held := make(chan struct{})
	srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
		if r.Kind == snowtest.RequestQuery && r.SQL == caseShow || r.Kind == snowtest.RequestAbort {
			return snowtest.Fault{Hold: held}, true
		}
		return snowtest.Fault{}, false
	})
	return sync.OnceFunc(func() { close(held) })
}

// TestBeginIsHeldUpOnceByWhatOthersLeft: for the 5 s that are meant for it, also where
// neither the question nor its cancelling is answered.
// Before: 45 s and three sessions.
func TestBeginIsHeldUpOnceByWhatOthersLeft(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := casePool(t, srv, 1)
		caseOrphan(t, srv, db, caseUpdate)
		logins := srv.Stats().Logins
		release := caseUnanswered(srv)
		defer release()
		begun := time.Now()
		tx := caseBegin(t, db)
		if took := time.Since(begun); took > 6*time.Second {
			t.Errorf("BEGIN took %v", took)
		}
		release()
		if n := srv.Stats().Logins - logins; n > 2 {
			t.Errorf("it cost %d logins", n)
		}
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
	}, snowtest.WithDetachedTransactions(time.Hour))
}

// TestEndingWhatOthersLeftCostsNobodyTheirState: it is done on a session that has none.
// Before: a pinned connection lost its schema, because SHOW TRANSACTIONS was slow.
func TestEndingWhatOthersLeftCostsNobodyTheirState(t *testing.T) {
	for _, s := range caseSettings {
		t.Run(s.kind, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := casePool(t, srv, 2)
				conn := casePin(t, db)
				caseExec(t, conn, s.set)
				caseOrphan(t, srv, db, caseUpdate)
				release := caseUnanswered(srv)
				defer release()
				time.AfterFunc(18*time.Second, release)
				for i := range 2 {
					tx, err := conn.BeginTx(t.Context(), nil)
					if err != nil {
						t.Fatal(err)
					}
					caseExec(t, tx, caseRow(i))
					if err := tx.Commit(); err != nil {
						t.Error(err)
					}
					caseSum(t, srv, caseRow(i), 1, 1)
				}
			})
		})
	}
}
