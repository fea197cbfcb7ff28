package snowtether

import (
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"
)

// This file is about the events of the sessions that lie in the pool.

// listen makes a connector that never logs in, and writes its events down.
func listen(t *testing.T, events *[]Event) *Connector {
	t.Helper()
	c, err := NewConnector(&gosnowflake.Config{Account: "acct", User: "u", Password: "p"},
		WithLogger(slog.New(slog.DiscardHandler)), WithEventHook(func(e Event) { *events = append(*events, e) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// TestUnansweredPingsAreCountedInARow: until one is answered.
func TestUnansweredPingsAreCountedInARow(t *testing.T) {
	var events []Event
	c := listen(t, &events)
	s := &session{connector: c, watcher: &tokenWatcher{}}
	for _, err := range []error{nil, io.EOF, io.EOF, nil, io.EOF} {
		c.pinged(t.Context(), s, err)
	}
	var attempts []int
	for _, e := range events {
		attempts = append(attempts, e.Attempt)
	}
	if want := []int{1, 2, 1}; !slices.Equal(attempts, want) {
		t.Errorf("attempts %v, want %v", attempts, want)
	}
	if s := c.Stats(); s.Pings != 5 || s.PingFailures != 3 {
		t.Errorf("%d pings, %d unanswered", s.Pings, s.PingFailures)
	}
}

// TestSessionReplacedAheadOfItsEndIsRetired: it was not lost, and is not counted so.
func TestSessionReplacedAheadOfItsEndIsRetired(t *testing.T) {
	var events []Event
	c := listen(t, &events)
	session := func(id int64) *session {
		return &session{connector: c, watcher: &tokenWatcher{sessionID: id}, opened: time.Now().Add(-time.Hour)}
	}
	c.replaced(t.Context(), session(1), session(2), nil, time.Second)
	if e := events[0]; e.Kind != EventRetired || e.OldSessionID != 1 || e.SessionID != 2 || e.Age < time.Hour || e.Duration != time.Second {
		t.Errorf("%+v", e)
	}
	if s := c.Stats(); s.Retired != 1 || s.Reconnects != 0 || s.Lost != 0 || len(s.ReconnectsByReason) != 0 {
		t.Errorf("%+v", s)
	}
}
