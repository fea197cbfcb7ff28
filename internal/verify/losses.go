package verify

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"

	"github.com/snowflakedb/gosnowflake/v2"
)

// This file takes from a throw-away user what users lose: password, role, network, key, token
// and everything.

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
	r, err := s.try(ctx, "SELECT 1")
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
	r, err := s.try(ctx, "SELECT 1")
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
