package snowtether

import (
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
)

// This file ends the transactions that sessions have left behind. Snowflake keeps the
// transaction of a session that vanished open for minutes, with its locks, and the next one
// would be blocked behind it: most of all the one that repeats it.
//
// A transaction is ended only where nothing can come after it in its session, and commit by
// itself: the server has said that the session is gone, and no request of several
// statements is left running in it.

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

// orphaned remembers a session, if it is known which it is, it is nobody else's, and no
// more than one statement can run on in it.
func (c *Connector) orphaned(s *session) {
	if id := s.id(); id != 0 && !s.watcher.shared && !s.runsOn && len(s.under) == 0 {
		c.orphans.add(orphan{session: s, id: id, since: time.Now()})
	}
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
	if op.call != callBegin || c.txState() != noTx || op.tidied || c.mine != 0 { // what this session has is not risked
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
	err := c.endTransactions(ctx, some)
	switch {
	case err == nil, outcomeOf(err).Answer:
		return true
	case lost(err):
		c.connector.lost(ctx, c.session, err)
		c.giveUp(err)
		op.tidied = false // another session answers
	case isPanic(err), c.session.busy.Load() != nil: // it would be waited for
		c.giveUp(err)
	}
	for i := range some {
		some[i].tries++
	}
	c.connector.orphans.add(slices.DeleteFunc(some, func(o orphan) bool { return o.tries >= orphanTries })...)
	return true
}

// endTransactions ends the open transactions of these sessions. That one of them cannot be
// ended, because it has ended or is another user's, is no error.
func (c *conn) endTransactions(ctx context.Context, of []orphan) error {
	open, err := c.own(ctx, func(ctx context.Context, s *session) (any, error) { return s.conn.transactions(ctx) })
	if err != nil {
		return err
	}
	for _, tx := range open.([]transaction) {
		if !slices.ContainsFunc(of, func(o orphan) bool { return o.id == tx.session }) {
			continue
		}
		_, err := c.own(ctx, func(ctx context.Context, s *session) (any, error) {
			return nil, s.conn.execSimple(ctx, "SELECT SYSTEM$ABORT_TRANSACTION("+strconv.FormatInt(tx.id, 10)+")")
		})
		switch {
		case err == nil:
			c.connector.emit(ctx, Event{Kind: EventTransactionEnded, SessionID: c.session.id(), OldSessionID: tx.session})
		case !outcomeOf(err).Answer:
			return err
		}
	}
	return nil
}

// A transaction is one that is open, by its ID and its session's.
type transaction struct{ id, session int64 }

// transactions asks for the open transactions of all of the user's sessions.
func (in inner) transactions(ctx context.Context) (open []transaction, _ error) {
	rows, err := in.full.QueryContext(ctx, "SHOW TRANSACTIONS", nil)
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
