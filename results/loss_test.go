package results_test

import (
	"database/sql"
	"testing"

	"github.com/snowtether/snowtether/snowtest"
)

// TestResultSurvivesEveryBreakAtEveryPart: each row comes once and in order, and the query runs once.
func TestResultSurvivesEveryBreakAtEveryPart(t *testing.T) {
	for _, b := range breaks {
		t.Run(b.name, func(t *testing.T) {
			for part := range parts {
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
