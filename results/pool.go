package results

import (
	"bytes"
	"fmt"
	"runtime"
	"time"
)

// This file sees to it that the program's function does not wait for ever for the connection that
// is held while it runs.

// A hold watches one call of the program's function. It is nothing where the pool may open more
// than one connection: then others can come free.
type hold struct {
	over, ended chan struct{}
	released    bool // the connection was given back; read after stop
}

// watch begins to watch the function that is called next, in this goroutine.
func (r *reader) watch() *hold {
	h := &hold{}
	if r.db.Stats().MaxOpenConnections != 1 {
		return h
	}
	h.over, h.ended = make(chan struct{}), make(chan struct{})
	waits, caller := r.db.Stats().WaitCount, goroutine()
	go func() {
		defer close(h.ended)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-h.over:
				return
			case <-tick.C:
			}
			// That somebody waits is normal, the function may just take long: it is the function
			// that must not wait.
			if r.db.Stats().WaitCount > waits && waitsForPool(caller) {
				h.released = true
				r.src.close()
				r.src = nil
				_ = r.conn.Close()
				r.conn = nil
				return
			}
		}
	}()
	return h
}

// stop ends the watching, when the function has returned.
func (h *hold) stop() {
	if h.over != nil {
		close(h.over)
		<-h.ended
	}
}

// goroutine is the head of this goroutine's stack trace, by which it is told from others: "goroutine
// 7 ". database/sql has no other way to say who waits.
func goroutine() []byte {
	var n int
	head := make([]byte, 64)
	head = head[:runtime.Stack(head, false)]
	if _, err := fmt.Sscanf(string(head), "goroutine %d ", &n); err != nil {
		return nil
	}
	return fmt.Appendf(nil, "goroutine %d ", n)
}

// waitsForPool reports whether a goroutine waits for a connection of a pool.
func waitsForPool(caller []byte) bool {
	if caller == nil {
		return false
	}
	stacks := make([]byte, 1<<16)
	for {
		n := runtime.Stack(stacks, true)
		if n < len(stacks) || n >= 1<<26 {
			stacks = stacks[:n]
			break
		}
		stacks = make([]byte, 2*len(stacks))
	}
	for stack := range bytes.SplitSeq(stacks, []byte("\n\n")) {
		if bytes.HasPrefix(stack, caller) {
			return bytes.Contains(stack, []byte("database/sql.(*DB).conn("))
		}
	}
	return false
}
