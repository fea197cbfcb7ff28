package snowtether

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/internal/login"
	"github.com/snowtether/snowtether/internal/sqltext"
	"github.com/snowtether/snowtether/internal/transcript"
)

// This file holds the tokens of one session for gosnowflake, which hands every login
// and renewal to it: Config.TokenAccessor is the one public place where they are seen. Behind
// that are pools in which all connections share one session.

// A tokenWatcher holds the tokens of one session for gosnowflake and sees the
// login and every renewal go by.
type tokenWatcher struct {
	connector *Connector
	own       gosnowflake.TokenAccessor // the program's own, if its Config had one: it is told of all tokens
	shared    bool                      // and it is the login: all connections are one session
	login     *login.Context

	renewing chan struct{}                       // full during a renewal; no mutex, because virtual time stands still while one is waited for
	watch    atomic.Pointer[transcript.Recorder] // of the statement under way
	muted    atomic.Bool                         // the session is not logged out: it has asynchronous statements under way

	mu              sync.Mutex
	session, master string
	sessionID       int64
	loggedIn        bool
	issued          time.Time // of the session token, by the settings' clock
	renewed         *Event    // to be made known once the lock of the renewal is free
	locked          bool      // a renewal is under way that Lock was called for
	unlocked        int       // renewals without Lock, one soon after the other
}

var _ gosnowflake.TokenAccessor = (*tokenWatcher)(nil)

// maxRenewals is how many renewals may follow each other where a statement is being
// cancelled, or an idle session asked. One is the rule.
const maxRenewals = 5

// unsendable is a token that net/http refuses to send.
const unsendable = "\x00"

// GetTokens is called by gosnowflake for each request. The tokens are the session's own,
// whatever a program's accessor holds by now: that has those of the last login. Only
// where the accessor is the login ([gosnowflake.AuthTypeTokenAccessor]) it is asked.
//
// Where gosnowflake cancels a statement it renews without Lock, and as often as
// the server refuses the token. Nothing but a renewal that fails ends that.
func (w *tokenWatcher) GetTokens() (token, master string, sessionID int64) {
	w.mu.Lock()
	token, master, sessionID = w.session, w.master, w.sessionID
	loop := !w.locked && w.unlocked > maxRenewals && elapsed(w.issued, w.connector.settings.now()) < loopWithin
	w.mu.Unlock()
	if w.shared {
		token, master, sessionID = w.own.GetTokens()
	}
	switch {
	case w.muted.Load():
		token, master = unsendable, unsendable
	case loop:
		master = unsendable
	}
	return token, master, sessionID
}

// loopWithin is how soon one renewal follows the other where the server refuses each
// token. A session token is good for an hour.
const loopWithin = 10 * time.Minute

// SetTokens is called by gosnowflake with what a login or a renewal brought, and
// with empty tokens when a login was refused.
func (w *tokenWatcher) SetTokens(token, master string, sessionID int64) {
	if w.own != nil {
		w.own.SetTokens(token, master, sessionID)
	}
	w.mu.Lock()
	w.session, w.master, w.sessionID = token, master, sessionID
	now, before := w.connector.settings.now(), w.loggedIn
	refused := token == "" && sessionID == -1
	w.loggedIn = before || !refused
	if before {
		w.renewed = &Event{Kind: EventRenewed, SessionID: max(sessionID, 0)}
		if !w.issued.IsZero() {
			w.renewed.Duration = elapsed(w.issued, now)
		}
		if w.unlocked++; w.locked || w.renewed.Duration > loopWithin {
			w.unlocked = 0
		}
	}
	w.issued = now
	w.mu.Unlock()
	switch {
	case !before && refused:
		w.login.Refused()
	case !before:
		w.login.Succeeded()
	}
}

func (w *tokenWatcher) issuedAt() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.issued
}

// Lock is called by gosnowflake before a renewal; an error ends the statement.
func (w *tokenWatcher) Lock() error {
	if err := w.lock(); err != nil {
		return err
	}
	if watch := w.watch.Load(); watch != nil {
		if !watch.MayRenew() {
			w.Unlock()
			return errRenewalLoop
		}
	}
	return nil
}

func (w *tokenWatcher) lock() error {
	if !w.shared {
		w.renewing <- struct{}{}
	} else if err := w.own.Lock(); err != nil {
		return err
	}
	w.mu.Lock()
	w.locked = true
	w.mu.Unlock()
	return nil
}

// Unlock is called by gosnowflake after a renewal.
func (w *tokenWatcher) Unlock() {
	w.mu.Lock()
	renewed := w.renewed
	w.renewed, w.locked = nil, false
	w.mu.Unlock()
	if w.shared {
		w.own.Unlock()
	} else {
		<-w.renewing
	}
	if renewed != nil {
		w.connector.emit(context.Background(), *renewed)
	}
}

// Pools in which all connections are one session are those of
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
