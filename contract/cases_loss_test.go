package contract_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about settings that go with a lost session: that somebody sees it, and with
// ErrorOnLoss that no statement runs without them.

// caseEvents are the events of one connector.
type caseEvents struct {
	mu   sync.Mutex
	list []snowtether.Event
}

func (j *caseEvents) hook(e snowtether.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.list = append(j.list, e)
}

func (j *caseEvents) of(kind snowtether.EventKind) (of []snowtether.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range j.list {
		if e.Kind == kind {
			of = append(of, e)
		}
	}
	return of
}

// caseSettings are what a program sets, and the word for its kind.
var caseSettings = []struct{ set, kind string }{
	{"USE ROLE secret_value", "role"},
	{"USE SCHEMA secret_value", "schema"},
	{"USE DATABASE secret_value", "database"},
	{"USE WAREHOUSE secret_value", "warehouse"},
	{"SET v = 'secret_value'", "variables"},
	{"ALTER SESSION SET QUERY_TAG = 'secret_value'", "parameters"},
	{"CREATE TEMPORARY TABLE secret_value (a INT)", "temporary"},
}

// TestLossOfSettingsIsSeen: on a pooled and on a pinned connection alike, one line at Warn
// and one event name the kinds of what was lost, and no value.
func TestLossOfSettingsIsSeen(t *testing.T) {
	for _, s := range caseSettings {
		for _, pinned := range []bool{false, true} {
			for _, way := range caseWays {
				t.Run(fmt.Sprintf("%s, pinned %v, %s", s.kind, pinned, way.name), func(t *testing.T) {
					inBubble(t, func(t *testing.T, srv *snowtest.Server) {
						var log caseBuffer
						var j caseEvents
						db := casePool(t, srv, 1, caseLog(&log), snowtether.WithEventHook(j.hook))
						use := caseDB(db)
						if pinned {
							use = casePin(t, db)
						}
						caseExec(t, use, s.set)
						srv.EndSessions(way.end)
						_, err := use.ExecContext(t.Context(), caseRow(1))
						if pinned {
							caseLost(t, err, false)
							_, err = use.ExecContext(t.Context(), caseRow(1))
						}
						if err != nil {
							t.Error(err)
						}
						lost := j.of(snowtether.EventStateLost)
						if len(lost) != 1 || !strings.Contains(lost[0].State, s.kind) {
							t.Errorf("events: %+v", lost)
						}
						if log.count("event=state_lost") != 1 || log.count("level=WARN") != 1 || log.count("secret_value") != 0 {
							t.Errorf("the log:\n%s", log.buf.String())
						}
					})
				})
			}
		}
	}
}

// TestErrorOnLossLetsNothingRunWithoutTheSettings: a pool of one runs USE and then INSERT, and
// its session ends, however that is found. Before there was nothing to ask for that with.
func TestErrorOnLossLetsNothingRunWithoutTheSettings(t *testing.T) {
	const row = "INSERT INTO t VALUES (1)"
	ends := map[string]func(srv *snowtest.Server, db *sql.DB){
		"idle for longer than the master token lives": func(*snowtest.Server, *sql.DB) { time.Sleep(5 * time.Hour) },
		"found by the keeper":                         func(srv *snowtest.Server, _ *sql.DB) { srv.AbortSessions(); time.Sleep(10 * time.Minute) },
		"with a statement in doubt": func(srv *snowtest.Server, db *sql.DB) {
			caseLose(srv, "INSERT INTO other VALUES (1)")
			_, _ = db.Exec("INSERT INTO other VALUES (1)")
		},
		"while its holder asks for nothing": func(srv *snowtest.Server, db *sql.DB) {
			srv.AbortSessions()
			conn, err := db.Conn(context.Background())
			if err == nil {
				_ = conn.Close()
			}
		},
		"in an outage": func(srv *snowtest.Server, db *sql.DB) {
			srv.AbortSessions()
			end := caseNoLogins(srv)
			_, _ = db.Exec("INSERT INTO other VALUES (1)")
			end.Store(false)
		},
	}
	for _, way := range caseWays {
		ends[way.name] = func(srv *snowtest.Server, _ *sql.DB) { srv.EndSessions(way.end) }
	}
	for name, end := range ends {
		for _, s := range caseSettings {
			t.Run(name+" "+s.kind, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					opts := []snowtether.Option{snowtether.WithChangedSession(snowtether.ErrorOnLoss), snowtether.WithKeepAlive(false)}
					if strings.Contains(name, "keeper") {
						opts = append(opts, snowtether.WithIdlePing(4*time.Minute))
					}
					db := casePool(t, srv, 1, opts...)
					caseExec(t, db, s.set)
					end(srv, db)
					_, err := db.ExecContext(t.Context(), row)
					if name == "in an outage" {
						// The statement that met the loss has been told.
						if err != nil {
							t.Errorf("after it was told: %v", err)
						}
						return
					}
					caseLost(t, err, false)
					caseSum(t, srv, row, 0, 0)
					if !strings.Contains(err.Error(), s.kind) {
						t.Errorf("it does not say what was lost: %v", err)
					}
					if _, err := db.ExecContext(t.Context(), row); err != nil {
						t.Errorf("it is said twice: %v", err)
					}
					caseSum(t, srv, row, 1, 1)
				})
			})
		}
	}
}

// TestErrorOnLossTellsWhoeverComesNext: a BEGIN, a ping, a query, a prepared statement.
func TestErrorOnLossTellsWhoeverComesNext(t *testing.T) {
	next := map[string]func(ctx context.Context, db *sql.DB) error{
		"begin": func(ctx context.Context, db *sql.DB) error {
			tx, err := db.BeginTx(ctx, nil)
			if err == nil {
				_ = tx.Rollback()
			}
			return err
		},
		"ping": func(ctx context.Context, db *sql.DB) error { return db.PingContext(ctx) },
		"RunTx": func(ctx context.Context, db *sql.DB) error {
			return snowtether.RunTx(ctx, func(ctx context.Context) (*sql.Tx, error) { return db.BeginTx(ctx, nil) }, func(tx *sql.Tx) error {
				_, err := tx.Exec("INSERT INTO t VALUES (1)")
				return err
			})
		},
	}
	for _, use := range caseUses {
		next[use.name] = func(ctx context.Context, db *sql.DB) error { return use.run(ctx, db, "SELECT a FROM t") }
	}
	for name, run := range next {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := casePool(t, srv, 1, snowtether.WithChangedSession(snowtether.ErrorOnLoss))
				caseExec(t, db, "USE SCHEMA s")
				srv.AbortSessions()
				if err := run(t.Context(), db); !errors.Is(err, snowtether.ErrSessionLost) || !strings.Contains(err.Error(), "schema") {
					t.Errorf("error is %v", err)
				}
				if err := run(t.Context(), db); err != nil {
					t.Errorf("it is said twice: %v", err)
				}
			})
		})
	}
}

// TestErrorOnLossIsQuietWhereNothingWasSet: then sessions are replaced as ever.
func TestErrorOnLossIsQuietWhereNothingWasSet(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := casePool(t, srv, 4, snowtether.WithChangedSession(snowtether.ErrorOnLoss))
		for i := range 8 {
			srv.AbortSessions()
			if _, err := db.ExecContext(t.Context(), caseRow(i)); err != nil {
				t.Error(err)
			}
			caseSum(t, srv, caseRow(i), 1, 1)
		}
	})
}
