package contract_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// Session state (docs/guarantees.md): somebody sees that settings went with a lost session, and
// with ErrorOnLoss nothing runs without them before somebody was told, whoever replaces the
// session.

// TestLossOfSettingsIsSeen: on a pooled and on a pinned connection alike, one line at Warn
// and one event name the kinds of what was lost, and no value.
func TestLossOfSettingsIsSeen(t *testing.T) {
	for _, s := range sessionSettings {
		for _, pinned := range []bool{false, true} {
			for _, way := range endings {
				t.Run(fmt.Sprintf("%s, pinned %v, %s", s.kind, pinned, way.name), func(t *testing.T) {
					inBubble(t, func(t *testing.T, srv *snowtest.Server) {
						var log lines
						var j journal
						db := pool(t, srv, 1, logTo(&log), snowtether.WithEventHook(j.hook))
						use := dbtx(db)
						if pinned {
							use = pin(t, db)
						}
						mustExec(t, use, s.set)
						srv.EndSessions(way.end)
						_, err := use.ExecContext(t.Context(), row(1))
						if pinned {
							isLost(t, err, false)
							_, err = use.ExecContext(t.Context(), row(1))
						}
						if err != nil {
							t.Error(err)
						}
						lost := j.of(snowtether.EventStateLost)
						if len(lost) != 1 || !strings.Contains(lost[0].State, s.kind) {
							t.Errorf("events: %+v", lost)
						}
						if log.Count("event=state_lost") != 1 || log.Count("level=WARN") != 1 || log.Count("secret_value") != 0 {
							t.Errorf("the log:\n%s", log.String())
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
			runAndLose(srv, "INSERT INTO other VALUES (1)")
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
			end := noLogins(srv)
			_, _ = db.Exec("INSERT INTO other VALUES (1)")
			end.Store(false)
		},
	}
	for _, way := range endings {
		ends[way.name] = func(srv *snowtest.Server, _ *sql.DB) { srv.EndSessions(way.end) }
	}
	for name, end := range ends {
		for _, s := range sessionSettings {
			t.Run(name+" "+s.kind, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					opts := []snowtether.Option{snowtether.WithChangedSession(snowtether.ErrorOnLoss), snowtether.WithKeepAlive(false)}
					if strings.Contains(name, "keeper") {
						opts = append(opts, snowtether.WithIdlePing(4*time.Minute))
					}
					db := pool(t, srv, 1, opts...)
					mustExec(t, db, s.set)
					end(srv, db)
					_, err := db.ExecContext(t.Context(), row)
					if name == "in an outage" {
						// The statement that met the loss has been told.
						if err != nil {
							t.Errorf("after it was told: %v", err)
						}
						return
					}
					isLost(t, err, false)
					checkRan(t, srv, row, 0, 0)
					if !strings.Contains(err.Error(), s.kind) {
						t.Errorf("it does not say what was lost: %v", err)
					}
					if _, err := db.ExecContext(t.Context(), row); err != nil {
						t.Errorf("it is said twice: %v", err)
					}
					checkRan(t, srv, row, 1, 1)
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
	for _, use := range forms {
		next[use.name] = func(ctx context.Context, db *sql.DB) error { return use.run(ctx, db, "SELECT a FROM t") }
	}
	for name, run := range next {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1, snowtether.WithChangedSession(snowtether.ErrorOnLoss))
				mustExec(t, db, "USE SCHEMA s")
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
		db := pool(t, srv, 4, snowtether.WithChangedSession(snowtether.ErrorOnLoss))
		for i := range 8 {
			srv.AbortSessions()
			if _, err := db.ExecContext(t.Context(), row(i)); err != nil {
				t.Error(err)
			}
			checkRan(t, srv, row(i), 1, 1)
		}
	})
}

// relyingPool opens a pool of one connection whose program has set a schema.
func relyingPool(t *testing.T, srv *snowtest.Server, opts ...snowtether.Option) *sql.DB {
	t.Helper()
	db := pool(t, srv, 1, append(opts, snowtether.WithChangedSession(snowtether.ErrorOnLoss))...)
	mustExec(t, db, "USE SCHEMA s")
	return db
}

// toldOnce checks that use is told of the loss before it runs, and not again after that.
func toldOnce(t *testing.T, srv *snowtest.Server, use func() error) {
	t.Helper()
	if err := use(); !errors.Is(err, snowtether.ErrSessionLost) || !strings.Contains(err.Error(), "schema") {
		t.Errorf("error is %v, want one that Is ErrSessionLost and names the schema", err)
	}
	checkRan(t, srv, row(1), 0, 0)
	if err := use(); err != nil {
		t.Errorf("it is said twice: %v", err)
	}
	checkRan(t, srv, row(1), 1, 1)
}

// TestRunTxTellsOfALoss: it repeats what its own transaction has set, and nothing else,
// wherever the session went: in the pool, with a connection that was closed, or inside the
// transaction.
// Before: it ran the transaction without the settings, and returned nil.
func TestRunTxTellsOfALoss(t *testing.T) {
	for name, lose := range map[string]struct {
		before, inside func(srv *snowtest.Server, db *sql.DB)
	}{
		"replaced by the keeper": {before: func(srv *snowtest.Server, _ *sql.DB) {
			srv.AbortSessions()
			time.Sleep(10 * time.Minute)
		}},
		"went with a closed connection": {before: func(srv *snowtest.Server, db *sql.DB) {
			runAndLose(srv, "INSERT INTO other VALUES (1)")
			_, _ = db.Exec("INSERT INTO other VALUES (1)") // in doubt
		}},
		"inside":              {inside: func(srv *snowtest.Server, _ *sql.DB) { srv.AbortSessions() }},
		"inside after a rest": {inside: func(srv *snowtest.Server, _ *sql.DB) { srv.AbortSessions(); time.Sleep(4 * time.Minute) }},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := relyingPool(t, srv, snowtether.WithIdlePing(time.Minute))
				if lose.before != nil {
					lose.before(srv, db)
				}
				toldOnce(t, srv, func() error {
					return snowtether.RunTx(t.Context(), func(ctx context.Context) (*sql.Tx, error) { return db.BeginTx(ctx, nil) }, func(tx *sql.Tx) error {
						if inside := lose.inside; inside != nil {
							lose.inside = nil
							inside(srv, db)
						}
						_, err := tx.ExecContext(t.Context(), row(1))
						return err
					})
				})
			})
		})
	}
}

// TestLossThroughAConnectionTheDriverClosesIsTold: database/sql is asked to close one that
// has a transaction of a statement's in it, or a statement that is still being cancelled.
// Before: the next user's INSERT ran in another session, in the default schema.
func TestLossThroughAConnectionTheDriverClosesIsTold(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, srv *snowtest.Server, db *sql.DB){
		"BEGIN as a statement": func(t *testing.T, _ *snowtest.Server, db *sql.DB) { mustExec(t, db, "BEGIN") },
		"AUTOCOMMIT off": func(t *testing.T, _ *snowtest.Server, db *sql.DB) {
			mustExec(t, db, "ALTER SESSION SET AUTOCOMMIT = FALSE", "INSERT INTO other VALUES (1)")
		},
		"busy cancelling": func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
			slowly(srv, "SELECT slow", time.Hour, &snowtest.Result{}, nil)
			srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
				return snowtest.Fault{Delay: 5 * time.Second}, r.Kind == snowtest.RequestAbort
			})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := drain(db.QueryContext(ctx, "SELECT slow")); err == nil {
				t.Error("the query that was to be cancelled succeeded")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := relyingPool(t, srv)
				spoil(t, srv, db)
				toldOnce(t, srv, func() error {
					_, err := db.ExecContext(t.Context(), row(1))
					return err
				})
			})
		})
	}
}

// TestErrorOnLossRaisesNoFalseAlarm: a session that rested is asked whether it is alive;
// that Snowflake cannot be reached for half a minute is no answer.
// Before: ErrSessionLost, although the session and its schema were there.
func TestErrorOnLossRaisesNoFalseAlarm(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := relyingPool(t, srv)
		time.Sleep(4 * time.Minute)
		allUnavailable(srv, 30*time.Second)
		mustExec(t, db, row(1))
		checkRan(t, srv, row(1), 1, 1)
		if n := srv.Stats().Logins; n != 1 {
			t.Errorf("%d logins", n)
		}
	})
}

// TestStateThatTheKeeperLosesIsInTheLog: as when a statement meets the dead session.
func TestStateThatTheKeeperLosesIsInTheLog(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var log lines
		db := pool(t, srv, 1, snowtether.WithIdlePing(4*time.Minute), snowtether.WithLogger(newLogger(&log)))
		if _, err := db.ExecContext(t.Context(), "USE SCHEMA elsewhere"); err != nil {
			t.Fatal(err)
		}
		srv.AbortSessions()
		time.Sleep(10 * time.Minute)
		if n := srv.Stats().Logins; n != 2 {
			t.Errorf("%d logins: the keeper did not replace it", n)
		}
		if n := strings.Count(log.String(), "event=state_lost"); n != 1 {
			t.Errorf("%d lines about lost state in:\n%s", n, log.String())
		}
		if text := log.String(); strings.Contains(text, "nothing needs doing") || !strings.Contains(text, "event=reconnected") {
			t.Errorf("the line about the new session claims too much:\n%s", text)
		}
	})
}
