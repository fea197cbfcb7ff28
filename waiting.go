package snowtether

import (
	"sync"
	"sync/atomic"
	"time"
)

// This file is about what is under way and has had no answer. An error of a request that
// nobody answers comes after minutes, and until then nothing has happened that would be an
// event. So it is looked up where it is kept, when somebody asks: a statement's requests in
// its transcript, logins here.

// WaitingInfo is what a [Snapshot] says of statements and logins under way. That a request
// has had no answer for a while need not mean anything: Snowflake answers a statement that
// runs for long after 45 s, and again every 45 s.
type WaitingInfo struct {
	Statements int           // under way
	Unanswered int           // of them, those whose last request has had no answer for 5 s
	Logins     int           // that have had no answer for 5 s, but for those that wait for a person at a browser
	Oldest     time.Duration // for how long the oldest request of all of these has had no answer; 0 if there is none
	Silence    time.Duration // since Snowflake last answered anything; 0 if it has never
}

// unansweredFor is from when on a request counts as unanswered.
const unansweredFor = 5 * time.Second

// waits are what a connector keeps of its waiting.
type waits struct {
	heard atomic.Int64 // when Snowflake last answered, in Unix nanoseconds

	mu     sync.Mutex
	logins map[*time.Time]bool // when each login under way was sent
}

func (w *waits) answered() { w.heard.Store(time.Now().UnixNano()) }

// answeredSince reports whether Snowflake has answered anything from then on.
func (w *waits) answeredSince(t time.Time) bool { return w.heard.Load() >= t.UnixNano() }

// login notes that a login is sent. The function that it returns, which may be called
// twice, notes that there is an answer.
func (w *waits) login(begun time.Time, person bool) (over func()) {
	if person {
		return func() {}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.logins == nil {
		w.logins = make(map[*time.Time]bool)
	}
	w.logins[&begun] = true
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.logins, &begun)
	}
}

// notBeforeAnswer is since, or when Snowflake last answered if that was later: an outage
// does not begin before that.
func (w *waits) notBeforeAnswer(since time.Time) time.Time {
	if heard := time.Unix(0, w.heard.Load()); heard.After(since) {
		return heard
	}
	return since
}

// waiting looks at what is under way now.
func (c *Connector) waiting() (w WaitingInfo) {
	now := time.Now()
	wait := func(since time.Time, n *int) {
		if age := now.Sub(since); !since.IsZero() && age > 0 {
			if w.Oldest = max(w.Oldest, age); age >= unansweredFor {
				*n++
			}
		}
	}
	for _, s := range c.list() {
		if seen := s.watcher.watch.Load(); seen != nil {
			w.Statements++
			wait(seen.Unanswered(), &w.Unanswered)
		}
	}
	c.waits.mu.Lock()
	for begun := range c.waits.logins {
		wait(*begun, &w.Logins)
	}
	c.waits.mu.Unlock()
	if heard := c.waits.heard.Load(); heard != 0 {
		w.Silence = max(now.Sub(time.Unix(0, heard)), 1)
	}
	return w
}
