package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/snowtether/snowtether"
)

// This file is to be copied: a LoginGuard that the processes of a fleet share over Redis.
// Its rules are in the two scripts, each of which Redis runs as a whole, so that no two
// processes see the same state.
//
//   - A credential that has not proved right in the last 10 s is sent by one process at a
//     time; the others wait for what comes of it.
//   - One that was refused is sent by nobody until the cool-down is over.
//   - One that has proved right is sent by all, so many times a second in all.
//
// Redis holds keyed hashes of credentials, and nothing that could be undone. While it is
// down, snowtether does without a guard (see snowtether.LoginGuard). In the moment in which
// a password is changed, as many logins may be refused as are under way: the rate times what
// a login takes. Where that could lock the user out, choose a lower rate.

// before says whether a login may be sent: {0, 0}; or {1, w}: not before w ms have passed; or
// {2, w}: it rests for w ms.
//
// Who has to wait is given a slot of its own: a time at which nobody else comes. So a fleet
// asks Redis as often as it may log in, and no more often, however many wait.
var before = redis.NewScript(`
	local refused, proven, lease, next = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
	local holder, leaseTime, interval, hasSlot = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4] == "1"

	local rest = redis.call("PTTL", refused)
	if rest > 0 then return {2, rest} end

	local free = true
	if redis.call("EXISTS", proven) == 0 then
		free = redis.call("EXISTS", lease) == 0
	end
	local clock = redis.call("TIME") -- that of Redis: those of the processes may differ
	local now = clock[1] * 1000 + clock[2] / 1000
	if not (free and hasSlot) then
		local slot = math.max(now, tonumber(redis.call("GET", next) or 0))
		local wait = math.ceil(slot - now)
		redis.call("SET", next, string.format("%.3f", slot + interval), "PX", wait + math.ceil(interval) + 1000)
		if not free then wait = math.max(wait, 20) end
		if wait > 0 then return {1, wait} end
	end
	if redis.call("EXISTS", proven) == 0 then redis.call("SET", lease, holder, "PX", leaseTime) end
	return {0, 0}
`)

// after takes note of how a login ended.
var after = redis.NewScript(`
	local refused, proven, lease = KEYS[1], KEYS[2], KEYS[3]
	local holder, outcome, provenTime, cooldown = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
	if redis.call("GET", lease) == holder then redis.call("DEL", lease) end
	if outcome == "refused" then
		redis.call("DEL", proven)
		redis.call("SET", refused, 1, "PX", cooldown)
	elseif outcome == "accepted" and redis.call("EXISTS", refused) == 0 then
		redis.call("SET", proven, 1, "PX", provenTime) -- one refused since then says more
	end
`)

const (
	leaseTime  = 15 * time.Second // a login takes less, as a rule; a process that dies with the lease stops the others for so long
	provenTime = 10 * time.Second // since the last login that succeeded
)

// A Guard is one process's part of the fleet's guard.
type Guard struct {
	redis    redis.Scripter
	key      []byte        // of the fingerprints, the same in all processes
	interval time.Duration // between two logins of the fleet
	cooldown time.Duration // of a credential that was refused
	holder   string        // this process

	mu    sync.Mutex
	slots []time.Time // of the logins that wait, in order
}

// NewGuard makes a guard. The key is a secret as the credentials are: 32 random bytes.
func NewGuard(r redis.Scripter, key []byte, perSecond int, cooldown time.Duration) (*Guard, error) {
	if len(key) < 32 {
		return nil, fmt.Errorf("the key has %d bytes, and must have 32 or more: whoever guesses it can try out passwords", len(key))
	}
	if perSecond < 1 {
		return nil, fmt.Errorf("%d logins a second are too few", perSecond)
	}
	return &Guard{redis: r, key: key, interval: time.Second / time.Duration(perSecond), cooldown: cooldown, holder: rand.Text()}, nil
}

// Before implements snowtether.LoginGuard.
func (g *Guard) Before(ctx context.Context, login snowtether.LoginAttempt) (time.Duration, error) {
	hasSlot := "0"
	if g.takeSlot() {
		hasSlot = "1"
	}
	said, err := before.Run(ctx, g.redis, g.keys(login), g.holder, ms(leaseTime), ms(g.interval), hasSlot).Int64Slice()
	switch {
	case err != nil:
		return 0, fmt.Errorf("asking Redis: %w", err)
	case len(said) != 2:
		return 0, fmt.Errorf("an answer of Redis is no answer: %v", said)
	}
	wait := time.Duration(said[1]) * time.Millisecond
	switch said[0] {
	case 1:
		g.keepSlot(wait)
		return wait, nil
	case 2:
		return 0, fmt.Errorf("the fleet's login was refused, and the next is sent in %v: %w", wait.Round(time.Second), snowtether.ErrLoginSuspended)
	}
	return 0, nil
}

// After implements snowtether.LoginGuard.
func (g *Guard) After(ctx context.Context, login snowtether.LoginAttempt, outcome snowtether.LoginOutcome) {
	how := "unknown" // it was not reached, or was too busy
	switch outcome.Class {
	case "":
		how = "accepted"
	case snowtether.ClassPermanent, snowtether.ClassCredential:
		how = "refused"
	}
	// If Redis is down, the next Before says so.
	_ = after.Run(ctx, g.redis, g.keys(login), g.holder, how, ms(provenTime), ms(g.cooldown)).Err()
}

// keys are in one slot of a Redis cluster. The rate is that of all credentials together.
func (g *Guard) keys(login snowtether.LoginAttempt) []string {
	of := "{snowflake-logins}:"
	credential := of + login.Fingerprint(g.key)
	return []string{credential + ":refused", credential + ":proven", credential + ":lease", of + "next"}
}

// takeSlot takes a slot whose time has come. A login that has waited does not say which it
// was, and need not: they are alike. One that nobody has come for is void.
func (g *Guard) takeSlot() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.slots) > 0 && time.Since(g.slots[0]) >= 0 {
		late := time.Since(g.slots[0])
		g.slots = g.slots[1:]
		if late < time.Second {
			return true
		}
	}
	return false
}

func (g *Guard) keepSlot(wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.slots = append(g.slots, time.Now().Add(wait))
}

func ms(d time.Duration) string {
	return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', -1, 64)
}
