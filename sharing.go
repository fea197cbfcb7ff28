package snowtether

import (
	"errors"
	"sync"

	"github.com/snowtether/snowtether/internal/sqltext"
)

// This file is about pools in which all connections are one session: those of
// [gosnowflake.AuthTypeTokenAccessor], whose tokens somebody else has obtained. Such a
// session is good for what needs no state. A transaction or a setting of one connection
// would be every other's, so it is refused while there are others, and others are
// refused while there is one.

// sharing counts the connections of one session.
type sharing struct {
	mu        sync.Mutex
	users     int
	exclusive bool // its one user has a transaction or state
	ending    bool // and it is being rolled back, because that user has gone
}

var (
	errShared    = errors.New("snowtether: all connections of this pool are one session (AuthTypeTokenAccessor), in which a transaction or session state would be everybody's; set MaxOpenConns to 1, or let each connection log in")
	errExclusive = errors.New("snowtether: all connections of this pool are one session (AuthTypeTokenAccessor), and another one has a transaction or session state in it; set MaxOpenConns to 1, or let each connection log in")
	errEnding    = errors.New("all connections of this pool are one session (AuthTypeTokenAccessor), and a transaction that was given up in it is being rolled back")
)

// join adds a connection.
func (s *sharing) join() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending {
		return &localError{errEnding}
	}
	if s.exclusive {
		return errExclusive
	}
	s.users++
	return nil
}

// leave takes one out.
func (s *sharing) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users--
	s.exclusive, s.ending = false, false // it can only have been this one's
}

// end keeps others out until the transaction that is left in the session has been rolled back.
func (s *sharing) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.exclusive, s.ending = true, true
}

// claim makes the session one connection's.
func (s *sharing) claim() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users > 1 {
		return errShared
	}
	s.exclusive = true
	return nil
}

// yield gives it back.
func (s *sharing) yield() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.exclusive = false
}

// claimed makes sure that an operation which begins a transaction, or leaves state
// behind, has its session for itself.
func (c *conn) claimed(op *operation) error {
	if !c.session.watcher.shared {
		return nil
	}
	if after := op.does().After(sqltext.State{AutocommitOff: c.autocommitOff}, false); after.InTx || after.Lost != 0 {
		return c.connector.sharing.claim()
	}
	return nil
}

// unclaimed gives the session back to others, if nothing of this connection's is in it.
func (c *conn) unclaimed() {
	if c.session.watcher.shared && c.tx == nil && !c.inTx && !c.session.inTx && c.mine|c.theirs == 0 {
		c.connector.sharing.yield()
	}
}
