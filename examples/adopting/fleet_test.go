package adopting_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about a login guard. One that processes share is in examples/fleet.

func withGuard(cfg *gosnowflake.Config, guard snowtether.LoginGuard) (*snowtether.Connector, error) {
	connector, err := snowtether.NewConnector(cfg, snowtether.WithLoginGuard(guard))
	return connector, err
}

// oneRefusal is a guard that lets nobody log in after a refusal.
type oneRefusal struct{ refused atomic.Bool }

func (g *oneRefusal) Before(context.Context, snowtether.LoginAttempt) (time.Duration, error) {
	if g.refused.Load() {
		return 0, fmt.Errorf("refused elsewhere: %w", snowtether.ErrLoginSuspended)
	}
	return 0, nil
}

func (g *oneRefusal) After(_ context.Context, _ snowtether.LoginAttempt, outcome snowtether.LoginOutcome) {
	if outcome.Class == snowtether.ClassPermanent {
		g.refused.Store(true)
	}
}

func TestPoolsThatShareAGuardAreRefusedOnce(t *testing.T) {
	srv := snowtest.New(t)
	cfg := srv.Config()
	cfg.Password = "last month's"
	guard := &oneRefusal{}
	for i := range 3 {
		connector, err := withGuard(cfg, guard)
		if err != nil {
			t.Fatal(err)
		}
		_, err = connector.Connect(t.Context())
		if first := i == 0; err == nil || errors.Is(err, snowtether.ErrLoginSuspended) == first {
			t.Errorf("pool %d: error is %v", i, err)
		}
		if err := connector.Close(); err != nil { // the guard has been told by then
			t.Error(err)
		}
	}
	if n := srv.Stats().LoginFailures; n != 1 {
		t.Errorf("%d logins were refused", n)
	}
}
