package results_test

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/snowtether/snowtether/results"
	"github.com/snowtether/snowtether/snowtest"
)

// TestResultSurvivesEveryBreakAtEveryPart: each row comes once and in order, and the query runs once.
func TestResultSurvivesEveryBreakAtEveryPart(t *testing.T) {
	step := 1
	if testing.Short() {
		step = 7
	}
	for _, b := range breaks {
		t.Run(b.name, func(t *testing.T) {
			for part := 0; part < parts; part += step {
				inBubble(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
					b.put(srv, part)
					whole(t, srv, db)
					if n := refetched(srv); b.again && n == 0 || !b.again && n > 0 {
						t.Errorf("part %d: the result was fetched again %d times", part, n)
					}
				}, snowtest.AllowOpenSessions()) // log-outs are lost in an outage
				if t.Failed() {
					t.Fatalf("at part %d", part)
				}
			}
		})
	}
}

// TestRandomLossesCostNoRowAndDoubleNone: faults on the parts and on the result that is fetched
// again, fewer in a row than a reading gives up after.
func TestRandomLossesCostNoRowAndDoubleNone(t *testing.T) {
	again := 0
	for seed := range uint64(60) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
				random := rand.New(rand.NewPCG(seed, 0))
				left := 5
				srv.FaultAlways(func(req *snowtest.Request) (snowtest.Fault, bool) {
					if req.Kind != snowtest.RequestChunk && req.Kind != snowtest.RequestResult || left == 0 || random.IntN(12) > 0 {
						return snowtest.Fault{}, false
					}
					left--
					fault := []snowtest.Fault{
						{Drop: true}, {Status: 403}, {Status: 503}, {Cut: 1 + random.IntN(300)}, {Body: garbage}, {Delay: time.Hour}, {Status: 401},
					}[random.IntN(7)]
					switch random.IntN(4) {
					case 0:
						fault.Run, fault.After = true, func() { srv.AbortSessions() }
					case 1:
						fault.Run, fault.After = true, func() { srv.ExpireMasterTokens() }
					case 2:
						fault.Run, fault.After = true, srv.ExpireChunkURLs
					}
					return fault, true
				})
				whole(t, srv, db)
				again += refetched(srv)
			})
		})
	}
	if again < 60 {
		t.Errorf("results were fetched again %d times: little was put to the test", again)
	}
}

func TestResultThatIsLostAgainOnItsWayIsFetchedOnceMore(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		srv.FaultOnce(at(4, snowtest.Fault{Status: 403}))
		for _, lost := range []snowtest.Fault{{Body: "<html>"}, {Run: true, Drop: true}, {Status: 401}, {Cut: 50}} {
			srv.FaultOnce(func(req *snowtest.Request) (snowtest.Fault, bool) { return lost, req.Kind == snowtest.RequestResult })
		}
		whole(t, srv, db)
		if n := refetched(srv); n < 5 {
			t.Errorf("the result was fetched again %d times", n)
		}
	})
}

// TestURLsAreNotTold: the URL of a part is all that it takes to read it.
func TestURLsAreNotTold(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		for range 24 { // more often than gosnowflake tries by itself
			srv.FaultOnce(at(2, snowtest.Fault{Drop: true}))
		}
		told := 0
		whole(t, srv, db, results.OnProgress(func(p results.Progress) {
			if p.Again != nil {
				if told++; strings.Contains(p.Again.Error(), "/chunks/") {
					t.Errorf("it is told that %v", p.Again)
				}
			}
		}))
		if told == 0 {
			t.Error("nothing was told")
		}
	})
}
