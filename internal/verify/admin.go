package verify

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"
)

// This file is what an administrator can ask: with a throw-away user, on whom a policy can be
// set and whose logins may be refused, and a warehouse of the run's own.

// A maker makes things for one check, and drops them in the opposite order.
type maker struct {
	*env
	admin *session
	name  string // of all of them
	drops []string
}

// byAdmin runs fn with a maker, and drops what it made, also when ctx has ended.
func (e *env) byAdmin(ctx context.Context, suffix string, fn func(*maker) error) (err error) {
	s, err := e.admin.login(ctx, nil)
	if err != nil {
		return err
	}
	m := &maker{env: e, admin: s, name: e.name + suffix}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		for i := len(m.drops) - 1; i >= 0; i-- {
			if e.admin.drop(ctx, s, m.drops[i]) != nil && strings.HasPrefix(m.drops[i], "DROP") {
				e.leave(m.drops[i])
			}
		}
	}()
	return fn(m)
}

// leave notes what could not be dropped.
func (r *run) leave(statement string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left = append(r.left, strings.ReplaceAll(statement, name(r.Admin.Database)+".", "")) // no name but the run's own
}

// make makes an object of a kind.
func (m *maker) make(ctx context.Context, kind, name, rest string) error {
	return m.change(ctx, "CREATE "+kind+" "+name+" "+rest, "DROP "+kind+" IF EXISTS "+name)
}

// change does something that is to be undone, also where its reply is lost. What Snowflake has
// refused needs no undoing.
func (m *maker) change(ctx context.Context, do, undo string) error {
	m.drops = append(m.drops, undo)
	r, err := m.admin.run(ctx, do)
	if err == nil && !r.Success {
		m.drops = m.drops[:len(m.drops)-1]
		err = m.admin.unexpected("a statement", r)
	}
	return err
}

// user makes a throw-away user, and returns who can log in as that user.
func (m *maker) user(ctx context.Context) (*account, error) {
	password := "Aa1!" + rand.Text()
	err := m.make(ctx, "USER", m.name, "TYPE = LEGACY_SERVICE PASSWORD = '"+password+"'")
	if err != nil { // of a type that an account may not have any more
		err = m.make(ctx, "USER", m.name, "PASSWORD = '"+password+"'")
	}
	if err != nil {
		return nil, err
	}
	cfg := *m.admin.cfg
	cfg.User, cfg.Password, cfg.Authenticator, cfg.Token, cfg.TokenFilePath, cfg.PrivateKey = m.name, password, gosnowflake.AuthTypeSnowflake, "", "", nil
	cfg.Role, cfg.Warehouse, cfg.Database, cfg.Schema = "", "", "", ""
	cfg.Params = maps.Clone(cfg.Params)
	cfg.MaxRetryCount = 1
	a := newAccount(&cfg, nil)
	a.base, a.thrown = m.admin.base, true
	m.mu.Lock()
	defer m.mu.Unlock()
	m.thrown = append(m.thrown, a)
	return a, nil
}

// alter changes the user.
func (m *maker) alter(ctx context.Context, how string) error {
	_, err := m.admin.must(ctx, "ALTER USER "+m.name+" "+how)
	return err
}

func askPolicy(ctx context.Context, e *env) error {
	return e.byAdmin(ctx, "_P", func(m *maker) error {
		user, err := m.user(ctx)
		if err != nil {
			return err
		}
		schema := name(m.admin.cfg.Database) + "." + m.name
		if err := m.make(ctx, "SCHEMA", schema, ""); err != nil {
			return err
		}
		if err := m.make(ctx, "SESSION POLICY", schema+"."+m.name, "SESSION_IDLE_TIMEOUT_MINS = 5"); err != nil {
			return err
		}
		alter := "ALTER USER " + m.name
		if err := m.change(ctx, alter+" SET SESSION POLICY "+schema+"."+m.name, alter+" UNSET SESSION POLICY"); err != nil {
			return err
		}
		return e.rest(ctx, user)
	})
}

// A pastime is what a session does while nobody uses it.
type pastime struct {
	belief string
	do     func(context.Context, *session) (*reply, error)
}

var pastimes = []pastime{
	{"heartbeat-counts", func(ctx context.Context, s *session) (*reply, error) { return s.heartbeat(ctx) }},
	{"described-counts", func(ctx context.Context, s *session) (*reply, error) {
		return s.submit(ctx, newID(), statement{SQLText: "SELECT 2", DescribeOnly: true})
	}},
	{"statement-counts", func(ctx context.Context, s *session) (*reply, error) { return s.try(ctx, "SELECT 1") }},
}

// rest lets four sessions of a user with a policy of 5 minutes do their pastimes for 8.
func (e *env) rest(ctx context.Context, user *account) error {
	resting, err := user.login(ctx, nil)
	if err != nil {
		return err
	}
	last := make([]*reply, len(pastimes))
	var parts []func() error
	for i, p := range pastimes {
		s, err := user.login(ctx, nil)
		if err != nil {
			return err
		}
		parts = append(parts, func() (err error) {
			for range 8 {
				if err = pause(ctx, time.Minute); err == nil {
					_, err = p.do(ctx, s)
				}
				if err != nil {
					return err
				}
			}
			last[i], err = s.try(ctx, "SELECT 3")
			return err
		})
	}
	if err := together(parts...); err != nil {
		return err
	}
	r, err := resting.try(ctx, "SELECT 3")
	if err != nil {
		return err
	}
	e.settle("idle-policy-refuses", isGone(r), e.seen(askStatement, r), "after 8 minutes of rest under a policy of 5: HTTP %d, code %s", r.Status, r.shownCode())
	for i, p := range pastimes {
		if !isGone(r) {
			e.skip(p.belief, "the policy did not end a resting session")
			continue
		}
		e.settle(p.belief, last[i].Success, e.seen(askStatement, last[i]), "after 8 minutes, once a minute, under a policy of 5: HTTP %d, code %s", last[i].Status, last[i].shownCode())
	}
	return nil
}

// askResume sends a statement to a warehouse that is suspended.
func askResume(ctx context.Context, e *env) error {
	return e.byAdmin(ctx, "_W", func(m *maker) error {
		if err := m.make(ctx, "WAREHOUSE", m.name, "WAREHOUSE_SIZE = XSMALL INITIALLY_SUSPENDED = TRUE AUTO_SUSPEND = 60"); err != nil {
			return err
		}
		if _, err := m.admin.must(ctx, "USE WAREHOUSE "+m.name); err != nil {
			return err
		}
		const runs = 10 * time.Second
		begun := time.Now()
		id, err := m.admin.start(ctx, fmt.Sprintf("SELECT COUNT(*) FROM TABLE(GENERATOR(TIMELIMIT => %d))", int(runs.Seconds())))
		if err != nil {
			return err
		}
		words, last, err := e.watch(ctx, m.admin, id, 5*time.Minute)
		if err != nil {
			return err
		}
		took := time.Since(begun)
		answer := fmt.Sprintf("a statement of %v on a suspended warehouse: status words %s, final after %v", runs, words, took.Round(time.Second))
		return e.settleEnd(ctx, "resuming-is-not-final", m.admin, id, last, took < runs-2*time.Second, answer)
	})
}
