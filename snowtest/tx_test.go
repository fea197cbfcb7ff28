package snowtest_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/snowtest"
)

// ids is a context with a query-ID channel, and what comes through it.
func ids(t *testing.T) (context.Context, func() string) {
	ch := make(chan string, 1)
	return gosnowflake.WithQueryIDChan(t.Context(), ch), func() string { return <-ch }
}

// An account that has no transaction to end says success and nothing else.
func TestEndOfNoTransactionIsAnsweredWithoutAQueryID(t *testing.T) {
	srv := snowtest.New(t)
	c := conn(t, open(t, srv))
	for _, test := range []struct {
		sql  string
		open bool // a transaction is open
	}{
		{"COMMIT", false}, {"rollback work", false}, {"BEGIN", true}, {"COMMIT", true}, {"COMMIT", false},
		{"BEGIN", true}, {"ROLLBACK", true}, {"ROLLBACK", false},
	} {
		ctx, id := ids(t)
		if _, err := c.ExecContext(ctx, test.sql); err != nil {
			t.Fatalf("%s: %v", test.sql, err)
		}
		if got := id(); (got != "") != test.open {
			t.Errorf("%s, transaction open %v: query ID %q", test.sql, test.open, got)
		}
	}
	rows, err := c.QueryContext(t.Context(), "COMMIT")
	if err != nil {
		t.Fatal(err)
	}
	if err := rows.Close(); err != nil {
		t.Error(err)
	}
}

func TestAbortedTransactionIsRolledBackAndItsSessionLives(t *testing.T) {
	srv := snowtest.New(t)
	c := conn(t, open(t, srv))
	exec(t, c, "BEGIN")
	exec(t, c, insert)
	srv.AbortTransactions(srv.Sessions()[0].ID)
	if srv.Sessions()[0].InTx {
		t.Error("the transaction is open")
	}
	exec(t, c, "COMMIT")
	exec(t, c, "INSERT INTO t VALUES (2)")
	if n, m := srv.Effects(insert), srv.Effects("INSERT INTO t VALUES (2)"); n != 0 || m != 1 {
		t.Errorf("took effect %d times, and what came after the transaction %d times", n, m)
	}
	srv.AbortTransactions() // none is open
}

// A gateway that has a request passes it on, whatever its client does.
func TestLateRequestArrivesAfterItsClientHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := snowtest.New(t, snowtest.InMemory())
		c := conn(t, open(t, srv))
		srv.FaultOnce(on(snowtest.RequestQuery, snowtest.Fault{Delay: time.Minute, Late: true}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.ExecContext(ctx, insert); !errors.Is(err, context.DeadlineExceeded) || srv.Accepted(insert) != 0 {
			t.Errorf("accepted %d times: %v", srv.Accepted(insert), err)
		}
		time.Sleep(time.Minute)
		if srv.Effects(insert) != 1 {
			t.Errorf("took effect %d times", srv.Effects(insert))
		}
	})
}

// Questions about its status do not keep a statement attached, requests for its
// result do.
func TestDetachedStatementIsAborted(t *testing.T) {
	for _, test := range []struct {
		name     string
		set      any
		poll     bool
		finishes bool
	}{
		{"nobody asks", "true", false, false},
		{"from the login", true, false, false},
		{"polled", "TRUE", true, true},
		{"the parameter is off", "false", false, true},
		{"the parameter is not set", nil, false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				opts := []snowtest.Option{snowtest.InMemory(), snowtest.AllowOpenSessions()}
				if test.set != nil {
					opts = append(opts, snowtest.WithSessionParameter("ABORT_DETACHED_QUERY", test.set))
				}
				srv := snowtest.New(t, opts...)
				b := block(srv, "SLOW")
				time.AfterFunc(30*time.Minute, func() { close(b.release) })
				db := open(t, srv)
				if !test.poll {
					time.AfterFunc(time.Minute, func() { srv.AbortSessions() })
				}
				_, err := conn(t, db).ExecContext(t.Context(), "UPDATE slow SET x = 1")
				if (err == nil) != test.poll {
					t.Errorf("error is %v", err)
				}
				other := conn(t, db)
				for range 60 {
					_ = other.Raw(func(dc any) error {
						_, err := dc.(gosnowflake.SnowflakeConnection).GetQueryStatus(t.Context(), srv.Ledger()[0].QueryID)
						return err
					})
					time.Sleep(time.Minute)
				}
				if state := srv.Ledger()[0].State; (state == snowtest.Succeeded) != test.finishes {
					t.Errorf("the statement is %v", state)
				}
			})
		})
	}
}

// What the engine says of a statement counts, not its first word.
func TestLedgerBelievesTheEngine(t *testing.T) {
	srv := snowtest.New(t, snowtest.AllowRepeats(), snowtest.WithSessionParameter("AUTOCOMMIT", "off"))
	const chain = "SELECT 1 AS n ->> INSERT INTO t SELECT * FROM $1"
	srv.Handle("->> INSERT", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		return snowtest.Count(snowtest.KindInsert, []string{"number of rows inserted"}, []int64{1}), nil
	})
	c := conn(t, open(t, srv))
	exec(t, c, chain)
	if !srv.Sessions()[0].InTx || srv.Effects(chain) != 0 {
		t.Errorf("it began no transaction: %d effects", srv.Effects(chain))
	}
	exec(t, c, chain)
	exec(t, c, "COMMIT")
	if d := srv.Doubles(); len(d) != 1 || d[0] != chain {
		t.Errorf("doubles: %v", d)
	}
}

// transactions are the IDs of the open transactions by their sessions, as SHOW
// TRANSACTIONS has them.
func transactions(t *testing.T, db queryer) map[int64]int64 {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "SHOW TRANSACTIONS")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	names, err := rows.Columns()
	if err != nil || !slices.Equal(names, []string{"id", "user", "session", "name", "started_on", "state", "scope"}) {
		t.Errorf("the columns are %v: %v", names, err)
	}
	open := map[int64]int64{}
	for rows.Next() {
		var id, session, scope int64
		var user, name, state string
		var started time.Time
		if err := rows.Scan(&id, &user, &session, &name, &started, &state, &scope); err != nil {
			t.Fatal(err)
		}
		if user != "TESTER" || len(name) != 36 || time.Since(started) > time.Hour || state != "running" || scope != 0 {
			t.Errorf("transaction %d of %s, %s since %s, %s, scope %d", id, user, name, started, state, scope)
		}
		open[session] = id
	}
	if err := rows.Err(); err != nil {
		t.Error(err)
	}
	return open
}

// timed runs a statement and returns how long it took.
func timed(t *testing.T, db execer, query string) time.Duration {
	t.Helper()
	begun := time.Now()
	exec(t, db, query)
	return time.Since(begun)
}

// A session that vanished leaves its transaction behind, with what it holds; a log-out does
// not, and without the option neither does.
func TestTransactionOfAVanishedSessionIsDetached(t *testing.T) {
	const update, again = "UPDATE t SET n = 1", `UPDATE t SET n = 2`
	for _, test := range []struct {
		name string
		stay time.Duration
		end  func(srv *snowtest.Server, db *sql.DB, id int64)
		want time.Duration // for which the next statement waits
	}{
		{"aborted", 5 * time.Minute, func(srv *snowtest.Server, _ *sql.DB, id int64) { srv.AbortSessions(id) }, 5 * time.Minute},
		{"expired", 7 * time.Minute, func(srv *snowtest.Server, _ *sql.DB, id int64) { srv.ExpireMasterTokens(id) }, 7 * time.Minute},
		{"by the clock", time.Minute, func(srv *snowtest.Server, _ *sql.DB, _ int64) { time.Sleep(20 * time.Minute); srv.Sessions() }, time.Minute},
		{"logged out", 5 * time.Minute, func(_ *snowtest.Server, db *sql.DB, _ int64) { _ = db.Close() }, 0},
		{"without the option", 0, func(srv *snowtest.Server, _ *sql.DB, id int64) { srv.AbortSessions(id) }, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := snowtest.New(t, snowtest.InMemory(), snowtest.WithDetachedTransactions(test.stay), snowtest.WithMaxSessionLife(20*time.Minute), snowtest.AllowOpenSessions())
				db := open(t, srv)
				dead := conn(t, db)
				exec(t, dead, "BEGIN")
				exec(t, dead, update)
				id := srv.Sessions()[0].ID
				if test.name == "logged out" {
					_ = dead.Close()
				}
				test.end(srv, db, id)
				c := conn(t, open(t, srv))
				if open := transactions(t, c); (open[id] != 0) != (test.want > 0) {
					t.Errorf("open: %v", open)
				}
				if took := timed(t, c, again); took.Round(time.Second) != test.want {
					t.Errorf("waited for %s", took)
				}
				if open := transactions(t, c); len(open) != 0 || srv.Effects(update) != 0 || srv.Effects(again) != 1 {
					t.Errorf("open: %v; %d and %d effects", open, srv.Effects(update), srv.Effects(again))
				}
			})
		})
	}
}

// The transactions of all of the user's sessions can be aborted, by their IDs: those of
// living sessions, detached ones, and those in which something runs.
func TestTransactionIsAbortedByItsID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := snowtest.New(t, snowtest.InMemory(), snowtest.WithDetachedTransactions(time.Hour), snowtest.AllowOpenSessions())
		b := block(srv, "^UPDATE slow")
		db := open(t, srv)
		c := conn(t, db)
		others := []*sql.Conn{conn(t, db), conn(t, db), conn(t, db)}
		for i, other := range others {
			exec(t, other, "BEGIN")
			exec(t, other, fmt.Sprintf("UPDATE t%d SET n = 1", i))
		}
		if n := len(transactions(t, c)); n != 3 {
			t.Errorf("%d transactions are open", n)
		}
		slow := make(chan error)
		go func() {
			_, err := others[1].ExecContext(t.Context(), "UPDATE slow SET n = 1")
			slow <- err
		}()
		<-b.began
		srv.AbortSessions(srv.Sessions()[1].ID)
		for session, id := range transactions(t, c) {
			query := fmt.Sprintf("SELECT SYSTEM$ABORT_TRANSACTION(%d)", id)
			if said := column(t, t.Context(), c, query); len(said) != 1 || said[0] != fmt.Sprintf("Aborted transaction id: %d", id) {
				t.Errorf("session %d: %v", session, said)
			}
			_, err := c.ExecContext(t.Context(), query)
			wantCode(t, err, 2003)
		}
		select {
		case <-slow: // whatever its client makes of it
		case <-time.After(10 * time.Minute):
			t.Error("the statement in an aborted transaction runs on")
		}
		if open := transactions(t, c); len(open) != 0 {
			t.Errorf("open: %v", open)
		}
		for i := range others {
			if took := timed(t, c, fmt.Sprintf("UPDATE t%d SET n = 2", i)); took > time.Second || srv.Effects(fmt.Sprintf("UPDATE t%d SET n = 1", i)) != 0 {
				t.Errorf("%d: waited for %s", i, took)
			}
		}
		exec(t, others[2], "COMMIT") // finds none
	})
}

// Only changes of what another transaction has changed wait, until that has ended.
func TestChangeWaitsForTheTransactionThatHasChangedTheTable(t *testing.T) {
	const wait = 10 * time.Minute
	for _, test := range []struct {
		first, second string
		want          time.Duration
	}{
		{"UPDATE t SET n = 1", "DELETE FROM T WHERE n = 2", wait},
		{"delete /* all */ from t", "MERGE INTO t USING s ON t.n = s.n WHEN MATCHED THEN DELETE", wait},
		{`MERGE INTO db."s".t USING s ON t.n = s.n WHEN MATCHED THEN DELETE`, `UPDATE DB."s".T SET n = 2`, wait},
		{"INSERT INTO t VALUES (1)", "UPDATE t SET n = 2", 0},
		{"UPDATE t SET n = 1", "INSERT INTO t VALUES (2)", 0},
		{"UPDATE t SET n = 1", "UPDATE u SET n = 2", 0},
		{"UPDATE t SET n = 1", `UPDATE "t" SET n = 2`, 0},
		{"UPDATE t SET n = 1", "SELECT 1", 0},
	} {
		for _, begin := range []string{"BEGIN", "ALTER SESSION SET AUTOCOMMIT = FALSE"} {
			for _, end := range []string{"COMMIT", "ROLLBACK"} {
				t.Run(test.first+"/"+test.second+"/"+begin+"/"+end, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						srv := snowtest.New(t, snowtest.InMemory(), snowtest.WithDetachedTransactions(time.Hour), snowtest.AllowOpenSessions())
						db := open(t, srv)
						one, two := conn(t, db), conn(t, db)
						exec(t, one, begin)
						exec(t, one, test.first)
						exec(t, one, test.first+" -- it waits for no one of its own transaction")
						time.AfterFunc(wait, func() { exec(t, one, end) })
						exec(t, two, "BEGIN")
						if took := timed(t, two, test.second); took.Round(time.Second) != test.want {
							t.Errorf("waited for %s", took)
						}
						time.Sleep(2 * wait) // until it has ended
					})
				})
			}
		}
	}
}

// A statement that waits for another transaction can be cancelled.
func TestWaitingChangeIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := snowtest.New(t, snowtest.InMemory(), snowtest.WithDetachedTransactions(time.Hour), snowtest.AllowOpenSessions())
		db := open(t, srv)
		one, two := conn(t, db), conn(t, db)
		exec(t, one, "BEGIN")
		exec(t, one, "UPDATE t SET n = 1")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := two.ExecContext(ctx, "UPDATE t SET n = 2"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v", err)
		}
		exec(t, one, "COMMIT")
		exec(t, two, "UPDATE t SET n = 3")
		if n := srv.Effects("UPDATE t SET n = 2"); n != 0 {
			t.Errorf("took effect %d times", n)
		}
	})
}
