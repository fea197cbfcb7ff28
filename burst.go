package snowtether

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// This file folds the log lines of sessions that die together. A policy or an outage that
// ends 64 sessions at once is one piece of news: the first few lines say which, and one at
// the end how many and in what time. The events are all made, and counted.

// The bounds of what is said: so many lines a minute, and a burst is over when none was
// replaced for a second; a second one in the same minute is told at its end.
const (
	linesPerMinute = 5
	burstQuiet     = time.Second
)

// A burst is what is known of sessions that were lost together.
type burst struct {
	mu     sync.Mutex
	minute time.Time // when the present minute began
	lines  int       // in it
	told   bool      // in it, of a burst

	count       int
	began, last time.Time      // when the first was found dead, and the last replaced
	code        int            // why; 0: for several reasons
	reasons     map[string]int // how many for each of them
	timer       *time.Timer
}

// fold counts a session that was replaced. It reports whether its line is folded into
// that of the burst, which is made known through over. What somebody may have to act on is
// not folded.
func (b *burst) fold(e Event, over func(Event)) bool {
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Sub(b.minute) >= time.Minute {
		b.minute, b.lines, b.told = now, 0, false
	}
	if b.count == 0 || b.timer == nil && now.Sub(b.last) > burstQuiet {
		b.count, b.began, b.code, b.reasons = 0, now.Add(-e.Duration), e.Code, make(map[string]int)
	}
	b.reasons[e.reason()]++
	if b.count++; b.code != e.Code {
		b.code = 0
	}
	b.last = now
	if b.lines < linesPerMinute || e.State != "" || e.became != (principal{}) {
		b.lines++
		return false
	}
	if b.timer == nil {
		b.timer = time.AfterFunc(burstQuiet, func() { b.end(over, false) })
	}
	return true
}

// end makes the burst known if there is one and it is over, or must be.
func (b *burst) end(over func(Event), now bool) {
	b.mu.Lock()
	if b.timer == nil {
		b.mu.Unlock()
		return
	}
	rest := burstQuiet - time.Since(b.last)
	if b.told || b.count <= linesPerMinute { // a drip is not told drop by drop
		rest = time.Until(b.minute.Add(time.Minute))
	}
	if rest > 0 && !now {
		b.timer.Reset(rest)
		b.mu.Unlock()
		return
	}
	b.timer.Stop()
	e := Event{Kind: EventManyReconnected, Code: b.code, Class: ClassSessionLost, Count: b.count, Duration: b.last.Sub(b.began), Reasons: several(b.reasons)}
	b.timer, b.count, b.told = nil, 0, true
	b.mu.Unlock()
	over(e)
}

// maxReasons is how many reasons a burst names.
const maxReasons = 5

// several names the reasons of a burst, the most frequent first, if there are more than one.
func several(reasons map[string]int) string {
	if len(reasons) < 2 {
		return ""
	}
	var names []string
	for name := range reasons {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(reasons[b], reasons[a]), cmp.Compare(a, b))
	})
	others := 0
	for i, name := range names {
		if names[i] = fmt.Sprintf("%s (%d)", name, reasons[name]); i >= maxReasons {
			others += reasons[name]
		}
	}
	if others > 0 {
		names = append(names[:maxReasons], fmt.Sprintf("others (%d)", others))
	}
	return strings.Join(names, ", ")
}

// manyReplaced makes it known that a burst is over.
func (c *Connector) manyReplaced(e Event) { c.emit(context.Background(), e) }
