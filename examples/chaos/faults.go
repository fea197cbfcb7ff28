package main

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/snowtether/snowtether/snowtest"
)

// This file has the faults and when they strike.

// A kind of fault. strike is called once for each server; ctx ends when the
// fault is to end, which those that happen in a moment do not look at.
type kind struct {
	label  string // in the chart, in short lines
	detail string
	lasts  bool
	strike func(ctx context.Context, srv *snowtest.Server)
}

func (k kind) String() string {
	return strings.ReplaceAll(k.label, "\n", " ") + ": " + k.detail
}

var kinds = []kind{
	{"session\ntokens\nexpire", "390112, a renewal helps", false,
		func(_ context.Context, srv *snowtest.Server) { srv.ExpireSessionTokens() }},
	{"master\ntokens\nexpire", "390114, all sessions end", false,
		func(_ context.Context, srv *snowtest.Server) { srv.ExpireMasterTokens() }},
	{"sessions\naborted", "390111, an administrator ends all", false,
		func(_ context.Context, srv *snowtest.Server) { srv.AbortSessions() }},
	{"replies\nlost", "statements ran, the connection breaks, every second session ends", true, loseReplies},
	{"503, then\nexpiry", "statements ran, a gateway answers 503, their master tokens expire", true, badGateway},
	{"HTTP\n401", "a gateway forgets every second session", false, forget},
	{"logins\nfail", "all sessions end, logins are answered with 503", true, failLogins},
	{"server\nstalls", "nothing is answered", true, stall},
	{"rolling\nexpiry", "the oldest session's master token expires, again and again", true, roll},
}

// A fault is a kind at its time since the start. lasts is 0 for one that happens
// in a moment.
type fault struct {
	kind
	at, lasts time.Duration
}

// schedule has each kind once, in an order and at times that only the seed and
// the length of the run decide. A twelfth of the run is left in peace at either
// end. No fault begins before the one before it is over.
func schedule(seed uint64, length time.Duration) []fault {
	random := rand.New(rand.NewPCG(seed, 0))
	step := length * 10 / 12 / time.Duration(len(kinds))
	var faults []fault
	for i, k := range random.Perm(len(kinds)) {
		f := fault{kind: kinds[k], at: length/12 + time.Duration(i)*step + time.Duration(random.Int64N(int64(step)/5))}
		if f.kind.lasts {
			f.lasts = min(step*6/10, 2*time.Second)
		}
		faults = append(faults, f)
	}
	return faults
}

// storm lets the faults strike all servers at the same moment, until they are
// over or ctx ends. It tells report of each.
func storm(ctx context.Context, begun time.Time, faults []fault, lanes []*lane, report func(fault)) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, f := range faults {
		if !sleepUntil(ctx, begun.Add(f.at)) {
			return
		}
		report(f)
		struck, over := context.WithTimeout(ctx, f.lasts)
		defer over()
		for _, l := range lanes {
			wg.Go(func() { f.strike(struck, l.srv) })
		}
	}
}

// sleepUntil reports whether ctx was still going when the time came.
func sleepUntil(ctx context.Context, t time.Time) bool {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// control puts faults on requests for as long as ctx lasts.
func control(ctx context.Context, srv *snowtest.Server, fn func(*snowtest.Request) (snowtest.Fault, bool)) {
	srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
		if ctx.Err() != nil {
			return snowtest.Fault{}, false
		}
		return fn(r)
	})
}

// everySixth calls fn for every sixth INSERT or COMMIT that is sent for the
// first time.
func everySixth(ctx context.Context, srv *snowtest.Server, fn func(r *snowtest.Request, n int) snowtest.Fault) {
	n := 0
	control(ctx, srv, func(r *snowtest.Request) (snowtest.Fault, bool) {
		if r.RetryCount > 0 || !strings.HasPrefix(r.SQL, "INSERT") && r.SQL != "COMMIT" {
			return snowtest.Fault{}, false
		}
		n++
		return fn(r, n/6), n%6 == 0
	})
}

func loseReplies(ctx context.Context, srv *snowtest.Server) {
	everySixth(ctx, srv, func(r *snowtest.Request, n int) snowtest.Fault {
		f := snowtest.Fault{Run: true, Drop: true}
		if id := r.SessionID; n%2 == 0 {
			f.After = func() { srv.AbortSessions(id) }
		}
		return f
	})
}

func badGateway(ctx context.Context, srv *snowtest.Server) {
	everySixth(ctx, srv, func(r *snowtest.Request, _ int) snowtest.Fault {
		id := r.SessionID
		return snowtest.Fault{Run: true, Status: 503, After: func() { srv.ExpireMasterTokens(id) }}
	})
}

func forget(_ context.Context, srv *snowtest.Server) {
	var ids []int64
	for i, s := range srv.Sessions() {
		if i%2 == 0 {
			ids = append(ids, s.ID)
		}
	}
	if len(ids) > 0 { // none would mean all
		srv.EndSessions(snowtest.Refusal{Status: 401}, ids...)
	}
}

func failLogins(ctx context.Context, srv *snowtest.Server) {
	control(ctx, srv, func(r *snowtest.Request) (snowtest.Fault, bool) {
		return snowtest.Fault{Status: 503}, r.Kind == snowtest.RequestLogin
	})
	srv.AbortSessions()
}

func stall(ctx context.Context, srv *snowtest.Server) {
	control(ctx, srv, func(*snowtest.Request) (snowtest.Fault, bool) {
		return snowtest.Fault{Hold: ctx.Done()}, true
	})
}

func roll(ctx context.Context, srv *snowtest.Server) {
	for sleepUntil(ctx, time.Now().Add(100*time.Millisecond)) {
		if open := srv.Sessions(); len(open) > 0 {
			srv.ExpireMasterTokens(open[0].ID)
		}
	}
}
