package snowtest_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/snowtether/snowtether/snowtest"
)

const insert = "INSERT INTO t VALUES (1)"

func TestEffectsOfTransactions(t *testing.T) {
	for _, test := range []struct {
		name       string
		statements string // separated by semicolons
		accepted   int    // of insert
		effects    int
		inTx       bool // in the end
	}{
		{"no transaction", insert, 1, 1, false},
		{"open transaction", "BEGIN;" + insert, 1, 0, true},
		{"committed", "BEGIN;" + insert + ";COMMIT", 1, 1, false},
		{"rolled back", "begin transaction;" + insert + ";rollback", 1, 0, false},
		{"START TRANSACTION", "START TRANSACTION;" + insert + ";ROLLBACK WORK", 1, 0, false},
		{"BEGIN in a transaction changes nothing", "BEGIN;" + insert + ";BEGIN;ROLLBACK", 1, 0, false},
		{"BEGIN in a transaction keeps what was done", "BEGIN;" + insert + ";BEGIN;COMMIT", 1, 1, false},
		{"COMMIT and ROLLBACK without a transaction", "COMMIT;" + insert + ";ROLLBACK", 1, 1, false},
		{"two transactions", "BEGIN;" + insert + ";ROLLBACK;BEGIN;" + insert + ";COMMIT", 2, 1, false},
		{"DDL commits", "BEGIN;" + insert + ";CREATE TABLE x (i INT);" + insert + ";ROLLBACK", 2, 2, false},
		{"failed DDL does not", "BEGIN;" + insert + ";CREATE TABLE broken;ROLLBACK", 1, 0, false},
		{"a failed statement", "BEGIN;INSERT INTO broken VALUES (1);COMMIT", 0, 0, false},
		{"autocommit off", "ALTER SESSION SET AUTOCOMMIT = FALSE;" + insert, 1, 0, true},
		{"autocommit off, committed", "ALTER SESSION SET AUTOCOMMIT = FALSE;" + insert + ";COMMIT", 1, 1, false},
		{"autocommit off, rolled back", "ALTER SESSION SET AUTOCOMMIT = FALSE;" + insert + ";COMMIT;" + insert + ";ROLLBACK", 2, 1, false},
		{"autocommit off, in quotes", "ALTER SESSION SET AUTOCOMMIT = 'false';" + insert, 1, 0, true},
		{"autocommit off, among others", "/* x = y */ alter session set timezone = 'UTC', autocommit = false query_tag = 'AUTOCOMMIT = TRUE';" + insert, 1, 0, true},
		{"autocommit unset", "ALTER SESSION SET AUTOCOMMIT = FALSE;ALTER SESSION UNSET QUERY_TAG, AUTOCOMMIT;" + insert, 1, 1, false},
		{"autocommit on again commits", "ALTER SESSION SET AUTOCOMMIT=FALSE;" + insert + ";ALTER SESSION SET AUTOCOMMIT=TRUE;" + insert, 2, 2, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			srv := snowtest.New(t, snowtest.AllowRepeats())
			srv.Handle("broken", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
				return nil, &snowtest.Error{Code: "001003", SQLState: "42000", Message: "broken"}
			})
			c := conn(t, open(t, srv))
			for sql := range strings.SplitSeq(test.statements, ";") {
				if _, err := c.ExecContext(t.Context(), sql); (err != nil) != strings.Contains(sql, "broken") {
					t.Fatalf("%s: %v", sql, err)
				}
			}
			if a, e := srv.Accepted(insert), srv.Effects(insert); a != test.accepted || e != test.effects {
				t.Errorf("accepted %d, took effect %d times", a, e)
			}
			if got := srv.Sessions()[0].InTx; got != test.inTx {
				t.Errorf("in a transaction: %v", got)
			}
			srv.AbortSessions()
			if e := srv.Effects(insert); e != test.effects {
				t.Errorf("took effect %d times when the session was gone", e)
			}
		})
	}
}

func TestAutocommitCanBeOffFromTheLogin(t *testing.T) {
	srv := snowtest.New(t, snowtest.WithSessionParameter("autocommit", false))
	c := conn(t, open(t, srv))
	exec(t, c, insert)
	if srv.Effects(insert) != 0 || !srv.Sessions()[0].InTx {
		t.Error("it took effect at once")
	}
	exec(t, c, "COMMIT")
	if srv.Effects(insert) != 1 {
		t.Error("COMMIT did not make it last")
	}
}

// gosnowflake sends the rollback with the context of BeginTx. When that is over,
// the rollback never arrives, and what the next user of the connection writes
// is lost without an error. (Through sql.Tx it is a race between Rollback and the
// goroutine that watches the context, which discards the connection.)
func TestRollbackWithADeadContextNeverArrives(t *testing.T) {
	srv := snowtest.New(t)
	db := open(t, srv)
	c := conn(t, db)
	ctx, cancel := context.WithCancel(t.Context())
	err := c.Raw(func(dc any) error {
		tx, err := dc.(driver.ConnBeginTx).BeginTx(ctx, driver.TxOptions{})
		if err != nil {
			return err
		}
		cancel()
		if err := tx.Rollback(); !errors.Is(err, context.Canceled) {
			t.Errorf("the rollback: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	exec(t, c, insert)
	_ = c.Close()
	_ = db.Close()
	if e := srv.Ledger()[1]; !e.InTx || e.State != snowtest.Succeeded || srv.Effects(insert) != 0 || srv.Accepted("ROLLBACK") != 0 {
		t.Errorf("the entry is %+v, effects %d", e, srv.Effects(insert))
	}
}

// A COMMIT that fails leaves the transaction open, and the connection goes back
// to the pool with it.
func TestFailedCommitLeavesTheConnectionInTheTransaction(t *testing.T) {
	srv := snowtest.New(t)
	db := open(t, srv)
	db.SetMaxOpenConns(1)
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	srv.FaultOnce(func(req *snowtest.Request) (snowtest.Fault, bool) {
		return snowtest.Fault{Code: "000603"}, req.SQL == "COMMIT"
	})
	wantCode(t, tx.Commit(), 603)
	exec(t, db, insert)
	_ = db.Close()
	if srv.Accepted(insert) != 1 || srv.Effects(insert) != 0 {
		t.Errorf("accepted %d, took effect %d times", srv.Accepted(insert), srv.Effects(insert))
	}
}

func TestSessionEndRollsBackWhenTheStatementIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := snowtest.New(t, snowtest.InMemory(), snowtest.WithInlineWait(0))
		b := block(srv, "UPDATE")
		c := conn(t, open(t, srv))
		exec(t, c, "BEGIN")
		exec(t, c, insert)
		failed := make(chan error)
		go func() { _, err := c.ExecContext(t.Context(), "UPDATE t SET x = 1"); failed <- err }()
		<-b.began
		srv.AbortSessions()
		wantCode(t, <-failed, 390111)
		close(b.release)
		synctest.Wait()
		if e := srv.Ledger()[2]; e.State != snowtest.Succeeded {
			t.Errorf("the running statement %v", e.State)
		}
		if srv.Effects(insert) != 0 || srv.Effects("UPDATE t SET x = 1") != 0 {
			t.Error("a transaction of a dead session took effect")
		}
	})
}

func TestCommitThatRunsWhenItsSessionDiesTakesEffect(t *testing.T) {
	srv := snowtest.New(t, snowtest.WithInlineWait(0))
	b := block(srv, "COMMIT")
	c := conn(t, open(t, srv))
	exec(t, c, "BEGIN")
	exec(t, c, insert)
	failed := make(chan error)
	go func() { _, err := c.ExecContext(t.Context(), "COMMIT"); failed <- err }()
	<-b.began
	srv.AbortSessions()
	wantCode(t, <-failed, 390111)
	close(b.release)
	waitFor(func() bool { return srv.Effects(insert) == 1 })
}

func TestEntryTellsWhatWasAccepted(t *testing.T) {
	srv := snowtest.New(t)
	c := conn(t, open(t, srv))
	exec(t, c, "BEGIN")
	exec(t, c, "UPDATE t SET x = ?", "v")
	e := srv.Ledger()[1]
	if e.SQL != "UPDATE t SET x = ?" || e.SessionID != 1 || e.Kind != snowtest.KindUpdate || e.State != snowtest.Succeeded ||
		!e.InTx || e.Err != nil || e.Accepted.IsZero() || e.RequestID == "" || e.QueryID == "" || e.Parent != "" ||
		len(e.Binds) != 1 || *e.Binds[0].Value != "v" {
		t.Errorf("the entry is %+v", e)
	}
}

func TestDoublesAreLastingEffects(t *testing.T) {
	srv := snowtest.New(t, snowtest.AllowRepeats())
	c := conn(t, open(t, srv))
	long := strings.Repeat("long ", 100)
	for range 3 {
		for _, sql := range []string{"BEGIN", "INSERT INTO undone VALUES (1)", "ROLLBACK", "SELECT 1", "CREATE TABLE t (x INT)"} {
			exec(t, c, sql)
		}
		exec(t, c, "INSERT INTO t VALUES (?)", "a")
		exec(t, c, "INSERT INTO t VALUES (?)", long)
		exec(t, c, "CALL p()")
		exec(t, c, "EXECUTE IMMEDIATE $$BEGIN RETURN 1; END$$")
	}
	exec(t, c, "INSERT INTO t VALUES (?)", "once")
	got := srv.Doubles()
	if len(got) != 4 || got[0] != "CALL p()" || !strings.HasPrefix(got[1], "EXECUTE") ||
		got[2] != `INSERT INTO t VALUES (?) ["a"]` || !strings.HasPrefix(got[3], `INSERT INTO t VALUES (?) ["long`) || len(got[3]) > 350 {
		t.Errorf("doubles: %q", got)
	}
}

func TestStatesHaveNames(t *testing.T) {
	for state, want := range map[snowtest.State]string{
		snowtest.Running: "running", snowtest.Succeeded: "succeeded", snowtest.Failed: "failed", snowtest.Aborted: "aborted", 9: "state 9",
	} {
		if got := state.String(); got != want {
			t.Errorf("state %d is %q", int(state), got)
		}
	}
}
