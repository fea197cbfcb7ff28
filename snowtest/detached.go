package snowtest

import (
	"strings"
	"time"
)

// abortDetached is the session parameter under which a statement ends when nobody has
// asked for its result for detachedLife. A question about its status does not count.
const (
	abortDetached = "ABORT_DETACHED_QUERY"
	detachedLife  = 5 * time.Minute
)

// attach notes that a request waits for the result of q, until the function that it
// returns is called.
func (s *Server) attach(q *query) (detach func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q.attached++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		q.attached--
		q.seen = time.Now()
	}
}

// watchDetached aborts q when it has been detached for too long, if its session
// wants that. Called with mu held, when q was accepted.
func (s *Server) watchDetached(q *query) {
	text, _ := q.session.params[abortDetached].(string)
	if on, _ := q.session.params[abortDetached].(bool); !on && !strings.EqualFold(text, "true") {
		return
	}
	q.seen = q.started
	s.work.Go(func() {
		timer := time.NewTimer(detachedLife)
		defer timer.Stop()
		for {
			select {
			case <-timer.C:
			case <-q.done:
				return
			}
			left := s.detachedLeft(q)
			if left <= 0 {
				q.cancel()
				return
			}
			timer.Reset(left)
		}
	})
}

// detachedLeft is how long a statement may still run if nobody asks for its result.
func (s *Server) detachedLeft(q *query) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q.attached > 0 {
		return detachedLife
	}
	return detachedLife - time.Since(q.seen)
}
