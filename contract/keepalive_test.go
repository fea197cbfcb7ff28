package contract_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

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
