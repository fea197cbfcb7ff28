package snowtest

import (
	"context"
	"sync"
)

// AbortTransactions rolls the open transactions of these sessions (of all open ones
// if none is named) back, as SYSTEM$ABORT_TRANSACTION does, or Snowflake with one
// that has been idle for four hours. The sessions live, and nobody tells their
// clients: what they send next is in no transaction, and their COMMIT finds none.
func (s *Server) AbortTransactions(ids ...int64) {
	s.mu.Lock()
	var wg sync.WaitGroup
	for _, ses := range s.named(ids) {
		before, done := ses.tail, make(chan struct{})
		ses.tail = done
		wg.Add(1)
		s.work.Go(func() {
			defer wg.Done()
			defer close(done)
			<-before
			s.mu.Lock()
			open := ses.tx != nil
			ses.tx = nil
			s.mu.Unlock()
			if open {
				_, _ = ses.engine.Run(context.WithoutCancel(s.base), &Statement{SQL: "ROLLBACK", SessionID: ses.id})
			}
		})
	}
	s.mu.Unlock()
	wg.Wait()
}
