package snowtether

import (
	"errors"
	"log/slog"
	"testing"
	"time"
	"unsafe"
)

// putBack is a time that was read when the wall clock had been put back by d. package time has
// no way to make one: the seconds of the wall clock are bits 30 to 62 of its first word.
func putBack(t time.Time, d time.Duration) time.Time {
	before := t
	*(*uint64)(unsafe.Pointer(&t)) -= uint64(d/time.Second) << 30
	if before.Sub(t) != 0 || before.Round(0).Sub(t.Round(0)) != d {
		panic("package time keeps its clocks elsewhere")
	}
	return t
}

// TestClockThatIsPutBackProlongsNoOutage: nor is an answer from before it the last one for as long
// as the clock was put back.
func TestClockThatIsPutBackProlongsNoOutage(t *testing.T) {
	s := defaults()
	if err := s.apply([]Option{WithLogger(slog.New(slog.DiscardHandler))}); err != nil {
		t.Fatal(err)
	}
	c := start(&Connector{settings: s})
	defer func() { _ = c.Close() }()
	c.served(t.Context(), time.Now())
	c.unreachable(t.Context(), time.Time{}, errors.New("no route to host"))
	if !c.isOut() {
		t.Fatal("there is no outage")
	}
	asked := putBack(time.Now(), time.Hour)
	if c.waits.answeredSince(asked) {
		t.Error("an answer from before counts as one since")
	}
	if began := c.waits.notBeforeAnswer(asked); !began.Equal(asked) {
		t.Errorf("an outage that was seen at %v would begin at %v", asked, began)
	}
	c.served(t.Context(), putBack(time.Now(), time.Hour))
	if c.isOut() {
		t.Error("an answer does not end the outage")
	}
	if !c.waits.answeredSince(asked) {
		t.Error("the answer does not count")
	}
}
