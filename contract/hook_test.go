package contract_test

import (
	"database/sql"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about the hook itself. That it may look at its connector, each of
// the happenings shows.

// TestPanicOfTheHookDoesNoHarm: it is logged once, without its value, which may be
// anything.
func TestPanicOfTheHookDoesNoHarm(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var log lines
		db := pool(t, srv, 4, snowtether.WithLogger(newLogger(&log)), snowtether.WithEventHook(func(snowtether.Event) { panic("s3cret") }))
		srv.AbortSessions()
		everyone(t, db, 4, 2)
		if n := strings.Count(log.String(), "panicked or did not return"); n != 1 || strings.Contains(log.String(), "s3cret") {
			t.Errorf("%d lines about it:\n%s", n, log.String())
		}
	})
}

// An accessor is a program's own gosnowflake.TokenAccessor, which knows whether it
// is locked.
type accessor struct {
	caseStore
	locked atomic.Bool
}

func (a *accessor) Lock() error {
	err := a.caseStore.Lock()
	a.locked.Store(true)
	return err
}

func (a *accessor) Unlock() {
	a.locked.Store(false)
	a.caseStore.Unlock()
}

// TestHookOfARenewalHoldsNobodyUp: it is called when the next one may begin.
func TestHookOfARenewalHoldsNobodyUp(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var own accessor
		cfg := srv.Config()
		cfg.TokenAccessor = &own
		renewed := 0
		db, _ := connect(t, cfg, snowtether.WithEventHook(func(e snowtether.Event) {
			if e.Kind == snowtether.EventRenewed {
				renewed++
				if own.locked.Load() {
					t.Error("the hook is called in the middle of the renewal")
				}
			}
		}))
		mustPing(t, db)
		srv.ExpireSessionTokens()
		mustPing(t, db)
		if renewed != 1 {
			t.Errorf("%d renewals were heard of", renewed)
		}
	})
}

// TestSlowHookHoldsNobodyAtTheGate: it holds up whoever it happened to.
func TestSlowHookHoldsNobodyAtTheGate(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		release := make(chan struct{})
		var first atomic.Bool
		db, _ := connect(t, srv.Config(), snowtether.WithEventHook(func(e snowtether.Event) {
			if e.Kind == snowtether.EventOutageBegan && !first.Swap(true) {
				<-release
			}
		}))
		outage(srv, time.Second, unavailable)
		met := make(chan error, 1)
		go func() { met <- db.PingContext(t.Context()) }()
		time.Sleep(2 * time.Second)
		if err := db.PingContext(within(t, time.Minute)); err != nil {
			t.Errorf("another login: %v", err)
		}
		close(release)
		if err := <-met; err != nil {
			t.Error(err)
		}
	})
}

// TestHookMayCloseTheConnector: also where closing it is what happens.
func TestHookMayCloseTheConnector(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var c *snowtether.Connector
		c, err := snowtether.NewConnector(srv.Config(), quiet, snowtether.WithEventHook(func(e snowtether.Event) {
			if e.Kind == snowtether.EventCloseTimedOut {
				_ = c.Close()
			}
		}))
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(c)
		if err := db.PingContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		stall(srv, snowtest.RequestLogout, time.Minute)
		if db.Close() == nil {
			t.Error("Close says nothing of the session that it left")
		}
		time.Sleep(time.Hour)
	})
}
