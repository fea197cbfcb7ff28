package tokens

import (
	"errors"
	"testing"
	"time"
)

// newWatcher is one whose clock moves with *at, and *renewals counts what it has told.
func newWatcher(at *time.Time, renewals *[]time.Duration, refuse *error) *Watcher {
	return New(Observer{
		Now: func() time.Time { return *at }, Since: func(then time.Time) time.Duration { return at.Sub(then) },
		Refused: func() {}, Succeeded: func() {},
		Renewed:  func(_ int64, lived time.Duration) { *renewals = append(*renewals, lived) },
		MayRenew: func() error { return *refuse },
	})
}

// TestRenewalsAreSeen: each with the life of the token before it, once its lock is free; and
// one that may not be made leaves nothing locked.
func TestRenewalsAreSeen(t *testing.T) {
	at, renewals, refuse := time.Unix(1e9, 0), []time.Duration(nil), error(nil)
	w := newWatcher(&at, &renewals, &refuse)
	w.SetTokens("s1", "m1", 7)
	for range 2 {
		at = at.Add(time.Hour)
		if err := w.Lock(); err != nil {
			t.Fatal(err)
		}
		w.SetTokens("s2", "m2", 7)
		if len(renewals) > 1 {
			t.Error("a renewal is told of while its lock is held")
		}
		w.Unlock()
	}
	if len(renewals) != 2 || renewals[0] != time.Hour || renewals[1] != time.Hour || !w.IssuedAt().Equal(at) {
		t.Errorf("%v, issued at %v", renewals, w.IssuedAt())
	}
	refuse = errors.New("a loop")
	for range 2 {
		if err := w.Lock(); err != refuse {
			t.Errorf("the renewal gives %v", err)
		}
	}
	if token, master, id := w.GetTokens(); token != "s2" || master != "m2" || id != 7 {
		t.Errorf("the tokens are %q, %q, %d", token, master, id)
	}
	w.Mute()
	if token, _, _ := w.GetTokens(); token != unsendable {
		t.Errorf("a session that is muted has the token %q", token)
	}
}

// TestEndlessRenewalEnds: one that gosnowflake makes without Lock, and one on a connection
// that borrows the tokens.
func TestEndlessRenewalEnds(t *testing.T) {
	at, renewals, loop := time.Unix(1e9, 0), []time.Duration(nil), errors.New("a loop")
	w := newWatcher(&at, &renewals, new(error))
	w.SetTokens("s", "m", 7)
	n := 0
	for ; n < 100; n++ {
		if _, master, _ := w.GetTokens(); master == unsendable {
			break
		}
		w.SetTokens("s", "m", 7)
	}
	if n != maxRenewals+1 {
		t.Errorf("it ended after %d renewals", n)
	}
	var l Loan
	l.Lend(w, loop)
	for n = 0; n < 100; n++ {
		if err := l.Lock(); err != nil {
			break
		}
		l.Unlock()
	}
	if n != maxRenewals {
		t.Errorf("what is lent was renewed %d times", n)
	}
}

// TestSharedSessionIsOneUsersOrNobodys: state in it keeps others out, and others keep state
// out of it.
func TestSharedSessionIsOneUsersOrNobodys(t *testing.T) {
	var s Sharing
	for range 2 {
		if err := s.Join(); err != nil {
			t.Fatal(err)
		}
	}
	if s.Claim() != errShared {
		t.Error("one of two has it for itself")
	}
	s.Leave()
	if err := s.Claim(); err != nil || s.Join() != errExclusive {
		t.Errorf("another joins one that is claimed; %v", err)
	}
	s.Yield()
	if err := s.Join(); err != nil {
		t.Error(err)
	}
	s.End()
	if s.Join() != ErrEnding {
		t.Error("another joins while a transaction is rolled back")
	}
	s.Leave()
	if err := s.Join(); err != nil {
		t.Error(err)
	}
}
