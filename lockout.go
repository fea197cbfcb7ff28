package snowtether

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"
)

// This file keeps a wrong credential from locking its user out: Snowflake locks a user for
// 15 minutes after five refusals in a row, and a rotated password makes a whole pool knock
// with the old one. How many logins of a user are under way, and how many may still be
// refused, is counted here; for how long a refused credential rests is the gate's (gate.go).

// The lock-out, from Snowflake's documentation: after five consecutive failures a user is
// locked for 15 minutes. One refusal less is what a user may have, and so many logins with a
// password that has proved right may be under way: if it is changed at that moment, all of
// them are refused.
const (
	mayBeRefused = 5 - 1
	lockFor      = 15 * time.Minute
)

// A lockout counts for each user of a connector.
type lockout struct {
	mu    sync.Mutex
	users map[fingerprint]*knocks
}

// Knocks are what is known of one user's logins.
type knocks struct {
	refused []refused     // in the last 15 minutes, and not followed by a login that succeeded
	entered int           // logins so far
	under   int           // way
	proven  fingerprint   // the credential that succeeded last; zero after a refusal
	changed chan struct{} // closed when one of these changes
}

// Refused is one login that was.
type refused struct {
	at      time.Time
	entered int // logins by then
	key     fingerprint
	err     error
}

// A knock is one login.
type knock struct {
	user, key  fingerprint
	credential []string // nil: nothing is known of it
	lockable   bool
	number     int // of the user's logins
}

// newKnock is a login with this Config.
func (g *gate) newKnock(cfg *gosnowflake.Config) knock {
	account, credential := cmp.Or(cfg.Account, cfg.Host), credentialOf(cfg)
	return knock{
		user:       keyed(g.secret[:], strings.ToUpper(account), strings.ToUpper(cfg.User)), // however they are spelled, and however they log in
		key:        keyed(g.secret[:], credential...),
		credential: credential,
		lockable:   isLockable(cfg),
	}
}

// isLockable reports whether each refusal counts towards a lock-out, also that of a
// credential which has been refused before: a password, also where a passcode or a person's
// consent comes with it. Of other credentials, such as tokens, only a new one does.
func isLockable(cfg *gosnowflake.Config) bool {
	switch cfg.Authenticator {
	case gosnowflake.AuthTypeSnowflake, gosnowflake.AuthTypeUsernamePasswordMFA, gosnowflake.AuthTypeOkta:
		return true
	}
	return false
}

// hasPerson reports whether somebody has to consent to each login: then a refusal is no
// news of the next one.
func hasPerson(cfg *gosnowflake.Config) bool {
	switch cfg.Authenticator {
	case gosnowflake.AuthTypeExternalBrowser, gosnowflake.AuthTypeOAuthAuthorizationCode:
		return true
	case gosnowflake.AuthTypeUsernamePasswordMFA:
		return cfg.Passcode == "" && !cfg.PasscodeInPassword
	}
	return false
}

// An askedError is what a login failed with for which somebody may have been asked to
// consent. It is not sent again by itself.
type askedError struct{ err error }

func (e *askedError) Error() string { return e.err.Error() }
func (e *askedError) Unwrap() error { return e.err }

func hasAsked(err error) bool {
	_, asked := as[*askedError](err)
	return asked
}

// of is what is known of a user.
func (l *lockout) of(user fingerprint) *knocks {
	if l.users == nil {
		l.users = map[fingerprint]*knocks{}
	}
	k := l.users[user]
	if k == nil {
		k = &knocks{changed: make(chan struct{})}
		l.users[user] = k
	}
	for len(k.refused) > 0 && time.Since(k.refused[0].at) >= lockFor {
		k.refused = k.refused[1:]
	}
	return k
}

// enter waits until one more login cannot lock the user out; leave is called after it. The
// error is suspended, or the context's.
func (l *lockout) enter(ctx context.Context, n *knock) (leave func(), _ error) {
	for {
		l.mu.Lock()
		k := l.of(n.user)
		left := mayBeRefused - len(k.refused)
		most := left
		if k.proven != n.key {
			most = 1
		}
		if left > 0 && (!n.lockable || k.under < most) {
			k.under++
			k.entered++
			n.number = k.entered
			l.mu.Unlock()
			return sync.OnceFunc(func() { l.leave(k) }), nil
		}
		if left <= 0 && (k.under == 0 || !n.lockable) {
			defer l.mu.Unlock()
			return nil, k.full()
		}
		changed := k.changed
		l.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (l *lockout) leave(k *knocks) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k.under--
	close(k.changed)
	k.changed = make(chan struct{})
}

// accepted takes note of a login that succeeded. It says nothing of those that were refused
// while it was under way: its credential may have been changed meanwhile.
func (l *lockout) accepted(n knock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.of(n.user)
	for len(k.refused) > 0 && k.refused[0].entered < n.number {
		k.refused = k.refused[1:]
	}
	if len(k.refused) == 0 {
		k.proven = n.key
	}
}

// refused takes note of one that was refused. until is when the user may be refused once
// more, zero if that is now.
func (l *lockout) refused(n knock, err error) (until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.of(n.user)
	k.proven = fingerprint{}
	if n.lockable || !slices.ContainsFunc(k.refused, func(r refused) bool { return r.key == n.key }) {
		k.refused = append(k.refused, refused{time.Now(), k.entered, n.key, err})
	}
	if len(k.refused) >= mayBeRefused {
		until = k.refused[0].at.Add(lockFor)
	}
	return until
}

// full is the error of a login that is not sent.
func (k *knocks) full() error {
	last := k.refused[len(k.refused)-1]
	wait := time.Until(k.refused[0].at.Add(lockFor)).Round(time.Second)
	return &SessionError{
		Op: "login", Class: ClassPermanent, Code: number(last.err), suspended: true,
		Err: fmt.Errorf("this user was refused %d times within %v, and one refusal more could lock them out; the next login is sent in %v, whatever the credential: %w", len(k.refused), lockFor, wait, last.err),
	}
}
