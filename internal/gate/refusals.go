package gate

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"time"
)

// This file lets credentials that were refused rest. What they are stays unknown here: they are
// told apart by a fingerprint.

// A refusal is a login that was refused for good.
type refusal struct {
	at, until time.Time
	times     int
	err       error
}

// MaxCooldown is by how much the cool-down grows at the most: to 8 minutes from
// the default of 30 s.
const MaxCooldown = 16

// Suspended returns the refusal for which these credentials rest, or nil if they do not.
func (g *Gate) Suspended(key Fingerprint) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.refusals[key]
	if r == nil || !time.Now().Before(r.until) {
		return nil
	}
	return r.err
}

// Suspend lets credentials that were refused rest for the cool-down, and until the given
// time at least.
func (g *Gate) Suspend(key Fingerprint, err error, until time.Time) {
	now := time.Now()
	if g.Cooldown == 0 && !now.Before(until) {
		return
	}
	g.mu.Lock()
	defer g.unlock(context.Background())
	for k, r := range g.refusals {
		if k != key && now.Sub(r.until) > MaxCooldown*g.Cooldown {
			delete(g.refusals, k) // long replaced
		}
	}
	r := g.refusals[key]
	if r == nil {
		r = &refusal{}
		g.refusals[key] = r
	}
	if r.until = now.Add(g.Cooldown * time.Duration(min(1<<r.times, MaxCooldown))); r.until.Before(until) {
		r.until = until
	}
	r.at, r.times, r.err = now, min(r.times+1, 8), err
	begins := g.refused.add(now, err)
	g.refused.until, g.refusedAt = r.until, now
	g.events = append(g.events, Event{Kind: Suspended, Count: g.refused.count, Duration: r.until.Sub(now), Err: err, Again: !begins})
}

// A Fingerprint tells credentials apart without keeping them: a keyed hash, whose
// key never leaves the process.
type Fingerprint [sha256.Size]byte

// Keyed is the fingerprint of something that has several parts.
func Keyed(key []byte, parts ...string) Fingerprint {
	mac := hmac.New(sha256.New, key)
	for _, part := range parts {
		fmt.Fprintf(mac, "%d:%s", len(part), part)
	}
	return Fingerprint(mac.Sum(nil))
}
