package snowtether_test

import (
	"database/sql/driver"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"testing"

	"github.com/snowflakedb/gosnowflake/v2"

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
		t.Run(way.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				ids := make(chan string, 1)
				var n int
				if err := db.QueryRowContext(gosnowflake.WithQueryIDChan(t.Context(), ids), "SELECT 7").Scan(&n); err != nil {
					t.Fatal(err)
				}
				if way.logins == 0 {
					srv.ExpireSessionTokens()
				} else {
					srv.EndSessions(way.end)
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
