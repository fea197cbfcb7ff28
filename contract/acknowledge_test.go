package contract_test

import (
	"errors"
	"testing"
	"time"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about statements in doubt that somebody has seen.

// TestDoubtStaysUntilSomebodyHasSeenIt: it is no longer counted then, and is still among the
// events. What fails later, also at the same moment, nobody has seen.
func TestDoubtStaysUntilSomebodyHasSeenIt(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db, c := connect(t, srv.Config())
		doubt := func() {
			once(srv, insert, snowtest.Fault{Run: true, Drop: true, After: func() { srv.AbortSessions() }})
			if _, err := db.ExecContext(t.Context(), insert); !errors.Is(err, snowtether.ErrInDoubt) {
				t.Fatalf("the statement is not in doubt: %v", err)
			}
		}
		doubts := func() (all []snowtether.Event) {
			for _, e := range c.Snapshot().Events {
				if e.Kind == snowtether.EventInDoubt {
					all = append(all, e)
				}
			}
			return all
		}
		unseen := func(want int, since time.Time) {
			t.Helper()
			if got := c.Snapshot().InDoubt; got.Count != want || !got.Since.Equal(since) {
				t.Errorf("%d unseen since %v, want %d since %v", got.Count, got.Since, want, since)
			}
		}
		acknowledge := func(upTo time.Time, want int) {
			t.Helper()
			if got := c.Acknowledge(upTo); got != want {
				t.Errorf("%d were unseen up to %v, want %d", got, upTo, want)
			}
		}
		acknowledge(time.Now(), 0)
		for range 3 {
			doubt() // time stands still here: all three fail at the same moment
		}
		all := doubts()
		for i := range 2 {
			if !all[i].Time.Before(all[i+1].Time) {
				t.Errorf("%d failed at %v, the next at %v: the times do not tell them apart", i, all[i].Time, all[i+1].Time)
			}
		}
		acknowledge(all[0].Time.Add(-1), 0)
		unseen(3, all[0].Time)
		acknowledge(all[1].Time, 2)
		unseen(1, all[2].Time)
		acknowledge(all[1].Time, 0)
		acknowledge(time.Now().Add(time.Hour), 1)
		unseen(0, time.Time{})
		if len(doubts()) != 3 || c.Stats().InDoubt != 3 {
			t.Errorf("%d are among the events and %d are counted, want all three", len(doubts()), c.Stats().InDoubt)
		}

		doubt()
		unseen(1, doubts()[3].Time) // although it was before the time that was acknowledged
		for range 120 {
			doubt()
		}
		if got := c.Snapshot().InDoubt.Count; got != 121 {
			t.Errorf("%d unseen, want 121", got)
		}
		acknowledge(doubts()[0].Time, 22) // those that have been displaced are seen with the next one
		acknowledge(time.Now().Add(time.Hour), 99)
		unseen(0, time.Time{})
		for range 120 {
			doubt() // displaces what was seen, which is not counted again
		}
		if got := c.Snapshot().InDoubt.Count; got != 120 {
			t.Errorf("%d unseen, want 120", got)
		}
		time.Sleep(24 * time.Hour)
		acknowledge(time.Now(), 0)
		unseen(0, time.Time{})
	}, snowtest.AllowRepeats())
}
