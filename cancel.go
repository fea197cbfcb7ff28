package snowtether

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"
)

// This file stops statements whose callers have left. gosnowflake cancels a statement in
// its own session alone; where that has ended, nobody would.

// cancelTimeout bounds the cancelling of a statement whose caller has left.
const cancelTimeout = 10 * time.Second

// A leftover is an operation that its caller left behind.
type leftover struct {
	over chan struct{} // closed when it has returned
	err  error         // what it returned with
}

// cancel stops a statement that is carried over, in the background, and gives the session
// up after that.
func (c *conn) cancel(id string) {
	s := c.session
	s.detached = true
	c.connector.background.Go(func() {
		s.awaitLeft()
		ctx, stop := context.WithTimeout(context.Background(), cancelTimeout)
		defer stop()
		_, err := guard(ctx, func(ctx context.Context) (any, error) { return nil, s.conn.execSimple(ctx, byID(id)) })
		if lost(err) {
			c.connector.cancelElsewhere(byID(id))
		}
		c.connector.retire(s)
	})
	c.giveUp(errAbandoned)
}

// cancelLeft stops a statement that was left behind, unless gosnowflake does: its session
// ended first. Where its ID is not known, all that its session runs is stopped, if that
// cannot be anything else.
func (c *conn) cancelLeft(t *try) {
	s, left := c.session, c.session.busy.Load()
	statement := byID(t.fate.ID)
	if t.fate.ID == "" {
		if len(s.under) > 0 || s.watcher.shared || s.id() == 0 {
			return
		}
		statement = "SELECT SYSTEM$CANCEL_ALL_QUERIES(" + strconv.FormatInt(s.id(), 10) + ")"
	}
	if !t.left {
		c.connector.lost(c.caller, s, t.err)
		c.connector.cancelElsewhere(statement)
		return
	}
	c.connector.spawn(func() {
		select {
		case <-left.over:
		case <-c.connector.stopped.Done():
			return
		}
		if lost(left.err) {
			c.connector.lost(context.Background(), s, left.err)
			c.connector.cancelElsewhere(statement)
		}
	})
}

// byID cancels one statement. The ID came from the server; it is letters, digits and
// dashes.
func byID(id string) string { return "SELECT SYSTEM$CANCEL_QUERY('" + id + "')" }

// A cancelling is what is to be stopped from a session of its own.
type cancelling struct {
	mu         sync.Mutex
	statements []string
	under      bool // way
}

// cancelElsewhere stops statements from another session, in the background, for as long as
// a login takes, at most the connect budget. One session does it for all that wait. Best
// effort: what cannot be stopped ends by itself.
func (c *Connector) cancelElsewhere(statement string) {
	c.cancelling.mu.Lock()
	defer c.cancelling.mu.Unlock()
	c.cancelling.statements = append(c.cancelling.statements, statement)
	if !c.cancelling.under {
		c.cancelling.under = c.spawn(c.cancelAll)
	}
}

func (c *Connector) cancelAll() {
	s, err := c.login(context.Background())
	if err == nil {
		defer c.retire(s)
	}
	for {
		c.cancelling.mu.Lock()
		statements := c.cancelling.statements
		c.cancelling.statements = nil
		c.cancelling.under = len(statements) > 0
		c.cancelling.mu.Unlock()
		if len(statements) == 0 {
			return
		}
		for _, statement := range statements {
			if err != nil {
				break
			}
			ctx, stop := context.WithTimeout(context.Background(), cancelTimeout)
			_, _, err = s.call(ctx, ctx, func(ctx context.Context, s *session) (any, error) { return nil, s.conn.execSimple(ctx, statement) })
			stop()
		}
	}
}

// notOver takes note of an asynchronous statement.
func (s *session) notOver(id string) {
	if s.under = append(s.under, id); len(s.under) > 100 {
		s.under = s.under[1:]
	}
}

// afterAll closes a session, with end, in the background. One with asynchronous statements
// under way is closed on this side alone, because a log-out would cancel them: with a token
// that cannot be sent, gosnowflake ends what it does for the session, and tells nobody.
// Where the tokens are an inner connector's, the log-out waits for the statements, and Close
// does not wait for that. A transaction that has to be ended wins over them. What is carried
// over to another session is waited for in the same way.
func (c *Connector) afterAll(s *session, end func()) {
	if carried := s.carried.Load(); carried != nil {
		go func() { // in a time that the carried statement's caller decides: Close does not wait for that
			<-*carried
			c.afterAll(s, end)
		}()
		return
	}
	c.background.Go(func() {
		s.awaitLeft()
		switch {
		case len(s.under) == 0, s.inTx, s.dead.Load() != nil, s.allOver():
			end()
		case c.inner == nil:
			s.watcher.muted.Store(true)
			end()
		default:
			go func() {
				heard := time.Now()
				for pause := time.Second; !s.allOver() && time.Since(heard) < vagueFor; pause = min(2*pause, time.Minute) {
					if s.alive {
						heard = time.Now()
					}
					time.Sleep(pause)
				}
				c.background.Go(end)
			}()
		}
	})
}

// allOver reports whether the session's asynchronous statements are over, or nobody can
// say so.
func (s *session) allOver() bool {
	s.alive = false
	for len(s.under) > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), questionTimeout)
		state, err := guard(ctx, func(ctx context.Context) (queryState, error) { return statusOf(ctx, s, s.under[0]) })
		cancel()
		switch {
		case state == ended, state == succeeded:
			s.under = s.under[1:]
			continue
		case lost(err), errors.Is(err, errNotSnowflake):
			return true
		}
		s.alive = state == running
		return false
	}
	return true
}
