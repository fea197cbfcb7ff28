package snowtether

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// This file is what a connector remembers of its events, for Snapshot. What needs a
// person is not displaced by what does not: a pool whose sessions all expire has hundreds
// of events in a second.

// How much is remembered. A statement is spoken of for as long as Snowflake keeps its
// result.
const (
	maxRecent = 100
	doubtFor  = 24 * time.Hour
)

// recent are the last events. It takes memory as they come.
type recent struct {
	mu      sync.Mutex
	taken   int  // events so far
	all     ring // of whatever kind
	grave   ring // those that the log has as warnings
	doubts  ring // statements in doubt, which are in no other
	newest  map[EventKind]kept
	dropped InDoubtInfo // doubts that newer ones have displaced
	lastOut time.Time   // when the last of them failed
	doubted time.Time   // when the last statement in doubt failed
	seen    time.Time   // when the last of those failed that somebody has seen
	minutes [60]MinuteInfo
}

// A kept event is one with its place among the others.
type kept struct {
	place int
	Event
}

// A ring keeps the last maxRecent events.
type ring struct {
	events []kept
	next   int // where the next one goes once there are maxRecent
}

// add puts an event into the ring, and returns the one that had its place.
func (r *ring) add(e kept) (out Event, full bool) {
	if full = len(r.events) == maxRecent; !full {
		r.events = append(r.events, e)
		return out, false
	}
	out, r.events[r.next] = r.events[r.next].Event, e
	r.next = (r.next + 1) % maxRecent
	return out, true
}

func (r *recent) add(e Event) {
	e.Error, e.became = "", principal{}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken++
	r.tally(e)
	k := kept{r.taken, e}
	if e.Kind == EventInDoubt {
		k.Time = r.after(e.Time)
		if out, full := r.doubts.add(k); full && out.Time.After(r.seen) {
			r.drop(out)
		}
		return
	}
	r.all.add(k)
	if lines[e.Kind].level >= slog.LevelWarn && !e.again {
		r.grave.add(k)
	}
	if r.newest == nil {
		r.newest = make(map[EventKind]kept)
	}
	r.newest[e.Kind] = k
}

// after is the time of a statement in doubt, or the next moment if another one has that
// time or a later one. So these times are names: what somebody has seen up to one of them
// is never a statement that they have not seen.
func (r *recent) after(at time.Time) time.Time {
	if at = at.Round(0); !at.After(r.doubted) {
		at = r.doubted.Add(1)
	}
	r.doubted = at
	return at
}

// acknowledge notes that somebody has seen the statements in doubt that have failed up to
// that time, and returns of how many that is news.
func (r *recent) acknowledge(now, upTo time.Time) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.lastOut.After(upTo) {
		if now.Sub(r.lastOut) < doubtFor {
			n = r.dropped.Count
		}
		r.dropped = InDoubtInfo{}
	}
	seen := r.seen
	for _, k := range r.doubts.events {
		if !k.Time.After(seen) || k.Time.After(upTo) {
			continue
		}
		if now.Sub(k.Time) < doubtFor {
			n++
		}
		if k.Time.After(r.seen) {
			r.seen = k.Time
		}
	}
	return n
}

// drop counts a statement in doubt for which there is no room any more.
func (r *recent) drop(e Event) {
	if e.Time.Sub(r.lastOut) >= doubtFor {
		r.dropped = InDoubtInfo{Since: e.Time}
	}
	r.dropped.Count++
	r.lastOut = e.Time
}

// list returns the events, the oldest first, and counts the statements in doubt that
// nobody has seen.
func (r *recent) list(now time.Time) (events []Event, doubts InDoubtInfo) {
	r.mu.Lock()
	all := slices.Concat(r.all.events, r.grave.events)
	for _, k := range r.newest {
		all = append(all, k)
	}
	if now.Sub(r.lastOut) < doubtFor {
		doubts = r.dropped
	}
	for _, k := range slices.Concat(r.doubts.events[r.doubts.next:], r.doubts.events[:r.doubts.next]) {
		if now.Sub(k.Time) < doubtFor {
			all = append(all, k)
			if k.Time.After(r.seen) {
				doubts.add(k.Time)
			}
		}
	}
	r.mu.Unlock()
	slices.SortFunc(all, func(a, b kept) int { return cmp.Compare(a.place, b.place) })
	all = slices.CompactFunc(all, func(a, b kept) bool { return a.place == b.place })
	events = make([]Event, len(all))
	for i, k := range all {
		events[i] = k.Event
	}
	return events, doubts
}

// add counts a statement that failed at the given time, or later than those before it.
func (d *InDoubtInfo) add(at time.Time) {
	if d.Count == 0 {
		d.Since = at
	}
	d.Count++
}

// MinuteInfo is what happened in one minute, for a chart of the last hour.
type MinuteInfo struct {
	Time    time.Time // its beginning
	Logins  int       // that succeeded
	Lost    int       // sessions found dead
	InDoubt int       // statements
	Waited  bool      // Snowflake could not be reached in an outage that has ended
}

// tally counts an event in its minute.
func (r *recent) tally(e Event) {
	switch m := r.minute(e.Time); e.Kind {
	case EventOpened:
		m.Logins++
	case EventLost:
		m.Lost++
	case EventInDoubt:
		m.InDoubt++
	case EventOutageEnded:
		for at, n := e.Time, 0; n < len(r.minutes) && !at.Before(e.Time.Add(-e.Duration).Truncate(time.Minute)); n++ {
			r.minute(at).Waited = true
			at = at.Add(-time.Minute)
		}
	}
}

// minute is that of a moment.
func (r *recent) minute(at time.Time) *MinuteInfo {
	begun := at.Truncate(time.Minute)
	m := &r.minutes[int(begun.Unix()/60)%len(r.minutes)]
	if begun.After(m.Time) {
		*m = MinuteInfo{Time: begun}
	} else if begun.Before(m.Time) {
		return new(MinuteInfo) // of more than an hour ago
	}
	return m
}

// hour has the minutes of the last hour in which something happened, the oldest first.
func (r *recent) hour(now time.Time) (minutes []MinuteInfo) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.minutes {
		if happened := m; now.Sub(m.Time) < time.Hour {
			if happened.Time = (time.Time{}); happened != (MinuteInfo{}) {
				minutes = append(minutes, m)
			}
		}
	}
	slices.SortFunc(minutes, func(a, b MinuteInfo) int { return a.Time.Compare(b.Time) })
	return minutes
}

// Sessions that die together are told together. A policy or an outage that ends 64 sessions
// at once is one piece of news: the first few lines of the log say which, and one at the end
// how many and in what time. The events are all made, and counted.

// The bounds of what is said: so many lines a minute, and a burst is over when none was
// replaced for a second; a second one in the same minute is told at its end.
const (
	linesPerMinute = 5
	burstQuiet     = time.Second
)

// A burst is what is known of sessions that were lost together.
type burst struct {
	mu sync.Mutex
	quota
	told bool // in this minute, of a burst

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
	if b.begins(now) {
		b.told = false
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

// A quota counts the lines of one kind in a minute.
type quota struct {
	minute time.Time // when the present minute began
	lines  int       // in it
}

// begins begins a new minute if the present one is over, and reports whether it did.
func (q *quota) begins(now time.Time) bool {
	over := now.Sub(q.minute) >= time.Minute
	if over {
		q.minute, q.lines = now, 0
	}
	return over
}

// repeats are the lines of transactions that RunTx begins again.
type repeats struct {
	mu sync.Mutex
	quota
}

// spend reports whether the minute has a line left.
func (r *repeats) spend(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begins(now)
	r.lines++
	return r.lines <= linesPerMinute
}

// manyReplaced makes it known that a burst is over.
func (c *Connector) manyReplaced(e Event) { c.emit(context.Background(), e) }
