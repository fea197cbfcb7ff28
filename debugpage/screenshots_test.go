package debugpage_test

import (
	"bytes"
	"flag"
	"fmt"
	"image/png"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/debugpage"
)

// This file makes pictures of the page, for people to look at: CI keeps them in a folder.
//
//	go test -run '^TestScreenshots$' ./debugpage -screenshots /tmp/page

var screenshots = flag.String("screenshots", "", "the `folder` for pictures of every state, in both widths and colour schemes")

// states are all that the page can say, by their names.
func states() map[string][]snowtether.Snapshot {
	now := time.Date(2026, time.March, 4, 2, 2, 1, 0, time.UTC)
	with := func(change func(*snowtether.Snapshot)) snowtether.Snapshot {
		s := snowtether.Snapshot{Time: now, Pool: "snowtether", Gate: snowtether.GateInfo{State: snowtether.GateFree}, Stats: snowtether.Stats{Open: 64, Idle: 63, Logins: 128, Lost: 64, Reconnects: 64, ReconnectsByReason: map[string]int64{"390114": 64}}}
		for i := range 64 {
			s.Sessions = append(s.Sessions, snowtether.SessionInfo{ID: int64(4711 + i), State: snowtether.SessionIdle, Age: time.Hour, Idle: time.Minute, TokenAge: time.Minute})
			s.Events = append(s.Events, snowtether.Event{Kind: snowtether.EventReconnected, Time: now.Add(-40 * time.Minute), SessionID: int64(4711 + i), OldSessionID: int64(1000 + i), Code: 390114, Duration: 900 * time.Millisecond, Age: 4 * time.Hour})
		}
		for i, n := range []int{64, 3, 0, 0, 1} {
			s.Hour = append(s.Hour, snowtether.MinuteInfo{Time: now.Truncate(time.Minute).Add(time.Duration(i-40) * time.Minute), Logins: n, Lost: n})
		}
		change(&s)
		return s
	}
	doubt := func(s *snowtether.Snapshot) {
		s.Events = append(s.Events, snowtether.Event{Kind: snowtether.EventInDoubt, Time: now.Add(-20 * time.Minute), SessionID: 4720, Operation: "exec", RequestID: "8f0c3f3e-5f6b-4a7e-9d2c-0a1b2c3d4e5f", Class: snowtether.ClassTransient})
		s.InDoubt = snowtether.InDoubtInfo{Count: 1, Since: now.Add(-20 * time.Minute)}
		s.Hour = append(s.Hour, snowtether.MinuteInfo{Time: now.Truncate(time.Minute).Add(-20 * time.Minute), InDoubt: 1, Waited: true})
	}
	doubts := func(s *snowtether.Snapshot) {
		hour := slices.Clone(s.Hour)
		for i := range 7 {
			doubt(s)
			s.Events[len(s.Events)-1].Time = now.Add(time.Duration(i-7) * time.Second)
		}
		s.InDoubt = snowtether.InDoubtInfo{Count: 7, Since: now.Add(-7 * time.Second)}
		s.Hour = append(hour, snowtether.MinuteInfo{Time: now.Truncate(time.Minute).Add(-time.Minute), InDoubt: 7})
	}
	seen := func(s *snowtether.Snapshot) {
		doubt(s)
		s.InDoubt = snowtether.InDoubtInfo{}
	}
	outage := func(s *snowtether.Snapshot) {
		s.Gate = snowtether.GateInfo{State: snowtether.GateProbing, Since: now.Add(-12 * time.Minute), Until: now.Add(20 * time.Second), Failures: 9, Class: snowtether.ClassTransient}
	}
	refused := func(s *snowtether.Snapshot) {
		s.Gate = snowtether.GateInfo{State: snowtether.GateSuspended, Since: now.Add(-time.Minute), Until: now.Add(time.Minute), Failures: 2, Code: 390100, Class: snowtether.ClassPermanent}
	}
	waits := func(s *snowtether.Snapshot) {
		s.Waiting = snowtether.WaitingInfo{Statements: 5, Unanswered: 4, Oldest: 17 * time.Second, Silence: 18 * time.Second}
	}
	other := with(outage)
	other.Pool = "nightly"
	return map[string][]snowtether.Snapshot{
		"in-order": {with(func(*snowtether.Snapshot) {})}, "in-doubt": {with(doubt)}, "in-doubt-7": {with(doubts)}, "in-doubt-seen": {with(seen)}, "outage": {with(outage)}, "refused": {with(refused)},
		"waiting": {with(waits)}, "paced": {with(func(s *snowtether.Snapshot) {
			s.Gate = snowtether.GateInfo{State: snowtether.GatePaced, Since: now, Failures: 3}
		})},
		"closed": {with(func(s *snowtether.Snapshot) { s.Closed, s.Sessions = true, nil })}, "no-session": {{Time: now, Pool: "snowtether", Gate: snowtether.GateInfo{State: snowtether.GateFree}}},
		"two-pools": {with(func(*snowtether.Snapshot) {}), other}, "no-pool": nil,
	}
}

// TestScreenshots: of every state where a folder is given, else of one, so that it is known
// that they can be made.
func TestScreenshots(t *testing.T) {
	dir, names := *screenshots, states()
	if dir == "" {
		dir, names = t.TempDir(), map[string][]snowtether.Snapshot{"in-doubt": names["in-doubt"]}
	} else if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, snapshots := range names {
		web := httptest.NewServer(debugpage.PageWithForm(snapshots...))
		for scheme, flag := range map[string]string{"light": "1", "dark": "0"} {
			for _, width := range []int{1280, 390} {
				file := filepath.Join(dir, fmt.Sprintf("%s-%d-%s.png", name, width, scheme))
				dump(t, web.URL, "--blink-settings=preferredColorScheme="+flag, fmt.Sprintf("--window-size=%d,1400", width), "--virtual-time-budget=1000", "--screenshot="+file)
				picture, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if c, err := png.DecodeConfig(bytes.NewReader(picture)); err != nil || c.Width != width {
					t.Errorf("%s: %d wide, %v", file, c.Width, err)
				}
			}
		}
		web.Close()
	}
}

// TestChartShowsWhenItBegan: minute by minute, what is not over included.
func TestChartShowsWhenItBegan(t *testing.T) {
	bars := debugpage.Chart(states()["outage"][0])
	want := map[string]string{"Logins: 68": "19 20 23", "Sessions lost: 68": "19 20 23", "Minutes without an answer: 13": "47 48 49 50 51 52 53 54 55 56 57 58 59", "In doubt: 0": ""}
	for name, at := range want {
		if got, ok := bars[name]; !ok || got != at {
			t.Errorf("%s at %q, want %q, in %v", name, got, at, bars)
		}
	}
}
