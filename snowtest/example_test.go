package snowtest_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"

	_ "github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/snowtest"
)

// A program or an example starts a server itself; a test calls [snowtest.New].
func Example() {
	srv, err := snowtest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()

	db, err := sql.Open("snowflake", srv.DSN())
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	res, err := db.Exec("INSERT INTO orders VALUES (1), (2), (3)")
	if err != nil {
		log.Fatal(err)
	}
	n, _ := res.RowsAffected()
	fmt.Println(n, "rows,", srv.Effects("INSERT INTO orders VALUES (1), (2), (3)"), "effect")
	// Output: 3 rows, 1 effect
}

func ExampleServer_Handle() {
	srv, err := snowtest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	srv.Handle(`FROM orders`, func(_ context.Context, st *snowtest.Statement) (*snowtest.Result, error) {
		return snowtest.Rows([]string{"ID", "NAME"},
			[]any{int64(1), "first"},
			[]any{int64(2), "second"},
		), nil
	})

	db, err := sql.Open("snowflake", srv.DSN())
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query("SELECT id, name FROM orders")
	if err != nil {
		log.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id int
		var name string
		if err := rows.Scan(&id, &name); err != nil {
			log.Fatal(err)
		}
		fmt.Println(id, name)
	}
	// Output:
	// 1 first
	// 2 second
}

// The reply to a statement is lost behind a gateway, and before the client's
// retry arrives the session is gone: the client cannot know that it ran.
func ExampleServer_Control() {
	srv, err := snowtest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	db, err := sql.Open("snowflake", srv.DSN())
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	srv.FaultOnce(func(req *snowtest.Request) (snowtest.Fault, bool) {
		return snowtest.Fault{
			Run:    true,
			After:  func() { srv.AbortSessions(req.SessionID) },
			Status: 503,
		}, req.Kind == snowtest.RequestQuery
	})
	_, err = db.Exec("INSERT INTO orders VALUES (1)")
	fmt.Println(err)
	fmt.Println("took effect", srv.Effects("INSERT INTO orders VALUES (1)"), "time")
	// Output:
	// 390111 (-1): Session no longer exists.  New login required to access the service.
	// took effect 1 time
}

func ExampleServer_ExpireMasterTokens() {
	srv, err := snowtest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	db, err := sql.Open("snowflake", srv.DSN())
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	fmt.Println(db.Ping())
	srv.ExpireMasterTokens()
	fmt.Println(db.Ping())
	fmt.Println(db.Ping()) // and so on, for ever
	// Output:
	// <nil>
	// 390114: Authentication token has expired.  The user must authenticate again.
	// 390114: Authentication token has expired.  The user must authenticate again.
}
