package gate

import (
	"math/rand/v2"
	"time"
)

// This file is about a server that has too much to do: what it shows of that, and what the
// gate (gate.go) makes of it. A gate is polite, but a thousand of them whose sessions ended
// in the same second are a storm, and none knows of the others.

// A load is what the server shows of its load. Its zero value is a server that shows none.
type load struct {
	spread    time.Duration // the first login after a loss of sessions waits for a random part of this
	throttled bool          // logins were turned away: one is under way at a time
	seen      time.Time     // when a login was last turned away or slow
}

// The bounds of the spread. It doubles with each login that is turned away, grows to what a
// slow one takes, and shrinks by a quarter with each that succeeds. It stays well below the
// connect budget, as a caller without a deadline waits it out, perhaps long after the storm.
// After an hour it is forgotten, after ten minutes if it was no more than a slow login.
const (
	firstSpread = time.Second
	maxSpread   = 30 * time.Second
	slowLogin   = 3 * time.Second // a login takes less than a second, as a rule
	noSpread    = 100 * time.Millisecond
	forgetAfter = time.Hour
	forgetSlow  = 10 * time.Minute
)

// maxRest bounds the wait after a login that was turned away. A longer one leaves the server
// idle at the end, when most of a fleet has been served.
const maxRest = 12 * time.Second

// after is the load after a login.
func (l load) after(took time.Duration, throttled, failed bool) load {
	switch {
	case throttled:
		return load{min(max(2*l.spread, firstSpread), maxSpread), true, time.Now()}
	case failed:
		return l
	}
	if l.spread = l.spread * 3 / 4; l.spread < noSpread {
		l = load{}
	}
	if took >= slowLogin {
		l.spread, l.seen = min(max(l.spread, took), maxSpread), time.Now()
	}
	return l
}

// remembered is the load when sessions are lost.
func (l load) remembered() load {
	if age := time.Since(l.seen); age >= forgetAfter || !l.throttled && age >= forgetSlow {
		return load{}
	}
	return l
}

// wait draws the wait of the first login after a loss.
func (l load) wait() time.Duration {
	if l.spread <= 0 {
		return 0
	}
	return rand.N(l.spread)
}

// rest draws the wait after a login that failed, which is step by the back-off. A back-off
// begins anew with each login that succeeds, the spread does not: who was turned away five
// times before is not to knock again in half a second. The server's own word is added to what
// is shorter, so that those who got it in the same moment do not come back in the same moment.
func (l load) rest(step, after time.Duration) time.Duration {
	if l.throttled {
		half := min(l.spread/2, maxRest*2/3)
		step = max(step, half/2+rand.N(half))
	}
	if step < after {
		step += after
	}
	return step
}
