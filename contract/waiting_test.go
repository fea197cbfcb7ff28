package contract_test

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about what is under way and not answered: it is seen before anything fails.

// hang makes the server take requests of a kind and answer none for a while.
func hang(srv *snowtest.Server, kind snowtest.RequestKind, d time.Duration) {
	until := time.Now().Add(d)
	srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
		if r.Kind != kind || !time.Now().Before(until) {
			return snowtest.Fault{}, false
		}
		return snowtest.Fault{Delay: time.Until(until)}, true
	})
}

// TestUnansweredStatementsAreSeen: how many, and for how long, while they wait. Before, a
// pool was in order until the first error came, 23 to 31 s after a cut.
func TestUnansweredStatementsAreSeen(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db, c := connect(t, srv.Config())
		db.SetMaxIdleConns(4)
		if err := snowtether.Warm(t.Context(), db, 4); err != nil {
			t.Fatal(err)
		}
		if w := c.Snapshot().Waiting; w.Statements != 0 || w.Oldest != 0 || w.Silence == 0 {
			t.Errorf("at rest: %+v", w)
		}
		hang(srv, snowtest.RequestQuery, 30*time.Second)
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				if _, err := db.ExecContext(t.Context(), fmt.Sprintf("INSERT INTO t VALUES (%d)", i)); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(4 * time.Second)
		if w := c.Snapshot().Waiting; w.Statements != 4 || w.Unanswered != 0 || w.Oldest != 4*time.Second {
			t.Errorf("after 4 s: %+v", w)
		}
		time.Sleep(13 * time.Second)
		if w := c.Snapshot().Waiting; w.Statements != 4 || w.Unanswered != 4 || w.Oldest != 17*time.Second || w.Silence < w.Oldest {
			t.Errorf("after 17 s: %+v", w)
		}
		wg.Wait()
		if w := c.Snapshot().Waiting; w.Statements != 0 || w.Oldest != 0 || w.Silence > time.Second {
			t.Errorf("afterwards: %+v", w)
		}
	})
}

// TestUnansweredLoginIsSeen: for how long, while it waits.
func TestUnansweredLoginIsSeen(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db, c := connect(t, srv.Config())
		hang(srv, snowtest.RequestLogin, 30*time.Second)
		go func() { _ = db.PingContext(t.Context()) }()
		time.Sleep(17 * time.Second)
		if w := c.Snapshot().Waiting; w.Logins != 1 || w.Oldest != 17*time.Second || w.Silence != 0 {
			t.Errorf("after 17 s: %+v", w)
		}
		time.Sleep(time.Minute)
		if w := c.Snapshot().Waiting; w.Logins != 0 || w.Oldest != 0 {
			t.Errorf("afterwards: %+v", w)
		}
	})
}

// TestLongStatementIsAnsweredAllAlong: each request of a statement that runs for minutes
// has its own answer.
func TestLongStatementIsAnsweredAllAlong(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db, c := connect(t, srv.Config())
		slowly(srv, "^INSERT", 5*time.Minute, nil, nil)
		done := make(chan error)
		go func() {
			_, err := db.ExecContext(t.Context(), insert)
			done <- err
		}()
		for range 28 {
			time.Sleep(10 * time.Second)
			if w := c.Snapshot().Waiting; w.Statements != 1 || w.Oldest > time.Minute {
				t.Errorf("%+v", w)
			}
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestOutageLastsFromTheFirstUnansweredRequest: the line at its end says how long it was,
// and not how long it was known. A cut of 120 s was one of 50 s in the log.
func TestOutageLastsFromTheFirstUnansweredRequest(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var j journal
		db, c := connect(t, srv.Config(), snowtether.WithEventHook(j.hook))
		mustPing(t, db)
		time.Sleep(time.Hour)
		cut(srv)
		begun := time.Now()
		time.AfterFunc(2*time.Minute, srv.Reconnect)
		if _, err := db.ExecContext(within(t, time.Hour), "SELECT 1"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		began, ended := j.of(snowtether.EventOutageBegan), j.of(snowtether.EventOutageEnded)
		if len(began) != 1 || len(ended) != 1 || ended[0].Duration != time.Since(begun) || ended[0].Duration < 2*time.Minute {
			t.Errorf("a cut of 2m, noticed after %v:\nbegan %+v\nended %+v", began[0].Time.Sub(begun), began, ended)
		}
		if g := c.Snapshot().Gate; g.State != snowtether.GateFree {
			t.Errorf("the gate is %+v", g)
		}
	})
}

// TestClientsOwnErrorsDoNotEndAnOutage: only an answer does.
func TestClientsOwnErrorsDoNotEndAnOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var j journal
		db, c := connect(t, srv.Config(), snowtether.WithEventHook(j.hook))
		db.SetMaxIdleConns(4)
		if err := snowtether.Warm(t.Context(), db, 4); err != nil {
			t.Fatal(err)
		}
		cut(srv)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		_ = db.PingContext(ctx)
		for name, use := range clientErrors(db) {
			if err := use(within(t, time.Second)); err == nil {
				t.Errorf("%s succeeded", name)
			}
			synctest.Wait()
			if g := c.Snapshot().Gate; g.State != snowtether.GateProbing || len(j.of(snowtether.EventOutageEnded)) != 0 {
				t.Errorf("after %s: %+v, %+v", name, g, j.of(snowtether.EventOutageEnded))
			}
		}
		srv.Reconnect()
		mustPing(t, db)
		if len(j.of(snowtether.EventOutageBegan)) != 1 || len(j.of(snowtether.EventOutageEnded)) != 1 {
			t.Errorf("began %+v, ended %+v", j.of(snowtether.EventOutageBegan), j.of(snowtether.EventOutageEnded))
		}
	})
}

// clientErrors are calls that gosnowflake or the driver refuses by itself.
func clientErrors(db *sql.DB) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"a value of a type that cannot be bound": func(ctx context.Context) error {
			_, err := db.ExecContext(ctx, "INSERT INTO t VALUES (?)", make(chan int))
			return err
		},
		"a read-only transaction": func(ctx context.Context) error {
			_, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
			return err
		},
		"an isolation level": func(ctx context.Context) error {
			_, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelSerializable})
			return err
		},
		"a file that is not there": func(ctx context.Context) error {
			_, err := db.ExecContext(ctx, "PUT file:///not/there @~")
			return err
		},
	}
}
