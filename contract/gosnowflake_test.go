package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/snowflakedb/gosnowflake/v2"
	"github.com/snowflakedb/gosnowflake/v2/arrowbatches"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// gosnowflake's own interfaces (docs/guarantees.md): what a program reaches for behind the
// connection, in Raw, by channels and contexts of gosnowflake's, is as on a bare connection.

// methods names the exported methods of v.
func methods(v any) (names []string) {
	t := reflect.TypeOf(v)
	for i := range t.NumMethod() {
		names = append(names, t.Method(i).Name)
	}
	return names
}

// sameMethods names each method that a newer gosnowflake has and the wrapper
// lacks.
func sameMethods(t *testing.T, what string, inner, ours any) {
	t.Helper()
	for _, name := range methods(inner) {
		if !slices.Contains(methods(ours), name) {
			t.Errorf("gosnowflake's %s has the method %s, the wrapper has not", what, name)
		}
	}
}

// TestRawHasAllThatGosnowflakeHas: code in sql.Conn.Raw that was written for
// gosnowflake works unchanged.
func TestRawHasAllThatGosnowflakeHas(t *testing.T) {
	srv := snowtest.New(t)
	db := pool(t, srv, 1)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	err = conn.Raw(func(dc any) error {
		ours := dc.(driver.Conn)
		inner := dc.(interface{ Raw() driver.Conn }).Raw()
		sameMethods(t, "connection", inner, ours)
		if _, ok := dc.(gosnowflake.SnowflakeConnection); !ok {
			t.Error("the connection is no SnowflakeConnection")
		}
		stmt, err := ours.(driver.ConnPrepareContext).PrepareContext(t.Context(), "SELECT 1")
		if err != nil {
			return err
		}
		innerStmt, err := inner.(driver.ConnPrepareContext).PrepareContext(t.Context(), "SELECT 1")
		if err != nil {
			return err
		}
		sameMethods(t, "statement", innerStmt, stmt)
		if _, ok := stmt.(driver.NamedValueChecker); ok {
			t.Error("the statement is a NamedValueChecker, the inner one is not")
		}
		rows, err := stmt.(driver.StmtQueryContext).QueryContext(t.Context(), nil)
		if err != nil {
			return err
		}
		if rows.(gosnowflake.SnowflakeRows).GetQueryID() != stmt.(gosnowflake.SnowflakeStmt).GetQueryID() {
			t.Error("rows and statement differ about the query ID")
		}
		innerRows, err := innerStmt.(driver.StmtQueryContext).QueryContext(t.Context(), nil)
		if err != nil {
			return err
		}
		if a, b := methods(innerRows), methods(rows); !slices.Equal(a, b) {
			t.Errorf("rows have %v, want %v", b, a)
		}
		tx, err := ours.(driver.ConnBeginTx).BeginTx(t.Context(), driver.TxOptions{})
		if err != nil {
			return err
		}
		return errors.Join(tx.Rollback(), rows.Close(), innerRows.Close())
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestCallersQueryIDChannelGetsItsID: also when the statement survived the loss
// of a session, and while it still runs.
func TestCallersQueryIDChannelGetsItsID(t *testing.T) {
	for _, tt := range []struct {
		name     string
		buffered int
		before   func(srv *snowtest.Server)
	}{
		{"undisturbed", 1, func(*snowtest.Server) {}},
		{"unbuffered", 0, func(*snowtest.Server) {}},
		{"session lost", 1, func(srv *snowtest.Server) { srv.AbortSessions() }},
		{"token renewed", 1, func(srv *snowtest.Server) { srv.ExpireSessionTokens() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				tt.before(srv)
				ids := make(chan string, tt.buffered)
				ctx := gosnowflake.WithQueryIDChan(t.Context(), ids)
				if _, err := db.ExecContext(ctx, insert); err != nil {
					t.Fatal(err)
				}
				id, ok := <-ids
				if _, more := <-ids; !ok || more {
					t.Fatal("want one ID, then a closed channel")
				}
				if ledger := srv.Ledger(); len(ledger) != 1 || ledger[0].QueryID != id {
					t.Errorf("got ID %q, ledger %+v", id, ledger)
				}
			})
		})
	}
	t.Run("while it runs, lost while polled", func(t *testing.T) {
		var id string
		polled(t, snowtest.Refusal{Code: "390111"}, func(ctx context.Context, db *sql.DB) error {
			ids := make(chan string)
			done := make(chan struct{})
			go func() { id = <-ids; close(done) }()
			_, err := db.ExecContext(gosnowflake.WithQueryIDChan(ctx, ids), insert)
			<-done
			return err
		}, func(srv *snowtest.Server, err error) {
			hasID(t, err)
			ranInDoubt(t, srv, insert, err, 1)
			if id != srv.Ledger()[0].QueryID {
				t.Errorf("the channel got %q", id)
			}
		})
	})
	t.Run("the same context twice", func(t *testing.T) {
		// gosnowflake panics here, in the caller's goroutine.
		for buffered := range 2 {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				ids := make(chan string, buffered)
				ctx := gosnowflake.WithQueryIDChan(t.Context(), ids)
				for i := range 2 {
					if _, err := db.ExecContext(ctx, row(i)); err != nil {
						t.Fatal(err)
					}
				}
				if id := <-ids; id != srv.Ledger()[0].QueryID && id != srv.Ledger()[1].QueryID {
					t.Errorf("got ID %q", id)
				}
				synctest.Wait() // for the one that came too late
			})
		}
	})
	t.Run("nobody reads it", func(t *testing.T) {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) { // which fails if a goroutine waits for ever
			db := pool(t, srv, 1)
			ctx, cancel := context.WithCancel(gosnowflake.WithQueryIDChan(t.Context(), make(chan string)))
			if _, err := db.ExecContext(ctx, insert); err != nil {
				t.Error(err)
			}
			cancel()
		})
	})
}

// TestArrowBatchesBehaveAsOnABareConnection: the rows are gosnowflake's own, so its arrowbatches
// package finds in them what it needs, or fails alike, as for a result that came as JSON.
func TestArrowBatchesBehaveAsOnABareConnection(t *testing.T) {
	batches := func(ctx context.Context, dc driver.Conn, query string) (int, error) {
		rows, err := dc.(driver.QueryerContext).QueryContext(arrowbatches.WithArrowBatches(ctx), query, nil)
		if err != nil {
			return 0, err
		}
		defer rows.Close()
		b, err := arrowbatches.GetArrowBatches(rows.(gosnowflake.SnowflakeRows))
		return len(b), err
	}
	for _, format := range []string{"ARROW", "JSON"} {
		srv := snowtest.New(t, bigParted)
		serveBig(srv)
		cfg := srv.Config()
		cfg.Params["GO_QUERY_RESULT_FORMAT"] = &format
		raw(t, poolOf(t, cfg, 1), func(dc any) error {
			ours, bare := dc.(driver.Conn), dc.(interface{ Raw() driver.Conn }).Raw()
			for what, ctx := range map[string]context.Context{
				"SELECT 1": t.Context(), "SELECT n FROM big": t.Context(), "SELECT 2; SELECT n FROM big": gosnowflake.WithMultiStatement(t.Context(), 2),
			} {
				for how, ctx := range map[string]context.Context{"": ctx, ", asynchronous": gosnowflake.WithAsyncMode(ctx)} {
					n, err := batches(ctx, ours, what)
					bareN, bareErr := batches(ctx, bare, what)
					if n != bareN || number(err) != number(bareErr) || (format == "JSON") != (err != nil) {
						t.Errorf("%s of %s%s: got %d batches and %v, bare %d and %v", format, what, how, n, err, bareN, bareErr)
					}
				}
			}
			return nil
		})
	}
}

// TestStatementThatCannotBePreparedSaysSo: at once, or anew on the session that
// came in the place of a lost one.
func TestStatementThatCannotBePreparedSaysSo(t *testing.T) {
	var inner mocks
	first, second := inner.add(t, "first"), inner.add(t, "second")
	no := errors.New("no such table")
	first.ExpectPrepare("SELECT").WillReturnError(no)
	first.ExpectPrepare("INSERT")
	first.ExpectExec("INSERT").WillReturnError(errors.New("390114: Authentication token has expired."))
	first.ExpectClose()
	second.ExpectPrepare("INSERT").WillReturnError(no)
	second.ExpectPrepare("INSERT").WillReturnError(no)
	second.ExpectClose()
	c, err := snowtether.WrapConnector(&inner, quiet)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(c)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.PrepareContext(t.Context(), "SELECT 1"); !errors.Is(err, no) {
		t.Errorf("prepare: %v", err)
	}
	stmt, err := conn.PrepareContext(t.Context(), insert)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stmt.ExecContext(t.Context()); !errors.Is(err, no) {
		t.Errorf("exec: %v", err)
	}
	if rows, err := stmt.QueryContext(t.Context()); !errors.Is(err, no) {
		t.Errorf("query: %v, %v", rows, err)
	}
	_ = stmt.Close() // the inner one is gone
	if err := errors.Join(conn.Close(), db.Close(), first.ExpectationsWereMet(), second.ExpectationsWereMet()); err != nil {
		t.Error(err)
	}
}
