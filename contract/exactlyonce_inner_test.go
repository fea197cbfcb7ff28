package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"

	"github.com/DATA-DOG/go-sqlmock"
	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/testpool"
	"github.com/snowtether/snowtether/snowtest"
)

// Exactly once (docs/guarantees.md): a gosnowflake inside WrapConnector, bare or behind a wrapper
// that passes contexts on, is as safe. A mock that sends nothing is believed.

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
		ranInDoubt(t, srv, row(3), err, 1)
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
}

// tracedConnector is an inner driver around gosnowflake, as those for tracing are: it adds to
// each context and hides all that database/sql does not know.
type tracedConnector struct{ driver.Connector }

func (c tracedConnector) Connect(ctx context.Context) (driver.Conn, error) {
	inner, err := c.Connector.Connect(withSpan(ctx))
	if err != nil {
		return nil, err
	}
	return tracedConn{inner}, nil
}

type spanKey struct{}

func withSpan(ctx context.Context) context.Context {
	return context.WithValue(ctx, spanKey{}, "span")
}

type tracedConn struct{ driver.Conn }

func (c tracedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return c.Conn.(driver.ExecerContext).ExecContext(withSpan(ctx), query, args)
}

func (c tracedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return c.Conn.(driver.QueryerContext).QueryContext(withSpan(ctx), query, args)
}

func (c tracedConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	return c.Conn.(driver.ConnBeginTx).BeginTx(withSpan(ctx), opts)
}

func (c tracedConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	stmt, err := c.Conn.(driver.ConnPrepareContext).PrepareContext(withSpan(ctx), query)
	if err != nil {
		return nil, err
	}
	return tracedStmt{stmt}, nil
}

func (c tracedConn) Ping(ctx context.Context) error {
	return c.Conn.(driver.Pinger).Ping(withSpan(ctx))
}

func (c tracedConn) CheckNamedValue(nv *driver.NamedValue) error {
	return c.Conn.(driver.NamedValueChecker).CheckNamedValue(nv)
}

type tracedStmt struct{ driver.Stmt }

func (s tracedStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return s.Stmt.(driver.StmtExecContext).ExecContext(withSpan(ctx), args)
}

func (s tracedStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.Stmt.(driver.StmtQueryContext).QueryContext(withSpan(ctx), args)
}

// inners are the ways in which gosnowflake stands under a pool.
var inners = []struct {
	name string
	open func(t *testing.T, cfg *gosnowflake.Config) driver.Connector
}{
	{"NewConnector", func(t *testing.T, cfg *gosnowflake.Config) driver.Connector {
		c, err := snowtether.NewConnector(cfg, logTo(io.Discard))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}},
	{"WrapConnector", func(t *testing.T, cfg *gosnowflake.Config) driver.Connector {
		return wrapped(t, gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *cfg))
	}},
	{"WrapConnector around a tracer", func(t *testing.T, cfg *gosnowflake.Config) driver.Connector {
		return wrapped(t, tracedConnector{gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *cfg)})
	}},
}

// TestProofIsAsGoodThroughAnInnerDriver: a refusal is a refusal, and a lost reply a doubt.
func TestProofIsAsGoodThroughAnInnerDriver(t *testing.T) {
	for _, inner := range inners {
		for _, way := range endings {
			for _, use := range forms {
				t.Run(inner.name+"/"+way.name+"/"+use.name, func(t *testing.T) {
					inBubble(t, func(t *testing.T, srv *snowtest.Server) {
						db := testpool.OpenConnector(t, inner.open(t, srv.Config()), 1)
						srv.EndSessions(way.end)
						if err := use.run(t.Context(), db, row(1)); err != nil {
							t.Errorf("refused: %v", err)
						}
						checkRan(t, srv, row(1), 1, 1)
						once(srv, row(2), snowtest.Fault{Run: true, Drop: true, After: func() { srv.EndSessions(way.end) }})
						isInDoubt(t, use.run(t.Context(), db, row(2)), false)
						checkRan(t, srv, row(2), 1, 1)
						nextUser(t, srv, db)
					}, snowtest.AllowOpenSessions())
				})
			}
		}
	}
}

// TestTransactionsAreAsSafeThroughAnInnerDriver: COMMIT finds none, or no session.
func TestTransactionsAreAsSafeThroughAnInnerDriver(t *testing.T) {
	for _, inner := range inners {
		t.Run(inner.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := testpool.OpenConnector(t, inner.open(t, srv.Config()), 1)
				tx := mustBegin(t, db)
				mustExec(t, tx, row(1))
				srv.AbortTransactions()
				isInDoubt(t, tx.Commit(), true)
				tx = mustBegin(t, db)
				mustExec(t, tx, row(2))
				srv.AbortSessions()
				isLost(t, tx.Commit(), true)
				err := snowtether.RunTx(t.Context(), begin(db), func(tx *sql.Tx) error {
					mustExec(t, tx, row(3))
					return nil
				})
				if err != nil {
					t.Error(err)
				}
				checkRan(t, srv, row(1), 1, 0)
				checkRan(t, srv, row(2), 1, 0)
				checkRan(t, srv, row(3), 1, 1)
			}, snowtest.AllowOpenSessions())
		})
	}
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
	isLost(t, err, true)
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

// TestMockIsAskedNothing: of the driver's own, behind a script or a CALL. It has a list of
// what it expects.
func TestMockIsAskedNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := &expecting{}
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

// expecting is a mock that writes down what it is asked.
type expecting struct{ got []string }

func (e *expecting) Connect(context.Context) (driver.Conn, error) { return e, nil }
func (e *expecting) Driver() driver.Driver                        { return nil }
func (e *expecting) Prepare(string) (driver.Stmt, error)          { return nil, errors.New("no") }
func (e *expecting) Close() error                                 { return nil }
func (e *expecting) Begin() (driver.Tx, error)                    { return nil, errors.New("no") }
func (e *expecting) ExecContext(_ context.Context, query string, _ []driver.NamedValue) (driver.Result, error) {
	e.got = append(e.got, query)
	return driver.ResultNoRows, nil
}
