package contract_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// Logins (docs/guarantees.md): the gate where it is neither open nor shut for good: queues for a
// slot, failures side by side, and how long a refusal counts.

// TestQueueBehindALoginThatSucceedsEndsWithTheContext: the gate is open, or it was a
// moment ago, and all slots are taken.
func TestQueueBehindALoginThatSucceedsEndsWithTheContext(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db, _ := connect(t, srv.Config(), snowtether.WithMaxLogins(1))
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		stall(srv, snowtest.RequestLogin, 10*time.Second)
		var wg sync.WaitGroup
		for _, at := range []time.Duration{0, time.Millisecond, 200 * time.Millisecond} {
			wg.Go(func() {
				time.Sleep(at)
				begun := time.Now()
				if err := db.PingContext(within(t, time.Second)); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != time.Second {
					t.Errorf("from %v on: left after %v with %v", at, time.Since(begun), err)
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Minute)
	})
}

// steps is a back-off of a second that counts its steps.
type steps struct{ n *atomic.Int64 }

func (s steps) NextBackOff() time.Duration { s.n.Add(1); return time.Second }
func (s steps) Reset()                     {}

// TestLoginsThatFailSideBySideAreOneStepOfTheBackOff: also where one is answered long
// after the others.
func TestLoginsThatFailSideBySideAreOneStepOfTheBackOff(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var n atomic.Int64
		db, _ := connect(t, srv.Config(), snowtether.WithBackOff(func() backoff.BackOff { return steps{&n} }))
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		failing := 0
		srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
			if r.Kind != snowtest.RequestLogin || failing == 4 {
				return snowtest.Fault{}, false
			}
			failing++
			return snowtest.Fault{Status: 503, Delay: time.Duration(failing/4*5+1) * time.Second}, true // 1, 1, 1 and 6 s
		})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { // they leave, and their logins go on
				if err := db.PingContext(within(t, 500*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("error is %v", err)
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Minute)
		if n := n.Load(); n != 1 {
			t.Errorf("%d steps", n)
		}
		if err := db.PingContext(t.Context()); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

// TestLoginThatWaitedForASlotHeedsTheFailureBeforeIt: it does not run into the same
// outage at once.
func TestLoginThatWaitedForASlotHeedsTheFailureBeforeIt(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db, _ := connect(t, srv.Config(), snowtether.WithMaxLogins(1), snowtether.WithBackOff(func() backoff.BackOff { return backoff.NewConstantBackOff(time.Minute) }))
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		at := outage(srv, time.Minute, snowtest.Fault{Status: 503, Delay: 10 * time.Millisecond})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if err := db.PingContext(within(t, time.Hour)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if len(*at) < 2 || (*at)[1] < time.Minute {
			t.Errorf("logins at %v, want one during the outage", *at)
		}
	})
}

// TestRefusalEndsTheBackOff: Snowflake has answered, and the next outage is another.
// Without a cool-down the next login is sent at once.
func TestRefusalEndsTheBackOff(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db, _ := connect(t, srv.Config(), snowtether.WithAuthCooldown(0))
		outage(srv, 30*time.Second, unavailable)
		srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
			return snowtest.Fault{Code: "390422", Message: "Not from this address."}, r.Kind == snowtest.RequestLogin
		})
		if err := db.PingContext(t.Context()); number(err) != 390422 {
			t.Errorf("error is %v", err)
		}
		begun := time.Now()
		onceAt(srv, snowtest.RequestLogin, unavailable)
		if err := db.PingContext(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took > 800*time.Millisecond { // the first step is 0.5 s, ± half
			t.Errorf("took %v", took)
		}
	})
}

// TestRefusalEndsTheOutage: Snowflake has answered. What refuses a login before Snowflake sees it
// does not end it.
// Before: it went on, in the Snapshot and the metrics, until a login succeeded.
func TestRefusalEndsTheOutage(t *testing.T) {
	for name, tt := range map[string]struct {
		refusal snowtest.Fault
		want    snowtether.GateState
	}{
		"by Snowflake": {snowtest.Fault{Code: "390422", Message: "Not from this address."}, snowtether.GateFree},
		"by a gateway": {snowtest.Fault{Status: 403}, snowtether.GateProbing},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db, c := connect(t, srv.Config())
				pinned := pin(t, db)
				outage(srv, 10*time.Second, unavailable)
				if _, err := db.Conn(within(t, 5*time.Second)); err == nil {
					t.Fatal("a login succeeded in an outage")
				}
				time.Sleep(time.Minute)
				onceAt(srv, snowtest.RequestLogin, tt.refusal)
				if _, err := db.Conn(t.Context()); err == nil {
					t.Fatal("a refused login succeeded")
				}
				if w := c.Snapshot().Waiting; (w.Silence < time.Second) != (tt.want == snowtether.GateFree) {
					t.Errorf("Snowflake has been silent for %v", w.Silence)
				}
				time.Sleep(time.Minute) // the credentials no longer rest
				if g := c.Snapshot().Gate; g.State != tt.want {
					t.Errorf("the gate's state is %v, since %v", g.State, g.Since)
				}
				mustPing(t, db)
				_ = pinned.Close()
			})
		})
	}
}

// TestCoolDownGrowsToEightMinutes: and stays there, however long the password is
// wrong.
func TestCoolDownGrowsToEightMinutes(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		cfg := srv.Config()
		cfg.Password = "wrong"
		db, c := connect(t, cfg)
		for sent := int64(1); sent <= 80; sent++ {
			for range 2 {
				if err := db.PingContext(t.Context()); err == nil {
					t.Fatal("it succeeded")
				}
			}
			if n := c.Stats().LoginFailures; n != sent {
				t.Fatalf("%d logins, want %d", n, sent)
			}
			time.Sleep(8 * time.Minute)
		}
	})
}

// TestCloseEndsTheWaitOfThoseWhoQueue: whoever waits for the next step of the
// back-off, and those behind him.
func TestCloseEndsTheWaitOfThoseWhoQueue(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		_, c := connect(t, srv.Config(), snowtether.WithBackOff(func() backoff.BackOff { return backoff.NewConstantBackOff(time.Hour) }))
		outage(srv, time.Hour, unavailable)
		var wg sync.WaitGroup
		begun := time.Now()
		for range 3 {
			wg.Go(func() {
				_, err := c.Connect(within(t, 24*time.Hour))
				if took := time.Since(begun); took != time.Minute || err == nil || !strings.Contains(err.Error(), "closed") {
					t.Errorf("after %v: %v", took, err)
				}
			})
		}
		time.Sleep(time.Minute)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
	})
}

// TestLoginHasNoneOfTheStatementsRequestID: Snowflake would take one for the other.
func TestLoginHasNoneOfTheStatementsRequestID(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db, _ := connect(t, srv.Config())
		id := gosnowflake.NewUUID()
		srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
			if r.Kind == snowtest.RequestLogin && strings.Contains(r.HTTP.URL.RawQuery, id.String()) {
				t.Errorf("the login was sent with %s", r.HTTP.URL.RawQuery)
			}
			return snowtest.Fault{}, r.Kind == snowtest.RequestLogin
		})
		if _, err := db.ExecContext(gosnowflake.WithRequestID(t.Context(), id), insert); err != nil {
			t.Error(err)
		}
		if got := srv.Ledger()[0].RequestID; got != id.String() {
			t.Errorf("the statement was sent with %s", got)
		}
	})
}

// TestLoginThatSucceedsForgetsTheRefusalsBefore: the next one cools down for 30 s
// again, and not for a minute.
func TestLoginThatSucceedsForgetsTheRefusalsBefore(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		_, c := connect(t, srv.Config())
		for n := int64(1); n <= 3; n++ {
			onceAt(srv, snowtest.RequestLogin, snowtest.Fault{Code: "390422", Message: "Not from this address."})
			if _, err := c.Connect(t.Context()); number(err) != 390422 {
				t.Errorf("error is %v", err)
			}
			time.Sleep(30 * time.Second)
			conn, err := c.Connect(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestCloseEndsTheWaitOfAStatement: for the end of an outage.
func TestCloseEndsTheWaitOfAStatement(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db, c := connect(t, srv.Config(), snowtether.WithBackOff(func() backoff.BackOff { return backoff.NewConstantBackOff(time.Hour) }))
		always(srv, "SELECT 7", snowtest.Fault{Body: "<html>"})
		begun := time.Now()
		time.AfterFunc(time.Minute, func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
		err := db.QueryRowContext(within(t, 24*time.Hour), "SELECT 7").Scan(new(int))
		if took := time.Since(begun); took != time.Minute || snowtether.Classify(err) != snowtether.ClassTransient {
			t.Errorf("after %v: %v", took, err)
		}
	})
}
