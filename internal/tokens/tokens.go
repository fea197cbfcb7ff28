// Package tokens holds the tokens of one session for gosnowflake, which hands every login and
// renewal to it: Config.TokenAccessor is the one public place where they are seen. Beside that
// are pools in which all connections share one session.
package tokens

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"
)

// An Observer is told of what a Watcher sees. All its functions are set.
type Observer struct {
	Now       func() time.Time
	Since     func(time.Time) time.Duration              // until Now
	Refused   func()                                     // the login was refused
	Succeeded func()                                     // the login's tokens have come
	Renewed   func(sessionID int64, lived time.Duration) // after a renewal; lived is for how long the old token was good, 0 where that is not known
	MayRenew  func() error                               // before a renewal for a statement; an error ends the statement
}

// A Watcher holds the tokens of one session for gosnowflake and sees the login and every
// renewal go by.
type Watcher struct {
	Observer
	own      gosnowflake.TokenAccessor // the program's own, if its Config had one: it is told of all tokens
	shared   bool                      // and it is the login: all connections are one session
	renewing chan struct{}             // full during a renewal; no mutex, because virtual time stands still while one is waited for
	muted    atomic.Bool

	mu              sync.Mutex
	session, master string
	sessionID       int64
	loggedIn        bool
	issued          time.Time // of the session token, by Now
	renewed         *renewal  // to be made known once the lock of the renewal is free
	locked          bool      // a renewal is under way that Lock was called for
	unlocked        int       // renewals without Lock, one soon after the other
}

type renewal struct {
	sessionID int64
	lived     time.Duration
}

// New makes the holder of a session that is about to be opened.
func New(o Observer) *Watcher {
	return &Watcher{Observer: o, sessionID: -1, renewing: make(chan struct{}, 1)}
}

// Adopt gives it the program's own accessor, which may be nil. login says that the tokens in
// that are the login.
func (w *Watcher) Adopt(own gosnowflake.TokenAccessor, login bool) {
	w.own, w.loggedIn, w.shared = own, login, login && own != nil
}

// Shared reports whether the tokens are all connections'.
func (w *Watcher) Shared() bool { return w.shared }

// Mute makes gosnowflake unable to send anything more for the session.
func (w *Watcher) Mute() { w.muted.Store(true) }

// Muted reports whether Mute was called.
func (w *Watcher) Muted() bool { return w.muted.Load() }

var _ gosnowflake.TokenAccessor = (*Watcher)(nil)

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
func (w *Watcher) GetTokens() (token, master string, sessionID int64) {
	w.mu.Lock()
	token, master, sessionID = w.session, w.master, w.sessionID
	loop := !w.locked && w.unlocked > maxRenewals && w.Since(w.issued) < loopWithin
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
func (w *Watcher) SetTokens(token, master string, sessionID int64) {
	if w.own != nil {
		w.own.SetTokens(token, master, sessionID)
	}
	w.mu.Lock()
	w.session, w.master, w.sessionID = token, master, sessionID
	before := w.loggedIn
	refused := token == "" && sessionID == -1
	w.loggedIn = before || !refused
	if before {
		w.renewed = &renewal{sessionID: max(sessionID, 0)}
		if !w.issued.IsZero() {
			w.renewed.lived = w.Since(w.issued)
		}
		if w.unlocked++; w.locked || w.renewed.lived > loopWithin {
			w.unlocked = 0
		}
	}
	w.issued = w.Now()
	w.mu.Unlock()
	switch {
	case !before && refused:
		w.Refused()
	case !before:
		w.Succeeded()
	}
}

// IssuedAt is when the session token was handed out, by Now; zero before the login.
func (w *Watcher) IssuedAt() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.issued
}

// Lock is called by gosnowflake before a renewal; an error ends the statement.
func (w *Watcher) Lock() error {
	if err := w.lock(); err != nil {
		return err
	}
	if err := w.MayRenew(); err != nil {
		w.Unlock()
		return err
	}
	return nil
}

func (w *Watcher) lock() error {
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
func (w *Watcher) Unlock() {
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
		w.Renewed(renewed.sessionID, renewed.lived)
	}
}

// A Loan hands gosnowflake, on a connection that is not the session's own, the tokens of a
// session, and a renewal back to it.
type Loan struct {
	of       *Watcher
	renewals int
	loop     error
}

var _ gosnowflake.TokenAccessor = (*Loan)(nil)

// Lend makes the loan another session's. After some renewals the next one fails with loop.
func (l *Loan) Lend(of *Watcher, loop error) { l.of, l.renewals, l.loop = of, 0, loop }

// GetTokens are the session's.
func (l *Loan) GetTokens() (token, master string, sessionID int64) { return l.of.GetTokens() }

// SetTokens hands the session what a renewal brought.
func (l *Loan) SetTokens(token, master string, sessionID int64) {
	l.of.SetTokens(token, master, sessionID)
}

// Lock is called by gosnowflake before a renewal.
func (l *Loan) Lock() error {
	if l.renewals++; l.renewals > maxRenewals {
		return l.loop
	}
	return l.of.lock()
}

// Unlock is called by gosnowflake after a renewal.
func (l *Loan) Unlock() { l.of.Unlock() }
