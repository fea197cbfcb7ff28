package snowtether

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// A patience is what one operation has for an outage: without a deadline of the caller's
// the connect budget, once, from the first failure on, whatever is waited for then: a
// pause, a login, a question.
type patience struct {
	since   time.Time // of the first failure; zero: there was none, or it is over
	backOff backoff.BackOff
}

// Waited is the time for which a connection's first login was waited for.
type waited struct{ from, until time.Time }

// after is a patience of which a part is gone: the call waited for its connection a moment
// ago, for longer than a login takes.
func (p *patience) after(w waited) {
	if w.until.Sub(w.from) > atOnceFor && time.Since(w.until) < time.Second {
		p.since = w.from
	}
}

// renew is called when an outage is over.
func (p *patience) renew() { *p = patience{} }

func (p *patience) begin() {
	if p.since.IsZero() {
		p.since = time.Now()
	}
}

// limit is the caller's context for what is waited for.
func (p *patience) limit(ctx context.Context, c *Connector) (context.Context, context.CancelFunc) {
	p.begin()
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithDeadlineCause(ctx, p.since.Add(c.settings.connectBudget), errBudgetOver)
}

// wait lets some of an outage pass before the operation is tried again, and reports
// whether there is time for that.
func (p *patience) wait(ctx context.Context, c *Connector) bool {
	p.begin()
	pause := c.nextPause(ctx, &p.backOff)
	_, bounded := ctx.Deadline()
	if pause == backoff.Stop || !bounded && time.Since(p.since)+pause > c.settings.connectBudget {
		return false
	}
	return sleep(ctx, c.stopped, pause)
}

// sleep waits, and reports whether neither context ended before that.
func sleep(ctx, stopped context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-stopped.Done():
	}
	return false
}

// untried reports whether next to nothing of it is gone: then database/sql may begin from
// the start on another connection, with a patience of its own.
func (p *patience) untried() bool { return p.since.IsZero() || time.Since(p.since) <= atOnceFor }

// atOnceFor is how long what is done without waiting may take.
const atOnceFor = 5 * time.Second
