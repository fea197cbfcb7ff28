package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

var discard = slog.New(slog.DiscardHandler)

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

// TestFetchByIDOutlivesItsSession: gosnowflake says 279001 of a result that it could
// not ask about.
func TestFetchByIDOutlivesItsSession(t *testing.T) {
	for _, way := range ways {
		t.Run(way.Name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				ids := make(chan string, 1)
				var n int
				if err := db.QueryRowContext(gosnowflake.WithQueryIDChan(t.Context(), ids), "SELECT 7").Scan(&n); err != nil {
					t.Fatal(err)
				}
				if way.Logins == 0 {
					srv.ExpireSessionTokens()
				} else {
					srv.EndSessions(way.End)
				}
				n = 0
				if err := db.QueryRowContext(gosnowflake.WithFetchResultByID(t.Context(), <-ids), "").Scan(&n); err != nil || n != 7 {
					t.Errorf("fetched %d: %v", n, err)
				}
				if accepted := srv.Accepted("SELECT 7"); accepted != 1 {
					t.Errorf("accepted %d times", accepted)
				}
			})
		})
	}
}

// TestOnlyAQueryFetchesByID: gosnowflake runs an Exec whatever its context says, and
// so it is not run again as a fetch would be.
func TestOnlyAQueryFetchesByID(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		once(srv, insert, snowtest.Fault{Run: true, Drop: true, After: func() { srv.AbortSessions() }})
		_, err := db.ExecContext(gosnowflake.WithFetchResultByID(t.Context(), "01b2c3d4-0000-0000-0000-000000000000"), insert)
		inDoubt(t, srv, insert, err, 1)
	})
}

// raw calls use with a connection of the pool as code in sql.Conn.Raw has it.
func raw(t *testing.T, db *sql.DB, use func(dc any) error) {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(conn.Raw(use), conn.Close()); err != nil {
		t.Error(err)
	}
}

// TestMethodsFromBeforeContextsOutliveTheirSession: as those of today do.
func TestMethodsFromBeforeContextsOutliveTheirSession(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		raw(t, db, func(dc any) error {
			type execer interface {
				Exec([]driver.Value) (driver.Result, error)
			}
			type queryer interface {
				Query([]driver.Value) (driver.Rows, error)
			}
			c := dc.(interface {
				Prepare(string) (driver.Stmt, error)
				Begin() (driver.Tx, error)
				Exec(string, []driver.Value) (driver.Result, error)
				Query(string, []driver.Value) (driver.Rows, error)
				gosnowflake.SnowflakeConnection
			})
			srv.AbortSessions()
			res, err := c.Exec("INSERT INTO t VALUES (?)", []driver.Value{int64(1)})
			if err != nil {
				return err
			}
			if n, err := res.RowsAffected(); n != 1 || err != nil {
				t.Errorf("RowsAffected: %d, %v", n, err)
			}
			srv.AbortSessions()
			rows, err := c.Query("SELECT 7", nil)
			if err != nil {
				return err
			}
			srv.AbortSessions()
			tx, err := c.Begin()
			if err != nil {
				return err
			}
			if err := errors.Join(rows.Close(), tx.Commit()); err != nil {
				return err
			}
			stmt, err := c.Prepare("SELECT ?")
			if err != nil {
				return err
			}
			srv.AbortSessions()
			if _, err := stmt.(execer).Exec([]driver.Value{int64(1)}); err != nil {
				return err
			}
			srv.AbortSessions()
			rows, err = stmt.(queryer).Query([]driver.Value{int64(1)})
			if err != nil {
				return err
			}
			return errors.Join(rows.Close(), stmt.Close(), c.AddTelemetryData(t.Context(), time.Now(), map[string]string{"a": "b"}))
		})
		if n := srv.Accepted("INSERT INTO t VALUES (?)"); n != 1 {
			t.Errorf("accepted %d times", n)
		}
	}, snowtest.AllowRepeats()) // the prepared SELECT is carried out twice
}

// TestCarriedOverResultHasItsQueryID: as gosnowflake's has, and its statement too.
func TestCarriedOverResultHasItsQueryID(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		slowly(srv, "^INSERT", 10*time.Minute, counted(snowtest.KindInsert, "inserted", 1), nil)
		raw(t, db, func(dc any) error {
			stmt, err := dc.(driver.ConnPrepareContext).PrepareContext(t.Context(), insert)
			if err != nil {
				return err
			}
			endAt(srv, ways[1].End, time.Minute)
			got, err := stmt.(driver.StmtExecContext).ExecContext(t.Context(), nil)
			if err != nil {
				return err
			}
			id, res := srv.Ledger()[0].QueryID, got.(gosnowflake.SnowflakeResult)
			if a, b := res.GetQueryID(), stmt.(gosnowflake.SnowflakeStmt).GetQueryID(); a != id || b != id {
				t.Errorf("the result has query ID %q and the statement %q, the server %q", a, b, id)
			}
			if status := res.GetStatus(); status != gosnowflake.QueryStatusComplete {
				t.Errorf("its status is %v", status)
			}
			if n, err := got.LastInsertId(); n != -1 || err != nil {
				t.Errorf("LastInsertId: %d, %v; gosnowflake says -1", n, err)
			}
			return stmt.Close()
		})
	})
}

// TestNothingIsSentForACallerWhoHasLeft: on a connection that is his.
func TestNothingIsSentForACallerWhoHasLeft(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		before := srv.Stats().Requests[snowtest.RequestQuery]
		raw(t, db, func(dc any) error {
			if _, err := dc.(driver.ExecerContext).ExecContext(ctx, insert, nil); !errors.Is(err, context.Canceled) {
				t.Errorf("error is %v", err)
			}
			return nil
		})
		if n := srv.Stats().Requests[snowtest.RequestQuery] - before; n != 0 {
			t.Errorf("%d requests", n)
		}
	})
}

// TestSuspectSessionThatDoesNotAnswerIsReplaced: by the statement that it is taken out for.
func TestSuspectSessionThatDoesNotAnswerIsReplaced(t *testing.T) {
	for name, fault := range map[string]snowtest.Fault{"refused": {Status: 403}, "silent": {Delay: time.Hour}} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 2)
				use(t, db, 2)
				ids := srv.Sessions()
				conn, err := db.Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if _, err := conn.ExecContext(t.Context(), row(1)); err != nil {
					t.Fatal(err)
				}
				ledger := srv.Ledger()
				srv.AbortSessions(ledger[len(ledger)-1].SessionID)
				if _, err := conn.ExecContext(t.Context(), row(2)); err != nil {
					t.Fatal(err) // it has found the session dead, and the other is suspect
				}
				once(srv, "SELECT 1", fault)
				begun := time.Now()
				if _, err := db.ExecContext(t.Context(), row(3)); err != nil {
					t.Errorf("the statement: %v", err)
				}
				if d := time.Since(begun); d > time.Minute {
					t.Errorf("it waited %v", d)
				}
				ledger = srv.Ledger()
				for _, ses := range ids {
					if ledger[len(ledger)-1].SessionID == ses.ID {
						t.Error("it was sent to the session that did not answer")
					}
				}
				if err := conn.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestSpoiltConnectionIsRefusedAtItsReturnAndAtItsNextUse: some pools ask only once.
func TestSpoiltConnectionIsRefusedAtItsReturnAndAtItsNextUse(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, srv *snowtest.Server, c *snowtether.Connector, dc driver.Conn) error{
		"an open transaction": func(t *testing.T, _ *snowtest.Server, _ *snowtether.Connector, dc driver.Conn) error {
			_, err := dc.(driver.ConnBeginTx).BeginTx(t.Context(), driver.TxOptions{})
			return err
		},
		"a login that was refused": func(t *testing.T, srv *snowtest.Server, _ *snowtether.Connector, dc driver.Conn) error {
			srv.AbortSessions()
			srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
				return snowtest.Fault{Code: "390100", Message: "No."}, r.Kind == snowtest.RequestLogin
			})
			if err := dc.(driver.Pinger).Ping(t.Context()); number(err) != 390100 {
				return errors.Join(errors.New("want 390100"), err)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				c, err := snowtether.NewConnector(srv.Config(), quiet)
				if err != nil {
					t.Fatal(err)
				}
				dc, err := c.Connect(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if err := spoil(t, srv, c, dc); err != nil {
					t.Fatal(err)
				}
				if dc.(driver.Validator).IsValid() {
					t.Error("it may return to the pool")
				}
				if err := dc.(driver.SessionResetter).ResetSession(t.Context()); err != driver.ErrBadConn { // bare, as database/sql wants it
					t.Errorf("its next use: %v", err)
				}
				if err := errors.Join(dc.Close(), c.Close()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestCommitThatWasNotSentIsNotInDoubt: its caller had left before.
func TestCommitThatWasNotSentIsNotInDoubt(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		raw(t, db, func(dc any) error {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			tx, err := dc.(driver.ConnBeginTx).BeginTx(ctx, driver.TxOptions{})
			if err != nil {
				return err
			}
			cancel()
			if err := tx.Commit(); !errors.Is(err, context.Canceled) || errors.Is(err, snowtether.ErrInDoubt) {
				t.Errorf("Commit: %v", err)
			}
			return nil
		})
		if n := srv.Accepted("COMMIT"); n != 0 {
			t.Errorf("COMMIT was accepted %d times", n)
		}
		fiveWriters(t, srv, db, true)
	})
}
