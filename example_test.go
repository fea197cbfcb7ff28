package snowtether_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log"

	"github.com/DATA-DOG/go-sqlmock"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

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

// Any connector can be wrapped, here one of two mocks: the first connection fails
// as one whose token has expired does, and the statement runs on the second.
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
		db, _ := sql.Open("sqlmock", name)
		return db.Driver().Open(name)
	}), quiet)
	if err != nil {
		log.Fatal(err)
	}
	db := sql.OpenDB(connector)
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
