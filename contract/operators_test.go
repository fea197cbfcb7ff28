package contract_test

import (
	"database/sql"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about what an operator reads in the log: what they need not read is at Debug,
// and what they read says all there is to know.

// levels are those of the lines about an event.
func (j *journal) levels(kind snowtether.EventKind) (levels []string) {
	for _, r := range j.written() {
		if attr(r, "event") == string(kind) {
			levels = append(levels, r.Level.String())
		}
	}
	return levels
}

// TestLateLogOutIsNoNewsInAnOutage: the log has the outage already. Without one it is at Info.
func TestLateLogOutIsNoNewsInAnOutage(t *testing.T) {
	for _, tt := range []struct {
		name   string
		outage bool
		level  string
	}{{"outage", true, "DEBUG"}, {"no outage", false, "INFO"}} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				var j journal
				db, _ := connect(t, srv.Config(), snowtether.WithEventHook(j.hook), snowtether.WithLogger(slog.New(&j)))
				if err := snowtether.Warm(t.Context(), db, 2); err != nil {
					t.Fatal(err)
				}
				begun := time.Now()
				srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
					if r.Kind == snowtest.RequestLogout {
						return snowtest.Fault{Delay: 3 * time.Minute}, time.Since(begun) < time.Second
					}
					return unavailable, tt.outage && time.Since(begun) < 5*time.Minute
				})
				db.SetMaxIdleConns(1) // closes the other session, which the outage has not met yet
				synctest.Wait()
				go func() { _ = db.PingContext(t.Context()) }()
				time.Sleep(10 * time.Minute)
				if got := j.of(snowtether.EventOutageBegan); (len(got) == 1) != tt.outage {
					t.Errorf("%d outages began", len(got))
				}
				if got := strings.Join(j.levels(snowtether.EventClosedLate), " "); got != tt.level {
					t.Errorf("the late log-out is at %q, want %s", got, tt.level)
				}
			})
		})
	}
}

// TestSessionsLostTogetherNameAllReasons: the most frequent first. Before, several codes were
// none, and the line said reason=session_lost.
func TestSessionsLostTogetherNameAllReasons(t *testing.T) {
	for _, tt := range []struct {
		name, want, reason string
		codes              map[string]int
	}{
		{"one", "", "390114", map[string]int{"390114": 20}},
		{"two", "390114 (15), 390111 (5)", "", map[string]int{"390114": 15, "390111": 5}},
		{"seven", "261000 (8), 390111 (2), 390112 (2), 390113 (2), 390114 (2), others (4)", "", map[string]int{
			"390104": 8, "390111": 2, "390112": 2, "390113": 2, "390114": 2, "390115": 2, "390195": 2,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				var j journal
				db, c := connect(t, srv.Config(), snowtether.WithEventHook(j.hook), snowtether.WithLogger(slog.New(&j)))
				db.SetMaxIdleConns(20)
				if err := snowtether.Warm(t.Context(), db, 20); err != nil {
					t.Fatal(err)
				}
				sessions := c.Snapshot().Sessions
				for code, n := range tt.codes {
					for range n {
						srv.EndSessions(snowtest.Refusal{Code: code}, sessions[0].ID)
						sessions = sessions[1:]
					}
				}
				conns := make([]*sql.Conn, 20)
				for i := range conns {
					var err error
					if conns[i], err = db.Conn(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				for _, conn := range conns {
					if err := conn.PingContext(t.Context()); err != nil {
						t.Error(err)
					}
					_ = conn.Close()
				}
				time.Sleep(2 * time.Minute)
				many := j.of(snowtether.EventManyReconnected)
				if len(many) != 1 || many[0].Count != 20 || many[0].Reasons != tt.want {
					t.Fatalf("the events are %+v, want reasons %q", many, tt.want)
				}
				for _, r := range j.written() {
					if attr(r, "event") == "many_reconnected" && (attr(r, "reasons") != tt.want || attr(r, "reason") != tt.reason) {
						t.Errorf("the line has reasons %q and reason %q, want %q and %q", attr(r, "reasons"), attr(r, "reason"), tt.want, tt.reason)
					}
				}
			})
		})
	}
}

// TestEarlierNameOfAParameterIsOneWarning: which names the new one, for each connector, and
// is not written where the DSN wants no lines.
func TestEarlierNameOfAParameterIsOneWarning(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var j journal
		cfg := srv.Config()
		wait, off := "2s", "off"
		cfg.Params["tetherBackoffMax"] = &wait
		cfg.Params["tetherBackOffInitial"] = &wait
		db, _ := connect(t, cfg, snowtether.WithLogger(slog.New(&j)))
		mustPing(t, db)
		mustPing(t, db)
		warned := func() (lines []string) {
			for _, r := range j.written() {
				if r.Level == slog.LevelWarn {
					lines = append(lines, r.Message+" "+attr(r, "parameter")+" "+attr(r, "use"))
				}
			}
			return lines
		}
		want := "snowtether: a parameter is given under its earlier name, which goes with 0.1.0; use the new one tetherBackoffMax tetherBackOffMax"
		if got := warned(); len(got) != 1 || got[0] != want {
			t.Errorf("the warnings are %q, want %q", got, want)
		}
		old := slog.Default()
		defer slog.SetDefault(old)
		slog.SetDefault(slog.New(&j))
		cfg.Params["tetherLog"] = &off
		quiet, _ := connect(t, cfg)
		mustPing(t, quiet)
		if got := warned(); len(got) != 1 {
			t.Errorf("with tetherLog=off the warnings are %q", got)
		}
	})
}
