package contract_test

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/testpool"
	"github.com/snowtether/snowtether/snowtest"
)

// Logins (docs/guarantees.md): many connectors whose sessions end in the same moment, and which
// know nothing of each other, all come back to a server that takes only so many logins a second.

const fleetSessions = 8 // of each connector

var fleetSize = flag.Int("fleet", 100, "connectors in the tests of a fleet; the server takes a tenth of them as logins in a second")

// A fleet is what is simulated.
type fleet struct {
	connectors int
	perSecond  int
	header     http.Header // of a reply 429
	opts       []snowtether.Option
}

func (f fleet) floor() time.Duration {
	return time.Duration(f.connectors*fleetSessions) * time.Second / time.Duration(f.perSecond)
}

// comeBack ends all sessions of a fleet once a time, and says how it came back each time.
func (f fleet) comeBack(t *testing.T, times int) (musters []muster) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		dbs := make([]*sql.DB, f.connectors)
		var warm sync.WaitGroup
		for i := range dbs {
			warm.Go(func() {
				dbs[i], _ = connect(t, srv.Config(), f.opts...)
				dbs[i].SetMaxIdleConns(fleetSessions)
				dbs[i].SetMaxOpenConns(fleetSessions)
				if err := snowtether.Warm(t.Context(), dbs[i], fleetSessions); err != nil {
					t.Error(err)
				}
			})
		}
		warm.Wait()
		for range times {
			time.Sleep(10 * time.Minute)
			s := &turnstile{fleet: f, begun: time.Now()}
			var open atomic.Bool
			srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
				if open.Load() {
					return snowtest.Fault{}, false
				}
				return s.control(r)
			})
			srv.AbortSessions()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			served := make([]time.Duration, len(dbs))
			var all sync.WaitGroup
			for i, db := range dbs {
				all.Go(func() {
					var callers sync.WaitGroup
					for range fleetSessions {
						callers.Go(func() {
							if _, err := db.ExecContext(ctx, "SELECT 1"); err != nil {
								t.Errorf("connector %d: %v", i, err)
							}
						})
					}
					callers.Wait()
					served[i] = time.Since(s.begun)
				})
			}
			all.Wait()
			cancel()
			open.Store(true)
			slices.Sort(served)
			s.counted.served = served
			musters = append(musters, s.counted)
		}
	})
	return musters
}

// A muster is how a fleet came back.
type muster struct {
	served  []time.Duration // when each connector had all of its sessions, sorted
	taken   int             // logins
	refused int             // with 429
	most    int             // logins taken in one second
}

func (m muster) at(percent int) time.Duration {
	return m.served[(len(m.served)-1)*percent/100].Round(100 * time.Millisecond)
}

func (m muster) perLogin() float64 { return float64(m.refused) / float64(m.taken) }

// A turnstile takes so many logins in each second, and each takes 100 ms.
type turnstile struct {
	fleet   fleet
	mu      sync.Mutex
	begun   time.Time
	second  int
	inIt    int
	counted muster
}

func (s *turnstile) control(r *snowtest.Request) (snowtest.Fault, bool) {
	if r.Kind != snowtest.RequestLogin {
		return snowtest.Fault{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := int(time.Since(s.begun) / time.Second); now != s.second {
		s.second, s.inIt = now, 0
	}
	if s.inIt >= s.fleet.perSecond {
		s.counted.refused++
		return snowtest.Fault{Status: http.StatusTooManyRequests, Header: s.fleet.header}, true
	}
	s.inIt++
	s.counted.taken++
	s.counted.most = max(s.counted.most, s.inIt)
	return snowtest.Fault{Delay: 100 * time.Millisecond}, true
}

func newFleet() fleet {
	n := *fleetSize
	if testpool.Quick() {
		n = 40
	}
	return fleet{connectors: n, perSecond: n / 10}
}

// A tokenBucket is a LoginGuard that a fleet within one process can share: each login gets
// a slot of its own.
type tokenBucket struct {
	every time.Duration

	mu   sync.Mutex
	next time.Time
	due  []time.Time // slots of those who wait
}

func (b *tokenBucket) Before(context.Context, snowtether.LoginAttempt) (time.Duration, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if len(b.due) > 0 && !now.Before(b.due[0]) {
		b.due = b.due[1:]
		return 0, nil
	}
	slot := now
	if b.next.After(now) {
		slot = b.next
		b.due = append(b.due, slot)
	}
	b.next = slot.Add(b.every)
	return slot.Sub(now), nil
}

func (b *tokenBucket) After(context.Context, snowtether.LoginAttempt, snowtether.LoginOutcome) {}

// TestFleetComesBack: near the least possible time, and with few logins that are turned
// away; everybody is served. Deaf to the server's load it cost 2.4 logins for one; those
// who were told to come back in a second all came back in the same moment.
func TestFleetComesBack(t *testing.T) {
	f := newFleet()
	after := func(seconds string) http.Header { return http.Header{"Retry-After": {seconds}} }
	for _, tt := range []struct {
		name            string
		header          http.Header
		opt             snowtether.Option
		longest         float64 // times the floor
		refused, refuse float64 // for each login that was taken, at most and at least
	}{
		{"as it is", nil, nil, 1.6, 1.5, 0},
		{"Retry-After 1 s", after("1"), nil, 1.6, 1.5, 0},
		{"Retry-After 5 s", after("5"), nil, 1.75, 1.5, 0},
		{"deaf to the load", nil, testpool.WithoutLoad(), 2, 4, 1.6},
		{"with a shared guard", nil, snowtether.WithLoginGuard(&tokenBucket{every: time.Second / time.Duration(f.perSecond)}), 1.1, 0.01, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := f
			f.header = tt.header
			if tt.opt != nil {
				f.opts = append(f.opts, tt.opt)
			}
			for _, m := range f.comeBack(t, 1) {
				t.Logf("%d sessions, floor %v: all served after %v; first connector %v, median %v, 95 %% %v; %.2f logins turned away for one taken",
					f.connectors*fleetSessions, f.floor(), m.at(100), m.at(0), m.at(50), m.at(95), m.perLogin())
				if m.taken != f.connectors*fleetSessions {
					t.Errorf("%d logins were taken", m.taken)
				}
				if most := time.Duration(float64(f.floor()) * tt.longest); m.at(100) > most {
					t.Errorf("it took %v, want at most %v", m.at(100), most)
				}
				if r := m.perLogin(); r > tt.refused || r < tt.refuse {
					t.Errorf("%.2f logins were turned away for one taken, want %.2f to %.2f", r, tt.refuse, tt.refused)
				}
			}
		})
	}
}

// TestFleetRemembers: what it learned the first time it needs not find out again.
func TestFleetRemembers(t *testing.T) {
	f := newFleet()
	musters := f.comeBack(t, 2)
	first, second := musters[0].perLogin(), musters[1].perLogin()
	t.Logf("%.2f logins turned away for one taken, then %.2f", first, second)
	if second > 0.85*first {
		t.Errorf("%.2f logins were turned away for one taken, and the second time %.2f", first, second)
	}
}

// TestSlowLoginOfLongAgoDelaysNobody: it says nothing of the server's load of today.
// Before: a caller's deadline passed without a login, because one had taken 50 s the day
// before.
func TestSlowLoginOfLongAgoDelaysNobody(t *testing.T) {
	for _, ago := range []time.Duration{20 * time.Minute, 24 * time.Hour} {
		for i := range 8 { // the wait was a random one
			t.Run(fmt.Sprint(ago, i), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
						return snowtest.Fault{Delay: 50 * time.Second}, r.Kind == snowtest.RequestLogin
					})
					db := pool(t, srv, 1)
					for begun := time.Now(); time.Since(begun) < ago; time.Sleep(20 * time.Minute) {
						if err := db.PingContext(t.Context()); err != nil {
							t.Fatal(err)
						}
					}
					srv.AbortSessions()
					ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
					defer cancel()
					begun := time.Now()
					err := db.PingContext(ctx)
					if took := time.Since(begun); err != nil || took > time.Second {
						t.Errorf("after %v: %v", took, err)
					}
				})
			})
		}
	}
}
