package contract_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file has what tests have the server do: slow replies, sessions that end, lost replies,
// refused logins, outages; and clocks.

// slowly answers the statements that match after a while.
func slowly(srv *snowtest.Server, pattern string, d time.Duration, res *snowtest.Result, err error) {
	srv.Handle(pattern, func(ctx context.Context, _ *snowtest.Statement) (*snowtest.Result, error) {
		select {
		case <-time.After(d):
			return res, err
		case <-ctx.Done():
			return nil, &snowtest.Error{Code: "000604", SQLState: "57014", Message: "SQL execution canceled"}
		}
	})
}

// endAt ends all sessions of the moment at these times from now.
func endAt(srv *snowtest.Server, how snowtest.Refusal, times ...time.Duration) {
	for _, d := range times {
		time.AfterFunc(d, func() { srv.EndSessions(how) })
	}
}

// abortAt ends all sessions of the moment at these times from now.
func abortAt(srv *snowtest.Server, times ...time.Duration) {
	for _, d := range times {
		time.AfterFunc(d, func() { srv.AbortSessions() })
	}
}

// runAndLose carries the statement out, loses its reply, and then the session.
func runAndLose(srv *snowtest.Server, query string) {
	once(srv, query, snowtest.Fault{Run: true, Drop: true, After: func() { srv.AbortSessions() }})
}

// onceAt answers the next request of a kind with the fault.
func onceAt(srv *snowtest.Server, kind snowtest.RequestKind, f snowtest.Fault) {
	srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) { return f, r.Kind == kind })
}

// always answers every request for this SQL with the fault, and counts them.
func always(srv *snowtest.Server, sql string, f snowtest.Fault) (n *int) {
	n = new(int)
	srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
		if r.Kind != snowtest.RequestQuery || r.SQL != sql {
			return snowtest.Fault{}, false
		}
		*n++
		return f, true
	})
	return n
}

// hold makes the statements that match wait until release is called.
func hold(srv *snowtest.Server, pattern string) (release func()) {
	gate := make(chan struct{})
	srv.Handle(pattern, func(ctx context.Context, _ *snowtest.Statement) (*snowtest.Result, error) {
		select {
		case <-gate:
			return snowtest.Count(snowtest.KindInsert, []string{"number of rows inserted"}, []int64{1}), nil
		case <-ctx.Done():
			return nil, &snowtest.Error{Code: "000604", SQLState: "57014", Message: "SQL execution canceled"}
		}
	})
	return func() { close(gate) }
}

// stall makes every request of a kind wait, from now on.
func stall(srv *snowtest.Server, kind snowtest.RequestKind, d time.Duration) {
	srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
		if r.Kind != kind {
			return snowtest.Fault{}, false
		}
		return snowtest.Fault{Delay: d}, true
	})
}

// inProgress is a reply that accepts a statement under an ID that the server knows
// nothing of.
const inProgress = `{"success":true,"code":"333333","data":{"queryId":"01bd0000-0001-0032-0001-000000000001","getResultUrl":"/queries/01bd0000-0001-0032-0001-000000000001/result"}}`

// outage makes every login fail for a while. It returns when each arrived.
func outage(srv *snowtest.Server, d time.Duration, f snowtest.Fault) *[]time.Duration {
	var mu sync.Mutex
	var at []time.Duration
	begun := time.Now()
	srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
		if r.Kind != snowtest.RequestLogin {
			return snowtest.Fault{}, false
		}
		mu.Lock()
		defer mu.Unlock()
		at = append(at, time.Since(begun))
		if time.Since(begun) >= d {
			return snowtest.Fault{}, false
		}
		return f, true
	})
	return &at
}

var unavailable = snowtest.Fault{Status: 503}

// noLogins makes each login fail, until it is told otherwise.
func noLogins(srv *snowtest.Server) *atomic.Bool {
	on := new(atomic.Bool)
	on.Store(true)
	srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
		return snowtest.Fault{Status: 503}, r.Kind == snowtest.RequestLogin && on.Load()
	})
	return on
}

// allUnavailable answers everything with 503 for so long, from now on.
func allUnavailable(srv *snowtest.Server, d time.Duration) {
	begun := time.Now()
	srv.FaultAlways(func(*snowtest.Request) (snowtest.Fault, bool) {
		if time.Since(begun) > d {
			return snowtest.Fault{}, false
		}
		return snowtest.Fault{Status: 503}, true
	})
}

// cut cuts the network, and lets the client see that its connections are gone. A
// request that is written to one before it has seen that is in doubt.
func cut(srv *snowtest.Server) {
	srv.Disconnect()
	synctest.Wait()
}

// refusals is a server's own count of refusals, and whether it would have locked the user.
type refusals struct {
	mu      sync.Mutex
	row     map[string]int
	sent    map[string]int
	refused map[string]int
	locked  map[string]bool
}

func (g *refusals) check(t *testing.T, user string, most int) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	t.Logf("%s: %d of %d logins were refused", user, g.refused[user], g.sent[user])
	if g.locked[user] || g.refused[user] > most || g.refused[user] == 0 {
		t.Errorf("%s was refused %d times, want at most %d; locked out: %v", user, g.refused[user], most, g.locked[user])
	}
}

// handle refuses the logins for which wrong says so, and takes its time about each.
func refuseLogins(srv *snowtest.Server, took time.Duration, wrong func(user string, n int) string) *refusals {
	g := &refusals{row: map[string]int{}, sent: map[string]int{}, refused: map[string]int{}, locked: map[string]bool{}}
	srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
		if r.Kind != snowtest.RequestLogin {
			return snowtest.Fault{}, false
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		g.sent[r.User]++
		code := wrong(r.User, g.sent[r.User])
		if code == "" {
			return snowtest.Fault{Delay: took, After: func() {
				g.mu.Lock()
				defer g.mu.Unlock()
				g.row[r.User] = 0
			}}, true
		}
		g.refused[r.User]++
		if g.row[r.User]++; g.row[r.User] >= 5 {
			g.locked[r.User] = true
		}
		return snowtest.Fault{Delay: took, Code: code, Message: "Incorrect username or password was specified."}, true
	})
	return g
}

// withToken makes a connector log in with a token in place of its password.
var withToken = snowtether.WithBeforeConnect(func(_ context.Context, cfg *gosnowflake.Config) error {
	cfg.Authenticator, cfg.Token = gosnowflake.AuthTypeOAuth, "t0ken"
	return nil
})

// anyToken makes a server take it.
var anyToken = snowtest.WithToken(func(string) error { return nil })

const every = 4 * time.Minute

var (
	idlePing = snowtether.WithIdlePing(every)
	noBeat   = snowtether.WithKeepAlive(false)
)

// A wall is a clock that a test can put forward and back. It has no monotonic
// reading, as if the machine had slept.
type wall struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (w *wall) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.ahead).Round(0)
}

func (w *wall) jump(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ahead += d
}
