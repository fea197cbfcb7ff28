package snowtest_test

import (
	"context"
	"errors"
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
		srv.Control(on(snowtest.RequestQuery, snowtest.Fault{Delay: time.Minute, Late: true}))
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
