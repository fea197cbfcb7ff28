package contract_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about what a program and its operators hear of what happens: events, log lines,
// and what is under way and not answered, which is seen before anything fails.

var byChance = regexp.MustCompile(`, (?:login|ping)_failed \d+`)

// TestEachHappeningIsAnEventAndItsStateALine: the hook hears of each event; the log
// speaks once when a state begins and once when it ends, and is silent about what
// needs nobody.
func TestEachHappeningIsAnEventAndItsStateALine(t *testing.T) {
	for i, happening := range happenings {
		t.Run(happening.name, func(t *testing.T) {
			happen(t, i, func(_ *snowtest.Server, _ *snowtether.Connector, j *journal) {
				if events := happening.many(byChance.ReplaceAllString(j.tally(), "")); events != happening.events {
					t.Errorf("events %s\nwant   %s", events, happening.events)
				}
				if spoken := happening.many(j.spoken()); spoken != happening.spoken {
					t.Errorf("lines %s\nwant  %s", spoken, happening.spoken)
				}
			})
		})
	}
}

// TestEventsSayWhatAnOperatorAsks: which session, why, how old it was, and how long
// it took.
func TestEventsSayWhatAnOperatorAsks(t *testing.T) {
	happen(t, index("session lost"), func(srv *snowtest.Server, _ *snowtether.Connector, j *journal) {
		opened, lost := j.of(snowtether.EventOpened), j.of(snowtether.EventLost)[0]
		was, is := opened[0].SessionID, opened[1].SessionID
		if was == 0 || is == 0 || was == is || lost.SessionID != was || lost.Code != 390111 || lost.Class != snowtether.ClassSessionLost {
			t.Errorf("opened %+v\nlost %+v", opened, lost)
		}
		if e := j.of(snowtether.EventReconnected)[0]; e.OldSessionID != was || e.SessionID != is || e.Code != 390111 || e.Time.Before(lost.Time) {
			t.Errorf("reconnected %+v", e)
		}
	})
	happen(t, index("session token renewed"), func(_ *snowtest.Server, _ *snowtether.Connector, j *journal) {
		if e := j.of(snowtether.EventRenewed)[0]; e.Duration != 30*time.Minute || e.SessionID != j.of(snowtether.EventOpened)[0].SessionID {
			t.Errorf("renewed %+v", e)
		}
		if e := j.of(snowtether.EventClosed)[0]; e.Age != 30*time.Minute {
			t.Errorf("closed %+v", e)
		}
	})
	happen(t, index("statement carried over"), func(srv *snowtest.Server, _ *snowtether.Connector, j *journal) {
		opened := j.of(snowtether.EventOpened)
		e := j.of(snowtether.EventResumed)[0]
		if e.OldSessionID != opened[0].SessionID || e.SessionID != opened[1].SessionID || e.Code != 390111 || e.Duration < time.Minute || e.QueryID != srv.Ledger()[0].QueryID {
			t.Errorf("resumed %+v", e)
		}
		if lost := j.of(snowtether.EventLost)[0]; lost.Age < 2*time.Minute {
			t.Errorf("lost %+v", lost)
		}
	})
	happen(t, index("transaction left behind"), func(_ *snowtest.Server, _ *snowtether.Connector, j *journal) {
		opened := j.of(snowtether.EventOpened)
		for i, e := range j.of(snowtether.EventTransactionEnded) {
			if e.OldSessionID != opened[i].SessionID || e.SessionID != opened[i+1].SessionID {
				t.Errorf("ended %+v", e)
			}
		}
	})
	happen(t, index("outage"), func(_ *snowtest.Server, _ *snowtether.Connector, j *journal) {
		failed, over := j.of(snowtether.EventLoginFailed), j.of(snowtether.EventOutageEnded)[0]
		if over.Count != len(failed) || over.Count < 2 || over.Duration < 30*time.Second {
			t.Errorf("%d logins failed; over: %+v", len(failed), over)
		}
		for i, e := range failed {
			if e.Attempt != i+1 || e.Class != snowtether.ClassTransient || !strings.Contains(e.Error, "503") {
				t.Errorf("attempt %d: %+v", i+1, e)
			}
		}
	})
	happen(t, index("login refused"), func(_ *snowtest.Server, _ *snowtether.Connector, j *journal) {
		for i, e := range j.of(snowtether.EventLoginSuspended) {
			if e.Count != i+1 || e.Code != 390100 || e.Class != snowtether.ClassPermanent || e.Duration != 30*time.Second<<i {
				t.Errorf("refusal %d: %+v", i+1, e)
			}
		}
		if e := j.of(snowtether.EventSuspensionEnded)[0]; e.Count != 3 || e.Duration < 2*time.Minute {
			t.Errorf("accepted: %+v", e)
		}
	})
	happen(t, index("idle for longer than its master token lives"), func(_ *snowtest.Server, c *snowtether.Connector, j *journal) {
		opened := j.of(snowtether.EventOpened)
		e := j.of(snowtether.EventRetired)[0]
		if e.OldSessionID != opened[0].SessionID || e.SessionID != opened[1].SessionID || e.Age < 4*time.Hour {
			t.Errorf("retired: %+v", e)
		}
		if s := c.Stats(); s.Retired != 1 || s.Lost != 0 || s.Reconnects != 0 || len(s.ReconnectsByReason) != 0 {
			t.Errorf("stats: %+v", s)
		}
	})
	happen(t, index("idle sessions cannot be asked"), func(_ *snowtest.Server, c *snowtether.Connector, j *journal) {
		failed := j.of(snowtether.EventPingFailed)
		outages := 0
		for i, e := range failed {
			if e.Attempt == 1 {
				outages++
			} else if e.Attempt != failed[i-1].Attempt+1 {
				t.Errorf("attempt %d after %d", e.Attempt, failed[i-1].Attempt)
			}
		}
		if s := c.Stats(); outages != 2 || s.PingFailures != int64(len(failed)) || s.Pings <= s.PingFailures+2 {
			t.Errorf("%d outages, %d pings unanswered, %+v", outages, len(failed), s)
		}
	})
	happen(t, index("more idle sessions than can be asked in time"), func(_ *snowtest.Server, _ *snowtether.Connector, j *journal) {
		late, over := j.of(snowtether.EventPingsLate)[0], j.of(snowtether.EventPingsInTime)[0]
		if late.SessionID == 0 || late.Count != 64 || late.Duration <= 10*time.Second || late.Duration > 20*time.Second {
			t.Errorf("late: %+v", late)
		}
		if over.Duration != over.Time.Sub(late.Time) || over.Duration < 30*time.Second {
			t.Errorf("in time: %+v after %+v", over, late)
		}
	})
	happen(t, index("log-out that hangs"), func(_ *snowtest.Server, c *snowtether.Connector, j *journal) {
		if e := j.of(snowtether.EventCloseTimedOut)[0]; e.Count != 2 || c.Stats().CloseTimeouts != 2 {
			t.Errorf("timed out: %+v, %+v", e, c.Stats())
		}
		if e := j.of(snowtether.EventClosedLate)[0]; e.Duration != time.Minute || e.SessionID == 0 {
			t.Errorf("closed late: %+v", e)
		}
	})
}

// TestRepeatedTransactionsAreTold: which one, why, and from where to where; of many in a minute
// five lines, and all are counted.
func TestRepeatedTransactionsAreTold(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var j journal
		db, c := connect(t, srv.Config(), snowtether.WithLogger(slog.New(&j)), snowtether.WithEventHook(j.hook))
		for i := range 7 {
			runs := 0
			if err := snowtether.RunTx(t.Context(), begin(db), func(tx *sql.Tx) error {
				if runs++; runs < 3 {
					srv.AbortSessions()
				}
				_, err := tx.ExecContext(t.Context(), row(i))
				return err
			}); err != nil || runs != 3 {
				t.Fatalf("%d runs: %v", runs, err)
			}
		}
		synctest.Wait()
		events := j.of(snowtether.EventTransactionRepeated)
		if n := c.Stats().TxRepeats; len(events) != 14 || n != 14 {
			t.Fatalf("%d events, and %d counted; want 14", len(events), n)
		}
		for i, e := range events {
			if e.Attempt != 2+i%2 || e.Code != 390111 || e.Class != snowtether.ClassSessionLost || e.OldSessionID == 0 || e.SessionID == e.OldSessionID {
				t.Errorf("event %d: %+v", i, e)
			}
		}
		told := 0
		for _, l := range j.written() {
			if strings.Contains(l.Message, "RunTx runs it again") && l.Level == slog.LevelInfo {
				told++
			}
		}
		if told != 5 {
			t.Errorf("%d lines at Info, want 5", told)
		}
	})
}

// TestTransactionOfFnIsNoRepetition: one that fn begins beside RunTx's, with the context that begin
// was given.
func TestTransactionOfFnIsNoRepetition(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var j journal
		db, _ := connect(t, srv.Config(), snowtether.WithEventHook(j.hook))
		var (
			given context.Context
			runs  int
			last  int64 // the session of RunTx's transaction
		)
		if err := snowtether.RunTx(t.Context(), func(ctx context.Context) (*sql.Tx, error) {
			given = ctx
			return begin(db)(ctx)
		}, func(tx *sql.Tx) error {
			if runs++; runs == 1 {
				srv.AbortSessions()
				_, err := tx.ExecContext(t.Context(), row(1))
				return err
			}
			last = sessionOf(t, tx)
			other, err := db.BeginTx(given, nil)
			if err != nil {
				return err
			}
			return other.Rollback()
		}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if events := j.of(snowtether.EventTransactionRepeated); len(events) != 1 || events[0].SessionID != last {
			t.Errorf("events: %+v, want one, in session %d", events, last)
		}
	})
}

// A command-line tool whose users see slog's default output can silence the driver in the DSN.
// A logger of its own wins over that.
func TestTetherLogLimitsWhatTheDriverWrites(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		for _, tt := range []struct {
			value          string
			own            bool
			info, warnings int
		}{
			{"off", false, 0, 0}, {"warn", false, 0, 1}, {"info", false, 1, 1}, {"", false, 1, 1}, {"off", true, 1, 1},
		} {
			var log lines
			old := slog.Default()
			slog.SetDefault(newLogger(&log))
			opts, cfg := []snowtether.Option{snowtether.WithLogger(nil)}, srv.Config()
			if tt.own {
				opts = []snowtether.Option{snowtether.WithLogger(newLogger(&log))}
			}
			if tt.value != "" {
				cfg.Params["tetherLog"] = &tt.value
			}
			connector, err := snowtether.NewConnector(cfg, opts...)
			if err != nil {
				t.Fatal(err)
			}
			db := sql.OpenDB(connector)
			if err := db.PingContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			srv.AbortSessions()
			if err := db.PingContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			once(srv, insert, snowtest.Fault{Run: true, Status: 503, After: func() { srv.AbortSessions() }})
			if _, err := db.ExecContext(t.Context(), insert); !errors.Is(err, snowtether.ErrInDoubt) {
				t.Errorf("in doubt: %v", err)
			}
			_ = db.Close()
			slog.SetDefault(old)
			text := log.String()
			if got := strings.Count(text, "event=reconnected"); got != tt.info {
				t.Errorf("tetherLog=%s: %d lines at Info, want %d:\n%s", tt.value, got, tt.info, text)
			}
			if got := strings.Count(text, "level=WARN"); got != tt.warnings || strings.Count(text, "event=in_doubt") != tt.warnings {
				t.Errorf("tetherLog=%s: %d lines at Warn, want %d:\n%s", tt.value, got, tt.warnings, text)
			}
		}
	}, snowtest.AllowRepeats())
}

// TestEventsHoldNoSecretAndNoSQL: whatever happens, nor do the log lines at Debug.
func TestEventsHoldNoSecretAndNoSQL(t *testing.T) {
	for i, happening := range happenings {
		t.Run(happening.name, func(t *testing.T) {
			happen(t, i, func(srv *snowtest.Server, c *snowtether.Connector, j *journal) {
				var all strings.Builder
				fmt.Fprintf(&all, "%+v\n%+v\n", j.heard(), c.Snapshot())
				for _, r := range j.written() {
					fmt.Fprintln(&all, r.Message)
					r.Attrs(func(a slog.Attr) bool { fmt.Fprintln(&all, a); return true })
				}
				// The server looks for its tokens in there when the test is over.
				if _, err := srv.Log().Write([]byte(all.String())); err != nil {
					t.Error(err)
				}
				for _, secret := range []string{srv.Password(), "wr0ng", "INSERT", "secretive", srv.User()} {
					if strings.Contains(all.String(), secret) {
						t.Errorf("%q is in\n%s", secret, all.String())
					}
				}
			})
		})
	}
}

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

// TestOutageIsNotOverByWhatWasAnsweredBeforeIt: a PUT was answered, and its file is still being
// uploaded to an object store, when Snowflake can be reached no more.
// Before: the end of the upload was the end of the outage, and Snowflake's last answer.
func TestOutageIsNotOverByWhatWasAnsweredBeforeIt(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f.csv"), []byte("1,2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var j journal
		var down atomic.Bool
		upload := make(chan struct{})
		db, c := connect(t, srv.Config(), snowtether.WithEventHook(j.hook))
		srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
			if r.Kind == snowtest.RequestOther && r.HTTP.Method == http.MethodPut {
				return snowtest.Fault{Hold: upload}, true
			}
			return snowtest.Fault{Drop: true}, down.Load()
		})
		puts, reads, sent, read := pin(t, db), pin(t, db), make(chan error), make(chan error)
		go func() {
			_, err := put(t, puts, "PUT 'file://"+dir+"/*.csv' @~/x")
			sent <- err
		}()
		time.Sleep(time.Minute)
		down.Store(true)
		go func() {
			_, err := reads.ExecContext(within(t, time.Hour), "SELECT 1")
			read <- err
		}()
		time.Sleep(10 * time.Minute)
		close(upload)
		if err := <-sent; err != nil {
			t.Error(err)
		}
		if g := c.Snapshot().Gate; g.State != snowtether.GateProbing || len(j.of(snowtether.EventOutageEnded)) != 0 {
			t.Errorf("while Snowflake cannot be reached: %+v, %+v", g, j.of(snowtether.EventOutageEnded))
		}
		if w := c.Snapshot().Waiting; w.Silence < 10*time.Minute {
			t.Errorf("it answered %v ago", w.Silence)
		}
		down.Store(false)
		if err := <-read; err != nil {
			t.Error(err)
		}
		if n := len(j.of(snowtether.EventOutageEnded)); n != 1 {
			t.Errorf("the outage was over %d times", n)
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
