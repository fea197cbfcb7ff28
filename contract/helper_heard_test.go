package contract_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file has what hears of what happens, in logs, events and logins, and each happening that is
// heard of.

// A journal keeps the events of a connector and, as a slog.Handler, its log lines.
type journal struct {
	mu     sync.Mutex
	events []snowtether.Event
	lines  []slog.Record
}

func (j *journal) hook(e snowtether.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, e)
}

func (j *journal) Enabled(context.Context, slog.Level) bool { return true }
func (j *journal) WithAttrs([]slog.Attr) slog.Handler       { return j }
func (j *journal) WithGroup(string) slog.Handler            { return j }

func (j *journal) Handle(_ context.Context, r slog.Record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, r)
	return nil
}

// written returns the lines so far: others may be on their way.
func (j *journal) written() []slog.Record {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.lines)
}

// heard returns the events so far.
func (j *journal) heard() []snowtether.Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.events)
}

// of returns the events of a kind.
func (j *journal) of(kind snowtether.EventKind) []snowtether.Event {
	return slices.DeleteFunc(j.heard(), func(e snowtether.Event) bool { return e.Kind != kind })
}

// tally counts the events by kind, as in "closed 1, opened 2".
func (j *journal) tally() string {
	n := make(map[string]int)
	for _, e := range j.heard() {
		n[string(e.Kind)]++
	}
	return counts(n)
}

// spoken counts the lines that an operator sees by default, as in "INFO opened 1".
func (j *journal) spoken() string {
	n := make(map[string]int)
	for _, r := range j.written() {
		if r.Level >= slog.LevelInfo {
			n[r.Level.String()+" "+attr(r, "event")]++
		}
	}
	return counts(n)
}

func counts(n map[string]int) string {
	var out []string
	for _, what := range slices.Sorted(maps.Keys(n)) {
		out = append(out, fmt.Sprint(what, " ", n[what]))
	}
	return strings.Join(out, ", ")
}

// attr is the text of an attribute of a log line.
func attr(r slog.Record, key string) (text string) {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == key {
			text = a.Value.String()
		}
		return true
	})
	return text
}

func index(name string) int {
	for i, h := range happenings {
		if h.name == name {
			return i
		}
	}
	panic("no happening " + name)
}

type happening struct {
	name   string
	use    func(t *testing.T, srv *snowtest.Server, open func(n int, opts ...snowtether.Option) *sql.DB)
	events string // but for login_failed and ping_failed, which come by chance
	spoken string
}

// many leaves out how many of many sessions in a row were replaced under a statement, and
// not under one that database/sql repeated, and in how many lines that was told.
func (h happening) many(counts string) string {
	if h.name == "sessions that do not last" {
		return regexp.MustCompile(`reconnected \d+`).ReplaceAllString(counts, "reconnected many")
	}
	return counts
}

// happenings are one of each kind of event. use opens its pool with open, which
// writes down what happens.
var happenings = []happening{
	{"session lost", func(t *testing.T, srv *snowtest.Server, open func(int, ...snowtether.Option) *sql.DB) {
		db := open(1)
		srv.AbortSessions()
		mustPing(t, db)
	}, "closed 2, lost 1, opened 2, reconnected 1", "INFO reconnected 1"},

	{"many sessions lost", func(t *testing.T, srv *snowtest.Server, open func(int, ...snowtether.Option) *sql.DB) {
		db := open(1)
		db.SetMaxOpenConns(64)
		db.SetMaxIdleConns(64)
		if err := snowtether.Warm(t.Context(), db, 64); err != nil {
			t.Fatal(err)
		}
		srv.EndSessions(snowtest.Refusal{Code: "390114"})
		conns := make([]*sql.Conn, 64)
		for i := range conns {
			conns[i], _ = db.Conn(t.Context())
		}
		var all sync.WaitGroup
		for _, conn := range conns {
			all.Go(func() {
				if err := conn.PingContext(t.Context()); err != nil {
					t.Error(err)
				}
				_ = conn.Close()
			})
		}
		all.Wait()
		time.Sleep(time.Minute)
	}, "closed 128, lost 64, many_reconnected 1, opened 128, reconnected 64", "INFO many_reconnected 1, INFO reconnected 5"},

	{"session token renewed", func(t *testing.T, srv *snowtest.Server, open func(int, ...snowtether.Option) *sql.DB) {
		db := open(1)
		time.Sleep(30 * time.Minute)
		srv.ExpireSessionTokens()
		mustPing(t, db)
	}, "closed 1, opened 1, renewed 1", ""},

	{"statement carried over", func(t *testing.T, srv *snowtest.Server, open func(int, ...snowtether.Option) *sql.DB) {
		db := open(1)
		slowly(srv, "^INSERT", 5*time.Minute, nil, nil)
		endAt(srv, snowtest.Refusal{Code: "390111"}, 2*time.Minute)
		if _, err := db.ExecContext(t.Context(), insert); err != nil {
			t.Error(err)
		}
	}, "closed 2, lost 1, opened 2, reconnected 1, resumed 1", "INFO reconnected 1, INFO resumed 1"},

	{"statement in doubt", func(t *testing.T, srv *snowtest.Server, open func(int, ...snowtether.Option) *sql.DB) {
		db := open(1)
		once(srv, insert, snowtest.Fault{Run: true, Drop: true, After: func() { srv.AbortSessions() }})
		if _, err := db.ExecContext(t.Context(), insert); err == nil {
			t.Error("it succeeded")
		}
	}, "closed 1, in_doubt 1, lost 1, opened 1", "WARN in_doubt 1"},

	{"accepted statement in doubt", func(t *testing.T, srv *snowtest.Server, open func(int, ...snowtether.Option) *sql.DB) {
		db := open(1, snowtether.WithResume(false))
		slowly(srv, "^INSERT", 5*time.Minute, nil, nil)
		endAt(srv, snowtest.Refusal{Code: "390111"}, 2*time.Minute)
		if _, err := db.ExecContext(t.Context(), insert); err == nil {
			t.Error("it succeeded")
		}
	}, "closed 1, in_doubt 1, lost 1, opened 1", "WARN in_doubt 1"},

	{"transaction left behind", func(t *testing.T, srv *snowtest.Server, open func(int, ...snowtether.Option) *sql.DB) {
		db := open(1)
		for range 2 {
			tx, err := db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			srv.AbortSessions()
			if err := tx.Commit(); err == nil {
				t.Error("it succeeded")
			}
		}
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(); err != nil {
			t.Error(err)
		}
	}, "closed 3, lost 2, opened 3, transaction_ended 2", "INFO transaction_ended 2"},

	{"transaction repeated", func(t *testing.T, srv *snowtest.Server, open func(int, ...snowtether.Option) *sql.DB) {
		db := open(1)
		lost := false
		if err := snowtether.RunTx(t.Context(), begin(db), func(tx *sql.Tx) error {
			if !lost {
				srv.AbortSessions()
				lost = true
			}
			_, err := tx.ExecContext(t.Context(), insert)
			return err
		}); err != nil {
			t.Error(err)
		}
	}, "closed 2, lost 1, opened 2, transaction_ended 1, transaction_repeated 1", "INFO transaction_ended 1, INFO transaction_repeated 1"},

	{"outage", func(t *testing.T, srv *snowtest.Server, open func(int, ...snowtether.Option) *sql.DB) {
		db := open(0)
		outage(srv, 30*time.Second, unavailable)
		mustPing(t, db)
	}, "closed 1, opened 1, outage_began 1, outage_ended 1", "INFO outage_ended 1, WARN outage_began 1"},

	{"login refused", func(t *testing.T, srv *snowtest.Server, open func(int, ...snowtether.Option) *sql.DB) {
		password := "wr0ng-Passw0rd"
		db := open(0, snowtether.WithBeforeConnect(func(_ context.Context, cfg *gosnowflake.Config) error {
			cfg.Password = password
			return nil
		}))
		for range 5 {
			if err := db.PingContext(t.Context()); err == nil {
				t.Error("it succeeded")
			}
			time.Sleep(31 * time.Second) // refused at 0, 31 and 93 s
		}
		password = srv.Password()
		mustPing(t, db)
	}, "closed 1, login_suspended 3, opened 1, suspension_ended 1", "INFO suspension_ended 1, WARN login_suspended 1"},

	{"refused during an outage", func(t *testing.T, srv *snowtest.Server, open func(int, ...snowtether.Option) *sql.DB) {
		db := open(0)
		outage(srv, 30*time.Second, unavailable)
		outage(srv, time.Minute, snowtest.Fault{Code: "390422", Message: "Not from this address."})
		if err := db.PingContext(t.Context()); err == nil {
			t.Error("it succeeded")
		}
		time.Sleep(time.Minute)
		mustPing(t, db)
	}, "closed 1, login_suspended 1, opened 1, outage_began 1, outage_ended 1, suspension_ended 1",
		"INFO outage_ended 1, INFO suspension_ended 1, WARN login_suspended 1, WARN outage_began 1"},

	{"set-up failed", func(t *testing.T, srv *snowtest.Server, open func(int, ...snowtether.Option) *sql.DB) {
		srv.Handle("^USE", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
			return nil, &snowtest.Error{Code: "002043", SQLState: "02000", Message: "Object does not exist: USE SCHEMA secretive"}
		})
		db := open(0, snowtether.WithSessionInit("USE SCHEMA secretive"))
		if err := db.PingContext(t.Context()); err == nil {
			t.Error("it succeeded")
		}
	}, "closed 1, opened 1, set_up_failed 1", "WARN set_up_failed 1"},

	{"sessions that do not last", func(t *testing.T, srv *snowtest.Server, open func(int, ...snowtether.Option) *sql.DB) {
		db := open(1, snowtether.WithBackOff(func() backoff.BackOff { return backoff.NewConstantBackOff(10 * time.Second) }))
		left := 20
		srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
			if r.Kind != snowtest.RequestQuery {
				return snowtest.Fault{}, false
			}
			if left--; left >= 0 {
				srv.AbortSessions()
			}
			return snowtest.Fault{}, false
		})
		for left >= 0 {
			_ = db.PingContext(t.Context())
		}
		mustPing(t, db)
	}, "closed 21, lost 20, many_reconnected many, opened 21, pacing_began 1, pacing_ended 1, reconnected many",
		"INFO many_reconnected many, INFO pacing_ended 1, INFO reconnected many, WARN pacing_began 1"},

	{"slow log-out", func(t *testing.T, srv *snowtest.Server, open func(int, ...snowtether.Option) *sql.DB) {
		db := open(1)
		srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
			return snowtest.Fault{Delay: 11 * time.Second}, r.Kind == snowtest.RequestLogout
		})
		srv.AbortSessions()
		mustPing(t, db)
		time.Sleep(time.Minute)
	}, "closed 1, closed_late 1, lost 1, opened 2, reconnected 1", "INFO closed_late 1, INFO reconnected 1"},

	{"idle for longer than its master token lives", func(t *testing.T, srv *snowtest.Server, open func(int, ...snowtether.Option) *sql.DB) {
		db := open(1, noBeat)
		time.Sleep(4*time.Hour + time.Minute)
		mustPing(t, db)
	}, "closed 2, opened 2, retired 1", "INFO retired 1"},

	{"idle sessions cannot be asked", func(t *testing.T, srv *snowtest.Server, open func(int, ...snowtether.Option) *sql.DB) {
		open(1, idlePing, noBeat)
		for range 2 {
			srv.Disconnect()
			time.Sleep(10 * time.Minute)
			srv.Reconnect()
			time.Sleep(10 * time.Minute)
		}
	}, "closed 1, opened 1", ""},

	{"more idle sessions than can be asked in time", func(t *testing.T, srv *snowtest.Server, open func(int, ...snowtether.Option) *sql.DB) {
		db := open(0, snowtether.WithIdlePing(10*time.Second), noBeat)
		const n = 64 // pings of 5 s each, 16 at a time, take 20 s
		db.SetMaxOpenConns(n)
		db.SetMaxIdleConns(n)
		if err := snowtether.Warm(t.Context(), db, n); err != nil {
			t.Fatal(err)
		}
		stall(srv, snowtest.RequestQuery, 5*time.Second)
		time.Sleep(time.Minute)
		db.SetMaxIdleConns(1)
		time.Sleep(time.Minute)
	}, "closed 64, opened 64, pings_in_time 1, pings_late 1", "INFO pings_in_time 1, WARN pings_late 1"},

	{"log-out that hangs", func(t *testing.T, srv *snowtest.Server, open func(int, ...snowtether.Option) *sql.DB) {
		db := open(2)
		stall(srv, snowtest.RequestLogout, time.Minute)
		if err := db.Close(); err == nil {
			t.Error("Close did not say that it gave up")
		}
		time.Sleep(time.Hour)
	}, "close_timed_out 1, closed_late 2, opened 2", "INFO closed_late 2, WARN close_timed_out 1"},
}

// happen lets one of the happenings happen and returns what was heard of it.
func happen(t *testing.T, i int, check func(srv *snowtest.Server, c *snowtether.Connector, j *journal), more ...snowtether.Option) {
	t.Helper()
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var j journal
		var c *snowtether.Connector
		happenings[i].use(t, srv, func(n int, opts ...snowtether.Option) *sql.DB {
			var err error
			c, err = snowtether.NewConnector(srv.Config(), append(append(opts, more...), snowtether.WithLogger(slog.New(&j)), snowtether.WithEventHook(func(e snowtether.Event) {
				// A hook that looks at the connector does not wait for it.
				if s := c.Snapshot(); len(s.Events) == 0 || s.Time.Before(e.Time) {
					t.Errorf("in the hook of %s: %+v", e.Kind, s)
				}
				j.hook(e)
			}))...)
			if err != nil {
				t.Fatal(err)
			}
			db := sql.OpenDB(c)
			t.Cleanup(func() { _ = db.Close() })
			db.SetMaxOpenConns(max(n, 1))
			if n > 0 {
				if err := snowtether.Warm(t.Context(), db, n); err != nil {
					t.Fatal(err)
				}
			}
			return db
		})
		_ = c.Close()
		synctest.Wait()
		check(srv, c, &j)
	}, snowtest.WithDetachedTransactions(time.Hour))
}

// logHandler is a log handler of a program's.
type logHandler struct{ do func() }

func (h logHandler) Enabled(context.Context, slog.Level) bool      { return true }
func (h logHandler) Handle(_ context.Context, r slog.Record) error { h.do(); return nil }
func (h logHandler) WithAttrs([]slog.Attr) slog.Handler            { return h }
func (h logHandler) WithGroup(string) slog.Handler                 { return h }

// loginTimes notes when each login arrives, and answers the first ones with the faults.
func loginTimes(srv *snowtest.Server, faults ...snowtest.Fault) func() []time.Duration {
	var mu sync.Mutex
	var at []time.Duration
	begun := time.Now()
	srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
		if r.Kind != snowtest.RequestLogin {
			return snowtest.Fault{}, false
		}
		mu.Lock()
		defer mu.Unlock()
		at = append(at, time.Since(begun))
		if n := len(at); n <= len(faults) {
			return faults[n-1], true
		}
		return snowtest.Fault{}, true
	})
	return func() []time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(at)
	}
}
