package snowtether_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"

	"go.opentelemetry.io/otel/metric/noop"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// Examples of what can be seen of a connector, and of its errors.

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

// A hook must return at once; a buffered channel takes what there is to do.
func ExampleWithEventHook() {
	srv := start()
	defer srv.Close()
	events := make(chan snowtether.Event, 100)
	db := open(srv, snowtether.WithEventHook(func(e snowtether.Event) {
		select {
		case events <- e:
		default: // full: rather lose one than hold up a statement
		}
	}))
	fmt.Println(db.Ping())
	srv.AbortSessions()
	fmt.Println(db.Ping())

	for e := range events {
		if e.Kind == snowtether.EventReconnected {
			fmt.Println(e.Kind, "because of", e.Code)
			break
		}
	}
	fmt.Println(db.Close())
	// Output:
	// <nil>
	// <nil>
	// reconnected because of 390111
	// <nil>
}

// Any slog.Logger. Here the parts that differ from run to run are left out.
func ExampleWithLogger() {
	srv := start()
	defer srv.Close()
	handler := slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			switch a.Key {
			case slog.LevelKey, slog.MessageKey, "event", "reason":
				return a
			}
			return slog.Attr{}
		},
	})
	connector, err := snowtether.NewConnector(srv.Config(), snowtether.WithLogger(slog.New(handler)))
	if err != nil {
		log.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()

	_ = db.Ping()
	srv.AbortSessions()
	_ = db.Ping()
	// Output: level=INFO msg="snowtether: session was lost and has been replaced; nothing needs doing" event=reconnected reason=390111
}

// For a command-line tool, whose users see slog's default output: nothing but what is at Warn.
func ExampleWithLogger_dsn() {
	srv := start()
	defer srv.Close()
	db, err := sql.Open("snowtether", srv.DSN()+"&tetherLog=warn")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	_ = db.Ping()
	srv.AbortSessions()
	fmt.Println(db.Ping()) // a line at Info, which is not written
	// Output: <nil>
}

// In your program: the provider of OpenTelemetry's SDK, with an exporter. With the
// global provider, otel.SetMeterProvider, no option is needed.
func ExampleWithMeterProvider() {
	srv := start()
	defer srv.Close()
	db := open(srv,
		snowtether.WithMeterProvider(noop.NewMeterProvider()),
		snowtether.WithPoolName("billing"), // tells the metrics of several pools apart
	)
	defer db.Close()
	fmt.Println(db.Ping())
	// Output: <nil>
}

func ExampleWithPoolName() {
	srv := start()
	defer srv.Close()
	connector, err := snowtether.NewConnector(srv.Config(), snowtether.WithPoolName("billing"))
	if err != nil {
		log.Fatal(err)
	}
	defer connector.Close()
	fmt.Println(connector.Snapshot().Pool)
	// Output: billing
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
