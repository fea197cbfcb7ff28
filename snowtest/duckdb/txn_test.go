package duckdb_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowtether/snowtether/snowtest"
	"github.com/snowtether/snowtether/snowtest/duckdb"
)

func TestTransactionsBelongToTheirSession(t *testing.T) {
	e := newEngine(t)
	a, b := open(t, e), open(t, e)
	a.run("CREATE TABLE t (a INT)")
	a.runAll("BEGIN", "INSERT INTO t VALUES (1), (2)")
	a.want("SELECT count(*) FROM t", "2")
	b.want("SELECT count(*) FROM t", "0")
	a.run("COMMIT")
	b.want("SELECT count(*) FROM t", "2")
	b.runAll("START TRANSACTION", "DELETE FROM t", "ROLLBACK")
	b.want("SELECT count(*) FROM t", "2")
}

func TestTransactionStatementsAreLoose(t *testing.T) {
	c := newClient(t)
	c.runAll("COMMIT", "ROLLBACK", "CREATE TABLE t (a INT)", "BEGIN TRANSACTION NAME first", "INSERT INTO t VALUES (1)",
		"BEGIN WORK", "INSERT INTO t VALUES (2)", "ROLLBACK")
	c.want("SELECT count(*) FROM t", "0")
	// What DuckDB or nobody knows is not taken for a COMMIT or a ROLLBACK.
	c.runAll("BEGIN NAME second", "INSERT INTO t VALUES (4)")
	for _, q := range []string{"ROLLBACK TO SAVEPOINT x", "ROLLBACK x", "COMMIT AND CHAIN", "COMMIT TRANSACTION"} {
		c.wantCode(q, "001003/42000")
	}
	c.want("SELECT count(*) FROM t", "1")
	c.runAll("ROLLBACK WORK", "COMMIT WORK")
	c.want("SELECT count(*) FROM t", "0")
	if res := c.run("BEGIN"); res.Kind != snowtest.KindTCL || text(res) != "Statement executed successfully." {
		t.Errorf("BEGIN: kind %x, %s", res.Kind, text(res))
	}
	// DDL commits what is open, and is not undone itself.
	c.runAll("INSERT INTO t VALUES (3)", "CREATE TABLE u (a INT)", "ROLLBACK")
	c.want("SELECT count(*) FROM t", "1")
	c.want("SELECT count(*) FROM u", "0")
}

func TestAutocommitOffOpensATransaction(t *testing.T) {
	e := newEngine(t)
	a, b := open(t, e, "AUTOCOMMIT=false"), open(t, e)
	a.run("CREATE TABLE t (a INT)")
	a.run("INSERT INTO t VALUES (1)")
	b.want("SELECT count(*) FROM t", "0")
	a.run("COMMIT")
	b.want("SELECT count(*) FROM t", "1")
	a.runAll("ALTER SESSION SET AUTOCOMMIT = TRUE", "INSERT INTO t VALUES (2)")
	b.want("SELECT count(*) FROM t", "2")
}

func TestCloseRollsBackAndDropsTemporaryTables(t *testing.T) {
	e := newEngine(t)
	c := open(t, e)
	c.run("CREATE TABLE t (a INT)")
	s, err := e.OpenSession(context.Background(), snowtest.SessionConfig{ID: 99, Database: "DB"})
	if err != nil {
		t.Fatal(err)
	}
	d := &client{t, s, 99}
	d.runAll("CREATE TEMPORARY TABLE only_mine (a INT)", "BEGIN", "INSERT INTO t VALUES (1)", "INSERT INTO only_mine VALUES (1)")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	c.want("SELECT count(*) FROM t", "0")
	c.wantCode("SELECT * FROM only_mine", "002003/42S02")
}

// Without the retries DuckDB's conflict error reaches the clients.
func TestEightSessionsInsertAtOnce(t *testing.T) {
	e := newEngine(t)
	c := open(t, e)
	c.run("CREATE TABLE t (worker INT, n INT, id INT AUTOINCREMENT)")
	const workers, each = 8, 50
	var wg sync.WaitGroup
	for w := range workers {
		s := open(t, e)
		wg.Go(func() {
			for n := range each {
				res, err := s.try(fmt.Sprintf("INSERT INTO t (worker, n) VALUES (%d, %d)", w, n))
				if err != nil || text(res) != "1" {
					t.Errorf("worker %d: %v", w, err)
					return
				}
			}
		})
	}
	wg.Wait()
	c.want("SELECT count(*), count(DISTINCT id), count(DISTINCT worker * 1000 + n) FROM t", "400|400|400")
}

func TestEightSessionsUpdateOneRow(t *testing.T) {
	e := newEngine(t)
	c := open(t, e)
	c.runAll("CREATE TABLE t (n INT)", "INSERT INTO t VALUES (0)")
	var wg sync.WaitGroup
	for range 8 {
		s := open(t, e)
		wg.Go(func() {
			for range 10 {
				if _, err := s.try("UPDATE t SET n = n + 1"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	c.want("SELECT n FROM t", "80")
}

func TestStatementWaitsForAnothersTransaction(t *testing.T) {
	e := newEngine(t)
	a, b := open(t, e), open(t, e)
	a.runAll("CREATE TABLE t (n INT)", "INSERT INTO t VALUES (1)", "BEGIN", "UPDATE t SET n = 2")
	b.run("BEGIN")
	done := make(chan error, 1)
	go func() {
		// The first statement of a transaction waits as well.
		_, err := b.try("UPDATE t SET n = n * 10")
		done <- err
	}()
	for duckdb.LockWaits(e) == 0 {
		select {
		case err := <-done:
			t.Fatalf("the second UPDATE did not wait: %v", err)
		default:
			runtime.Gosched()
		}
	}
	a.run("COMMIT")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	b.run("COMMIT")
	a.want("SELECT n FROM t", "20")
}

func TestLockTimeoutIsAnError(t *testing.T) {
	e := newEngine(t, duckdb.WithLockWait(50*time.Millisecond))
	a, b := open(t, e), open(t, e)
	a.runAll("CREATE TABLE t (n INT)", "INSERT INTO t VALUES (1)", "BEGIN", "UPDATE t SET n = 2")
	b.wantCode("UPDATE t SET n = 3", "000625/57014")
	// Inside a transaction that has read already there is nothing to wait for.
	b.runAll("BEGIN", "SELECT * FROM t")
	b.wantCode("UPDATE t SET n = 3", "000625/57014")
	b.run("ROLLBACK")
	a.run("COMMIT")
	b.run("UPDATE t SET n = n + 5")
	a.want("SELECT n FROM t", "7")
}

// A statement that failed leaves its transaction as it was, as long as that can be told
// for certain.
func TestFailedStatementLeavesItsTransaction(t *testing.T) {
	c := newClient(t)
	c.runAll("CREATE TABLE t (n INT, s VARCHAR(2))", "INSERT INTO t VALUES (0, 'a')", "BEGIN", "INSERT INTO t VALUES (1, 'b')", "UPDATE t SET n = n + 1")
	c.run("INSERT INTO t VALUES (?, ?)", array("FIXED", "5", "6"), array("TEXT", "x", "y"))
	c.wantCode("INSERT INTO t VALUES (2, 'long')", "100078/22000")
	c.wantCode("INSERT INTO t SELECT n / 0, 'c' FROM t", "100051/22012")
	c.runAll("DELETE FROM t WHERE n = 6", "COMMIT")
	c.want("SELECT * FROM t ORDER BY n", "1|a;2|b;5|x")
	// What depends on chance is not carried out again: the transaction is lost, and says so.
	c.runAll("BEGIN", "INSERT INTO t SELECT uniform(1, 1000000, random()), 'r'")
	c.wantCode("INSERT INTO t VALUES (2, 'long')", "100078/22000")
	c.wantCode("SELECT 1", "000603/25P02")
	c.run("ROLLBACK")
}

func TestFailedStatementEndsTheTransactionWithAnAnswer(t *testing.T) {
	e := newEngine(t)
	c, other := open(t, e), open(t, e)
	c.runAll("CREATE TABLE t (n INT)", "CREATE TABLE elsewhere (n INT)", "BEGIN", "INSERT INTO t VALUES (1)")
	// What cannot even be compiled does no harm.
	c.wantCode("SELECT * FROM nope", "002003/42S02")
	c.wantCode("SELECT nope FROM t", "000904/42000")
	c.wantCode("SELEC", "001003/42000")
	c.want("SELECT n FROM t", "1")
	c.wantCode("INSERT INTO t VALUES ('x')", "100038/22018")
	other.run("INSERT INTO elsewhere VALUES (1)")
	c.wantCode("INSERT INTO t VALUES ('x')", "100038/22018")
	_, err := c.try("SELECT 1")
	if err == nil || !strings.Contains(err.Error(), "roll the transaction back") {
		t.Errorf("after a failure in a transaction: %v", err)
	}
	if _, err := c.try("COMMIT"); err == nil {
		t.Error("COMMIT of a broken transaction succeeded")
	}
	c.want("SELECT count(*) FROM t", "0")
}

func TestCancelledContextEndsTheStatement(t *testing.T) {
	c := newClient(t)
	// The query would run for hours.
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err := c.s.Run(ctx, &snowtest.Statement{SQL: "SELECT count(*) FROM TABLE(GENERATOR(ROWCOUNT => 10000000)) a, TABLE(GENERATOR(ROWCOUNT => 1000000)) b WHERE random() > 0"})
	if code(err) != "000604/57014" {
		t.Errorf("cancelled: %v", err)
	}
	c.want("SELECT 1", "1")

	ctx, cancel = context.WithCancel(context.Background())
	cancel()
	_, err = c.s.Run(ctx, &snowtest.Statement{SQL: "SELECT SYSTEM$WAIT(60)"})
	if code(err) != "000604/57014" {
		t.Errorf("cancelled SYSTEM$WAIT: %v", err)
	}
}

func TestStatementTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t)
		c.run("ALTER SESSION SET STATEMENT_TIMEOUT_IN_SECONDS = 30")
		start := time.Now()
		c.want("SELECT SYSTEM$WAIT(29)", "waited 29 seconds")
		c.wantCode("SELECT SYSTEM$WAIT(60)", "000630/57014")
		if took := time.Since(start); took != 59*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestCancelledInsertLeavesNothing(t *testing.T) {
	e := newEngine(t)
	c := open(t, e)
	c.run("CREATE TABLE t (n INT)")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := c.s.Run(ctx, &snowtest.Statement{SQL: "INSERT INTO t SELECT seq4() FROM TABLE(GENERATOR(ROWCOUNT => 5000000))"})
	if err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled INSERT: %v", err)
	}
	c.want("SELECT count(*) FROM t", "0")
}
