package tokens

import (
	"errors"
	"sync"
)

// Pools in which all connections are one session are those of
// [gosnowflake.AuthTypeTokenAccessor], whose tokens somebody else has obtained. Such a
// session is good for what needs no state. A transaction or a setting of one connection
// would be every other's, so it is refused while there are others, and others are
// refused while there is one.

// A Sharing counts the connections of one session.
type Sharing struct {
	mu        sync.Mutex
	users     int
	exclusive bool // its one user has a transaction or state
	ending    bool // and it is being rolled back, because that user has gone
}

var (
	errShared    = errors.New("snowtether: all connections of this pool are one session (AuthTypeTokenAccessor), in which a transaction or session state would be everybody's; set MaxOpenConns to 1, or let each connection log in")
	errExclusive = errors.New("snowtether: all connections of this pool are one session (AuthTypeTokenAccessor), and another one has a transaction or session state in it; set MaxOpenConns to 1, or let each connection log in")
	// ErrEnding is why nobody may join for a moment.
	ErrEnding = errors.New("all connections of this pool are one session (AuthTypeTokenAccessor), and a transaction that was given up in it is being rolled back")
)

// Join adds a connection.
func (s *Sharing) Join() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending {
		return ErrEnding
	}
	if s.exclusive {
		return errExclusive
	}
	s.users++
	return nil
}

// Leave takes one out.
func (s *Sharing) Leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users--
	s.exclusive, s.ending = false, false // it can only have been this one's
}

// End keeps others out until the transaction that is left in the session has been rolled back.
func (s *Sharing) End() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.exclusive, s.ending = true, true
}

// Claim makes the session one connection's.
func (s *Sharing) Claim() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users > 1 {
		return errShared
	}
	s.exclusive = true
	return nil
}

// Yield gives it back.
func (s *Sharing) Yield() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.exclusive = false
}
