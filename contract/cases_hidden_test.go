package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
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
				caseBubble(t, func(t *testing.T, srv *snowtest.Server) {
					c, err := snowtether.WrapConnector(wrap(gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *srv.Config())), caseLog(srv.Log()))
					if err != nil {
						t.Fatal(err)
					}
					db := caseOpen(t, c, 1)
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
