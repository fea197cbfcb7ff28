// Package waves puts a program of somebody else's on top of the driver: once quiet, and once
// under waves that end all sessions of the test server every 60 ms. Whatever the program
// was told of its rows is compared with the rows that are there. It is for the modules in
// compat.
package waves

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// Every is how often all sessions are ended: at least Count times, and until the program has
// been through Turns turns; but not for ever, because a transaction needs a moment.
const (
	Every = 60 * time.Millisecond
	Count = 12
	Turns = 5
	most  = 8 * Count
)

// A Run is one turn of a program, quiet or under waves. Its methods may be called by
// several goroutines.
type Run struct {
	*testing.T
	Server *snowtest.Server
	Waves  bool // sessions are being ended

	over  chan struct{} // closed behind the last wave
	turns atomic.Int64

	mu      sync.Mutex
	next    int
	told    map[int]error // by the ID of the row; nil: it is there
	repeats int           // of transactions whose session was lost
	doubts  int
}

// Both runs work quiet, once, and under waves, turn by turn until the last wave is over and
// then once more, each with a server of its own. Then the rows are compared, and the server
// checks its ledger. table is the one, with a column ID, that Wrote is about.
func Both(t *testing.T, server func(t *testing.T) *snowtest.Server, open func(r *Run) *sql.DB, table string, work func(r *Run)) {
	t.Helper()
	for _, waves := range []bool{false, true} {
		name := "quiet"
		if waves {
			name = "under waves"
		}
		t.Run(name, func(t *testing.T) {
			r := &Run{T: t, Server: server(t), Waves: waves, over: make(chan struct{}), told: map[int]error{}}
			db := open(r)
			if waves {
				go r.strike()
			} else {
				close(r.over)
			}
			for last := false; !last && !t.Failed(); r.turns.Add(1) {
				last = r.isOver()
				work(r)
			}
			r.compare(db, table)
			logins := r.Server.Stats().Logins
			t.Logf("%d turns, %d rows, %d transactions repeated, %d in doubt, %d logins", r.turns.Load(), len(r.told), r.repeats, r.doubts, logins)
			if waves && logins < Turns {
				t.Errorf("%d logins: no session was lost in use", logins)
			}
		})
	}
}

// strike ends all sessions, again and again.
func (r *Run) strike() {
	defer close(r.over)
	tick := time.NewTicker(Every)
	defer tick.Stop()
	for n := 0; n < Count || n < most && r.turns.Load() < Turns; n++ {
		select {
		case <-tick.C:
			r.Server.AbortSessions()
		case <-r.Context().Done():
			return
		}
	}
}

func (r *Run) isOver() bool {
	select {
	case <-r.over:
		return true
	default:
		return false
	}
}

// ID returns a number that no other row has.
func (r *Run) ID() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next++
	return r.next
}

// Must fails the run if err is not nil: of what is in no transaction, sessions that end
// are no reason for an error.
func (r *Run) Must(what string, err error) {
	r.Helper()
	if err != nil {
		r.Fatalf("%s: %v", what, err)
	}
}

// Wrote takes note of what a program was told of a row.
func (r *Run) Wrote(err error, ids ...int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		r.told[id] = err
	}
}

// Tx runs a transaction that writes these rows until it has succeeded. Only a session that
// was lost is a reason to run it again, and only under waves; one in doubt is not repeated.
func (r *Run) Tx(what string, once func() error, ids ...int) {
	r.Helper()
	for {
		err := once()
		r.Wrote(err, ids...)
		switch {
		case err == nil:
			return
		case !r.Waves:
			r.Fatalf("%s: %v", what, err)
		case errors.Is(err, snowtether.ErrInDoubt):
			r.count(&r.doubts)
			return
		case !errors.Is(err, snowtether.ErrSessionLost):
			r.Fatalf("%s: %v", what, err)
		}
		r.count(&r.repeats)
	}
}

func (r *Run) count(n *int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*n++
}

// compare looks for the rows: each that a program was told is there is, once; of those in
// doubt at most one; no others.
func (r *Run) compare(db *sql.DB, table string) {
	ctx := context.WithoutCancel(r.Context())
	rows, err := db.QueryContext(ctx, "SELECT ID FROM "+table)
	r.Must("the rows", err)
	defer rows.Close()
	there := map[int]int{}
	for rows.Next() {
		var id int
		r.Must("the rows", rows.Scan(&id))
		there[id]++
	}
	r.Must("the rows", rows.Err())
	for _, id := range slices.Sorted(maps.Keys(r.told)) {
		n, err := there[id], r.told[id]
		delete(there, id)
		switch {
		case n > 1, err == nil && n != 1, err != nil && n != 0 && !errors.Is(err, snowtether.ErrInDoubt):
			r.Errorf("row %d is there %d times, and the program was told: %v", id, n, err)
		}
	}
	if len(there) > 0 {
		r.Errorf("rows that nobody wrote: %v", there)
	}
}
