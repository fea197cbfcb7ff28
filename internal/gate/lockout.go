package gate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
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

// A Lockout counts for each user of a connector. Its zero value is ready.
type Lockout struct {
	mu    sync.Mutex
	users map[Fingerprint]*knocks
}

// Knocks are what is known of one user's logins.
type knocks struct {
	refused []refused     // in the last 15 minutes, and not followed by a login that succeeded
	entered int           // logins so far
	under   int           // way
	proven  Fingerprint   // the credential that succeeded last; zero after a refusal
	changed chan struct{} // closed when one of these changes
}

// Refused is one login that was.
type refused struct {
	at      time.Time
	entered int // logins by then
	key     Fingerprint
	err     error
}

// A Knock is one login.
type Knock struct {
	Key        Fingerprint // of the credential
	Credential []string    // its parts; nil: nothing is known of it
	user       Fingerprint
	lockable   bool
	number     int // of the user's logins
}

// NewKnock is a login of this user at this account, however they are spelled and however
// they log in. lockable says that each refusal counts towards a lock-out, also that of a
// credential which has been refused before.
func (g *Gate) NewKnock(account, user string, credential []string, lockable bool) Knock {
	return Knock{
		user:       Keyed(g.secret[:], strings.ToUpper(account), strings.ToUpper(user)),
		Key:        Keyed(g.secret[:], credential...),
		Credential: credential,
		lockable:   lockable,
	}
}

// Unknown is a login of which nothing is known but that it may be refused.
func Unknown() Knock { return Knock{lockable: true} }

// of is what is known of a user.
func (l *Lockout) of(user Fingerprint) *knocks {
	if l.users == nil {
		l.users = map[Fingerprint]*knocks{}
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

// Enter waits until one more login cannot lock the user out; leave is called after it. The
// error is a [*FullError], or the context's.
func (l *Lockout) Enter(ctx context.Context, n *Knock) (leave func(), _ error) {
	for {
		l.mu.Lock()
		k := l.of(n.user)
		left := mayBeRefused - len(k.refused)
		most := left
		if k.proven != n.Key {
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

func (l *Lockout) leave(k *knocks) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k.under--
	close(k.changed)
	k.changed = make(chan struct{})
}

// Accepted takes note of a login that succeeded. It says nothing of those that were refused
// while it was under way: its credential may have been changed meanwhile.
func (l *Lockout) Accepted(n Knock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.of(n.user)
	for len(k.refused) > 0 && k.refused[0].entered < n.number {
		k.refused = k.refused[1:]
	}
	if len(k.refused) == 0 {
		k.proven = n.Key
	}
}

// Refused takes note of one that was refused. until is when the user may be refused once
// more, zero if that is now.
func (l *Lockout) Refused(n Knock, err error) (until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.of(n.user)
	k.proven = Fingerprint{}
	if n.lockable || !slices.ContainsFunc(k.refused, func(r refused) bool { return r.key == n.Key }) {
		k.refused = append(k.refused, refused{time.Now(), k.entered, n.Key, err})
	}
	if len(k.refused) >= mayBeRefused {
		until = k.refused[0].at.Add(lockFor)
	}
	return until
}

// A FullError is that of a login that is not sent.
type FullError struct {
	Last  error // the last refusal
	times int
	wait  time.Duration
}

func (e *FullError) Error() string {
	return fmt.Sprintf("this user was refused %d times within %v, and one refusal more could lock them out; the next login is sent in %v, whatever the credential: %v", e.times, lockFor, e.wait, e.Last)
}
func (e *FullError) Unwrap() error { return e.Last }

func (k *knocks) full() error {
	return &FullError{
		Last: k.refused[len(k.refused)-1].err, times: len(k.refused),
		wait: time.Until(k.refused[0].at.Add(lockFor)).Round(time.Second),
	}
}
