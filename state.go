package snowtether

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/snowtether/snowtether/internal/sqltext"
	"github.com/snowtether/snowtether/internal/verdict"
)

// This file is about what a connection's statements have made of its session: an open
// transaction, settings, temporary objects. It says what went with a session, and to
// whom that is told.

// A sessionState is what a connection knows of its present session. All of it is its
// user's alone.
type sessionState struct {
	inTx          bool         // a transaction may be open
	sure          bool         // one certainly is: its COMMIT must find it
	scripted      script       // a script may have left one open: the server is asked
	begun         sqltext.Loss // what was mine when it began
	lasting       bool         // it holds something that its session's end does not undo
	autocommitOff bool         // then the first DML begins a transaction
	mine          sqltext.Loss // what this holder changed
	theirs        sqltext.Loss // what earlier users of the pooled connection changed
	unsure        bool         // whether it is alive: it came out of the pool, and others have ended

	went        sqltext.Loss  // what went with the session that is gone
	gone        error         // why the session can be used no more; the next statement gets a new one
	over        *SessionError // the transaction that was lost: each statement says so until it is ended
	told        bool          // over has been said
	earlier     sqltext.Loss  // what of untold was set before the transaction that was lost
	untold      sqltext.Loss  // what this holder has lost without having been told
	foreign     bool          // the session has been given another's settings, and nobody else is to have it
	historyLost bool          // what a LAST_QUERY_ID asks about may have gone with another session, or be ours
	since       int           // the statements of the program's that have run on the session since
}

// A script says whose script may have left a transaction open.
type script uint8

const (
	noScript script = iota
	myScript
	theirScript // that of an earlier user of the pooled connection
)

// ran takes note of a statement that was carried out; failed, perhaps in part.
func (c *conn) ran(text sqltext.Statement, failed bool) {
	if text.Text() == "" {
		return
	}
	c.since++
	open := c.txState() != verdict.NoTx
	before := c.mine
	off, news := c.session.autocommitNews(text)
	after := text.After(sqltext.State{
		InTx: c.inTx, Sure: c.sure,
		AutocommitOff: c.autocommitOff || news && off && !text.Has(sqltext.Unknown), // it may have been before the statement was carried out
	}, failed)
	switch {
	case !open && after.InTx:
		c.begun = before
		// A BEGIN that failed may not have begun, and what follows commits by itself.
		c.lasting = failed && !after.AutocommitOff || !text.IsBegin() && !text.UndoneByRollback() && !text.UndoneSinceBegin()
	case open && !text.IsBegin() && !text.UndoneByRollback() && !text.LeavesTransaction():
		c.lasting = true
	}
	if c.scripted != noScript && text.EndsTransaction() {
		c.scripted = noScript
	}
	if news {
		after.AutocommitOff = off
	}
	c.inTx, c.sure, c.autocommitOff = after.InTx, after.Sure, after.AutocommitOff
	c.mine |= after.Lost
	if text.Scripts() && !after.InTx && !c.session.silent { // a mock runs no scripts
		c.scripted = myScript
	}
}

// autocommitNews is what the server has reported of AUTOCOMMIT, if that has changed: who
// switches it may be a procedure, or ALTER USER, in this session or in another one. gosnowflake
// keeps what each reply reports, so that what has not changed may be older than what a statement
// has set since. A read begins no transaction, and what its reply reported the next one finds.
func (s *session) autocommitNews(text sqltext.Statement) (off, news bool) {
	if text.First() == sqltext.Read && !text.Steps() || s.busy.Load() != nil { // gosnowflake may still write it
		return false, false
	}
	reported, known := s.reports.Read()
	if !known || reported == s.autocommit {
		return false, false
	}
	s.autocommit = reported
	return !isTrue(reported), true
}

// ready makes sure that there is a session to send an operation to. done says that the
// operation is done without having been sent.
func (c *conn) ready(ctx context.Context, op *operation) (done bool, _ error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if err := c.inspect(ctx, op); err != nil {
		return false, err
	}
	if op.call == verdict.Begin && (c.txState() != verdict.NoTx || c.over != nil && !c.told) {
		op.inside = true
	}
	if over := c.over; over != nil {
		again := op.call == verdict.Begin && c.told // the whole of it, by one who knows
		if c.tx == nil && (again || op.call == verdict.Rollback || op.does().Commits()) {
			c.over = nil // with it the transaction is ended
		}
		switch c.told = true; {
		case op.call == verdict.Rollback:
			return true, nil
		case !again || c.tx != nil:
			return false, over.of(op.name)
		}
	}
	if c.untold != 0 || c.historyLost && op.reach() > c.since {
		return false, c.tell(op)
	}
	if c.gone != nil {
		if err := c.renew(ctx, op); err != nil {
			return false, err
		}
	}
	return false, c.claimed(op)
}

// inspect gives the session up if it is of no use: it was found dead, has another's
// settings, or is still busy with what a caller left behind. The error is the context's.
func (c *conn) inspect(ctx context.Context, op *operation) error {
	if c.gone != nil {
		return nil
	}
	if err := c.unoccupied(ctx); err != nil {
		return err
	}
	if dead := c.session.dead.Load(); dead != nil {
		c.giveUp(*dead)
	} else if c.foreign {
		c.giveUp(errForeign)
	}
	if c.scripted != noScript && c.gone == nil && c.txState() == verdict.NoTx && op.call != verdict.Rollback && !op.does().EndsTransaction() {
		if err := c.askForTransaction(ctx, op); err != nil {
			return err
		}
	}
	if c.gone == nil && op.call != verdict.Ping && (c.unsure || c.session.rested() && op.suffersFromReset()) {
		rested := !c.unsure
		c.unsure = false
		return c.question(ctx, op, rested)
	}
	return nil
}

// restedAfter is after how long without a request the session's network connection may have
// been dropped by what lies in between, without a word: Azure's load balancer does so after 4
// minutes, AWS's after 350 s (their documentation). The first bytes that are then written are
// answered with a reset, and nothing tells that from one which came after they had arrived:
// it is for a question to find out, and not for a statement that may not run twice.
const restedAfter = 3 * time.Minute

// rested reports whether nothing was sent on the session's own network connections for so
// long.
func (s *session) rested() bool {
	return !s.silent && s.connector.settings.now().UnixNano()-s.used.Load() > int64(restedAfter)
}

// partLasts reports whether the transaction that is open, or was lost, may last in part.
func (c *conn) partLasts() bool {
	return c.txState() == verdict.LastingTx || c.over != nil && c.over.Class == ClassInDoubt
}

// suffersFromReset reports whether a network connection that is reset under the operation
// leaves it in doubt, or costs it its session. What asks the session for its history is not
// to find a question of the driver's there.
func (op *operation) suffersFromReset() bool {
	switch op.call {
	case verdict.Statement:
		return !op.text.Repeatable() && op.reach() == 0
	case verdict.Begin, verdict.Commit:
		return true
	}
	return false
}

// askForTransaction asks whether a script has left a transaction open.
func (c *conn) askForTransaction(ctx context.Context, op *operation) error {
	open, err := c.hasTransaction(ctx, op)
	switch {
	case lost(err):
		c.connector.lost(ctx, c.session, err)
		c.giveUp(err)
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && isTransient(err) && c.settled(ctx) && op.patience.wait(ctx, c.connector):
		return c.askForTransaction(ctx, op)
	case err != nil && c.mine == 0 && c.scripted == theirScript:
		c.giveUp(err) // nobody loses anything by it
	case err != nil:
		return &SessionError{Op: op.name, Class: ClassTransient, SessionID: c.session.id(), Err: fmt.Errorf("it could not be asked whether a script has left a transaction open: %w", err)}
	case open && c.scripted == theirScript:
		c.session.inTx = true
		c.giveUp(errScript)
	default:
		op.patience.renew()
		c.scripted, c.inTx, c.lasting = noScript, open, open
	}
	return nil
}

// of is the error of a transaction that was lost, for a later operation in it, which is
// not sent. The query ID is another's.
func (e *SessionError) of(op string) *SessionError {
	later := *e
	later.Op, later.QueryID, later.RequestID, later.ran, later.unsent = op, "", "", false, true
	return &later
}

// tell is the error that says, once, what this holder has lost.
func (c *conn) tell(op *operation) error {
	why := c.gone
	switch {
	case why != nil:
	case c.untold != 0:
		why = errReplaced
	default:
		why = errHistory
	}
	fail := &SessionError{Op: op.name, Class: ClassSessionLost, Code: number(why), SessionID: c.session.id(), Err: why, lost: c.untold, earlier: c.earlier, asks: c.untold == 0}
	c.untold, c.earlier = 0, 0
	return fail
}

var (
	errReplaced = errors.New("its session was replaced")
	errHistory  = errors.New("what it asks about went with the session that was replaced, or lies behind a question of the driver's own")
	errForeign  = errors.New("it was lent the settings of the session that a statement was carried over from")
	errScript   = errors.New("a script has left a transaction open in it")
	errBusy     = errors.New("the statement before it is still being cancelled")
)

// unoccupied waits until an operation that its caller left behind is over. If that takes
// too long the session is given up. The error is the context's.
func (c *conn) unoccupied(ctx context.Context) error {
	if c.session.busy.Load() == nil {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, rollbackTimeout)
	defer cancel()
	if c.settle(bounded) != nil && ctx.Err() == nil {
		c.giveUp(errBusy)
	}
	return ctx.Err()
}

// giveUp ends the use of the session, and of a transaction in it: each statement says so
// until that is ended. A session that lives is logged out in the background: nobody
// waits, and no ROLLBACK is sent, because what is still on its way must find no session.
func (c *conn) giveUp(why error) {
	if c.gone != nil {
		return
	}
	c.gone = why
	if tx := c.txState(); tx != verdict.NoTx {
		c.session.inTx = true
		c.told = false
		c.over = &SessionError{Op: "transaction", Class: ClassSessionLost, Code: number(why), SessionID: c.session.id(), InTx: true, Err: why, ran: true}
		if tx == verdict.LastingTx {
			c.over.Class = ClassInDoubt
		}
	}
	if c.session.inTx {
		c.connector.orphaned(c.session)
	}
	if c.untold |= c.mine; c.over != nil {
		c.earlier |= c.mine & c.begun
	} else {
		c.earlier |= c.mine
	}
	c.went = c.mine | c.theirs
	c.connector.stateLost(c.caller, c.session, why, c.went)
	c.mine, c.theirs, c.inTx, c.sure, c.lasting, c.scripted = 0, 0, false, false, false, noScript
	c.forget()
	c.unclaimed()
	if c.session.dead.Load() == nil {
		c.release()
	}
}

// forget notes that what the session ran before is no answer to this program's questions.
func (c *conn) forget() { c.historyLost, c.since = true, 0 }

// release closes the session in the background, unless somebody there still uses it and
// will close it.
func (c *conn) release() {
	if !c.session.detached {
		c.connector.retire(c.session)
	}
}

// renew puts a new session in the place of the one that is gone, within the operation's
// patience.
func (c *conn) renew(ctx context.Context, op *operation) error {
	old, begun, why, went := c.session, time.Now(), c.gone, c.went
	limited, cancel := op.patience.limit(ctx, c.connector)
	defer cancel()
	fresh, err := c.connector.login(limited)
	if err != nil {
		return err
	}
	c.release()
	untold, earlier := c.untold, c.earlier
	c.attach(fresh)
	c.untold, c.earlier = untold, earlier
	c.forget()
	c.connector.replaced(ctx, old, fresh, why, went, time.Since(begun))
	return nil
}

// attach makes a session the connection's.
func (c *conn) attach(s *session) {
	c.session = s
	c.sessionState = sessionState{autocommitOff: s.state.AutocommitOff}
	s.holder.Store(c)
}

// stateLost makes it known that a session went with state.
func (c *Connector) stateLost(ctx context.Context, s *session, why error, lost sqltext.Loss) {
	if lost != 0 {
		c.emit(ctx, Event{Kind: EventStateLost, SessionID: s.id(), Code: number(why), Class: ClassSessionLost, State: lost.String()})
	}
}

// handOver is called when the connection comes back to the pool: what its holder changed
// is the next one's to be surprised by, and what they lost nobody asks for any more.
func (c *conn) handOver() {
	if c.scripted != noScript {
		c.scripted = theirScript
	}
	if c.connector.settings.changed == ErrorOnLoss {
		return // the next one relies on it
	}
	c.theirs |= c.mine
	c.mine, c.untold, c.earlier = 0, 0, 0
}

// leaveUntold is called when the connection is closed: where somebody may rely on what was
// lost, the next user of the pool is told.
func (c *conn) leaveUntold() {
	if c.connector.settings.changed == ErrorOnLoss {
		c.connector.untold.Or(uint32(c.untold))
	}
}

// settle waits until an operation that a caller left behind is over.
func (c *conn) settle(ctx context.Context) error {
	left := c.session.busy.Load()
	if left == nil {
		return nil
	}
	select {
	case <-left.Over:
		c.session.busy.Store(nil)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// settled waits a moment until an operation that was left behind is over, and reports whether
// it is.
func (c *conn) settled(ctx context.Context) bool {
	if c.session.busy.Load() == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	return c.settle(ctx) == nil
}

// settleTimeout is how long a checkout waits for the cancelling of the statement
// that its last user left behind, before it gives the connection up.
const settleTimeout = time.Second

// claimed makes sure that an operation which begins a transaction, or leaves state
// behind, has its session for itself.
func (c *conn) claimed(op *operation) error {
	if !c.session.watcher.Shared() {
		return nil
	}
	if after := op.does().After(sqltext.State{AutocommitOff: c.autocommitOff}, false); after.InTx || after.Lost != 0 {
		return c.connector.sharing.Claim()
	}
	return nil
}

// unclaimed gives the session back to others, if nothing of this connection's is in it.
func (c *conn) unclaimed() {
	if c.session.watcher.Shared() && c.tx == nil && !c.inTx && !c.session.inTx && c.mine|c.theirs == 0 {
		c.connector.sharing.Yield()
	}
}
