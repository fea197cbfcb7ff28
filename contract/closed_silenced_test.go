package contract_test

import (
	"database/sql"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// Sessions are closed (docs/guarantees.md): a session that nobody can log out any more, because its
// token has expired and no new one arrives, does not keep its transaction and the locks of that.

// silences has each session whose transaction changes t lose its tokens with that: the change
// runs, and is answered by a gateway, and what is said to a renewal afterwards is of no use.
func silences(srv *snowtest.Server, renewal snowtest.Fault) (silenced func() []int64) {
	var mu sync.Mutex
	var ids []int64
	srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case r.SQL == updateOne && len(ids) < 3:
			ids = append(ids, r.SessionID)
			return snowtest.Fault{Run: true, Status: http.StatusForbidden, After: func() { srv.ExpireSessionTokens(r.SessionID) }}, true
		case r.Kind == snowtest.RequestRenew && slices.Contains(ids, r.SessionID):
			return renewal, true
		}
		return snowtest.Fault{}, false
	})
	return func() []int64 {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(ids)
	}
}

// TestTransactionEndsWithASessionThatCannotBeLoggedOut: its token has expired and the new one was
// lost, so that nobody can speak for it any more. Another session ends it.
// Before: its transaction stayed open, with its locks, and whoever repeated it waited for them.
func TestTransactionEndsWithASessionThatCannotBeLoggedOut(t *testing.T) {
	for name, renewal := range map[string]snowtest.Fault{
		"the reply to the renewal is cut":        {Run: true, Cut: 20},
		"the reply to the renewal is a page":     {Run: true, Body: "<html>"},
		"the renewal is carried out and refused": {Run: true, Status: http.StatusForbidden},
		"the renewal is refused by a gateway":    {Status: http.StatusForbidden},
		"the renewal is refused as unauthorized": {Status: http.StatusUnauthorized},
		"the renewal is answered with a code":    {Code: "390999"},
	} {
		for _, stays := range []time.Duration{0, 5 * time.Minute} {
			t.Run(fmt.Sprintf("%s/a lost session's transaction stays for %s", name, stays), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					var j journal
					db := pool(t, srv, 1, snowtether.WithEventHook(j.hook))
					silenced := silences(srv, renewal)
					begun := time.Now()
					err := snowtether.RunTx(t.Context(), begin(db), func(tx *sql.Tx) error {
						update := updateOne
						if len(silenced()) > 0 {
							update += " WHERE n = 1"
						}
						_, err := tx.ExecContext(t.Context(), update)
						return err
					})
					if took := time.Since(begun); err != nil || took > time.Minute {
						t.Errorf("took %s: %v", took, err)
					}
					checkRan(t, srv, updateOne, 1, 0)
					checkRan(t, srv, updateOne+" WHERE n = 1", 1, 1)
					time.Sleep(time.Minute)
					ended := j.of(snowtether.EventTransactionEnded)
					if len(ended) != 1 || !slices.Contains(silenced(), ended[0].OldSessionID) {
						t.Errorf("sessions %d; ended: %+v", silenced(), ended)
					}
					for _, ses := range srv.Sessions() {
						if ses.InTx {
							t.Errorf("session %d has a transaction open", ses.ID)
						}
					}
				}, snowtest.WithDetachedTransactions(stays), snowtest.AllowOpenSessions())
			})
		}
	}
}

// TestSessionsAreEndedWhateverBecomesOfOneOfThem: a refusal, a loss or a silence in between
// keeps none of the others from being ended.
func TestSessionsAreEndedWhateverBecomesOfOneOfThem(t *testing.T) {
	for name, fault := range map[string]func(srv *snowtest.Server, r *snowtest.Request) snowtest.Fault{
		"the user may not": func(*snowtest.Server, *snowtest.Request) snowtest.Fault {
			return snowtest.Fault{Code: "003001", Message: "Insufficient privileges"}
		},
		"the session that ends it is lost": func(srv *snowtest.Server, r *snowtest.Request) snowtest.Fault {
			srv.AbortSessions(r.SessionID)
			return snowtest.Fault{}
		},
		"there is no answer": func(*snowtest.Server, *snowtest.Request) snowtest.Fault {
			return snowtest.Fault{Delay: time.Hour}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				var j journal
				db := pool(t, srv, 3, snowtether.WithEventHook(j.hook))
				silenced := silences(srv, snowtest.Fault{Run: true, Cut: 20})
				srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
					if !strings.Contains(r.SQL, "ABORT_SESSION") {
						return snowtest.Fault{}, false
					}
					return fault(srv, r), true
				})
				var txs []*sql.Tx
				for range 3 {
					txs = append(txs, mustBegin(t, db))
				}
				for _, tx := range txs {
					_, err := tx.ExecContext(t.Context(), updateOne)
					isLost(t, err, true)
					_ = tx.Rollback()
				}
				if err := db.PingContext(t.Context()); err != nil {
					t.Error(err)
				}
				time.Sleep(10 * time.Minute)
				open := 0
				for _, ses := range srv.Sessions() {
					if ses.InTx {
						open++
					}
				}
				ended := j.of(snowtether.EventTransactionEnded)
				if len(silenced()) != 3 || len(ended) != 2 || open > 1 {
					t.Errorf("sessions %d; %d have a transaction open; ended: %+v", silenced(), open, ended)
				}
			}, snowtest.AllowOpenSessions())
		})
	}
}

// TestNobodyIsAskedToLogInForWhatIsLeftBehind: where a person consents to each login, none is
// sent to end what a session has left.
func TestNobodyIsAskedToLogInForWhatIsLeftBehind(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		cfg := srv.Config()
		cfg.Authenticator = gosnowflake.AuthTypeUsernamePasswordMFA
		db := poolOf(t, cfg, 1)
		silenced := silences(srv, snowtest.Fault{Run: true, Cut: 20})
		tx := mustBegin(t, db)
		_, err := tx.ExecContext(t.Context(), updateOne)
		isLost(t, err, true)
		_ = tx.Rollback()
		if err := db.PingContext(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour)
		if n := srv.Stats().Logins; n != 2 || len(silenced()) != 1 {
			t.Errorf("%d logins, %d sessions lost", n, len(silenced()))
		}
	}, snowtest.AllowOpenSessions())
}
