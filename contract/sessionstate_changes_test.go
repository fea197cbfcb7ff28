package contract_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/testpool"
	"github.com/snowtether/snowtether/snowtest"
)

// Session state (docs/guarantees.md): which statements change their session, when that has
// happened, and when it has not; and the set-up of each session after its login (WithSessionInit).

// TestReadBeforeAChangeOfItsSessionIsNotRunAgain: a text whose later part changes what
// its earlier part reads is not repeatable.
func TestReadBeforeAChangeOfItsSessionIsNotRunAgain(t *testing.T) {
	for _, query := range []string{
		"SELECT CURRENT_ROLE(); USE ROLE other",
		"SELECT * FROM t; USE SCHEMA other",
		"SELECT $x; SET x = 2",
		"SELECT * FROM t; CREATE OR REPLACE TEMPORARY TABLE t AS SELECT 1",
	} {
		t.Run(query, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				n := 0
				srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
					if r.Kind == snowtest.RequestQuery && r.SQL == query {
						n++
						return snowtest.Fault{Run: true, Status: 200, Body: "<html>"}, n == 1
					}
					return snowtest.Fault{}, false
				})
				err := drain(db.QueryContext(gosnowflake.WithMultiStatement(t.Context(), 2), query))
				if a := srv.Accepted(query); err == nil && a != 1 {
					t.Errorf("ran %d times, and nil: the second run reads what the first has changed", a)
				}
			})
		})
	}
}

// TestChangeOfTheSessionIsRunAgainOnANewOne: its reply is lost and then its session, and
// nothing that was set before went with it.
func TestChangeOfTheSessionIsRunAgainOnANewOne(t *testing.T) {
	for _, query := range []string{"USE ROLE other", "ALTER SESSION SET TIMEZONE = 'UTC'", "SET x = 1", "CREATE TEMPORARY TABLE IF NOT EXISTS x (n INT)"} {
		t.Run(query, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				conn := pin(t, pool(t, srv, 1))
				runAndLose(srv, query)
				if _, err := conn.ExecContext(t.Context(), query); err != nil {
					t.Errorf("%v", err)
				}
			})
		})
	}
}

// TestFetchByIDChangesNothing: a fetch runs nothing, and so changes no session.
func TestFetchByIDChangesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		conn := pin(t, pool(t, srv, 1))
		mustExec(t, conn, "SELECT 5")
		id := srv.Ledger()[len(srv.Ledger())-1].QueryID
		if err := drain(conn.QueryContext(gosnowflake.WithFetchResultByID(t.Context(), id), "CALL p()")); err != nil {
			t.Fatal(err)
		}
		srv.AbortSessions()
		if err := drain(conn.QueryContext(t.Context(), "SELECT 6")); err != nil {
			t.Errorf("nothing was lost: %v", err)
		}
	})
}

// countedConn counts the calls that are in an inner connection at a time.

type countedConnector struct {
	driver.Connector
	most *atomic.Int32
}

func (c countedConnector) Connect(ctx context.Context) (driver.Conn, error) {
	inner, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &countedConn{Conn: inner, most: c.most}, nil
}

type countedConn struct {
	driver.Conn
	now  atomic.Int32
	most *atomic.Int32
}

func (c *countedConn) enter() func() {
	n := c.now.Add(1)
	if n > c.most.Load() {
		c.most.Store(n)
	}
	return func() { c.now.Add(-1) }
}

func (c *countedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	defer c.enter()()
	rows, err := c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
	if err != nil && ctx.Err() != nil {
		time.Sleep(time.Second) // as gosnowflake, while it cancels
	}
	return rows, err
}

func (c *countedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	defer c.enter()()
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
}

func (c *countedConn) Ping(ctx context.Context) error {
	defer c.enter()()
	return c.Conn.(driver.Pinger).Ping(ctx)
}

// TestFetchThatIsLeftBehindIsLeftAlone: the caller of a fetch by ID leaves; the fetch
// goes on in the inner connection. ask() takes the context's error for one that hides the
// session's state and probes, on the same inner connection, at the same time: two
// goroutines in one gosnowflake connection, and the probe's "busy" hides the fetch's.
// Right: no question where the try was left behind or the context has ended.
func TestFetchThatIsLeftBehindIsLeftAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var most atomic.Int32
		inner := countedConnector{gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *srv.Config()), &most}
		db := testpool.OpenConnector(t, wrapped(t, inner), 1)
		mustExec(t, db, "SELECT 7")
		id := srv.Ledger()[0].QueryID
		srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
			return snowtest.Fault{Delay: time.Minute}, r.Kind == snowtest.RequestResult || r.Kind == snowtest.RequestMonitor
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := drain(db.QueryContext(gosnowflake.WithFetchResultByID(ctx, id), "SELECT 7"))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Logf("fetch: %v", err)
		}
		time.Sleep(time.Minute)
		if n := most.Load(); n > 1 {
			t.Errorf("%d calls were in one inner connection at a time", n)
		}
	}, snowtest.AllowOpenSessions())
}

// TestDescribedStatementChangesNothing: what is only described has changed nothing.
func TestDescribedStatementChangesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		conn := pin(t, db)
		mustExec(t, conn, "BEGIN", row(1))
		if _, err := conn.ExecContext(gosnowflake.WithDescribeOnly(t.Context()), "ROLLBACK"); err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		nextUser(t, srv, db)
	})
}

// TestCallerOfAChangeThatWasLostHearsOfItsEnd: a caller who waits for the query ID hears
// of the end, as from gosnowflake.
func TestCallerOfAChangeThatWasLostHearsOfItsEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		const query = "USE ROLE other"
		conn := pin(t, pool(t, srv, 1))
		runAndLose(srv, query)
		ids := make(chan string, 1)
		_, err := conn.ExecContext(gosnowflake.WithQueryIDChan(t.Context(), ids), query)
		select {
		case <-ids:
		case <-time.After(time.Hour):
			t.Errorf("nothing on the channel for an hour after %v", err)
		}
	})
}

// TestRefusedChangeOfTheSessionIsNone: a statement that Snowflake refused with an error
// of its own has changed nothing.
func TestRefusedChangeOfTheSessionIsNone(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		conn := pin(t, pool(t, srv, 1))
		srv.Handle("^USE ROLE nope", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
			return nil, &snowtest.Error{Code: "002003", SQLState: "02000", Message: "Role 'NOPE' does not exist or not authorized."}
		})
		if _, err := conn.ExecContext(t.Context(), "USE ROLE nope"); err == nil {
			t.Fatal("used")
		}
		srv.AbortSessions()
		if _, err := conn.ExecContext(t.Context(), "SELECT 2"); err != nil {
			t.Errorf("nothing was lost: %v", err)
		}
	})
}

// TestVariableThatEverySessionHasIsNotLost: every session has what WithSessionInit sets.
// A read that uses such a variable and finds its session dead is ErrSessionLost, although
// the next session has the variable and nothing was lost: a pool whose statements use
// $tenant loses one statement for each session. Right: only what this holder has set
// (c.mine has LossVariables) can be lost; asking for a variable is no state by itself.
func TestVariableThatEverySessionHasIsNotLost(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1, snowtether.WithSessionInit("SET tenant = 5"))
		srv.AbortSessions()
		if err := drain(db.QueryContext(t.Context(), "SELECT n FROM t WHERE tenant = $tenant")); err != nil {
			t.Error(err)
		}
		srv.AbortSessions()
		if _, err := db.ExecContext(t.Context(), "INSERT INTO t SELECT $tenant, 1"); err != nil {
			t.Error(err)
		}
	})
}

// TestChannelOfAStatementThatIsNotSentIsClosed: a statement that fails before
// it is sent (state was lost, its transaction is over) leaves the caller's query-ID
// channel open for ever; one that fails after it was sent closes it. Whoever waits on it
// hangs. Right: do tells the channel whatever it returns.
func TestChannelOfAStatementThatIsNotSentIsClosed(t *testing.T) {
	for _, sent := range []bool{true, false} {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			conn := pin(t, pool(t, srv, 1))
			mustExec(t, conn, "BEGIN", row(1))
			srv.AbortSessions()
			if !sent {
				_, err := conn.ExecContext(t.Context(), row(2))
				isLost(t, err, true)
			}
			ch := make(chan string, 1)
			_, err := conn.ExecContext(gosnowflake.WithQueryIDChan(t.Context(), ch), row(3))
			isLost(t, err, true)
			select {
			case id, open := <-ch:
				t.Logf("sent %v: %q, %v", sent, id, open)
			case <-time.After(time.Minute):
				t.Errorf("sent %v: nothing came out of the channel", sent)
			}
		})
	}
}

// TestTemporaryTableThatIsGoneIsMadeAgain: nothing of it has lasted.
func TestTemporaryTableThatIsGoneIsMadeAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		conn := pin(t, pool(t, srv, 1))
		const query = "CREATE TEMPORARY TABLE stage (n INT)"
		runAndLose(srv, query)
		mustExec(t, conn, query)
	}, snowtest.AllowRepeats())
}

// TestSessionIsSetUpAfterEveryLogin: also after one in the place of a lost
// session, before its first use.
func TestSessionIsSetUpAfterEveryLogin(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var hooks atomic.Int64
		db, _ := connect(t, srv.Config(),
			snowtether.WithSessionInit("ALTER SESSION SET QUERY_TAG = 'a'", "USE ROLE r"),
			snowtether.WithAfterConnect(func(ctx context.Context, c driver.Conn) error {
				hooks.Add(1)
				_, err := c.(driver.ExecerContext).ExecContext(ctx, "USE WAREHOUSE w", nil)
				return err
			}))
		for i := range 3 {
			if _, err := db.ExecContext(t.Context(), row(i)); err != nil {
				t.Error(err)
			}
			srv.AbortSessions()
		}
		var order []string
		for _, e := range srv.Ledger() {
			order = append(order, e.SQL)
		}
		want := ""
		for i := range 3 {
			want += "ALTER SESSION SET QUERY_TAG = 'a'; USE ROLE r; USE WAREHOUSE w; " + row(i) + "; "
		}
		if got := strings.Join(order, "; ") + "; "; got != want || hooks.Load() != 3 {
			t.Errorf("%d hooks, statements\n%s, want\n%s", hooks.Load(), got, want)
		}
	})
}

// TestFailedSetUpClosesTheSession: and is reported as what it is.
func TestFailedSetUpClosesTheSession(t *testing.T) {
	for name, opt := range map[string]snowtether.Option{
		"statement 2 of WithSessionInit": snowtether.WithSessionInit("SELECT 1", "USE ROLE missing"),
		"hook after the login":           snowtether.WithAfterConnect(func(context.Context, driver.Conn) error { return errors.New("no such role") }),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				srv.Handle("^USE", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
					return nil, &snowtest.Error{Code: "002043", SQLState: "02000", Message: "no such role"}
				})
				db, c := connect(t, srv.Config(), opt)
				err := db.PingContext(t.Context())
				if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "no such role") {
					t.Errorf("error is %v", err)
				}
				synctest.Wait()
				if n := len(srv.Sessions()); n != 0 || c.Stats().Open != 0 {
					t.Errorf("%d sessions left", n)
				}
				if srv.Stats().Logins != 1 {
					t.Errorf("%d logins", srv.Stats().Logins)
				}
			})
		})
	}
}

// TestSessionLostDuringSetUpIsTransient: the login is simply repeated.
func TestSessionLostDuringSetUpIsTransient(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		once(srv, "USE ROLE r", snowtest.Fault{Code: "390111", Message: "Session gone."})
		db, _ := connect(t, srv.Config(), snowtether.WithSessionInit("USE ROLE r"))
		if err := db.PingContext(t.Context()); err != nil {
			t.Error(err)
		}
	}, snowtest.AllowOpenSessions())
}

// TestHookMaySetTheParametersAnew: and no option of the connector, which it could
// not change any more, nor one without a value.
func TestHookMaySetTheParametersAnew(t *testing.T) {
	tag, on := "t", "true"
	for name, tt := range map[string]struct {
		params map[string]*string
		want   string
	}{
		"nothing":          {nil, ""},
		"one":              {map[string]*string{"QUERY_TAG": &tag}, ""},
		"without a value":  {map[string]*string{"QUERY_TAG": nil}, "QUERY_TAG"},
		"of the connector": {map[string]*string{"tetherResume": &on}, "tetherResume"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db, _ := connect(t, srv.Config(), snowtether.WithBeforeConnect(func(_ context.Context, cfg *gosnowflake.Config) error {
					cfg.Params = tt.params
					return nil
				}))
				err := db.PingContext(t.Context())
				if (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error is %v, want %q", err, tt.want)
				}
			})
		})
	}
}
