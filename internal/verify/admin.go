package verify

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"sync"
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
			if e.admin.drop(ctx, s, m.drops[i]) != nil {
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
	r.left = append(r.left, statement)
}

// make makes an object of a kind.
func (m *maker) make(ctx context.Context, kind, name, rest string) error {
	m.drops = append(m.drops, "DROP "+kind+" IF EXISTS "+name) // it may have been made though the reply was lost
	_, err := m.admin.must(ctx, "CREATE "+kind+" "+name+" "+rest)
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
	a.base = m.admin.base
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
		m.drops = append(m.drops, "ALTER USER "+m.name+" UNSET SESSION POLICY")
		if err := m.alter(ctx, "SET SESSION POLICY "+schema+"."+m.name); err != nil {
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
	{"statement-counts", func(ctx context.Context, s *session) (*reply, error) { return s.run(ctx, "SELECT 1") }},
}

// rest lets four sessions of a user with a policy of 5 minutes do their pastimes for 8.
func (e *env) rest(ctx context.Context, user *account) error {
	resting, err := user.login(ctx, nil)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	last := make([]*reply, len(pastimes))
	errs := make([]error, len(pastimes))
	for i, p := range pastimes {
		s, err := user.login(ctx, nil)
		if err != nil {
			return err
		}
		wg.Go(func() {
			for range 8 {
				if errs[i] = pause(ctx, time.Minute); errs[i] == nil {
					_, errs[i] = p.do(ctx, s)
				}
				if errs[i] != nil {
					return
				}
			}
			last[i], errs[i] = s.run(ctx, "SELECT 3")
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	r, err := resting.run(ctx, "SELECT 3")
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

// A loss is what a throw-away user loses, and the beliefs that this settles.
type loss struct {
	ask     func(context.Context, *maker, *account) error
	beliefs []string
}

var losses = []loss{
	{askPassword, []string{"old-password-refused", "password-keeps-sessions"}},
	{askRole, []string{"revoked-role-refused"}},
	{askNetwork, []string{"network-policy-refuses"}},
	{askKey, []string{"unset-key-refused"}},
	{askPAT, []string{"removed-token-refused"}},
	{askDisabled, []string{"disabling-ends-sessions", "disabled-is-refused"}},
}

// askUsers takes one thing after another away from a throw-away user. What cannot be taken
// keeps nothing else from being asked.
func askUsers(ctx context.Context, e *env) error {
	return e.byAdmin(ctx, "_U", func(m *maker) error {
		user, err := m.user(ctx)
		if err != nil {
			return err
		}
		for _, l := range losses {
			err := l.ask(ctx, m, user)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			for _, belief := range l.beliefs {
				if err != nil {
					m.skip(belief, err.Error())
				}
			}
		}
		return nil
	})
}

// refusal logs in, and returns what the login was refused with; nil if it was not.
func refusal(ctx context.Context, user *account, change func(*gosnowflake.Config)) (*Exchange, error) {
	_, err := user.login(ctx, change)
	if refused := (*refusedError)(nil); errors.As(err, &refused) {
		return &refused.Exchange, nil
	}
	return nil, err
}

// settleLogin settles a belief about the code with which a login is refused.
func (e *env) settleLogin(belief string, x *Exchange, codes ...string) {
	if x == nil {
		e.settle(belief, false, nil, "the login was not refused")
		return
	}
	good := false
	for _, code := range codes {
		good = good || x.Code == code
	}
	e.settle(belief, good, []Exchange{*x}, "the login was refused with code %s", x.Code)
}

func askPassword(ctx context.Context, m *maker, user *account) error {
	s, err := user.login(ctx, nil)
	if err != nil {
		return err
	}
	changed := "Bb2!" + rand.Text()
	if err := m.alter(ctx, "SET PASSWORD = '"+changed+"'"); err != nil {
		return err
	}
	x, err := refusal(ctx, user, nil)
	if err != nil {
		return err
	}
	m.settleLogin("old-password-refused", x, "390100")
	r, err := s.run(ctx, "SELECT 1")
	if err != nil {
		return err
	}
	m.settle("password-keeps-sessions", r.Success, m.seen(askStatement, r), "a session from before the change: success %t, code %s", r.Success, r.shownCode())
	user.cfg.Password = changed
	return nil
}

func askRole(ctx context.Context, m *maker, user *account) error {
	if err := m.make(ctx, "ROLE", m.name, ""); err != nil {
		return err
	}
	if _, err := m.admin.must(ctx, "GRANT ROLE "+m.name+" TO USER "+m.name); err != nil {
		return err
	}
	as := func(cfg *gosnowflake.Config) { cfg.Role = m.name }
	if x, err := refusal(ctx, user, as); x != nil || err != nil {
		return errors.Join(err, errors.New("a login with a role that was granted was refused"))
	}
	if _, err := m.admin.must(ctx, "REVOKE ROLE "+m.name+" FROM USER "+m.name); err != nil {
		return err
	}
	x, err := refusal(ctx, user, as)
	if err == nil {
		m.settleLogin("revoked-role-refused", x, "390189")
	}
	return err
}

func askNetwork(ctx context.Context, m *maker, user *account) error {
	// An address of the block for documentation, which is nobody's.
	if err := m.make(ctx, "NETWORK POLICY", m.name, "ALLOWED_IP_LIST = ('192.0.2.1')"); err != nil {
		return err
	}
	m.drops = append(m.drops, "ALTER USER "+m.name+" UNSET NETWORK_POLICY")
	if err := m.alter(ctx, "SET NETWORK_POLICY = "+m.name); err != nil {
		return err
	}
	x, err := refusal(ctx, user, nil)
	if err == nil {
		m.settleLogin("network-policy-refuses", x, "390422", "390420")
	}
	return errors.Join(err, m.alter(ctx, "UNSET NETWORK_POLICY"))
}

func askKey(ctx context.Context, m *maker, user *account) error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	if err := m.alter(ctx, "SET RSA_PUBLIC_KEY = '"+base64.StdEncoding.EncodeToString(public)+"'"); err != nil {
		return err
	}
	byKey := func(cfg *gosnowflake.Config) {
		cfg.Authenticator, cfg.PrivateKey, cfg.Password = gosnowflake.AuthTypeJwt, key, ""
	}
	if x, err := refusal(ctx, user, byKey); x != nil || err != nil {
		return errors.Join(err, errors.New("a login with a key that was set was refused"))
	}
	if err := m.alter(ctx, "UNSET RSA_PUBLIC_KEY"); err != nil {
		return err
	}
	x, err := refusal(ctx, user, byKey)
	if err == nil {
		m.settleLogin("unset-key-refused", x, "390144")
	}
	return err
}

func askPAT(ctx context.Context, m *maker, user *account) error {
	r, err := m.admin.must(ctx, "ALTER USER "+m.name+" ADD PROGRAMMATIC ACCESS TOKEN "+m.name+" DAYS_TO_EXPIRY = 1")
	if err != nil {
		return err
	}
	secrets := r.column("token_secret")
	if len(secrets) != 1 || secrets[0] == "" {
		return errors.New("no programmatic access token was given out")
	}
	byToken := func(cfg *gosnowflake.Config) {
		cfg.Authenticator, cfg.Token, cfg.Password = gosnowflake.AuthTypePat, secrets[0], ""
	}
	if x, err := refusal(ctx, user, byToken); x != nil || err != nil {
		return errors.Join(err, errors.New("a login with a programmatic access token was refused"))
	}
	if err := m.alter(ctx, "REMOVE PROGRAMMATIC ACCESS TOKEN "+m.name); err != nil {
		return err
	}
	x, err := refusal(ctx, user, byToken)
	if err == nil {
		m.settleLogin("removed-token-refused", x, "390303", "394400")
	}
	return err
}

func askDisabled(ctx context.Context, m *maker, user *account) error {
	s, err := user.login(ctx, nil)
	if err != nil {
		return err
	}
	if err := m.alter(ctx, "SET DISABLED = TRUE"); err != nil {
		return err
	}
	r, err := s.run(ctx, "SELECT 1")
	if err != nil {
		return err
	}
	m.settle("disabling-ends-sessions", isGone(r), m.seen(askStatement, r), "HTTP %d, success %t, code %s", r.Status, r.Success, r.shownCode())
	x, err := refusal(ctx, user, nil)
	if err == nil {
		// What the driver must not take for a reason to try on: anything that is no session's code.
		m.settle("disabled-is-refused", x != nil && x.Code != "" && !isGone(&reply{Status: x.Status, Code: x.Code}), exchanges(x), "the login was refused: %t, code %s", x != nil, codeOf(x))
	}
	return err
}

func exchanges(x *Exchange) []Exchange {
	if x == nil {
		return nil
	}
	return []Exchange{*x}
}

func codeOf(x *Exchange) string {
	if x == nil {
		return "none"
	}
	return x.Code
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
		e.settle("resuming-is-not-final", isFinal(last.word) && took > runs-2*time.Second, e.seen(askStatus, last.reply),
			"a statement of %v on a suspended warehouse: status words %s, final after %v", runs, words, took.Round(time.Second))
		return nil
	})
}
