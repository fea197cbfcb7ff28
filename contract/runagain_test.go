package contract_test

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// What is run again (docs/guarantees.md): a statement that may run twice without harm, and whose
// reply was lost, until the caller's context or the back-off ends the trying. One that calls a
// function which may act outside of Snowflake is not, unless the program has named the function.

// TestPlainReadWithLostReplyIsRunAgain: a read leaves nothing behind; anything
// that might is not a plain one.
func TestPlainReadWithLostReplyIsRunAgain(t *testing.T) {
	for sql, plain := range map[string]bool{
		"SELECT 1":                        true,
		"-- all of it\n(SELECT 1)":        true,
		"SELECT s.nextval":                true, // a sequence has gaps
		"SELECT 1 /* ; */ ;":              true,
		"SELECT SYSTEM$WAIT(1)":           false,
		"CALL p()":                        false,
		"EXECUTE IMMEDIATE 'SELECT 1'":    false,
		"SELECT db.s.f(1)":                false,
		"SHOW TABLES":                     true,
		"WITH a AS (SELECT 1) SELECT 2":   true,
		"SELECT 'nextval', \"into\", 1+1": true,
	} {
		t.Run(sql, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				once(srv, sql, snowtest.Fault{Run: true, Drop: true, After: func() { srv.AbortSessions() }})
				rows, err := db.QueryContext(t.Context(), sql)
				if plain {
					if err != nil {
						t.Fatal(err)
					}
					if err := rows.Close(); err != nil {
						t.Error(err)
					}
					if n := srv.Accepted(sql); n != 2 {
						t.Errorf("accepted %d times, want 2", n)
					}
					return
				}
				ranInDoubt(t, srv, sql, err, 1)
			})
		})
	}
}

// TestReadThatIsTriedAgainEndsWithItsContext: to the moment, and with both errors.
func TestReadThatIsTriedAgainEndsWithItsContext(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		always(srv, "SELECT 7", snowtest.Fault{Body: "<html>"})
		begun := time.Now()
		err := db.QueryRowContext(within(t, 20*time.Second), "SELECT 7").Scan(new(int))
		if took := time.Since(begun); took != 20*time.Second || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "invalid character '<'") {
			t.Errorf("after %v: %v", took, err)
		}
	})
}

// TestBackOffThatStopsEndsTheTrying: of a statement too.
func TestBackOffThatStopsEndsTheTrying(t *testing.T) {
	for name, none := range map[string]func() backoff.BackOff{
		"at once":     func() backoff.BackOff { return &backoff.StopBackOff{} },
		"there is no": func() backoff.BackOff { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1, snowtether.WithBackOff(none))
				n := always(srv, "SELECT 7", snowtest.Fault{Body: "<html>"})
				err := db.QueryRowContext(t.Context(), "SELECT 7").Scan(new(int))
				if *n != 1 || snowtether.Classify(err) != snowtether.ClassTransient {
					t.Errorf("sent %d times: %v", *n, err)
				}
			})
		})
	}
}

// TestPingAndBeginLeaveNothingInDoubt: with their session gone, nothing is left of
// them.
func TestPingAndBeginLeaveNothingInDoubt(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		for sql, use := range map[string]func() error{
			"SELECT 1": func() error { return db.PingContext(t.Context()) },
			"BEGIN": func() error {
				tx, err := db.BeginTx(t.Context(), nil)
				if err != nil {
					return err
				}
				return tx.Rollback()
			},
		} {
			once(srv, sql, snowtest.Fault{Run: true, Drop: true, After: func() { srv.AbortSessions() }})
			if err := use(); err != nil {
				t.Errorf("%s: %v", sql, err)
			}
		}
	})
}

// TestBeginWithLostReplyAndSessionIsSentAgain: it had changed nothing, and what lasted
// before it is none of its business.
func TestBeginWithLostReplyAndSessionIsSentAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.ExecContext(t.Context(), "CREATE TABLE x (n INT)"); err != nil {
			t.Fatal(err)
		}
		once(srv, "BEGIN", snowtest.Fault{Run: true, Drop: true, After: func() { srv.AbortSessions() }})
		for _, sql := range []string{"BEGIN", insert, "COMMIT"} {
			if _, err := conn.ExecContext(t.Context(), sql); err != nil {
				t.Errorf("%s: %v", sql, err)
			}
		}
		if n := srv.Effects(insert); n != 1 {
			t.Errorf("the INSERT took effect %d times", n)
		}
	})
}

// TestWhatActsOutsideIsInDoubtOutsideATransaction: the same without one.
// Before: IDENTIFIER, methods, functions in lists of columns and WITH … DELETE ran again.
func TestWhatActsOutsideIsInDoubtOutsideATransaction(t *testing.T) {
	more := map[string]snowtest.Kind{
		"WITH x AS (SELECT 1 AS n) DELETE FROM u USING x WHERE u.n = x.n": snowtest.KindDelete,
		"WITH x AS (SELECT 1 AS n) UPDATE u SET n = x.n FROM x":           snowtest.KindUpdate,
		"with x as (select 1) insert into u select * from x":              snowtest.KindInsert,
		"SELECT 1 AS n ->> INSERT INTO u SELECT * FROM $1":                snowtest.KindInsert,
		"EXPLAIN SELECT 1; DELETE FROM u":                                 snowtest.KindDelete,
		"SELECT 1 INTO :n":                                                snowtest.KindSelect,
	}
	for query, kind := range outsideSQL {
		more[query] = kind
	}
	for query, kind := range more {
		for _, use := range forms {
			t.Run(use.name+"/"+query, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					var calls actions
					calls.handle(srv, regexp.QuoteMeta(query), usualResult(kind))
					db := pool(t, srv, 1)
					runAndLose(srv, query)
					isInDoubt(t, use.run(t.Context(), db, query), false)
					if n := srv.Accepted(query); n != 1 {
						t.Errorf("accepted %d times", n)
					}
					nextUser(t, srv, db)
				}, snowtest.WithSessionParameter("MULTI_STATEMENT_COUNT", 0))
			})
		}
	}
}

// TestTemporaryTableThatConsumedAStreamIsNotMadeAgain: the rows of the stream went into the first
// one, and with it; the second would be empty.
// Before: nil, with an empty table. Such rows are lost in any case, and its caller has to hear that.
func TestTemporaryTableThatConsumedAStreamIsNotMadeAgain(t *testing.T) {
	for _, query := range []string{
		"CREATE TEMPORARY TABLE staged AS SELECT * FROM a_stream",
		"CREATE TEMP TABLE IF NOT EXISTS staged AS SELECT * FROM a_stream",
		"create or replace temp table staged as (select * from a_stream)",
		"/* of mine */ CREATE LOCAL TEMPORARY TABLE staged (n INT) AS WITH s AS (SELECT n FROM a_stream) SELECT n FROM s",
	} {
		for _, use := range forms {
			t.Run(use.name+"/"+query, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					conn := pin(t, pool(t, srv, 1))
					runAndLose(srv, query)
					isInDoubt(t, use.run(t.Context(), conn, query), false)
					checkRan(t, srv, query, 1, 1)
				})
			})
		}
	}
}

// TestHarmlessReadWithLostReplyIsRunAgain: ordinary SQL does not suffer.
// Before: the number of a sequence was in doubt, and so was a table of INFORMATION_SCHEMA.
func TestHarmlessReadWithLostReplyIsRunAgain(t *testing.T) {
	for _, query := range harmlessSQL {
		for _, use := range forms {
			t.Run(use.name+"/"+query, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := pool(t, srv, 1)
					runAndLose(srv, query)
					if err := use.run(t.Context(), db, query); err != nil {
						t.Error(err)
					}
					if n := srv.Accepted(query); n != 2 {
						t.Errorf("accepted %d times", n)
					}
				}, snowtest.AllowRepeats())
			})
		}
	}
}

// TestFunctionsOfItsOwnMakeNoStatementInDoubtThatDidNotRun: a refusal is a proof for all.
func TestFunctionsOfItsOwnMakeNoStatementInDoubtThatDidNotRun(t *testing.T) {
	for query, kind := range outsideSQL {
		for _, way := range endings {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				var calls actions
				calls.handle(srv, regexp.QuoteMeta(query), usualResult(kind))
				db := pool(t, srv, 1)
				srv.EndSessions(way.end)
				if err := drain(db.QueryContext(t.Context(), query)); err != nil {
					t.Errorf("%s, %s: %v", way.name, query, err)
				}
				calls.want(t, 1)
			}, snowtest.WithSessionParameter("MULTI_STATEMENT_COUNT", 0))
		}
	}
}

// namedSQL are statements that call nothing but functions which are harmless, or named
// f and db.s.g; unnamedSQL call others too.
var (
	namedSQL = []string{
		"SELECT f(1)", "SELECT F (1), UPPER('x') FROM t", "SELECT db.s.g(1)", "select DB.S.G(f(n)) from t",
		"SELECT * FROM TABLE(db.s.g(1))", "WITH x AS (SELECT f(1) AS n) SELECT n FROM x", "SHOW TABLES ->> SELECT f(\"name\") FROM $1",
	}
	unnamedSQL = []string{
		"SELECT g(1)", "SELECT s.g(1)", "SELECT other.s.g(1)", "SELECT db.s.f(1)", "SELECT f(h(1))", "SELECT \"f\"(1)",
		"SELECT f!g(1)", "SELECT IDENTIFIER('f')(1)", "SELECT f(1), SYSTEM$WAIT(1)", "SELECT f(1) ->> CALL f(1)",
	}
)

// TestNamedFunctionsAreHarmless: a lost reply of a statement that calls them is run again,
// and of any other one is in doubt.
// Before: there was no way to say so.
func TestNamedFunctionsAreHarmless(t *testing.T) {
	for name, open := range harmlessPools {
		for _, query := range append(namedSQL, unnamedSQL...) {
			for _, use := range forms {
				t.Run(name+"/"+use.name+"/"+query, func(t *testing.T) {
					inBubble(t, func(t *testing.T, srv *snowtest.Server) {
						var calls actions
						calls.handle(srv, regexp.QuoteMeta(query), snowtest.Rows([]string{"N"}, []any{1}))
						db := open(t, srv)
						runAndLose(srv, query)
						err := use.run(t.Context(), db, query)
						if containsSQL(namedSQL, query) {
							if err != nil {
								t.Error(err)
							}
							calls.want(t, 2)
							return
						}
						isInDoubt(t, err, false)
						calls.want(t, 1)
					}, snowtest.AllowRepeats())
				})
			}
		}
	}
}

func containsSQL(list []string, query string) bool {
	for _, q := range list {
		if q == query {
			return true
		}
	}
	return false
}

// TestHarmlessFunctionsOfADSN: tetherHarmlessFunctions=f,db.s.g.
func TestHarmlessFunctionsOfADSN(t *testing.T) {
	srv := snowtest.New(t, snowtest.AllowRepeats())
	db, err := sql.Open(snowtether.DriverName, srv.DSN()+"&tetherHarmlessFunctions="+url.QueryEscape("f,db.s.g"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	db.SetMaxOpenConns(1)
	for query, harmless := range map[string]bool{"SELECT f(1), db.s.g(2)": true, "SELECT g(1)": false} {
		if err := db.PingContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		runAndLose(srv, query)
		err := drain(db.QueryContext(t.Context(), query))
		if harmless && err != nil {
			t.Errorf("%s: %v", query, err)
		}
		if !harmless {
			isInDoubt(t, err, false)
		}
	}
}

// TestNamesThatAreNoneAreRefused: at once, with its number in the error and how names are
// written.
func TestNamesThatAreNoneAreRefused(t *testing.T) {
	srv := snowtest.New(t)
	for _, name := range []string{"", " ", "f(1)", "a b", "a..b", "a.b.c.d", "f;"} {
		if _, err := snowtether.NewConnector(srv.Config(), snowtether.WithHarmlessFunctions("f", name)); err == nil || !strings.Contains(err.Error(), "name 2 is not the name of a function: write f, schema.f or db.schema.f") {
			t.Errorf("%q: %v", name, err)
		}
	}
}
