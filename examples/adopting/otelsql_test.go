package adopting_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/XSAM/otelsql"
	"github.com/snowflakedb/gosnowflake/v2"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file measures both orders in which otelsql and snowtether can be stacked.

// around is otelsql around snowtether, the order that the guide recommends.
func around(cfg *gosnowflake.Config, otelOptions []otelsql.Option, options ...snowtether.Option) (*sql.DB, *snowtether.Connector, error) {
	connector, err := snowtether.NewConnector(cfg, options...)
	if err != nil {
		return nil, nil, err
	}
	db := otelsql.OpenDB(connector, otelOptions...) // was: sql.OpenDB(connector)
	return db, connector, nil
}

// within is snowtether around a traced gosnowflake.
func within(cfg *gosnowflake.Config, otelOptions []otelsql.Option, options ...snowtether.Option) (*sql.DB, *snowtether.Connector, error) {
	traced, err := otelsql.WrapDriver(configured{cfg}, otelOptions...).(driver.DriverContext).OpenConnector("")
	if err != nil {
		return nil, nil, err
	}
	connector, err := snowtether.WrapConnector(traced, options...)
	if err != nil {
		return nil, nil, err
	}
	return sql.OpenDB(connector), connector, nil
}

// configured is gosnowflake with a Config in place of a DSN.
type configured struct{ cfg *gosnowflake.Config }

func (c configured) Open(string) (driver.Conn, error) { return nil, errors.ErrUnsupported }

func (c configured) OpenConnector(string) (driver.Connector, error) {
	return gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *c.cfg), nil
}

type stack func(*gosnowflake.Config, []otelsql.Option, ...snowtether.Option) (*sql.DB, *snowtether.Connector, error)

// traced runs f on a pool of one connection with a trace around it and returns the
// spans that ended.
func traced(t *testing.T, srv *snowtest.Server, build stack, f func(ctx context.Context, db *sql.DB, c *snowtether.Connector)) tracetest.SpanStubs {
	t.Helper()
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	db, connector, err := build(srv.Config(), []otelsql.Option{otelsql.WithTracerProvider(provider)})
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	ctx, root := provider.Tracer("").Start(t.Context(), "caller")
	f(ctx, db, connector)
	root.End()
	ended := spans.GetSpans()
	if err := db.Close(); err != nil {
		t.Errorf("db.Close: %v", err)
	}
	if s := connector.Stats(); s.Open != 0 {
		t.Errorf("db.Close left %d sessions open: the connector was not closed", s.Open)
	}
	return ended
}

// named counts the spans with a name, and those of them that failed.
func named(spans tracetest.SpanStubs, name string) (n, failed int) {
	for _, s := range spans {
		if s.Name == name {
			n++
			if s.Status.Code == codes.Error {
				failed++
			}
		}
	}
	return n, failed
}

const insert = "INSERT INTO numbers VALUES (1)"

// TestSpansOfAStatementThatMetALostSession: one span around the whole of it, or one
// for each try.
func TestSpansOfAStatementThatMetALostSession(t *testing.T) {
	for name, tt := range map[string]struct {
		build         stack
		execs, failed int
	}{
		"otelsql around snowtether": {around, 1, 0},
		"snowtether around otelsql": {within, 2, 1},
	} {
		t.Run(name, func(t *testing.T) {
			srv := snowtest.New(t)
			spans := traced(t, srv, tt.build, func(ctx context.Context, db *sql.DB, _ *snowtether.Connector) {
				if err := db.PingContext(ctx); err != nil {
					t.Fatal(err)
				}
				srv.AbortSessions()
				if _, err := db.ExecContext(ctx, insert); err != nil {
					t.Error(err)
				}
			})
			if n, failed := named(spans, "sql.conn.exec"); n != tt.execs || failed != tt.failed {
				t.Errorf("%d spans of the statement, %d failed; want %d, %d", n, failed, tt.execs, tt.failed)
			}
			if n, _ := named(spans, "snowtether.login"); n != 2 {
				t.Errorf("%d spans of logins, want 2", n)
			}
			trace := spans[len(spans)-1].SpanContext.TraceID()
			if slices.ContainsFunc(spans, func(s tracetest.SpanStub) bool { return s.SpanContext.TraceID() != trace }) {
				t.Error("there is more than one trace")
			}
		})
	}
}

// TestAcceptedStatementInBothOrders: it is carried over in either. otelsql's connection has
// no GetQueryStatus, but shows the one that it is around.
func TestAcceptedStatementInBothOrders(t *testing.T) {
	for name, build := range map[string]stack{"otelsql around snowtether": around, "snowtether around otelsql": within} {
		synctest.Test(t, func(t *testing.T) {
			srv := snowtest.New(t, snowtest.InMemory(), snowtest.WithInlineWait(0))
			traced(t, srv, build, func(ctx context.Context, db *sql.DB, c *snowtether.Connector) {
				slowly(srv)
				if _, err := db.ExecContext(ctx, insert); err != nil || c.Stats().Resumed != 1 {
					t.Errorf("%s: not carried over: %v", name, err)
				}
			})
			if n := srv.Effects(insert); n != 1 {
				t.Errorf("%s: took effect %d times", name, n)
			}
		})
	}
}

// TestReplyLostInBothOrders: the traffic is seen through otelsql, so nothing runs
// twice in either.
func TestReplyLostInBothOrders(t *testing.T) {
	for name, build := range map[string]stack{"otelsql around snowtether": around, "snowtether around otelsql": within} {
		synctest.Test(t, func(t *testing.T) {
			srv := snowtest.New(t, snowtest.InMemory())
			traced(t, srv, build, func(ctx context.Context, db *sql.DB, _ *snowtether.Connector) {
				once(srv, insert, snowtest.Fault{Run: true, After: func() { srv.AbortSessions() }, Status: 503})
				_, err := db.ExecContext(ctx, insert)
				if n := srv.Effects(insert); !errors.Is(err, snowtether.ErrInDoubt) || n != 1 {
					t.Errorf("%s: error is %v, took effect %d times", name, err, n)
				}
			})
		})
	}
}

// TestOpenTransactionDoesNotComeBackThroughOtelsql: ResetSession and IsValid are
// handed through; with IsValid the transaction ends at once and not at the next
// checkout.
func TestOpenTransactionDoesNotComeBackThroughOtelsql(t *testing.T) {
	for name, build := range map[string]stack{"otelsql around snowtether": around, "snowtether around otelsql": within} {
		srv := snowtest.New(t)
		traced(t, srv, build, func(ctx context.Context, db *sql.DB, _ *snowtether.Connector) {
			if _, err := db.ExecContext(ctx, "BEGIN"); err != nil {
				t.Fatal(err)
			}
			if n := db.Stats().OpenConnections; n != 0 {
				t.Errorf("%s: the connection with the open transaction came back to the pool", name)
			}
			if _, err := db.ExecContext(ctx, insert); err != nil || srv.Effects(insert) != 1 {
				t.Errorf("%s: %v, %d effects", name, err, srv.Effects(insert))
			}
		})
	}
}

// TestRawAndQueryIDsThroughOtelsql: what Raw hands out is otelsql's, and snowtether's
// behind it.
func TestRawAndQueryIDsThroughOtelsql(t *testing.T) {
	srv := snowtest.New(t)
	traced(t, srv, around, func(ctx context.Context, db *sql.DB, _ *snowtether.Connector) {
		ids := make(chan string, 1)
		if _, err := db.ExecContext(gosnowflake.WithQueryIDChan(ctx, ids), insert); err != nil || <-ids == "" {
			t.Errorf("no query ID: %v", err)
		}
		if _, err := snowtether.ConnectorOf(db); err == nil {
			t.Error("ConnectorOf sees through otelsql; the guide says that it does not")
		}
		conn, err := db.Conn(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		err = conn.Raw(func(dc any) error {
			if _, ok := dc.(gosnowflake.SnowflakeConnection); ok {
				t.Error("otelsql's connection is a SnowflakeConnection; the guide says that it is not")
			}
			sc := dc.(interface{ Raw() driver.Conn }).Raw().(gosnowflake.SnowflakeConnection)
			_, err := sc.GetQueryStatus(ctx, srv.Ledger()[0].QueryID)
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// TestRawAroundOtelsql: the connection is snowtether's, but its rows are otelsql's.
func TestRawAroundOtelsql(t *testing.T) {
	srv := snowtest.New(t)
	traced(t, srv, within, func(ctx context.Context, db *sql.DB, c *snowtether.Connector) {
		if of, err := snowtether.ConnectorOf(db); err != nil || of != c {
			t.Errorf("ConnectorOf: %v", err)
		}
		_, err := raw(ctx, db, func(dc any) (string, error) {
			rows, err := dc.(driver.QueryerContext).QueryContext(ctx, "SELECT 1", nil)
			if err != nil {
				return "", err
			}
			if _, ok := rows.(gosnowflake.SnowflakeRows); ok {
				t.Error("the rows are gosnowflake's; the guide says that they are not")
			}
			return "", rows.Close()
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// TestIdlePingThroughOtelsql: it begins when IsValid says that a connection came
// back to the pool. And the orders' difference: within, it cannot be had.
func TestIdlePingThroughOtelsql(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := snowtest.New(t, snowtest.InMemory(), snowtest.WithIdleTimeout(5*time.Minute))
		db, _, err := around(srv.Config(), nil, snowtether.WithIdlePing(4*time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		closing(t, db)
		for range 3 {
			if err := db.PingContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
		}
		if n := srv.Stats().Logins; n != 1 {
			t.Errorf("%d logins in 3 hours under an idle time-out of 5 minutes, want 1", n)
		}
		if _, _, err := within(srv.Config(), nil, snowtether.WithIdlePing(4*time.Minute)); err == nil {
			t.Error("WrapConnector takes WithIdlePing; the guide says that it does not")
		}
	})
}

// TestHeartbeatsInBothOrders: within, the Config is gosnowflake's alone, whose
// default is none, and the master token runs out.
func TestHeartbeatsInBothOrders(t *testing.T) {
	for name, tt := range map[string]struct {
		build stack
		beats bool
	}{
		"otelsql around snowtether": {around, true},
		"snowtether around otelsql": {within, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			srv := snowtest.New(t, snowtest.InMemory())
			db, _, err := tt.build(srv.Config(), nil)
			if err != nil {
				t.Fatal(err)
			}
			closing(t, db)
			if err := db.PingContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5*time.Hour + time.Minute)
			if err := db.PingContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n := srv.Stats().Logins; (n == 1) != tt.beats {
				t.Errorf("%s: %d logins after 5 idle hours", name, n)
			}
		})
	}
}
