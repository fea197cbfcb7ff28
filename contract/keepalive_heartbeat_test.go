package contract_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/testpool"
	"github.com/snowtether/snowtether/snowtest"
)

// Keep-alive (docs/guarantees.md): heartbeats are on in whatever spelling, and mistreated ones harm
// nothing. A session that ended while it was idle is replaced at its next use, and a clock that
// jumps costs at most one login per connection.

const (
	keepAlive = "client_session_keep_alive"
	frequency = "client_session_keep_alive_heartbeat_frequency"
)

// params are Config.Params of names and values by turns.
func params(pairs ...string) map[string]*string {
	m := make(map[string]*string)
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = &pairs[i+1]
	}
	return m
}

// loginParams returns what a connector with these parameters and options would
// log in with. Nothing is sent.
func loginParams(t *testing.T, p map[string]*string, opts ...snowtether.Option) (map[string]*string, error) {
	t.Helper()
	var got map[string]*string
	stop := errors.New("that is all")
	c, err := snowtether.NewConnector(
		&gosnowflake.Config{Account: "acct", User: "u", Password: "p", Params: p},
		append(opts, snowtether.WithBeforeConnect(func(_ context.Context, cfg *gosnowflake.Config) error {
			got = cfg.Params
			return stop
		}))...)
	if err != nil {
		return nil, err
	}
	if _, err := c.Connect(t.Context()); !errors.Is(err, stop) {
		t.Fatalf("Connect: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	return got, nil
}

// TestKeepAliveHoldsInEverySpelling: gosnowflake itself acts on the lower-case key
// with the exact text "true" only, and ignores everything else without a word.
func TestKeepAliveHoldsInEverySpelling(t *testing.T) {
	const upper, mixed = "CLIENT_SESSION_KEEP_ALIVE", "Client_Session_Keep_Alive"
	on, off := snowtether.WithKeepAlive(true), snowtether.WithKeepAlive(false)
	for _, tt := range []struct {
		name   string
		params map[string]*string
		opts   []snowtether.Option
		want   string
	}{
		{"nobody said anything", nil, nil, "true"},
		{"true", params(keepAlive, "true"), nil, "true"},
		{"True", params(keepAlive, "True"), nil, "true"},
		{"TRUE", params(keepAlive, "TRUE"), nil, "true"},
		{"1", params(keepAlive, "1"), nil, "true"},
		{"upper-case key", params(upper, "TRUE"), nil, "true"},
		{"mixed key", params(mixed, "tRuE"), nil, "true"},
		{"twice, alike", params(upper, "1", keepAlive, "true", mixed, "T"), nil, "true"},
		{"false", params(keepAlive, "false"), nil, "false"},
		{"FALSE under the upper-case key", params(upper, "FALSE"), nil, "false"},
		{"0 under the mixed key", params(mixed, "0"), nil, "false"},
		{"the option wins: on", params(upper, "false"), []snowtether.Option{on}, "true"},
		{"the option wins: off", params(keepAlive, "true"), []snowtether.Option{off}, "false"},
		{"the last option wins", nil, []snowtether.Option{on, off}, "false"},
		{"the tether parameter wins", params(keepAlive, "true", "tetherKeepAlive", "false"), nil, "false"},
		{"the option wins over the tether parameter", params("tetherKeepAlive", "false"), []snowtether.Option{on}, "true"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := loginParams(t, tt.params, tt.opts...)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != 1 || got[keepAlive] == nil || *got[keepAlive] != tt.want {
				t.Errorf("%d parameters, %s is %v, want %q alone", len(got), keepAlive, got[keepAlive], tt.want)
			}
		})
	}
}

func TestBadKeepAliveIsAnError(t *testing.T) {
	const upper = "CLIENT_SESSION_KEEP_ALIVE"
	for _, tt := range []struct {
		name   string
		params map[string]*string
		opts   []snowtether.Option
		want   []string
	}{
		{"garbage", params(keepAlive, "hush"), nil, []string{keepAlive, "true or false"}},
		{"garbage under the upper-case key", params(upper, "hush"), nil, []string{keepAlive, "true or false"}},
		{"garbage that an option overrules", params(keepAlive, "hush"), []snowtether.Option{snowtether.WithKeepAlive(true)}, []string{keepAlive, "true or false"}},
		{"empty", params(keepAlive, ""), nil, []string{keepAlive, "true or false"}},
		{"twice, and different", params(keepAlive, "true", upper, "false"), nil, []string{keepAlive, "twice"}},
		{"garbage for the tether parameter", params("tetherKeepAlive", "hush"), nil, []string{"tetherKeepAlive", "true or false"}},
		{"899 s", params(frequency, "899"), nil, []string{frequency, "900 to 3600"}},
		{"3601 s", params(strings.ToUpper(frequency), "3601"), nil, []string{frequency, "900 to 3600"}},
		{"a duration for Snowflake", params(frequency, "15m"), nil, []string{frequency, "900 to 3600"}},
		{"a number that overflows to 900 s", params(frequency, "36028797018964868"), nil, []string{frequency, "900 to 3600"}},
		{"heartbeat twice, and different", params(frequency, "900", strings.ToUpper(frequency), "901"), nil, []string{frequency, "twice"}},
		{"option below", nil, []snowtether.Option{snowtether.WithHeartbeat(900*time.Second - 1)}, []string{"900s", "3600s"}},
		{"option above", nil, []snowtether.Option{snowtether.WithHeartbeat(time.Hour + 1)}, []string{"900s", "3600s"}},
		{"negative option", nil, []snowtether.Option{snowtether.WithHeartbeat(-time.Hour)}, []string{"900s", "3600s"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for range 10 { // the order of a map must not matter
				_, err := loginParams(t, tt.params, tt.opts...)
				if err == nil {
					t.Fatal("it is accepted")
				}
				for _, want := range tt.want {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%q does not say %q", err, want)
					}
				}
				if strings.Contains(err.Error(), "hush") {
					t.Errorf("%q repeats the value", err)
				}
			}
		})
	}
}

func TestHeartbeatIsWithinItsBounds(t *testing.T) {
	heartbeat := snowtether.WithHeartbeat
	for _, tt := range []struct {
		name   string
		params map[string]*string
		opts   []snowtether.Option
		want   string
	}{
		{"lowest", nil, []snowtether.Option{heartbeat(900 * time.Second)}, "900"},
		{"highest", nil, []snowtether.Option{heartbeat(time.Hour)}, "3600"},
		{"the option wins", params(frequency, "3600"), []snowtether.Option{heartbeat(15 * time.Minute)}, "900"},
		{"lowest, of Snowflake's parameter", params(strings.ToUpper(frequency), "900"), nil, "900"},
		{"highest, of Snowflake's parameter", params(frequency, "3600"), nil, "3600"},
		{"tether parameter", params("tetherHeartbeat", "30m"), nil, "1800"},
		{"nobody said anything", nil, nil, ""},
		{"0 is Snowflake's default", params("tetherHeartbeat", "0"), nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := loginParams(t, tt.params, tt.opts...)
			if err != nil {
				t.Fatal(err)
			}
			switch v := got[frequency]; {
			case v == nil && tt.want != "", v != nil && *v != tt.want:
				t.Errorf("%s is %v, want %q", frequency, v, tt.want)
			case len(got) > 2:
				t.Errorf("further spellings are left: %v", got)
			}
		})
	}
}

// TestHookMaySwitchKeepAlive: whatever spelling it uses.
func TestHookMaySwitchKeepAlive(t *testing.T) {
	for _, key := range []string{keepAlive, "CLIENT_SESSION_KEEP_ALIVE"} {
		t.Run(key, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				pool(t, srv, 1, snowtether.WithBeforeConnect(func(_ context.Context, cfg *gosnowflake.Config) error {
					off := "FALSE"
					cfg.Params[key] = &off
					return nil
				}))
				time.Sleep(3*time.Hour + time.Minute)
				if n := srv.Stats().Requests[snowtest.RequestHeartbeat]; n != 0 {
					t.Errorf("%d heartbeats", n)
				}
			})
		})
	}
}

func TestEachSessionBeatsOnTime(t *testing.T) {
	for _, tt := range []struct {
		name    string
		opts    []snowtether.Option
		perHour int
	}{
		{"default", nil, 1},
		{"every 15 minutes", []snowtether.Option{snowtether.WithHeartbeat(15 * time.Minute)}, 4},
		{"every 30 minutes", []snowtether.Option{snowtether.WithHeartbeat(30 * time.Minute)}, 2},
		{"off", []snowtether.Option{snowtether.WithKeepAlive(false)}, 0},
		{"off, with a frequency", []snowtether.Option{snowtether.WithKeepAlive(false), snowtether.WithHeartbeat(15 * time.Minute)}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				const sessions = 3
				pool(t, srv, sessions, tt.opts...)
				time.Sleep(time.Minute) // apart from the beats
				for hour := 1; hour <= 3; hour++ {
					time.Sleep(time.Hour)
					// Some find the session token expired and renew it: they count too.
					if n := srv.Stats().Requests[snowtest.RequestHeartbeat]; n != hour*sessions*tt.perHour {
						t.Errorf("%d heartbeats after %d h with %d sessions, want %d an hour and session", n, hour, sessions, tt.perHour)
					}
				}
			})
		})
	}
}

// TestMistreatedHeartbeatsHarmNothing: dropped, refused, answered late or with
// garbage. Neither the next statement nor Close waits for one.
func TestMistreatedHeartbeatsHarmNothing(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault snowtest.Fault
	}{
		{"dropped", snowtest.Fault{Drop: true}},
		{"late", snowtest.Fault{Delay: 10 * time.Minute}},
		{"later than the client waits", snowtest.Fault{Delay: 30 * time.Minute}},
		{"garbage", snowtest.Fault{Body: "<html>proxy</html>"}},
		{"empty", snowtest.Fault{Body: " "}},
		{"500", snowtest.Fault{Status: 500, Body: "no"}},
		{"401", snowtest.Fault{Status: 401}},
		{"gone", snowtest.Fault{Code: "390111"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 2, snowtether.WithHeartbeat(15*time.Minute))
				use(t, db, 2)
				srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
					if r.Kind != snowtest.RequestHeartbeat {
						return snowtest.Fault{}, false
					}
					return tt.fault, true
				})
				for range 12 {
					time.Sleep(31 * time.Minute)
					if took := use(t, db, 2); took > 0 {
						t.Errorf("the statements took %v", took)
					}
				}
				time.Sleep(14*time.Minute + 30*time.Second) // a heartbeat is under way
				begun := time.Now()
				_ = db.Close() // says so if a log-out is late
				if took := time.Since(begun); took > 10*time.Second {
					t.Errorf("Close took %v", took)
				}
				time.Sleep(48 * time.Hour) // until gosnowflake's heartbeats have given up
				synctest.Wait()
			}, snowtest.AllowOpenSessions())
		})
	}
}

// TestConnectorsLeaveNothingBehind: many of them, side by side and one after the
// other, with pings under way when they are closed. The bubble fails if a goroutine
// is left, the server if a session is.
func TestConnectorsLeaveNothingBehind(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		stall(srv, snowtest.RequestQuery, time.Second)
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				for range 3 {
					c, err := snowtether.NewConnector(srv.Config(), quiet, idlePing)
					if err != nil {
						t.Error(err)
						return
					}
					db := sql.OpenDB(c)
					for range 2 {
						if _, err := db.ExecContext(t.Context(), "SELECT 1"); err != nil {
							t.Error(err)
						}
					}
					time.Sleep(every/2 + time.Duration(i)*every/40)
					if err := db.Close(); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if n := len(srv.Sessions()); n != 0 {
			t.Errorf("%d sessions left", n)
		}
	})
}

func TestIdleSessionServesTheNextStatement(t *testing.T) {
	for _, tt := range []struct {
		name   string
		opts   []snowtether.Option
		logins int // new ones
	}{
		{"default", nil, 0},
		{"every 15 minutes", []snowtether.Option{snowtether.WithHeartbeat(15 * time.Minute)}, 0},
		{"off", []snowtether.Option{snowtether.WithKeepAlive(false)}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1, tt.opts...)
				time.Sleep(12 * time.Hour)
				if _, err := db.ExecContext(t.Context(), insert); err != nil {
					t.Error(err)
				}
				if n := srv.Stats().Logins - 1; n != tt.logins {
					t.Errorf("%d new logins after 12 h, want %d", n, tt.logins)
				}
				if n := srv.Effects(insert); n != 1 {
					t.Errorf("the statement took effect %d times", n)
				}
			})
		})
	}
}

// TestSessionIdleForLongerThanItsMasterTokenIsReplacedUnasked: without a heartbeat.
func TestSessionIdleForLongerThanItsMasterTokenIsReplacedUnasked(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1, noBeat)
		use(t, db, 1)
		time.Sleep(4*time.Hour + time.Minute)
		before := srv.Stats()
		use(t, db, 1)
		after := srv.Stats()
		if n := after.Requests[snowtest.RequestQuery] - before.Requests[snowtest.RequestQuery]; n != 1 || after.Requests[snowtest.RequestRenew] != 0 {
			t.Errorf("%d statements and %d renewals were sent", n, after.Requests[snowtest.RequestRenew])
		}
		if n := after.Logins - before.Logins; n != 1 {
			t.Errorf("%d logins", n)
		}
	})
}

// TestSessionsOfASuspendedMachineAreReplacedUnasked: after a night's sleep the
// server is not asked about tokens that it cannot know any more.
func TestSessionsOfASuspendedMachineAreReplacedUnasked(t *testing.T) {
	for _, beat := range []snowtether.Option{noBeat, snowtether.WithKeepAlive(true)} {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			const n = 8
			var clock wall
			db := pool(t, srv, n, beat, testpool.WithClock(clock.now))
			use(t, db, n)
			srv.Advance(8 * time.Hour)
			clock.jump(8 * time.Hour)
			before := srv.Stats()
			use(t, db, n)
			after := srv.Stats()
			if logins := after.Logins - before.Logins; logins != n {
				t.Errorf("%d logins, want %d", logins, n)
			}
			// One statement each, and no renewals: nothing was asked in vain.
			if requests := after.Requests[snowtest.RequestQuery] - before.Requests[snowtest.RequestQuery]; requests != n || after.Requests[snowtest.RequestRenew] != 0 {
				t.Errorf("%d statements and %d renewals were sent, want %d and 0", requests, after.Requests[snowtest.RequestRenew], n)
			}
		})
	}
}

// TestClockThatJumpsCostsOneWaveAtTheMost: the server's time goes on as usual.
func TestClockThatJumpsCostsOneWaveAtTheMost(t *testing.T) {
	for _, jump := range []time.Duration{8 * time.Hour, -8 * time.Hour, 300 * 24 * time.Hour, -300 * 24 * time.Hour} {
		for _, ping := range []time.Duration{0, every} {
			t.Run(fmt.Sprint(jump, ping), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					const n = 8
					var clock wall
					db := pool(t, srv, n, snowtether.WithIdlePing(ping), testpool.WithClock(clock.now))
					use(t, db, n)
					clock.jump(jump)
					before := srv.Stats()
					for range 10 {
						use(t, db, n)
						time.Sleep(time.Minute)
					}
					clock.jump(-jump)
					for range 10 {
						use(t, db, n)
						time.Sleep(time.Minute)
					}
					after := srv.Stats()
					if logins := after.Logins - before.Logins; logins > n {
						t.Errorf("%d logins, want at most %d", logins, n)
					}
					if requests := after.Requests[snowtest.RequestQuery] - before.Requests[snowtest.RequestQuery]; requests > 20*n+4*n {
						t.Errorf("%d statements and pings", requests)
					}
				})
			})
		}
	}
}
