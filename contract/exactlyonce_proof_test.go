package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/testpool"
	"github.com/snowtether/snowtether/snowtest"
)

// Exactly once (docs/guarantees.md): when a refusal proves that the statement did not run, so that
// it is run again, and when nothing is proven: after a renewal of somebody else's, too late, or where
// a transport or an inner driver hides the statement's traffic.

// atRequest does something when the nth request for this SQL arrives, and lets it go on.
func atRequest(srv *snowtest.Server, query string, do ...func()) {
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
	for _, way := range endings {
		for renewals := range 3 {
			for _, use := range forms {
				t.Run(fmt.Sprintf("%s/%d renewals/%s", way.name, renewals, use.name), func(t *testing.T) {
					inBubble(t, func(t *testing.T, srv *snowtest.Server) {
						db := pool(t, srv, 1)
						expire := func() { srv.ExpireSessionTokens() }
						do := []func(){expire, expire, expire}[:renewals]
						atRequest(srv, row(1), append(do, func() { srv.EndSessions(way.end) })...)
						if err := use.run(t.Context(), db, row(1)); err != nil {
							t.Error(err)
						}
						checkRan(t, srv, row(1), 1, 1)
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
		for _, use := range forms[:3] {
			t.Run(name+"/"+use.name, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := pool(t, srv, 1)
					srv.ExpireSessionTokens()
					healed := time.Now().Add(5 * time.Minute)
					srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
						return fault, r.Kind == snowtest.RequestRenew && time.Now().Before(healed)
					})
					ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
					defer cancel()
					if err := use.run(ctx, db, row(1)); err != nil {
						t.Error(err)
					}
					checkRan(t, srv, row(1), 1, 1)
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
		for _, way := range endings {
			for _, renewed := range []bool{false, true} { // in between, for the repetition
				t.Run(fmt.Sprintf("%s/%s/renewed %v", name, way.name, renewed), func(t *testing.T) {
					inBubble(t, func(t *testing.T, srv *snowtest.Server) {
						db := pool(t, srv, 1)
						lost.After = func() {
							if renewed {
								srv.ExpireSessionTokens()
							} else {
								srv.EndSessions(way.end)
							}
						}
						once(srv, row(1), lost)
						if renewed {
							atRequest(srv, row(1), nil, func() { srv.EndSessions(way.end) })
						}
						_, err := db.ExecContext(t.Context(), row(1))
						isInDoubt(t, err, false)
						checkRan(t, srv, row(1), 1, 1)
						nextUser(t, srv, db)
					})
				})
			}
		}
	}
}

// TestHeartbeatsRenewalBetweenTwoTriesProvesNothing: the first try ran, the heartbeat had
// the token renewed, and the second try was refused.
func TestHeartbeatsRenewalBetweenTwoTriesProvesNothing(t *testing.T) {
	for _, way := range endings {
		t.Run(way.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1, snowtether.WithHeartbeat(15*time.Minute))
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
				once(srv, row(1), first)
				sent := 0
				srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
					if r.SQL == row(1) {
						if sent++; sent == 2 { // the retry has the old token; what follows, the new one
							srv.EndSessions(way.end)
						}
					}
					return snowtest.Fault{}, false
				})
				_, err := db.ExecContext(t.Context(), row(1))
				isInDoubt(t, err, false)
				checkRan(t, srv, row(1), 1, 1)
				if srv.Stats().Renewals == 0 {
					t.Error("nothing was renewed")
				}
			})
		})
	}
}

// TestRenewalByTheHeartbeatIsNoProof: it was taken for the statement's own, and
// two of the statement's requests for the renewal's. The INSERT ran twice.
func TestRenewalByTheHeartbeatIsNoProof(t *testing.T) {
	for _, status := range []int{0, 401} {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			db := pool(t, srv, 1)
			time.Sleep(time.Hour - 500*time.Millisecond) // the heartbeat falls between the retries
			n := 0
			srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
				if r.SQL != insert || n == 2 {
					return snowtest.Fault{}, false
				}
				if n++; n == 1 {
					return snowtest.Fault{Run: true, Status: 503}, true
				}
				srv.EndSessions(snowtest.Refusal{Code: "390111", Status: status})
				return snowtest.Fault{Status: 503}, true
			})
			_, err := db.ExecContext(t.Context(), insert)
			ranInDoubt(t, srv, insert, err, 1)
		})
	}
}

// TestRefusalThatTookLongProvesNothing: a server may hold a statement while it runs.
// Before: the INSERT was run again.
func TestRefusalThatTookLongProvesNothing(t *testing.T) {
	for _, way := range endings {
		for took, again := range map[time.Duration]bool{4 * time.Second: false, time.Minute: false, 2 * time.Second: true, 0: true} {
			for _, use := range forms {
				t.Run(fmt.Sprintf("%s/%v/%s", way.name, took, use.name), func(t *testing.T) {
					inBubble(t, func(t *testing.T, srv *snowtest.Server) {
						db := pool(t, srv, 1)
						srv.EndSessions(way.end)
						once(srv, row(1), snowtest.Fault{Delay: took})
						err := use.run(t.Context(), db, row(1))
						if !again {
							isInDoubt(t, err, false)
							checkRan(t, srv, row(1), 0, 0)
						} else if err != nil {
							t.Error(err)
						} else {
							checkRan(t, srv, row(1), 1, 1)
						}
						nextUser(t, srv, db)
					})
				})
			}
		}
	}
}

// TestExpiryThatTookLongProvesNothing: the statement was held, then its token had expired,
// and the renewal or the repetition was refused.
func TestExpiryThatTookLongProvesNothing(t *testing.T) {
	for _, way := range endings {
		t.Run(way.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				srv.ExpireSessionTokens()
				atRequest(srv, row(1), nil, func() { srv.EndSessions(way.end) })
				once(srv, row(1), snowtest.Fault{Delay: 10 * time.Second})
				_, err := db.ExecContext(t.Context(), row(1))
				isInDoubt(t, err, false)
				checkRan(t, srv, row(1), 0, 0)
				nextUser(t, srv, db)
			})
		})
	}
}

// TestSlowRefusalOfAReadCostsNothing: it is run again either way.
func TestSlowRefusalOfAReadCostsNothing(t *testing.T) {
	for _, way := range endings {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			db := pool(t, srv, 1)
			srv.EndSessions(way.end)
			once(srv, "SELECT 7", snowtest.Fault{Delay: time.Minute})
			var n int
			if err := db.QueryRowContext(t.Context(), "SELECT 7").Scan(&n); err != nil || n != 7 {
				t.Errorf("%s: %d, %v", way.name, n, err)
			}
		})
	}
}

// TestHiddenTrafficIsNoProof: neither that the statement ran nor that it did not.
func TestHiddenTrafficIsNoProof(t *testing.T) {
	for _, way := range ways[1:] {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			cfg := srv.Config()
			cfg.Transporter = hiding{cfg.Transporter}
			db, _ := connect(t, cfg)
			if err := db.PingContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			once(srv, insert, snowtest.Fault{Run: true, Drop: true, After: func() { srv.EndSessions(way.End) }})
			_, err := db.ExecContext(t.Context(), insert)
			ranInDoubt(t, srv, insert, err, 1)
		})
	}
}

// oldDriver is a wrapper from before contexts: it shows the login, and no statement.
type oldDriver struct{ driver.Connector }

func (o oldDriver) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := o.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return oldConn{c}, nil
}

type (
	oldConn struct{ c driver.Conn }
	oldStmt struct{ s driver.Stmt }
)

func (c oldConn) Prepare(query string) (driver.Stmt, error) {
	s, err := c.c.Prepare(query)
	if err != nil {
		return nil, err
	}
	return oldStmt{s}, nil
}

func (c oldConn) Close() error { return c.c.Close() }

//lint:ignore SA1019 it is old
func (c oldConn) Begin() (driver.Tx, error) { return c.c.Begin() }

func (s oldStmt) Close() error { return s.s.Close() }

func (s oldStmt) NumInput() int { return s.s.NumInput() }

func (s oldStmt) Exec(args []driver.Value) (driver.Result, error) {
	//lint:ignore SA1019 it is old
	return s.s.Exec(args)
}

func (s oldStmt) Query(args []driver.Value) (driver.Rows, error) {
	//lint:ignore SA1019 it is old
	return s.s.Query(args)
}

// loneConnector is one that logs in with a context of its own, too.
type loneConnector struct{ driver.Connector }

func (a loneConnector) Connect(context.Context) (driver.Conn, error) {
	return a.Connector.Connect(context.Background())
}

// TestStatementHiddenByAWrapperIsInDoubt: the wrapper shows the login, or not, and hides
// the statements: what is not seen is not proven.
func TestStatementHiddenByAWrapperIsInDoubt(t *testing.T) {
	for name, wrap := range map[string]func(driver.Connector) driver.Connector{
		"without contexts":  func(c driver.Connector) driver.Connector { return oldDriver{c} },
		"detached contexts": func(c driver.Connector) driver.Connector { return detachedConnector{c} },
		"detached login":    func(c driver.Connector) driver.Connector { return detachedConnector{loneConnector{c}} },
	} {
		for _, lost := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/session lost %v", name, lost), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					c, err := snowtether.WrapConnector(wrap(gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *srv.Config())), logTo(srv.Log()))
					if err != nil {
						t.Fatal(err)
					}
					db := testpool.OpenConnector(t, c, 1)
					if lost {
						runAndLose(srv, row(1))
					} else {
						once(srv, row(1), snowtest.Fault{Run: true, Body: "<html>"})
					}
					_, err = db.ExecContext(t.Context(), row(1))
					if n := srv.Effects(row(1)); n > 1 {
						t.Errorf("took effect %d times: %v", n, err)
					} else if !errors.Is(err, snowtether.ErrInDoubt) {
						t.Errorf("took effect %d times, and the error is not in doubt: %v", n, err)
					}
				}, snowtest.AllowOpenSessions())
			})
		}
	}
}

// A veiled connection is gosnowflake's, behind a wrapper that passes on what
// database/sql/driver names and nothing else.
type veiled struct {
	driver.Conn
	driver.ExecerContext
	driver.QueryerContext
}

type veiling struct{ driver.Connector }

func (c veiling) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return veiled{conn, conn.(driver.ExecerContext), conn.(driver.QueryerContext)}, nil
}

// TestAcceptedStatementBehindAVeilIsInDoubtAtOnce: nobody can ask what became of it.
func TestAcceptedStatementBehindAVeilIsInDoubtAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		c, err := snowtether.WrapConnector(veiling{gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *srv.Config())}, quiet)
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(c)
		slowly(srv, "^INSERT", 10*time.Minute, counted(snowtest.KindInsert, "inserted", 1), nil)
		endAt(srv, ways[1].End, time.Minute)
		begun := time.Now()
		_, err = db.ExecContext(t.Context(), insert)
		ranInDoubt(t, srv, insert, err, 1)
		hasID(t, err)
		if took := time.Since(begun); took > 2*time.Minute {
			t.Errorf("told after %v", took)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour)
	})
}

// lateSpan is an inner driver whose statement takes its time whatever its caller does, and
// whose result, as an asynchronous one of gosnowflake's, waits for somebody to ask for it.
type lateSpan struct{ asked chan struct{} }

func (d lateSpan) Connect(context.Context) (driver.Conn, error) { return d, nil }
func (d lateSpan) Driver() driver.Driver                        { return nil }
func (d lateSpan) Prepare(string) (driver.Stmt, error)          { return nil, errors.New("no") }
func (d lateSpan) Close() error                                 { return nil }
func (d lateSpan) Begin() (driver.Tx, error)                    { return nil, errors.New("no") }
func (d lateSpan) LastInsertId() (int64, error)                 { return 0, nil }
func (d lateSpan) RowsAffected() (int64, error)                 { close(d.asked); return 0, nil }
func (d lateSpan) ExecContext(context.Context, string, []driver.NamedValue) (driver.Result, error) {
	time.Sleep(time.Minute)
	return d, nil
}

// TestResultThatNobodyTakesIsTaken: its caller has left, and gosnowflake would wait for
// ever.
func TestResultThatNobodyTakesIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := lateSpan{make(chan struct{})}
		c, err := snowtether.WrapConnector(inner)
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(c)
		defer db.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := db.ExecContext(ctx, row(1)); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		<-inner.asked
	})
}
