package contract_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about refusals: when they prove that the statement did not run, and when
// they do not.

// caseAt does something when the nth request for this SQL arrives, and lets it go on.
func caseAt(srv *snowtest.Server, query string, do ...func()) {
	n := 0
	srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
		if r.Kind == snowtest.RequestQuery && r.SQL == query && n < len(do) {
			if do[n] != nil {
				do[n]()
			}
			n++
		}
		return snowtest.Fault{}, false
	})
}

// TestStatementRefusedAfterItsOwnRenewalIsRunAgain: the token had expired, was renewed,
// and then the session was gone.
// Before: in doubt.
func TestStatementRefusedAfterItsOwnRenewalIsRunAgain(t *testing.T) {
	for _, way := range caseWays {
		for renewals := range 3 {
			for _, use := range caseUses {
				t.Run(fmt.Sprintf("%s/%d renewals/%s", way.name, renewals, use.name), func(t *testing.T) {
					inBubble(t, func(t *testing.T, srv *snowtest.Server) {
						db := casePool(t, srv, 1)
						expire := func() { srv.ExpireSessionTokens() }
						do := []func(){expire, expire, expire}[:renewals]
						caseAt(srv, caseRow(1), append(do, func() { srv.EndSessions(way.end) })...)
						if err := use.run(t.Context(), db, caseRow(1)); err != nil {
							t.Error(err)
						}
						caseSum(t, srv, caseRow(1), 1, 1)
						if n := srv.Stats().Logins; n != 2 {
							t.Errorf("%d logins", n)
						}
					})
				})
			}
		}
	}
}

// TestStatementWhoseRenewalDoesNotGetThroughIsRunAgain: as soon as the server can be
// reached again.
// Before: in doubt.
func TestStatementWhoseRenewalDoesNotGetThroughIsRunAgain(t *testing.T) {
	for name, fault := range map[string]snowtest.Fault{
		"dropped": {Drop: true}, "503": {Status: 503}, "403": {Status: 403}, "HTML": {Body: "<html>"},
		"renewed, reply lost": {Run: true, Drop: true}, "390112 again": {Code: "390112"}, "390400": {Code: "390400"},
	} {
		for _, use := range caseUses[:3] {
			t.Run(name+"/"+use.name, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := casePool(t, srv, 1)
					srv.ExpireSessionTokens()
					healed := time.Now().Add(5 * time.Minute)
					srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
						return fault, r.Kind == snowtest.RequestRenew && time.Now().Before(healed)
					})
					ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
					defer cancel()
					if err := use.run(ctx, db, caseRow(1)); err != nil {
						t.Error(err)
					}
					caseSum(t, srv, caseRow(1), 1, 1)
				})
			})
		}
	}
}

// TestRenewalAfterAStatementMayHaveRunProvesNothing: its first reply was lost, and the
// refusal answers a repetition of it.
func TestRenewalAfterAStatementMayHaveRunProvesNothing(t *testing.T) {
	for name, lost := range map[string]snowtest.Fault{
		"dropped": {Run: true, Drop: true}, "503": {Run: true, Status: 503}, "429": {Run: true, Status: 429},
		"cut in the middle": {Run: true, Cut: 30}, "cut at once": {Run: true, Cut: 1}, "half a JSON": {Run: true, Body: `{"data":{`},
	} {
		for _, way := range caseWays {
			for _, renewed := range []bool{false, true} { // in between, for the repetition
				t.Run(fmt.Sprintf("%s/%s/renewed %v", name, way.name, renewed), func(t *testing.T) {
					inBubble(t, func(t *testing.T, srv *snowtest.Server) {
						db := casePool(t, srv, 1)
						lost.After = func() {
							if renewed {
								srv.ExpireSessionTokens()
							} else {
								srv.EndSessions(way.end)
							}
						}
						caseOnce(srv, caseRow(1), lost)
						if renewed {
							caseAt(srv, caseRow(1), nil, func() { srv.EndSessions(way.end) })
						}
						_, err := db.ExecContext(t.Context(), caseRow(1))
						caseDoubt(t, err, false)
						caseSum(t, srv, caseRow(1), 1, 1)
						caseNextUser(t, srv, db)
					})
				})
			}
		}
	}
}

// TestHeartbeatsRenewalBetweenTwoTriesProvesNothing: the first try ran, the heartbeat had
// the token renewed, and the second try was refused.
func TestHeartbeatsRenewalBetweenTwoTriesProvesNothing(t *testing.T) {
	for _, way := range caseWays {
		t.Run(way.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := casePool(t, srv, 1, snowtether.WithHeartbeat(15*time.Minute))
				time.Sleep(10 * time.Minute)
				first := snowtest.Fault{Run: true, Status: 503}
				first.After = func() {
					srv.ExpireSessionTokens()
					for range 600 { // until the heartbeat has had it renewed
						if srv.Stats().Renewals > 0 {
							return
						}
						time.Sleep(time.Second)
					}
				}
				caseOnce(srv, caseRow(1), first)
				sent := 0
				srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
					if r.SQL == caseRow(1) {
						if sent++; sent == 2 { // the retry has the old token; what follows, the new one
							srv.EndSessions(way.end)
						}
					}
					return snowtest.Fault{}, false
				})
				_, err := db.ExecContext(t.Context(), caseRow(1))
				caseDoubt(t, err, false)
				caseSum(t, srv, caseRow(1), 1, 1)
				if srv.Stats().Renewals == 0 {
					t.Error("nothing was renewed")
				}
			})
		})
	}
}

// TestRefusalThatTookLongProvesNothing: a server may hold a statement while it runs.
// Before: the INSERT was run again.
func TestRefusalThatTookLongProvesNothing(t *testing.T) {
	for _, way := range caseWays {
		for took, again := range map[time.Duration]bool{4 * time.Second: false, time.Minute: false, 2 * time.Second: true, 0: true} {
			for _, use := range caseUses {
				t.Run(fmt.Sprintf("%s/%v/%s", way.name, took, use.name), func(t *testing.T) {
					inBubble(t, func(t *testing.T, srv *snowtest.Server) {
						db := casePool(t, srv, 1)
						srv.EndSessions(way.end)
						caseOnce(srv, caseRow(1), snowtest.Fault{Delay: took})
						err := use.run(t.Context(), db, caseRow(1))
						if !again {
							caseDoubt(t, err, false)
							caseSum(t, srv, caseRow(1), 0, 0)
						} else if err != nil {
							t.Error(err)
						} else {
							caseSum(t, srv, caseRow(1), 1, 1)
						}
						caseNextUser(t, srv, db)
					})
				})
			}
		}
	}
}

// TestExpiryThatTookLongProvesNothing: the statement was held, then its token had expired,
// and the renewal or the repetition was refused.
func TestExpiryThatTookLongProvesNothing(t *testing.T) {
	for _, way := range caseWays {
		t.Run(way.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := casePool(t, srv, 1)
				srv.ExpireSessionTokens()
				caseAt(srv, caseRow(1), nil, func() { srv.EndSessions(way.end) })
				caseOnce(srv, caseRow(1), snowtest.Fault{Delay: 10 * time.Second})
				_, err := db.ExecContext(t.Context(), caseRow(1))
				caseDoubt(t, err, false)
				caseSum(t, srv, caseRow(1), 0, 0)
				caseNextUser(t, srv, db)
			})
		})
	}
}

// TestSlowRefusalOfAReadCostsNothing: it is run again either way.
func TestSlowRefusalOfAReadCostsNothing(t *testing.T) {
	for _, way := range caseWays {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			db := casePool(t, srv, 1)
			srv.EndSessions(way.end)
			caseOnce(srv, "SELECT 7", snowtest.Fault{Delay: time.Minute})
			var n int
			if err := db.QueryRowContext(t.Context(), "SELECT 7").Scan(&n); err != nil || n != 7 {
				t.Errorf("%s: %d, %v", way.name, n, err)
			}
		})
	}
}
