package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/DATA-DOG/go-sqlmock"
	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// gosnowflake's own interfaces (docs/guarantees.md): inner connections that are not gosnowflake's
// own, or no more than a part of it, keep what they have.

// TestWrappedConnectionMayBeBare: what it lacks is made up for as database/sql
// would.
func TestWrappedConnectionMayBeBare(t *testing.T) {
	var log []string
	c, err := snowtether.WrapConnector(bare{&log}, quiet, snowtether.WithSessionInit("set up"))
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(c)
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), insert, 1); err != nil {
		t.Error(err)
	}
	if _, err := tx.ExecContext(t.Context(), insert, sql.Named("n", 1)); err == nil || !strings.Contains(err.Error(), `"n"`) {
		t.Errorf("named parameter: %v", err)
	}
	if err := errors.Join(tx.Commit(), db.PingContext(t.Context())); err != nil {
		t.Error(err)
	}
	for want, args := range map[string][]any{"no queries here": {1}, `"n"`: {sql.Named("n", 1)}} {
		if err := db.QueryRowContext(t.Context(), "SELECT 1", args...).Scan(new(int)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("query: %v, want %s", err, want)
		}
	}
	if _, err := db.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true}); err == nil {
		t.Error("a read-only transaction was begun")
	}
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = conn.Raw(func(dc any) error {
		c := dc.(interface {
			gosnowflake.SnowflakeConnection
			driver.ConnPrepareContext
			arrowQueryer
		})
		_, status := c.GetQueryStatus(t.Context(), "01b")
		_, stream := c.QueryArrowStream(t.Context(), "SELECT 1")
		for _, err := range []error{status, stream, c.AddTelemetryData(t.Context(), time.Now(), nil)} {
			if err == nil || !strings.Contains(err.Error(), "not gosnowflake") {
				t.Errorf("error is %v", err)
			}
		}
		stmt, err := c.PrepareContext(t.Context(), insert)
		if err != nil {
			return err
		}
		if id := stmt.(gosnowflake.SnowflakeStmt).GetQueryID(); id != "" {
			t.Errorf("a statement has query ID %q", id)
		}
		return stmt.Close()
	})
	if err != nil {
		t.Error(err)
	}
	if err := errors.Join(conn.Close(), db.Close()); err != nil {
		t.Error(err)
	}
	if got, want := strings.Join(log, ", "), "set up, begin, "+insert+", commit, close"; got != want {
		t.Errorf("the driver saw %q, want %q", got, want)
	}
}

type arrowQueryer interface {
	QueryArrowStream(context.Context, string, ...driver.NamedValue) (gosnowflake.ArrowStreamLoader, error)
}

// TestWrapConnectorRefusesWhatItCannotDo: options about the login belong to
// whoever makes the Config.
func TestWrapConnectorRefusesWhatItCannotDo(t *testing.T) {
	if _, err := snowtether.WrapConnector(nil); err == nil {
		t.Error("a nil connector was taken")
	}
	if _, err := snowtether.WrapConnector(bare{}, snowtether.WithMaxLogins(-1)); err == nil || !strings.Contains(err.Error(), "logins") {
		t.Errorf("WithMaxLogins(-1): %v", err)
	}
	if _, err := snowtether.WrapConnector(bare{}, snowtether.WithKeepAlive(true)); err == nil || !strings.Contains(err.Error(), "NewConnector") {
		t.Errorf("WithKeepAlive: %v", err)
	}
}

// A tracing wraps gosnowflake's connections in ones of its own, as tracing packages
// do.
type tracing struct{ driver.Connector }

func (c tracing) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return traced{
		conn, conn.(driver.ConnPrepareContext), conn.(driver.ConnBeginTx), conn.(driver.ExecerContext), conn.(driver.QueryerContext),
		conn.(driver.Pinger), conn.(driver.NamedValueChecker), conn.(gosnowflake.SnowflakeConnection),
	}, nil
}

// A traced connection has what database/sql/driver and gosnowflake name. What
// gosnowflake has beyond that is lost on the way.
type traced struct {
	driver.Conn
	driver.ConnPrepareContext
	driver.ConnBeginTx
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.NamedValueChecker
	gosnowflake.SnowflakeConnection
}

// TestTracedGosnowflakeKeepsWhatItHas: its Go types, its transactions, and accepted
// statements that outlive their session.
func TestTracedGosnowflakeKeepsWhatItHas(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		c, err := snowtether.WrapConnector(tracing{gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *srv.Config())}, quiet)
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(c)
		ctx := t.Context()
		srv.Handle("^SELECT", func(_ context.Context, st *snowtest.Statement) (*snowtest.Result, error) {
			return snowtest.Rows([]string{"N"}, []any{int64(len(st.Binds))}), nil
		})
		array, err := gosnowflake.Array(&[]int{1, 2}) // none of database/sql's types
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.ExecContext(ctx, "INSERT INTO t VALUES (?)", array); err != nil {
			t.Errorf("array: %v", err)
		}
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(tx.Commit(), db.PingContext(ctx)); err != nil {
			t.Error(err)
		}
		var n int
		if err := db.QueryRowContext(ctx, "SELECT ?", 7).Scan(&n); err != nil || n != 1 {
			t.Errorf("query: %d, %v", n, err)
		}
		stmt, err := db.PrepareContext(ctx, "SELECT ?, ?")
		if err != nil {
			t.Fatal(err)
		}
		if err := stmt.QueryRowContext(ctx, 7, 8).Scan(&n); err != nil || n != 2 {
			t.Errorf("prepared: %d, %v", n, err)
		}

		slowly(srv, "^UPDATE", 10*time.Minute, counted(snowtest.KindUpdate, "updated", 5), nil)
		endAt(srv, ways[1].End, time.Minute)
		res, err := db.ExecContext(ctx, "UPDATE t SET n = 1")
		if err != nil {
			t.Fatal(err)
		}
		if n, err := res.RowsAffected(); n != 5 || err != nil {
			t.Errorf("RowsAffected: %d, %v", n, err)
		}
		conn, err := db.Conn(ctx)
		if err != nil {
			t.Fatal(err)
		}
		err = conn.Raw(func(dc any) error {
			_, err := dc.(arrowQueryer).QueryArrowStream(ctx, "SELECT 1")
			if err == nil || !strings.Contains(err.Error(), "not gosnowflake") {
				t.Errorf("QueryArrowStream: %v", err)
			}
			return dc.(gosnowflake.SnowflakeConnection).AddTelemetryData(ctx, time.Now(), nil)
		})
		if err := errors.Join(err, conn.Close(), stmt.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
}

// TestSuspectWrappedConnectionIsPinged: once, and replaced if it is dead, before its
// next user has it.
func TestSuspectWrappedConnectionIsPinged(t *testing.T) {
	inner := &mocks{pings: true}
	expired := errors.New("390114: Authentication token has expired.")
	names := []string{"lost", "alive", "dead", "lost's successor", "dead's successor"}
	mock := make([]sqlmock.Sqlmock, len(names))
	for i, name := range names {
		mock[i] = inner.add(t, name)
	}
	mock[0].ExpectExec("INSERT").WillReturnError(expired)
	mock[1].ExpectPing()
	mock[1].ExpectExec("INSERT").WillReturnResult(sqlmock.NewResult(0, 1))
	mock[2].ExpectPing().WillReturnError(expired)
	mock[3].ExpectExec("INSERT").WillReturnResult(sqlmock.NewResult(0, 1))
	mock[4].ExpectExec("INSERT").WillReturnResult(sqlmock.NewResult(0, 1))
	for _, m := range mock {
		m.ExpectClose()
	}
	c, err := snowtether.WrapConnector(inner, quiet)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(c)
	db.SetMaxIdleConns(3)
	ctx := t.Context()
	conns := make([]*sql.Conn, 3)
	for i := range conns {
		if conns[i], err = db.Conn(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := conns[0].ExecContext(ctx, insert); err != nil {
		t.Error(err)
	}
	for _, i := range []int{2, 1} { // the pool hands out the last one first
		if err := conns[i].Close(); err != nil {
			t.Error(err)
		}
	}
	for range 2 {
		conn, err := db.Conn(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.ExecContext(ctx, insert); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(func() {
		if err := errors.Join(conns[0].Close(), db.Close()); err != nil {
			t.Error(err)
		}
		for i, m := range mock {
			if err := m.ExpectationsWereMet(); err != nil {
				t.Errorf("%s: %v", names[i], err)
			}
		}
	})
}

// guardedConnector is an inner driver that notices when one connection is used by two.
type guardedConnector struct {
	dead  atomic.Bool
	races *atomic.Int32
}

func (d *guardedConnector) Connect(context.Context) (driver.Conn, error) {
	return &guardedConn{d: d}, nil
}

func (d *guardedConnector) Driver() driver.Driver { return nil }

type guardedConn struct {
	d    *guardedConnector
	busy atomic.Int32
}

func (c *guardedConn) use() func() {
	if c.busy.Add(1) > 1 {
		c.d.races.Add(1)
	}
	time.Sleep(time.Millisecond)
	return func() { c.busy.Add(-1) }
}

func (c *guardedConn) Prepare(string) (driver.Stmt, error) {
	defer c.use()()
	return &guardedStmt{c}, nil
}

func (c *guardedConn) Close() error { defer c.use()(); return nil }

func (c *guardedConn) Begin() (driver.Tx, error) { return nil, errors.New("no") }

type guardedStmt struct{ c *guardedConn }

func (s *guardedStmt) Close() error { defer s.c.use()(); return nil }

func (s *guardedStmt) NumInput() int { return -1 }

func (s *guardedStmt) Exec([]driver.Value) (driver.Result, error) {
	defer s.c.use()()
	if s.c.d.dead.CompareAndSwap(true, false) {
		return nil, driver.ErrBadConn
	}
	return driver.ResultNoRows, nil
}

func (s *guardedStmt) Query([]driver.Value) (driver.Rows, error) { return nil, fmt.Errorf("no") }

// TestInnerConnectionIsOneGoroutinesAtATime: database/sql promises a driver that a
// connection is used by one goroutine at a time.
func TestInnerConnectionIsOneGoroutinesAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := &guardedConnector{races: new(atomic.Int32)}
		c, err := snowtether.WrapConnector(inner)
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(c)
		defer db.Close()
		conn := pin(t, db)
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

// late is a driver that goes on with a query when its caller has left, and then
// returns rows.
type late struct {
	bare
	closed chan struct{}
}

func (l late) Connect(context.Context) (driver.Conn, error) { return l, nil }

func (l late) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) {
	time.Sleep(time.Minute)
	return lateRows{l.closed}, nil
}

type lateRows struct{ closed chan struct{} }

func (r lateRows) Columns() []string         { return []string{"N"} }
func (r lateRows) Next([]driver.Value) error { return io.EOF }
func (r lateRows) Close() error              { close(r.closed); return nil }

// TestRowsThatNobodyWaitsForAreClosed: their caller has left.
func TestRowsThatNobodyWaitsForAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := late{bare{new([]string)}, make(chan struct{})}
		c, err := snowtether.WrapConnector(inner, quiet)
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(c)
		if err := db.QueryRowContext(within(t, time.Second), "SELECT 1").Scan(new(int)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v", err)
		}
		time.Sleep(time.Hour)
		select {
		case <-inner.closed:
		default:
			t.Error("the rows are open")
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestWrappedConnectionIsKeptHoweverLongItLies: nothing is known about its tokens.
func TestWrappedConnectionIsKeptHoweverLongItLies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log []string
		c, err := snowtether.WrapConnector(bare{&log}, quiet)
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(c)
		for range 2 {
			if _, err := db.ExecContext(t.Context(), insert); err != nil {
				t.Error(err)
			}
			time.Sleep(24 * time.Hour)
		}
		if n := c.Stats().Logins; n != 1 {
			t.Errorf("%d logins", n)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
}

// prompt is a driver that carries statements out without a request that anybody sees.
type prompt struct{ bare }

func (p prompt) Connect(context.Context) (driver.Conn, error) { return p, nil }

func (p prompt) ExecContext(context.Context, string, []driver.NamedValue) (driver.Result, error) {
	return driver.RowsAffected(1), nil
}

// TestWrappedSessionsThatServeAreNotPaced: also where no traffic shows that they do.
func TestWrappedSessionsThatServeAreNotPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := snowtether.WrapConnector(prompt{bare{new([]string)}}, quiet)
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(c)
		db.SetMaxIdleConns(0)
		begun := time.Now()
		for range 40 {
			if _, err := db.ExecContext(t.Context(), insert); err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}
		if took := time.Since(begun); took > 0 {
			t.Errorf("took %v", took)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
}
