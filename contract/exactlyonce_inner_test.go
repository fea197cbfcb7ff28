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
		inDoubt(t, srv, row(3), err, 1)
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
}

// caseTracer is an inner driver around gosnowflake, as those for tracing are: it adds to
// each context and hides all that database/sql does not know.
type caseTracer struct{ driver.Connector }

func (c caseTracer) Connect(ctx context.Context) (driver.Conn, error) {
	inner, err := c.Connector.Connect(caseTrace(ctx))
	if err != nil {
		return nil, err
	}
	return caseTracedConn{inner}, nil
}

type caseSpan struct{}

func caseTrace(ctx context.Context) context.Context {
	return context.WithValue(ctx, caseSpan{}, "span")
}

type caseTracedConn struct{ driver.Conn }

func (c caseTracedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return c.Conn.(driver.ExecerContext).ExecContext(caseTrace(ctx), query, args)
}

func (c caseTracedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return c.Conn.(driver.QueryerContext).QueryContext(caseTrace(ctx), query, args)
}

func (c caseTracedConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	return c.Conn.(driver.ConnBeginTx).BeginTx(caseTrace(ctx), opts)
}

func (c caseTracedConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	stmt, err := c.Conn.(driver.ConnPrepareContext).PrepareContext(caseTrace(ctx), query)
	if err != nil {
		return nil, err
	}
	return caseTracedStmt{stmt}, nil
}

func (c caseTracedConn) Ping(ctx context.Context) error {
	return c.Conn.(driver.Pinger).Ping(caseTrace(ctx))
}

func (c caseTracedConn) CheckNamedValue(nv *driver.NamedValue) error {
	return c.Conn.(driver.NamedValueChecker).CheckNamedValue(nv)
}

type caseTracedStmt struct{ driver.Stmt }

func (s caseTracedStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return s.Stmt.(driver.StmtExecContext).ExecContext(caseTrace(ctx), args)
}

func (s caseTracedStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.Stmt.(driver.StmtQueryContext).QueryContext(caseTrace(ctx), args)
}

// caseInners are the ways in which gosnowflake stands under a pool.
var caseInners = []struct {
	name string
	open func(t *testing.T, cfg *gosnowflake.Config) driver.Connector
}{
	{"NewConnector", func(t *testing.T, cfg *gosnowflake.Config) driver.Connector {
		c, err := snowtether.NewConnector(cfg, caseLog(io.Discard))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}},
	{"WrapConnector", func(t *testing.T, cfg *gosnowflake.Config) driver.Connector {
		return caseWrap(t, gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *cfg))
	}},
	{"WrapConnector around a tracer", func(t *testing.T, cfg *gosnowflake.Config) driver.Connector {
		return caseWrap(t, caseTracer{gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *cfg)})
	}},
}

// TestProofIsAsGoodThroughAnInnerDriver: a refusal is a refusal, and a lost reply a doubt.
func TestProofIsAsGoodThroughAnInnerDriver(t *testing.T) {
	for _, inner := range caseInners {
		for _, way := range caseWays {
			for _, use := range caseUses {
				t.Run(inner.name+"/"+way.name+"/"+use.name, func(t *testing.T) {
					inBubble(t, func(t *testing.T, srv *snowtest.Server) {
						db := testpool.OpenConnector(t, inner.open(t, srv.Config()), 1)
						srv.EndSessions(way.end)
						if err := use.run(t.Context(), db, caseRow(1)); err != nil {
							t.Errorf("refused: %v", err)
						}
						caseSum(t, srv, caseRow(1), 1, 1)
						caseOnce(srv, caseRow(2), snowtest.Fault{Run: true, Drop: true, After: func() { srv.EndSessions(way.end) }})
						caseDoubt(t, use.run(t.Context(), db, caseRow(2)), false)
						caseSum(t, srv, caseRow(2), 1, 1)
						caseNextUser(t, srv, db)
					}, snowtest.AllowOpenSessions())
				})
			}
		}
	}
}

// TestTransactionsAreAsSafeThroughAnInnerDriver: COMMIT finds none, or no session.
func TestTransactionsAreAsSafeThroughAnInnerDriver(t *testing.T) {
	for _, inner := range caseInners {
		t.Run(inner.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := testpool.OpenConnector(t, inner.open(t, srv.Config()), 1)
				tx := caseBegin(t, db)
				caseExec(t, tx, caseRow(1))
				srv.AbortTransactions()
				caseDoubt(t, tx.Commit(), true)
				tx = caseBegin(t, db)
				caseExec(t, tx, caseRow(2))
				srv.AbortSessions()
				caseLost(t, tx.Commit(), true)
				err := snowtether.RunTx(t.Context(), caseBeginner(db), func(tx *sql.Tx) error {
					caseExec(t, tx, caseRow(3))
					return nil
				})
				if err != nil {
					t.Error(err)
				}
				caseSum(t, srv, caseRow(1), 1, 0)
				caseSum(t, srv, caseRow(2), 1, 0)
				caseSum(t, srv, caseRow(3), 1, 1)
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
