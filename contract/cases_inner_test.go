package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"io"
	"testing"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/testpool"
	"github.com/snowtether/snowtether/snowtest"
)

// caseTracer is an inner driver around gosnowflake, as those for tracing are: it adds to
// each context and hides all that database/sql does not know.
type caseTracer struct{ driver.Connector }

type caseSpan struct{}

func (c caseTracer) Connect(ctx context.Context) (driver.Conn, error) {
	inner, err := c.Connector.Connect(caseTrace(ctx))
	if err != nil {
		return nil, err
	}
	return caseTracedConn{inner}, nil
}

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

func caseWrap(t *testing.T, inner driver.Connector) driver.Connector {
	t.Helper()
	c, err := snowtether.WrapConnector(inner, caseLog(io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	return c
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
