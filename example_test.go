package snowtether_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/DATA-DOG/go-sqlmock"
	"github.com/cenkalti/backoff/v4"
	"github.com/jmoiron/sqlx"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// Examples of what a program calls, of the options about statements, and of errors.

// The one-line change: the driver's name.
func Example() {
	srv, err := snowtest.Start() // in your program: Snowflake
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()

	db, err := sql.Open("snowtether", srv.DSN()) // was: sql.Open("snowflake", …)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	srv.AbortSessions() // an administrator, a policy, an expired token
	var n int
	if err := db.QueryRow("SELECT 42").Scan(&n); err != nil {
		log.Fatal(err)
	}
	fmt.Println(n)
	// Output: 42
}

// A Config in place of a DSN.
func ExampleNewConnector() {
	srv, err := snowtest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()

	cfg := srv.Config() // *gosnowflake.Config
	connector, err := snowtether.NewConnector(cfg,
		snowtether.WithMaxLogins(4),
		snowtether.WithSessionInit("ALTER SESSION SET QUERY_TAG = 'nightly'"),
	)
	if err != nil {
		log.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()

	fmt.Println(db.Ping())
	// Output: <nil>
}

// Any connector can be wrapped. This one opens two mocks: the first connection fails
// like one whose token has expired, and the statement runs on the second.
func ExampleWrapConnector() {
	var names []string
	open := func(name string) sqlmock.Sqlmock {
		_, mock, err := sqlmock.NewWithDSN(name)
		if err != nil {
			log.Fatal(err)
		}
		names = append(names, name)
		return mock
	}
	open("first").ExpectExec("INSERT").WillReturnError(errors.New("Authentication token has expired"))
	open("second").ExpectExec("INSERT").WillReturnResult(sqlmock.NewResult(0, 1))

	connector, err := snowtether.WrapConnector(connectorFunc(func(context.Context) (driver.Conn, error) {
		name := names[0]
		names = names[1:]
		fmt.Println("dial", name)
		db, err := sql.Open("sqlmock", name)
		if err != nil {
			return nil, err
		}
		return db.Driver().Open(name)
	}), quiet)
	if err != nil {
		log.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	res, err := db.Exec("INSERT INTO t VALUES (1)")
	if err != nil {
		log.Fatal(err)
	}
	n, _ := res.RowsAffected()
	fmt.Println("rows:", n)
	// Output:
	// dial first
	// dial second
	// rows: 1
}

type connectorFunc func(context.Context) (driver.Conn, error)

func (f connectorFunc) Connect(ctx context.Context) (driver.Conn, error) { return f(ctx) }
func (f connectorFunc) Driver() driver.Driver                            { return snowtether.Driver{} }

// Warm opens the connections before the first user needs them.
func ExampleWarm() {
	srv, err := snowtest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	db, err := sql.Open("snowtether", srv.DSN())
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	db.SetMaxIdleConns(4) // the default of 2 would close the others again

	if err := snowtether.Warm(context.Background(), db, 4); err != nil {
		log.Fatal(err)
	}
	fmt.Println(db.Stats().Idle)
	// Output: 4
}

// A pool that was opened by name has a connector, too.
func ExampleConnectorOf() {
	srv := start() // in your program: Snowflake
	defer srv.Close()
	db, err := sql.Open("snowtether", srv.DSN()+"&tetherPoolName=billing")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	connector, err := snowtether.ConnectorOf(db)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(connector.Snapshot().Pool, connector.Stats().Logins)
	// Output: billing 0
}

// With sqlx, other limits, and an error of the program's own as a reason to run the
// transaction again.
func ExampleRunTx_options() {
	srv := start()
	defer srv.Close()
	db := sqlx.NewDb(open(srv), "snowtether")
	defer db.Close()

	errBusy := errors.New("somebody else has it")
	attempts := 0
	err := snowtether.RunTx(context.Background(),
		func(ctx context.Context) (*sqlx.Tx, error) { return db.BeginTxx(ctx, nil) },
		func(tx *sqlx.Tx) error {
			attempts++
			return errBusy
		},
		snowtether.WithTxAttempts(3),
		snowtether.WithTxBackOff(func() backoff.BackOff { return backoff.NewConstantBackOff(time.Millisecond) }),
		snowtether.WithTxRetryIf(func(err error) bool { return errors.Is(err, errBusy) }),
	)
	fmt.Println(errors.Is(err, errBusy), "after", attempts, "attempts")
	// Output: true after 3 attempts
}

// The short form, for database/sql's own transactions.
func ExampleRunInTx() {
	srv, err := snowtest.Start()
	if err != nil {
		panic(err)
	}
	defer srv.Close()
	db, err := sql.Open("snowtether", srv.DSN())
	if err != nil {
		panic(err)
	}
	defer db.Close()

	ctx := context.Background()
	err = snowtether.RunInTx(ctx, db, nil, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO accounts VALUES (?, ?)", "alice", 100)
		return err
	})
	fmt.Println(err)
	// Output: <nil>
}

// A whole transaction that is run again when its session is lost.
func ExampleRunTx() {
	srv, err := snowtest.Start()
	if err != nil {
		panic(err)
	}
	defer srv.Close()
	db, err := sql.Open("snowtether", srv.DSN())
	if err != nil {
		panic(err)
	}
	defer db.Close()

	ctx := context.Background()
	runs := 0
	err = snowtether.RunTx(ctx,
		func(ctx context.Context) (*sql.Tx, error) { return db.BeginTx(ctx, nil) },
		func(tx *sql.Tx) error {
			if runs++; runs == 1 {
				srv.AbortSessions() // the session is lost inside the transaction
			}
			_, err := tx.ExecContext(ctx, "INSERT INTO accounts VALUES (?, ?)", "alice", 100)
			return err
		})
	fmt.Println(err, "after", runs, "runs")
	// Output: <nil> after 2 runs
}

func ExampleConnector_Stats() {
	srv := start()
	defer srv.Close()
	connector, err := snowtether.NewConnector(srv.Config(), quiet)
	if err != nil {
		log.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()

	if err := db.Ping(); err != nil {
		log.Fatal(err)
	}
	srv.AbortSessions()
	if err := db.Ping(); err != nil {
		log.Fatal(err)
	}
	stats := connector.Stats()
	fmt.Println(stats.Logins, "logins,", stats.Reconnects, "reconnect,", stats.ReconnectsByReason)
	// Output: 2 logins, 1 reconnect, map[390111:1]
}

func ExampleConnector_Snapshot() {
	srv := start()
	defer srv.Close()
	connector, err := snowtether.NewConnector(srv.Config(), quiet)
	if err != nil {
		log.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	conn, err := db.Conn(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()

	now := connector.Snapshot()
	for _, session := range now.Sessions {
		fmt.Println("a session is", session.State)
	}
	for _, event := range now.Events {
		fmt.Println("one was", event.Kind)
	}
	fmt.Println("the gate is", now.Gate.State)
	// Output:
	// a session is used
	// one was opened
	// the gate is free
}

// The server accepted the statement, and the session ended before the result was
// fetched. The statement goes on, and its result is fetched on a new session. That is
// the default; the example of SessionError has it switched off.
func ExampleWithResume() {
	srv := start(snowtest.WithInlineWait(0)) // results have to be asked for
	defer srv.Close()
	db := open(srv, snowtether.WithResume(true))
	defer db.Close()
	loseOnceAccepted(srv)

	_, err := db.Exec("INSERT INTO t VALUES (1)")
	fmt.Println(err, "after", srv.Stats().Logins, "logins")
	fmt.Println("took effect", srv.Effects("INSERT INTO t VALUES (1)"), "time")
	// Output:
	// <nil> after 2 logins
	// took effect 1 time
}

// A query that calls a function of the account's own is in doubt where its reply was
// lost, because the function may do anything. The program vouches for this one.
func ExampleWithHarmlessFunctions() {
	srv := start()
	defer srv.Close()
	db := open(srv, snowtether.WithHarmlessFunctions("analytics.public.margin"))
	defer db.Close()
	const query = "SELECT analytics.public.margin(7)"
	srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
		// It runs, its reply is lost, and so is its session.
		return snowtest.Fault{Run: true, Drop: true, After: func() { srv.AbortSessions() }}, r.SQL == query
	})

	rows, err := db.Query(query)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer rows.Close()
	fmt.Println("accepted", srv.Accepted(query), "times")
	// Output: accepted 2 times
}

// loseOnceAccepted ends all sessions after the server has taken an INSERT and
// before its result is fetched.
func loseOnceAccepted(srv *snowtest.Server) {
	asked := make(chan struct{})
	srv.Handle("^INSERT", func(ctx context.Context, _ *snowtest.Statement) (*snowtest.Result, error) {
		select {
		case <-asked:
			return nil, nil // the answer that it has anyway
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
		if r.Kind != snowtest.RequestResult {
			return snowtest.Fault{}, false
		}
		srv.AbortSessions()
		close(asked)
		return snowtest.Fault{}, true
	})
}

// Nobody gets a session whose role, schema or variables an earlier user changed.
func ExampleWithChangedSession() {
	srv := start()
	defer srv.Close()
	db := open(srv, snowtether.WithChangedSession(snowtether.DiscardChanged))
	defer db.Close()

	for range 2 {
		if _, err := db.Exec("USE ROLE auditor"); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(srv.Stats().Logins, "logins")
	// Output: 2 logins
}

// What to do about an error depends on its class.
func ExampleClassify() {
	srv := start()
	defer srv.Close()
	db := open(srv)
	defer db.Close()
	tx, err := db.Begin()
	if err != nil {
		log.Fatal(err)
	}
	srv.AbortSessions()
	_, err = tx.Exec("INSERT INTO t VALUES (1)")

	switch snowtether.Classify(err) {
	case "":
		fmt.Println("done")
	case snowtether.ClassSessionLost:
		fmt.Println("nothing of it lasts: again, from the beginning")
	case snowtether.ClassInDoubt:
		fmt.Println("look at the data first")
	case snowtether.ClassTransient:
		fmt.Println("try later")
	case snowtether.ClassPermanent:
		fmt.Println("somebody has to change the credentials")
	default: // ClassStatement, ClassContext, ClassCredential
		fmt.Println("as with gosnowflake")
	}
	// Output: nothing of it lasts: again, from the beginning
}

// A SessionError says which session and which statement failed, and its cause
// stays in the chain.
func ExampleSessionError() {
	srv := start(snowtest.WithInlineWait(0))
	defer srv.Close()
	db := open(srv, snowtether.WithResume(false))
	defer db.Close()
	loseOnceAccepted(srv)
	_, err := db.Exec("INSERT INTO t VALUES (1)")

	var se *snowtether.SessionError
	if errors.As(err, &se) {
		fmt.Println(se.Op, se.Class, se.Code, se.InTx)
		fmt.Println("has a query ID:", se.QueryID != "")
	}
	// Output:
	// exec in_doubt 390111 false
	// has a query ID: true
}

// start is snowtest.Start for the examples.
func start(opts ...snowtest.Option) *snowtest.Server {
	srv, err := snowtest.Start(opts...)
	if err != nil {
		log.Fatal(err)
	}
	return srv
}

// open is sql.OpenDB for the examples, on a connector that logs nothing.
func open(srv *snowtest.Server, opts ...snowtether.Option) *sql.DB {
	connector, err := snowtether.NewConnector(srv.Config(), append(opts, quiet)...)
	if err != nil {
		log.Fatal(err)
	}
	return sql.OpenDB(connector)
}
