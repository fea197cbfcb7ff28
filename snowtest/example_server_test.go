package snowtest_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/snowtest"
)

// Examples of what a server answers, how its sessions end, and what it remembers.

// Which statements took lasting effect: not those of a transaction that was rolled
// back.
func ExampleServer_Ledger() {
	srv := start()
	defer srv.Close()
	db := plain(srv)
	defer db.Close()

	if _, err := db.Exec("DELETE FROM orders"); err != nil {
		log.Fatal(err)
	}
	tx, err := db.Begin()
	if err != nil {
		log.Fatal(err)
	}
	if _, err := tx.Exec("INSERT INTO orders VALUES (?)", 1); err != nil {
		log.Fatal(err)
	}
	if err := tx.Rollback(); err != nil {
		log.Fatal(err)
	}
	for _, e := range srv.Ledger() {
		if e.Kind.IsDML() {
			fmt.Println(e.State, e.SQL, "effects:", e.Effects)
		}
	}
	// Output:
	// succeeded DELETE FROM orders effects: 1
	// succeeded INSERT INTO orders VALUES (?) effects: 0
}

// [snowtest.New] runs the checks by itself when the test is over.
func ExampleServer_Check() {
	srv := start()
	defer srv.Close()
	db := plain(srv)
	for range 2 {
		if _, err := db.Exec("INSERT INTO orders VALUES (1)"); err != nil {
			log.Fatal(err)
		}
	}
	_ = db.Close()
	fmt.Println(srv.Check())
	// Output: snowtest: took lasting effect more than once: INSERT INTO orders VALUES (1) (if the test means it: snowtest.AllowRepeats())
}

// Servers refuse a dead session in more than one way; this one answers HTTP 401.
func ExampleServer_EndSessions() {
	srv := start()
	defer srv.Close()
	db := plain(srv)
	defer db.Close()

	fmt.Println(db.Ping())
	srv.EndSessions(snowtest.Refusal{Status: 401})
	var se *gosnowflake.SnowflakeError
	fmt.Println(errors.As(db.Ping(), &se), se.Number)
	// Output:
	// <nil>
	// true 261000
}

// A session token lives for an hour. gosnowflake renews it, and nobody notices.
func ExampleServer_ExpireSessionTokens() {
	srv := start()
	defer srv.Close()
	db := plain(srv)
	defer db.Close()

	fmt.Println(db.Ping())
	srv.ExpireSessionTokens()
	fmt.Println(db.Ping(), srv.Stats().Renewals, "renewal")
	// Output:
	// <nil>
	// <nil> 1 renewal
}

// A session policy that ends sessions after 15 idle minutes, which pass at once.
func ExampleWithIdleTimeout() {
	srv := start(snowtest.WithIdleTimeout(15 * time.Minute))
	defer srv.Close()
	db := plain(srv)
	defer db.Close()

	fmt.Println(db.Ping())
	srv.Advance(16 * time.Minute)
	var se *gosnowflake.SnowflakeError
	fmt.Println(errors.As(db.Ping(), &se), se.Number)
	// Output:
	// <nil>
	// true 390111
}

// Logins with a token, and what a revoked one is answered with.
func ExampleWithToken() {
	srv := start(snowtest.WithToken(func(token string) error {
		if token != "fresh" {
			return &snowtest.Error{Code: "390303", Message: "Invalid OAuth access token."}
		}
		return nil
	}))
	defer srv.Close()

	for _, token := range []string{"fresh", "stale"} {
		cfg := srv.Config()
		cfg.Authenticator, cfg.Password, cfg.Token = gosnowflake.AuthTypeOAuth, "", token
		db := sql.OpenDB(gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *cfg))
		fmt.Println(token, db.Ping() == nil)
		_ = db.Close()
	}
	// Output:
	// fresh true
	// stale false
}

// An error as Snowflake would answer it, and the counts of a DML statement.
func ExampleCount() {
	srv := start()
	defer srv.Close()
	srv.Handle(`^MERGE`, func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		return snowtest.Count(snowtest.KindMerge, []string{"number of rows inserted", "number of rows updated"}, []int64{2, 5}), nil
	})
	srv.Handle(`FROM nowhere`, func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		return nil, &snowtest.Error{Code: "002003", SQLState: "42S02", Message: "Object 'NOWHERE' does not exist or not authorized."}
	})
	db := plain(srv)
	defer db.Close()

	res, err := db.Exec("MERGE INTO t USING s ON t.id = s.id …")
	if err != nil {
		log.Fatal(err)
	}
	n, _ := res.RowsAffected()
	fmt.Println(n, "rows")
	_, err = db.Exec("DELETE FROM nowhere")
	fmt.Println(err)
	// Output:
	// 7 rows
	// 002003 (42S02): Object 'NOWHERE' does not exist or not authorized.
}

// A database behind the server: whatever answers SQL can be an Engine. This one
// says who asks.
func ExampleWithEngine() {
	srv := start(snowtest.WithEngine(echo{}))
	defer srv.Close()
	db := plain(srv)
	defer db.Close()

	var user, text string
	if err := db.QueryRow("SELECT whatever").Scan(&user, &text); err != nil {
		log.Fatal(err)
	}
	fmt.Println(user, "asked:", text)
	// Output: tester asked: SELECT whatever
}

type echo struct{}

func (echo) OpenSession(_ context.Context, info snowtest.SessionConfig) (snowtest.EngineSession, error) {
	return echoSession{info.User}, nil
}
func (echo) Close() error { return nil }

type echoSession struct{ user string }

func (s echoSession) Run(_ context.Context, st *snowtest.Statement) (*snowtest.Result, error) {
	return snowtest.Rows([]string{"USER", "TEXT"}, []any{s.user, st.SQL}), nil
}
func (echoSession) Close() error { return nil }

// start is [snowtest.Start] for the examples.
func start(opts ...snowtest.Option) *snowtest.Server {
	srv, err := snowtest.Start(opts...)
	if err != nil {
		log.Fatal(err)
	}
	return srv
}

// plain is sql.Open for the examples, on plain gosnowflake.
func plain(srv *snowtest.Server) *sql.DB {
	db, err := sql.Open("snowflake", srv.DSN())
	if err != nil {
		log.Fatal(err)
	}
	return db
}
