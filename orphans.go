package snowtether

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/snowtether/snowtether/internal/inner"
	"github.com/snowtether/snowtether/internal/login"
	"github.com/snowtether/snowtether/internal/program"
	"github.com/snowtether/snowtether/internal/sferr"
	"github.com/snowtether/snowtether/internal/verdict"
)

// This file ends the transactions that sessions have left behind, and stops the statements
// whose callers have left. Snowflake keeps the transaction of a session that vanished open
// for minutes, with its locks, and the next one would be blocked behind it: most of all the
// one that repeats it.
//
// A transaction is ended only where nothing can come after it in its session, and commit by
// itself: the server has said that the session is gone, or has ended it for us, and no request
// of several statements, and no chain, is left running in it.

const (
	orphanTimeout = 5 * time.Second  // for which a BEGIN waits at most
	orphanAge     = 10 * time.Minute // then Snowflake has ended what blocks others: it takes 5
	orphanTries   = 3
	maxOrphans    = 100
)

// An orphan is a session that was given up with a transaction that may be open.
type orphan struct {
	session *session
	id      int64
	since   time.Time
	tries   int
	under   []string // way, maybe: the query IDs of its asynchronous statements
}

// old reports whether it is not worth asking about any more.
func (o orphan) old() bool { return time.Since(o.since) > orphanAge }

// orphans are those of a connector, the oldest first.
type orphans struct {
	mu   sync.Mutex
	list []orphan
}

// add remembers some. If there are too many, the oldest are forgotten.
func (o *orphans) add(some ...orphan) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list = append(o.list, some...)
	o.list = o.list[max(0, len(o.list)-maxOrphans):]
}

// take hands out those that are known to be gone; the others may still live. Who comes
// meanwhile finds none, and waits for nothing.
func (o *orphans) take() (gone []orphan) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list = slices.DeleteFunc(o.list, func(o orphan) bool {
		if o.session.isGone() && !o.old() {
			gone = append(gone, o)
		}
		return o.session.isGone() || o.old()
	})
	return gone
}

// orphaned remembers a session that is given up, if its transaction may be ended.
func (c *Connector) orphaned(s *session) {
	if s.endable() {
		c.orphans.add(orphan{session: s, id: s.id(), since: time.Now(), under: slices.Clone(s.under)})
	}
}

// endable reports whether the session's transaction may be ended from another one: it is known
// which session it is, it is nobody else's, and no more than one statement can run on in it.
func (s *session) endable() bool {
	return s.id() != 0 && !s.watcher.Shared() && !s.runsOn
}

// isGone reports whether the server has said that the session is gone. A renewal of its
// token can also fail because of whatever stands in between.
func (s *session) isGone() bool {
	dead := s.dead.Load()
	return dead != nil && !renewalFailed(*dead) || s.vanished.Load()
}

// endOrphans ends the transactions that sessions of this connector have left behind, before
// a BEGIN is sent, and reports whether it has sent anything: then the session is to be
// looked at again. Best effort: what cannot be ended Snowflake ends later. Only what the
// sessions that were given up have left is touched, because others may act as the same user.
func (c *conn) endOrphans(ctx context.Context, op *operation) (asked bool) {
	if op.call != verdict.Begin || c.txState() != verdict.NoTx || op.tidied || c.mine != 0 { // what this session has is not risked
		return false
	}
	some := c.connector.orphans.take()
	if len(some) == 0 {
		return false
	}
	op.tidied = true
	defer c.forget() // the program knows nothing of what is sent here
	ctx, cancel := context.WithTimeout(ctx, orphanTimeout)
	defer cancel()
	alone, later := some[:0:0], some[:0:0]
	for _, o := range some {
		if c.isOver(ctx, &o) {
			alone = append(alone, o)
		} else {
			later = append(later, o)
		}
	}
	ended, err := c.endThose(ctx, alone)
	for _, of := range ended {
		c.connector.emit(ctx, Event{Kind: EventTransactionEnded, SessionID: c.session.id(), OldSessionID: of})
	}
	switch {
	case c.session.busy.Load() != nil, isPanic(err): // it would be waited for
		c.giveUp(cmp.Or(err, errBusy))
	case err == nil, outcomeOf(err).Answer:
		alone = nil
	case lost(err):
		c.connector.lost(ctx, c.session, err)
		c.giveUp(err)
		op.tidied = false // another session answers
	}
	later = append(later, alone...)
	for i := range later {
		later[i].tries++
	}
	c.connector.orphans.add(slices.DeleteFunc(later, func(o orphan) bool { return o.tries >= orphanTries })...)
	return true
}

// isOver reports whether what a session that is gone ran asynchronously is over. What of it is
// to come would commit by itself behind the end of its transaction.
func (c *conn) isOver(ctx context.Context, o *orphan) bool {
	for len(o.under) > 0 && c.session.busy.Load() == nil {
		if state, _ := c.status(ctx, o.under[0]); state != sferr.Ended && state != sferr.Succeeded {
			return false
		}
		o.under = o.under[1:]
	}
	return len(o.under) == 0
}

// endThose ends the transactions that sessions have left, and returns whose it has ended.
func (c *conn) endThose(ctx context.Context, some []orphan) (ended []int64, _ error) {
	if len(some) == 0 || c.session.busy.Load() != nil {
		return nil, nil
	}
	return c.session.endTransactions(ctx, func(session int64) bool {
		return slices.ContainsFunc(some, func(o orphan) bool { return o.id == session })
	})
}

// endTransactions ends the open transactions of some sessions from another one, and returns
// whose it has ended. That one of them cannot be ended, because it has ended or is another
// user's, is no error.
func (s *session) endTransactions(ctx context.Context, of func(session int64) bool) (ended []int64, _ error) {
	open, err := s.own(ctx, func(ctx context.Context, s *session) (any, error) { return transactions(ctx, s.conn) })
	if err != nil {
		return nil, err
	}
	for _, tx := range open.([]transaction) {
		if !of(tx.session) {
			continue
		}
		switch err := s.command(ctx, "SELECT SYSTEM$ABORT_TRANSACTION("+strconv.FormatInt(tx.id, 10)+")"); {
		case err == nil:
			ended = append(ended, tx.session)
		case !outcomeOf(err).Answer:
			return ended, err
		}
	}
	return ended, nil
}

// command has the server do something to another session.
func (s *session) command(ctx context.Context, statement string) error {
	_, err := s.own(ctx, func(ctx context.Context, s *session) (any, error) { return nil, s.conn.Exec(ctx, statement) })
	return err
}

// A transaction is one that is open, by its ID and its session's.
type transaction struct{ id, session int64 }

// transactions asks for the open transactions of all of the user's sessions.
func transactions(ctx context.Context, in inner.Conn) (open []transaction, _ error) {
	rows, err := in.Full.QueryContext(ctx, "SHOW TRANSACTIONS", nil)
	if err != nil {
		return nil, err
	}
	names := rows.Columns()
	column := func(name string) int {
		return slices.IndexFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
	}
	id, session := column("id"), column("session")
	if id < 0 || session < 0 {
		return nil, rows.Close()
	}
	row := make([]driver.Value, len(names))
	for err = rows.Next(row); err == nil; err = rows.Next(row) {
		// Numbers come as such or as text. What is none is the ID of nothing.
		tx, errID := strconv.ParseInt(fmt.Sprint(row[id]), 10, 64)
		of, errSession := strconv.ParseInt(fmt.Sprint(row[session]), 10, 64)
		if errID == nil && errSession == nil {
			open = append(open, transaction{tx, of})
		}
	}
	if err == io.EOF { // driver.Rows returns it bare
		err = nil
	}
	return open, errors.Join(err, rows.Close())
}

// cancelTimeout bounds the cancelling of a statement whose caller has left, and each errand.
// gosnowflake cancels a statement in its own session alone; where that has ended, nobody would.
const cancelTimeout = 10 * time.Second

// cancel stops a statement that is carried over, in the background, and gives the session
// up after that.
func (c *conn) cancel(id string) {
	s := c.session
	s.detached = true
	c.connector.background.Go(func() {
		s.awaitLeft()
		ctx, stop := context.WithTimeout(context.Background(), cancelTimeout)
		defer stop()
		_, err := program.Guard(ctx, func(ctx context.Context) (any, error) { return nil, s.conn.Exec(ctx, byID(id)) })
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
		if len(s.under) > 0 || s.watcher.Shared() || s.id() == 0 {
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
		case <-left.Over:
		case <-c.connector.stopped.Done():
			return
		}
		if lost(left.Err) {
			c.connector.lost(context.Background(), s, left.Err)
			c.connector.cancelElsewhere(statement)
		}
	})
}

// byID cancels one statement. The ID came from the server; it is letters, digits and
// dashes.
func byID(id string) string { return "SELECT SYSTEM$CANCEL_QUERY('" + id + "')" }

// An errand is something that is done to sessions and statements from another session.
type errand func(ctx context.Context, by *session) error

// errands are those of a connector that wait.
type errands struct {
	mu      sync.Mutex
	waiting []errand
	under   bool // way
}

// cancelElsewhere stops a statement whose session has ended.
func (c *Connector) cancelElsewhere(statement string) {
	c.sendAround(func(ctx context.Context, by *session) error { return by.command(ctx, statement) })
}

// endElsewhere ends a session that a log-out may not reach, and its transaction: its token may
// have expired, and the renewal's reply have been lost.
func (c *Connector) endElsewhere(s *session) {
	if !s.endable() || len(s.under) > 0 {
		return
	}
	id := s.id()
	c.sendAround(func(ctx context.Context, by *session) error {
		if err := by.command(ctx, "SELECT SYSTEM$ABORT_SESSION("+strconv.FormatInt(id, 10)+")"); err != nil {
			return err
		}
		s.vanished.Store(true)
		c.emit(context.Background(), Event{Kind: EventTransactionEnded, SessionID: by.id(), OldSessionID: id})
		_, err := by.endTransactions(ctx, func(session int64) bool { return session == id }) // it can outlive its session
		return err
	})
}

// sendAround does an errand in the background, in a new session. One does all that wait, unless
// it is lost on the way. Best effort: what cannot be stopped ends by itself. A login takes at
// most the connect budget; where none succeeds, what waits is given up. A person who consents
// to each login is not asked for it.
func (c *Connector) sendAround(e errand) {
	if c.cfg != nil && login.HasPerson(c.cfg) {
		return
	}
	c.errands.mu.Lock()
	defer c.errands.mu.Unlock()
	c.errands.waiting = append(c.errands.waiting, e)
	if !c.errands.under {
		c.errands.under = c.spawn(c.runErrands)
	}
}

func (c *Connector) runErrands() {
	var s *session
	for do := c.errands.next(); do != nil; do = c.errands.next() {
		if s == nil {
			fresh, err := c.login(context.Background())
			if err != nil {
				c.errands.giveUp()
				continue
			}
			s = fresh
		}
		ctx, stop := context.WithTimeout(context.Background(), cancelTimeout)
		if err := do(ctx, s); err != nil && !outcomeOf(err).Answer {
			c.retire(s)
			s = nil
		}
		stop()
	}
	if s != nil {
		c.retire(s)
	}
}

// next takes one. nil is the end: the next one needs somebody else to do it.
func (e *errands) next() errand {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.under = len(e.waiting) > 0; !e.under {
		return nil
	}
	first := e.waiting[0]
	e.waiting = e.waiting[1:]
	return first
}

func (e *errands) giveUp() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.waiting = nil
}

// notOver takes note of an asynchronous statement. Of one that is forgotten nobody can say
// whether it is over.
func (s *session) notOver(id string) {
	if s.under = append(s.under, id); len(s.under) > 100 {
		s.under, s.runsOn = s.under[1:], true
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
			s.watcher.Mute()
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
		state, err := program.Guard(ctx, func(ctx context.Context) (sferr.State, error) { return statusOf(ctx, s, s.under[0]) })
		cancel()
		switch {
		case state == sferr.Ended, state == sferr.Succeeded:
			s.under = s.under[1:]
			continue
		case lost(err), errors.Is(err, inner.ErrNotSnowflake):
			return true
		}
		s.alive = state == sferr.Running
		return false
	}
	return true
}
