package gate

import (
	"testing"
	"time"
)

func TestLoadAfterLogins(t *testing.T) {
	for _, tt := range []struct {
		name              string
		before            load
		took              time.Duration
		throttled, failed bool
		after             load // without seen
	}{
		{"a login that goes as it should", load{}, time.Second, false, false, load{}},
		{"one that fails for another reason", load{}, time.Minute, false, true, load{}},
		{"slow", load{}, 4 * time.Second, false, false, load{spread: 4 * time.Second}},
		{"very slow", load{}, time.Hour, false, false, load{spread: maxSpread}},
		{"turned away", load{}, 0, true, true, load{spread: firstSpread, throttled: true}},
		{"turned away again", load{spread: 8 * time.Second, throttled: true}, 0, true, true, load{spread: 16 * time.Second, throttled: true}},
		{"and again", load{spread: maxSpread, throttled: true}, 0, true, true, load{spread: maxSpread, throttled: true}},
		{"taken", load{spread: 8 * time.Second, throttled: true}, 0, false, false, load{spread: 6 * time.Second, throttled: true}},
		{"taken at last", load{spread: noSpread, throttled: true}, 0, false, false, load{}},
	} {
		got := tt.before.after(tt.took, tt.throttled, tt.failed)
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
