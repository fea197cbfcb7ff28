package snowtether

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"
)

func TestLoadAfterLogins(t *testing.T) {
	busy := gateway(gosnowflake.ErrFailedToAuth, 429)
	for _, tt := range []struct {
		name   string
		before load
		took   time.Duration
		err    error
		after  load // without seen
	}{
		{"a login that goes as it should", load{}, time.Second, nil, load{}},
		{"one that fails for another reason", load{}, time.Minute, errors.New("unreachable"), load{}},
		{"slow", load{}, 4 * time.Second, nil, load{spread: 4 * time.Second}},
		{"very slow", load{}, time.Hour, nil, load{spread: maxSpread}},
		{"turned away", load{}, 0, busy, load{spread: firstSpread, throttled: true}},
		{"turned away again", load{spread: 8 * time.Second, throttled: true}, 0, busy, load{spread: 16 * time.Second, throttled: true}},
		{"and again", load{spread: maxSpread, throttled: true}, 0, busy, load{spread: maxSpread, throttled: true}},
		{"turned away in gosnowflake's other words", load{}, 0, errors.New("timeout after 1ns. HTTP Status: 429. Hanging?"), load{spread: firstSpread, throttled: true}},
		{"out of order", load{}, 0, gateway(gosnowflake.ErrFailedToAuth, 503), load{}},
		{"turned away with advice", load{}, 0, &throttledError{time.Second, errors.New("503")}, load{spread: firstSpread, throttled: true}},
		{"taken", load{spread: 8 * time.Second, throttled: true}, 0, nil, load{spread: 6 * time.Second, throttled: true}},
		{"taken at last", load{spread: noSpread, throttled: true}, 0, nil, load{}},
	} {
		got := tt.before.after(tt.took, tt.err)
		got.seen = time.Time{}
		if got != tt.after {
			t.Errorf("%s: %+v after %+v, want %+v", tt.name, got, tt.before, tt.after)
		}
	}
	for _, seen := range []time.Duration{0, forgetAfter - time.Minute, forgetAfter} {
		l := load{spread: time.Minute, throttled: true, seen: time.Now().Add(-seen)}
		if got, old := l.remembered(), seen >= forgetAfter; (got == load{}) != old {
			t.Errorf("%v later it is %+v", seen, got)
		}
	}
}

func TestRestAfterALogin(t *testing.T) {
	for _, tt := range []struct {
		name        string
		load        load
		step, after time.Duration
		least, most time.Duration
	}{
		{"no load", load{}, time.Second, 0, time.Second, time.Second},
		{"a spread from slow logins", load{spread: time.Minute}, time.Second, 0, time.Second, time.Second},
		{"throttled", load{spread: 8 * time.Second, throttled: true}, 0, 0, 2 * time.Second, 6 * time.Second},
		{"long throttled", load{spread: maxSpread, throttled: true}, 0, 0, maxRest / 3, maxRest},
		{"the step is longer", load{spread: time.Second, throttled: true}, time.Minute, 0, time.Minute, time.Minute},
		{"the server's word is longer", load{}, time.Second, 10 * time.Second, 11 * time.Second, 11 * time.Second},
		{"and is for many", load{spread: 8 * time.Second, throttled: true}, 0, 10 * time.Second, 12 * time.Second, 16 * time.Second},
		{"the server's word is shorter", load{}, time.Minute, 10 * time.Second, time.Minute, time.Minute},
	} {
		for range 100 {
			if d := tt.load.rest(tt.step, tt.after); d < tt.least || d > tt.most {
				t.Errorf("%s: %v, want %v to %v", tt.name, d, tt.least, tt.most)
				break
			}
		}
	}
}

func TestRetryAfterIsRead(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"0": 0, "1": time.Second, "120": 2 * time.Minute, "-5": 0,
		"300": maxRetryAfter, "301": maxRetryAfter, "2147483647": maxRetryAfter,
		"Fri, 02 Jan 2026 03:04:35 GMT":  30 * time.Second,
		"Friday, 02-Jan-26 03:04:35 GMT": 30 * time.Second,
		"Fri Jan  2 03:04:35 2026":       30 * time.Second,
		"Fri, 02 Jan 2026 03:04:00 GMT":  0,
		"Fri, 02 Jan 2099 03:04:00 GMT":  maxRetryAfter,
		"":                               -1,
		"soon":                           -1,
		"1.5":                            -1,
		"99999999999999999999":           -1,
		"Fri, 32 Jan 2026 03:04:35 GMT":  -1,
		"1; secret":                      -1,
	} {
		got, err := readRetryAfter(text, now)
		if want < 0 {
			if err == nil {
				t.Errorf("%q is %v, want an error", text, got)
			}
		} else if err != nil || got != want {
			t.Errorf("%q is %v, %v, want %v", text, got, err, want)
		}
	}
	if err := fmt.Errorf("a login: %w", &throttledError{time.Second, errors.New("503")}); retryAfter(err) != time.Second || !isThrottled(err) || err.Error() != "a login: 503" {
		t.Errorf("the advice is lost in %v", err)
	}
	if retryAfter(errors.New("503")) != 0 || isThrottled(nil) {
		t.Error("advice out of nothing")
	}
}
