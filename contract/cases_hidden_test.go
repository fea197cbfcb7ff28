package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/testpool"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about inner drivers that hide from the context what they do: what is not
// seen is not proven. And about their connections, which are one goroutine's at a time.

// caseGuarded is an inner driver that notices when one connection is used by two.
type caseGuarded struct {
	dead  atomic.Bool
	races *atomic.Int32
}

func (d *caseGuarded) Connect(context.Context) (driver.Conn, error) {
	return &caseGuardedConn{d: d}, nil
}

func (d *caseGuarded) Driver() driver.Driver { return nil }

type caseGuardedConn struct {
	d    *caseGuarded
	busy atomic.Int32
}

func (c *caseGuardedConn) use() func() {
	if c.busy.Add(1) > 1 {
		c.d.races.Add(1)
	}
	time.Sleep(time.Millisecond)
	return func() { c.busy.Add(-1) }
}

func (c *caseGuardedConn) Prepare(string) (driver.Stmt, error) {
	defer c.use()()
	return &caseGuardedStmt{c}, nil
}

func (c *caseGuardedConn) Close() error { defer c.use()(); return nil }

func (c *caseGuardedConn) Begin() (driver.Tx, error) { return nil, errors.New("no") }

type caseGuardedStmt struct{ c *caseGuardedConn }

func (s *caseGuardedStmt) Close() error { defer s.c.use()(); return nil }

func (s *caseGuardedStmt) NumInput() int { return -1 }

func (s *caseGuardedStmt) Exec([]driver.Value) (driver.Result, error) {
	defer s.c.use()()
	if s.c.d.dead.CompareAndSwap(true, false) {
		return nil, driver.ErrBadConn
	}
	return driver.ResultNoRows, nil
}

func (s *caseGuardedStmt) Query([]driver.Value) (driver.Rows, error) { return nil, fmt.Errorf("no") }

// TestInnerConnectionIsOneGoroutinesAtATime: database/sql promises a driver that a
// connection is used by one goroutine at a time.
func TestInnerConnectionIsOneGoroutinesAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := &caseGuarded{races: new(atomic.Int32)}
		c, err := snowtether.WrapConnector(inner)
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(c)
		defer db.Close()
		conn := casePin(t, db)
		stmt, err := conn.PrepareContext(t.Context(), "SELECT 1")
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			inner.dead.Store(true)
			if _, err := stmt.ExecContext(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		if n := inner.races.Load(); n > 0 {
			t.Errorf("a connection was used by two goroutines at a time, %d times", n)
		}
		_ = stmt.Close()
		_ = conn.Close()
	})
}

// caseOld is a wrapper from before contexts: it shows the login, and no statement.
type caseOld struct{ driver.Connector }

func (o caseOld) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := o.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return caseOldConn{c}, nil
}

type (
	caseOldConn struct{ c driver.Conn }
	caseOldStmt struct{ s driver.Stmt }
)

func (c caseOldConn) Prepare(query string) (driver.Stmt, error) {
	s, err := c.c.Prepare(query)
	if err != nil {
		return nil, err
	}
	return caseOldStmt{s}, nil
}

func (c caseOldConn) Close() error { return c.c.Close() }

//lint:ignore SA1019 it is old
func (c caseOldConn) Begin() (driver.Tx, error) { return c.c.Begin() }

func (s caseOldStmt) Close() error { return s.s.Close() }

func (s caseOldStmt) NumInput() int { return s.s.NumInput() }

func (s caseOldStmt) Exec(args []driver.Value) (driver.Result, error) {
	//lint:ignore SA1019 it is old
	return s.s.Exec(args)
}

func (s caseOldStmt) Query(args []driver.Value) (driver.Rows, error) {
	//lint:ignore SA1019 it is old
	return s.s.Query(args)
}

// caseDetached is a wrapper that sends statements with a context of its own.
type caseDetached struct{ driver.Connector }

func (d caseDetached) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := d.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return caseDetachedConn{c.(caseFull)}, nil
}

type caseFull interface {
	driver.Conn
	driver.ConnPrepareContext
	driver.ConnBeginTx
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.NamedValueChecker
}

type caseDetachedConn struct{ caseFull }

func (c caseDetachedConn) ExecContext(_ context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return c.caseFull.ExecContext(context.Background(), query, args)
}

// caseAlone is one that logs in with a context of its own, too.
type caseAlone struct{ driver.Connector }

func (a caseAlone) Connect(context.Context) (driver.Conn, error) {
	return a.Connector.Connect(context.Background())
}

// TestStatementHiddenByAWrapperIsInDoubt: the wrapper shows the login, or not, and hides
// the statements: what is not seen is not proven.
func TestStatementHiddenByAWrapperIsInDoubt(t *testing.T) {
	for name, wrap := range map[string]func(driver.Connector) driver.Connector{
		"without contexts":  func(c driver.Connector) driver.Connector { return caseOld{c} },
		"detached contexts": func(c driver.Connector) driver.Connector { return caseDetached{c} },
		"detached login":    func(c driver.Connector) driver.Connector { return caseDetached{caseAlone{c}} },
	} {
		for _, lost := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/session lost %v", name, lost), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					c, err := snowtether.WrapConnector(wrap(gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *srv.Config())), caseLog(srv.Log()))
					if err != nil {
						t.Fatal(err)
					}
					db := testpool.OpenConnector(t, c, 1)
					if lost {
						caseLose(srv, caseRow(1))
					} else {
						caseOnce(srv, caseRow(1), snowtest.Fault{Run: true, Body: "<html>"})
					}
					_, err = db.ExecContext(t.Context(), caseRow(1))
					if n := srv.Effects(caseRow(1)); n > 1 {
						t.Errorf("took effect %d times: %v", n, err)
					} else if !errors.Is(err, snowtether.ErrInDoubt) {
						t.Errorf("took effect %d times, and the error is not in doubt: %v", n, err)
					}
				}, snowtest.AllowOpenSessions())
			})
		}
	}
}

// caseLate is an inner driver whose statement takes its time whatever its caller does, and
// whose result, as an asynchronous one of gosnowflake's, waits for somebody to ask for it.
type caseLate struct{ asked chan struct{} }

func (d caseLate) Connect(context.Context) (driver.Conn, error) { return d, nil }
func (d caseLate) Driver() driver.Driver                        { return nil }
func (d caseLate) Prepare(string) (driver.Stmt, error)          { return nil, errors.New("no") }
func (d caseLate) Close() error                                 { return nil }
func (d caseLate) Begin() (driver.Tx, error)                    { return nil, errors.New("no") }
func (d caseLate) LastInsertId() (int64, error)                 { return 0, nil }
func (d caseLate) RowsAffected() (int64, error)                 { close(d.asked); return 0, nil }
func (d caseLate) ExecContext(context.Context, string, []driver.NamedValue) (driver.Result, error) {
	time.Sleep(time.Minute)
	return d, nil
}

// TestResultThatNobodyTakesIsTaken: its caller has left, and gosnowflake would wait for
// ever.
func TestResultThatNobodyTakesIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := caseLate{make(chan struct{})}
		c, err := snowtether.WrapConnector(inner)
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(c)
		defer db.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := db.ExecContext(ctx, caseRow(1)); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		<-inner.asked
	})
}

// caseCounted counts the calls that are in an inner connection at a time.

type caseCountedConnector struct {
	driver.Connector
	most *atomic.Int32
}

func (c caseCountedConnector) Connect(ctx context.Context) (driver.Conn, error) {
	inner, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &caseCounted{Conn: inner, most: c.most}, nil
}

type caseCounted struct {
	driver.Conn
	now  atomic.Int32
	most *atomic.Int32
}

func (c *caseCounted) enter() func() {
	n := c.now.Add(1)
	if n > c.most.Load() {
		c.most.Store(n)
	}
	return func() { c.now.Add(-1) }
}

func (c *caseCounted) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	defer c.enter()()
	rows, err := c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
	if err != nil && ctx.Err() != nil {
		time.Sleep(time.Second) // as gosnowflake, while it cancels
	}
	return rows, err
}

func (c *caseCounted) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	defer c.enter()()
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
}

func (c *caseCounted) Ping(ctx context.Context) error {
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
		inner := caseCountedConnector{gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *srv.Config()), &most}
		db := testpool.OpenConnector(t, caseWrap(t, inner), 1)
		caseExec(t, db, "SELECT 7")
		id := srv.Ledger()[0].QueryID
		srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
			return snowtest.Fault{Delay: time.Minute}, r.Kind == snowtest.RequestResult || r.Kind == snowtest.RequestMonitor
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := caseDrain(db.QueryContext(gosnowflake.WithFetchResultByID(ctx, id), "SELECT 7"))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Logf("fetch: %v", err)
		}
		time.Sleep(time.Minute)
		if n := most.Load(); n > 1 {
			t.Errorf("%d calls were in one inner connection at a time", n)
		}
	}, snowtest.AllowOpenSessions())
}

// caseVeiled passes the context of an Exec on, and not that of a query.
type caseVeiled struct{ driver.Connector }

type caseVeiledConn struct {
	caseFull
	gosnowflake.SnowflakeConnection
}

func (v caseVeiled) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := v.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return caseVeiledConn{c.(caseFull), c.(gosnowflake.SnowflakeConnection)}, nil
}

func (c caseVeiledConn) QueryContext(_ context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return c.caseFull.QueryContext(context.Background(), query, args)
}

// TestFetchRunsNothing: a statement that is carried over has its result fetched through an
// inner driver that drops the ID.
func TestFetchRunsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		const update = "UPDATE t SET n = n + 1"
		inner := caseVeiled{gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *srv.Config())}
		db := testpool.OpenConnector(t, caseWrap(t, inner), 1)
		slowly(srv, "^UPDATE", 2*time.Minute, caseCount(snowtest.KindUpdate, "updated", 1), nil)
		caseEndAt(srv, time.Minute)
		_, err := db.ExecContext(t.Context(), update)
		caseDoubt(t, err, false)
		time.Sleep(time.Hour)
		caseSum(t, srv, update, 1, 1)
	})
}

// TestAutocommitThatIsOffIsSeenThroughAWrapper: the server has told gosnowflake inside.
func TestAutocommitThatIsOffIsSeenThroughAWrapper(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		inner := caseVeiled{gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *srv.Config())}
		conn := casePin(t, testpool.OpenConnector(t, caseWrap(t, inner), 1))
		caseExec(t, conn, caseRow(1))
		srv.AbortSessions()
		_, err := conn.ExecContext(t.Context(), caseRow(2))
		caseLost(t, err, true)
		caseSum(t, srv, caseRow(2), 0, 0)
	}, snowtest.WithSessionParameter("AUTOCOMMIT", false))
}

// TestHookThatEndsItsGoroutineEndsNothingElse: neither the login nor Close waits for it.
func TestHookThatEndsItsGoroutineEndsNothingElse(t *testing.T) {
	srv := snowtest.New(t) // no bubble: what is left behind would be a deadlock in it
	var n atomic.Int32
	c, err := snowtether.NewConnector(srv.Config(), caseLog(io.Discard), snowtether.WithAfterConnect(func(context.Context, driver.Conn) error {
		if n.Add(1) == 1 {
			runtime.Goexit()
		}
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(c)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err = db.ExecContext(ctx, "SELECT 1"); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the error is %v", err)
	}
	if err := db.Close(); err != nil {
		t.Errorf("db.Close: %v", err)
	}
}

// TestMockIsAskedNothing: of the driver's own, behind a script or a CALL. It has a list of
// what it expects.
func TestMockIsAskedNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := &caseExpecting{}
		c, err := snowtether.WrapConnector(inner)
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(c)
		defer db.Close()
		texts := []string{"EXECUTE IMMEDIATE $$BEGIN RETURN 1; END$$", "INSERT INTO t VALUES (1)", "CALL p()", "SELECT 1", "DO SOMETHING", "COMMIT"}
		for _, text := range texts {
			if _, err := db.ExecContext(t.Context(), text); err != nil {
				t.Errorf("%s: %v", text, err)
			}
		}
		if got := fmt.Sprint(inner.got); got != fmt.Sprint(texts) {
			t.Errorf("asked %s, want %s", got, texts)
		}
	})
}

// caseExpecting is a mock that writes down what it is asked.
type caseExpecting struct{ got []string }

func (e *caseExpecting) Connect(context.Context) (driver.Conn, error) { return e, nil }
func (e *caseExpecting) Driver() driver.Driver                        { return nil }
func (e *caseExpecting) Prepare(string) (driver.Stmt, error)          { return nil, errors.New("no") }
func (e *caseExpecting) Close() error                                 { return nil }
func (e *caseExpecting) Begin() (driver.Tx, error)                    { return nil, errors.New("no") }
func (e *caseExpecting) ExecContext(_ context.Context, query string, _ []driver.NamedValue) (driver.Result, error) {
	e.got = append(e.got, query)
	return driver.ResultNoRows, nil
}
