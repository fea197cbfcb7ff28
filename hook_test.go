package snowtether_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"

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
		if n := strings.Count(log.String(), "the event hook panicked"); n != 1 || strings.Contains(log.String(), "s3cret") {
			t.Errorf("%d lines about it:\n%s", n, log.String())
		}
	})
}

// An accessor is a program's own gosnowflake.TokenAccessor, which knows whether it
// is locked.
type accessor struct {
	renewing sync.Mutex
	locked   atomic.Bool

	mu            sync.Mutex
	token, master string
	session       int64
}

func (a *accessor) GetTokens() (token, master string, session int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.token, a.master, a.session
}

func (a *accessor) SetTokens(token, master string, session int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.token, a.master, a.session = token, master, session
}

func (a *accessor) Lock() error {
	a.renewing.Lock()
	a.locked.Store(true)
	return nil
}

func (a *accessor) Unlock() {
	a.locked.Store(false)
	a.renewing.Unlock()
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
