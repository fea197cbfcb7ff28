package transcript

import (
	"context"
	"sync"
)

// This file hands the query ID to a caller who waits for it on a channel of their own
// (gosnowflake.WithQueryIDChan), while the statement still runs.

// A caller is who waits for the ID, if somebody does.
type caller struct {
	ctx  context.Context // theirs: they wait until it ends, though nobody goes on with the statement's
	to   chan<- string
	from *courier
	mark int // of the look-up that the courier waits for
}

// channel is what gosnowflake is handed for one reply. The caller gets the ID of their
// own statement, and none of those that an array bind sends before it.
func (r *Recorder) channel(to chan<- string) chan<- string {
	ch := make(chan string, 1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return ch
	}
	r.add(mark{kind: answered})
	at := len(r.t.marks) - 1
	if to != nil {
		r.caller.to = to
	}
	if r.caller.to != nil && r.caller.from == nil && r.t.own(at) >= 0 {
		r.caller.from, r.caller.mark = &courier{from: ch, over: make(chan struct{}), read: make(chan struct{})}, at
		go r.caller.from.run(r.caller.ctx, r.caller.to)
	} else {
		r.pending = append(r.pending, pendingID{ch, at})
	}
	return ch
}

// Expect notes the caller's channel where nothing is sent.
func (r *Recorder) Expect(channel any) { r.caller.to, _ = channel.(chan<- string) }

// Tell gives the caller's own channel what it has not got yet, and closes it as
// gosnowflake would. It is not called for a statement that will be run again: then the
// channel is the next try's.
func (r *Recorder) Tell(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.caller; c.to != nil && (c.from == nil || c.from.id == "") {
		deliver(ctx, c.to, r.t.ID())
	}
}

// A courier carries an ID from gosnowflake to the caller.
type courier struct {
	from <-chan string
	over chan struct{} // closed when the statement is over
	read chan struct{} // closed when id and sent are set
	id   string
	sent bool // gosnowflake has sent something, if only that there is no ID
}

// stop waits for the courier to have read what there is.
func (c *courier) stop() {
	close(c.over)
	<-c.read
}

func (c *courier) run(ctx context.Context, to chan<- string) {
	select {
	case c.id, c.sent = <-c.from:
	case <-c.over:
		select {
		case c.id, c.sent = <-c.from:
		default:
		}
	}
	if c.id != "" {
		deliver(ctx, to, c.id)
	}
	close(c.read)
}

// delivering has the callers' channels to which an ID is on its way. Statements with the
// same context have the same channel, and one must not close it while another sends.
var delivering sync.Map

// deliver sends and closes without making anybody wait.
func deliver(ctx context.Context, to chan<- string, id string) {
	if _, other := delivering.LoadOrStore(to, nil); other {
		return // the caller gets the ID that came first
	}
	waits := false
	defer func() {
		// The channel may be closed already, by an earlier statement with the same
		// context. In gosnowflake that is a panic in the caller's goroutine; here it is
		// nothing.
		_ = recover()
		if !waits {
			delivering.Delete(to)
		}
	}()
	select {
	case to <- id:
		close(to)
	default:
		waits = true
		go func() {
			defer func() {
				_ = recover()
				delivering.Delete(to)
			}()
			select {
			case to <- id:
				close(to)
			case <-ctx.Done():
			}
		}()
	}
}
