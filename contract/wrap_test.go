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
	"time"

	"github.com/DATA-DOG/go-sqlmock"
	"github.com/snowflakedb/gosnowflake/v2"
	"github.com/snowflakedb/gosnowflake/v2/arrowbatches"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// mocks is a connector that opens one go-sqlmock connection after the other.
type mocks struct {
	pings  bool // are expected too
	driver driver.Driver
	names  []string
	opened int
}

func (m *mocks) Driver() driver.Driver { return m.driver }

func (m *mocks) Connect(context.Context) (driver.Conn, error) {
	if m.opened == len(m.names) {
		return nil, errors.New("no more mocks")
	}
	m.opened++
	return m.driver.Open(m.names[m.opened-1])
}

var mocked atomic.Int64

func (m *mocks) add(t testing.TB, name string) sqlmock.Sqlmock {
	t.Helper()
	name = fmt.Sprint(t.Name(), "/", name, "/", mocked.Add(1)) // with -count too each is another
	db, mock, err := sqlmock.NewWithDSN(name, sqlmock.MonitorPingsOption(m.pings))
	if err != nil {
		t.Fatal(err)
	}
	m.driver, m.names = db.Driver(), append(m.names, name)
	return mock
}

// TestWrappedConnectionWhoseTokenExpiredIsReplaced: whatever driver it is.
func TestWrappedConnectionWhoseTokenExpiredIsReplaced(t *testing.T) {
	var inner mocks
	first, second := inner.add(t, "first"), inner.add(t, "second")
	first.ExpectExec("INSERT").WillReturnError(errors.New("390114: Authentication token has expired.  The user must authenticate again."))
	first.ExpectClose()
	second.ExpectExec("INSERT").WillReturnResult(sqlmock.NewResult(0, 1))
	second.ExpectQuery("SELECT").WillReturnRows(sqlmock.NewRows([]string{"N"}).AddRow(7))
	second.ExpectBegin()
	second.ExpectCommit()
	second.ExpectClose()

	c, err := snowtether.WrapConnector(&inner, quiet)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(c)
	if _, err := db.ExecContext(t.Context(), insert); err != nil {
		t.Errorf("Exec: %v", err)
	}
	var n int
	if err := db.QueryRowContext(t.Context(), "SELECT 7").Scan(&n); err != nil || n != 7 {
		t.Errorf("Query: %d, %v", n, err)
	}
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if err := errors.Join(first.ExpectationsWereMet(), second.ExpectationsWereMet()); err != nil {
		t.Error(err)
	}
	if inner.opened != 2 {
		t.Errorf("dialled %d times, want 2", inner.opened)
	}
}

// bare is the least that a driver may be: no contexts, no interfaces beyond
// driver.Conn.
type bare struct{ log *[]string }

func (b bare) note(s string) { *b.log = append(*b.log, s) }

func (b bare) Connect(context.Context) (driver.Conn, error) { return b, nil }
func (b bare) Driver() driver.Driver                        { return nil }
func (b bare) Close() error                                 { b.note("close"); return nil }
func (b bare) Begin() (driver.Tx, error)                    { b.note("begin"); return b, nil }
func (b bare) Commit() error                                { b.note("commit"); return nil }
func (b bare) Rollback() error                              { b.note("rollback"); return nil }
func (b bare) Prepare(query string) (driver.Stmt, error)    { return bareStmt{b, query}, nil }

type bareStmt struct {
	bare
	query string
}

func (s bareStmt) Close() error  { return nil }
func (s bareStmt) NumInput() int { return -1 }

func (s bareStmt) Exec([]driver.Value) (driver.Result, error) {
	s.note(s.query)
	return driver.RowsAffected(1), nil
}

func (s bareStmt) Query([]driver.Value) (driver.Rows, error) {
	return nil, errors.New("no queries here")
}

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

// TestWrappedGosnowflakeIsAsSafe: a connector of gosnowflake's own, as tracing
// wrappers make one.
func TestWrappedGosnowflakeIsAsSafe(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		c, err := snowtether.WrapConnector(gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *srv.Config()), quiet)
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(c)
		if _, err := db.ExecContext(t.Context(), row(1)); err != nil {
			t.Fatal(err)
		}
		srv.EndSessions(ways[1].End)
		if _, err := db.ExecContext(t.Context(), row(2)); err != nil {
			t.Errorf("after a clean loss: %v", err)
		}
		once(srv, row(3), snowtest.Fault{Run: true, Drop: true, After: func() { srv.AbortSessions() }})
		_, err = db.ExecContext(t.Context(), row(3))
		inDoubt(t, srv, row(3), err, 1)
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
}

type arrowQueryer interface {
	QueryArrowStream(context.Context, string, ...driver.NamedValue) (gosnowflake.ArrowStreamLoader, error)
}

// TestArrowBatchesBehaveAsOnABareConnection: the rows are gosnowflake's own, so
// its arrowbatches package finds in them what it needs, or fails alike.
func TestArrowBatchesBehaveAsOnABareConnection(t *testing.T) {
	srv := snowtest.New(t)
	db := pool(t, srv, 1)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	batches := func(dc driver.Conn) (int, error) {
		rows, err := dc.(driver.QueryerContext).QueryContext(arrowbatches.WithArrowBatches(t.Context()), "SELECT 1", nil)
		if err != nil {
			return 0, err
		}
		defer rows.Close()
		b, err := arrowbatches.GetArrowBatches(rows.(gosnowflake.SnowflakeRows))
		return len(b), err
	}
	err = conn.Raw(func(dc any) error {
		n, err := batches(dc.(driver.Conn))
		bareN, bareErr := batches(dc.(interface{ Raw() driver.Conn }).Raw())
		if n != bareN || number(err) != number(bareErr) {
			t.Errorf("got %d batches and %v, bare %d and %v", n, err, bareN, bareErr)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func number(err error) int {
	var se *gosnowflake.SnowflakeError
	if errors.As(err, &se) {
		return se.Number
	}
	return 0
}

// TestBadConnectionOfTheInnerDriverIsALostSession: in a transaction it must not reach
// database/sql, which would run the statement outside of it.
func TestBadConnectionOfTheInnerDriverIsALostSession(t *testing.T) {
	var inner mocks
	first, second := inner.add(t, "first"), inner.add(t, "second")
	first.ExpectBegin()
	first.ExpectExec("INSERT").WillReturnError(driver.ErrBadConn)
	first.ExpectClose()
	second.ExpectExec("INSERT").WillReturnResult(sqlmock.NewResult(0, 1))
	second.ExpectClose()
	c, err := snowtether.WrapConnector(&inner, quiet)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(c)
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tx.ExecContext(t.Context(), insert)
	lostInTx(t, err)
	if err := tx.Rollback(); err != nil {
		t.Errorf("Rollback: %v", err)
	}
	if _, err := db.ExecContext(t.Context(), insert); err != nil {
		t.Error(err)
	}
	if err := errors.Join(db.Close(), first.ExpectationsWereMet(), second.ExpectationsWereMet()); err != nil {
		t.Error(err)
	}
}

// TestWrappedReadThatFailsOnTheNetworkIsNotTriedAgain: whether and when it is worth
// it, the inner driver knows.
func TestWrappedReadThatFailsOnTheNetworkIsNotTriedAgain(t *testing.T) {
	var inner mocks
	mock := inner.add(t, "only")
	mock.ExpectQuery("SELECT").WillReturnError(io.ErrUnexpectedEOF)
	mock.ExpectClose()
	c, err := snowtether.WrapConnector(&inner, quiet)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(c)
	if err := db.QueryRowContext(t.Context(), "SELECT 7").Scan(new(int)); !errors.Is(err, io.ErrUnexpectedEOF) || snowtether.Classify(err) != snowtether.ClassTransient {
		t.Errorf("error is %v", err)
	}
	if err := errors.Join(db.Close(), mock.ExpectationsWereMet()); err != nil {
		t.Error(err)
	}
}
