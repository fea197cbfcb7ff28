package snowtether

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"
	"golang.org/x/oauth2"

	"github.com/snowtether/snowtether/internal/program"
)

// This file says who logs in: what the program's hook and its token source make
// of the Config for one login.

// hookTimeout bounds a hook or a token source that hangs, so that it cannot hold
// up the logins of others for ever.
const hookTimeout = time.Minute

// prepare makes the Config for one login. stale is a token that was just refused.
func (c *Connector) prepare(ctx context.Context, stale string) (*gosnowflake.Config, error) {
	ctx, cancel := context.WithTimeout(ctx, hookTimeout)
	defer cancel()
	defer context.AfterFunc(c.stopped, cancel)()
	cfg := cloneConfig(c.cfg)
	if c.tokens != nil {
		token, err := c.tokens.get(ctx, stale)
		if err != nil {
			return nil, hookError("token source", err)
		}
		cfg.Token, cfg.TokenFilePath = token, ""
		if cfg.Authenticator != gosnowflake.AuthTypePat {
			cfg.Authenticator = gosnowflake.AuthTypeOAuth
		}
	}
	if c.settings.beforeConnect != nil {
		if err := c.askHook(ctx, cfg); err != nil {
			return nil, hookError("hook before the login", err)
		}
	}
	if cfg.TokenFilePath != "" && strings.TrimSpace(tokenOf(cfg)) == "" {
		return nil, &localError{errors.New("the token file is empty, or cannot be read")} // it may be being written
	}
	return cfg, nil
}

// askHook lets the program's hook change cfg.
func (c *Connector) askHook(ctx context.Context, cfg *gosnowflake.Config) error {
	// One that ignores its context is left behind, and cfg with it.
	_, err := program.Call(ctx, &c.programs, func(ctx context.Context) (any, error) { return nil, c.settings.beforeConnect(ctx, cfg) })
	if err != nil {
		return err
	}
	if cfg.Params == nil {
		cfg.Params = make(map[string]*string)
	}
	// What it says about keep-alive in another spelling replaces what is there.
	for _, name := range []string{paramKeepAlive, paramHeartbeat} {
		for key := range cfg.Params {
			if key != name && strings.EqualFold(key, name) {
				delete(cfg.Params, name)
			}
		}
	}
	for name, value := range cfg.Params {
		if value == nil || strings.HasPrefix(strings.ToLower(name), "tether") {
			return fmt.Errorf("it set the parameter %s, which has no value or is an option of the connector", shorten(name))
		}
	}
	return c.settings.applyKeepAlive(cfg)
}

// hookError is permanent for the caller who meets it, but suspends nobody.
func hookError(who string, err error) error {
	class := ClassPermanent
	if isTransient(err) || isContext(err) {
		class = ClassTransient
	}
	return &SessionError{Op: "login", Class: class, Err: fmt.Errorf("the %s failed: %w", who, err)}
}

// tokenOf is the token that a login with this Config would send.
func tokenOf(cfg *gosnowflake.Config) string {
	if cfg.TokenFilePath == "" {
		return cfg.Token
	}
	// gosnowflake reads the file at each login too, and reports what is wrong with it.
	text, _ := os.ReadFile(cfg.TokenFilePath)
	return string(text)
}

// earlyExpiry is how long before its expiry a token is not used any more: a login
// takes seconds, and clocks differ.
const earlyExpiry = time.Minute

// A tokenCache asks the program's token source, one login at a time, and keeps
// the answer until it nears its expiry.
type tokenCache struct {
	source   oauth2.TokenSource
	programs *program.Functions
	lock     chan struct{} // held by whoever asks the source
	asking   atomic.Int64  // calls that have not returned

	mu    sync.Mutex
	token *oauth2.Token
}

func newTokenCache(source oauth2.TokenSource, p *program.Functions) *tokenCache {
	return &tokenCache{source: source, programs: p, lock: make(chan struct{}, 1)}
}

// get returns a token that is good and is not stale.
func (t *tokenCache) get(ctx context.Context, stale string) (string, error) {
	if token := t.cached(stale); token != "" {
		return token, nil
	}
	select {
	case t.lock <- struct{}{}:
	case <-ctx.Done():
		return "", fmt.Errorf("waiting for another login to ask for a token: %w", ctx.Err())
	}
	if token := t.cached(stale); token != "" {
		<-t.lock
		return token, nil
	}
	// oauth2.TokenSource knows no context. A call that hangs is left behind, and others are
	// made in its place; but not many.
	type answer struct {
		token string
		err   error
	}
	done := make(chan answer, 1)
	var once sync.Once
	free := func() { once.Do(func() { <-t.lock }) }
	t.asking.Add(1)
	go func() {
		a := answer{err: program.ErrGoexit}
		defer func() {
			t.asking.Add(-1)
			free()
			done <- a
		}()
		ctx, over := t.programs.Enter(ctx)
		defer over()
		a.token, a.err = program.Guard(ctx, func(ctx context.Context) (string, error) { return t.ask(ctx, stale != "") })
	}()
	select {
	case a := <-done:
		if a.err == nil && a.token == stale {
			a.err = errors.New("it returned the token that was just refused")
		}
		return a.token, a.err
	case <-ctx.Done():
		if t.asking.Load() < maxAsking {
			free()
		}
		return "", fmt.Errorf("it has not answered: %w", ctx.Err())
	}
}

// maxAsking is how many calls of a token source may hang until it is not called any more.
const maxAsking = 5

// cached is the token at hand, "" if it is stale or nears its expiry. Expiry goes
// by the wall clock, without the monotonic reading: that stands still while a
// laptop sleeps.
func (t *tokenCache) cached(stale string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.token == nil || t.token.AccessToken == stale:
		return ""
	case !t.token.Expiry.IsZero() && !time.Now().Round(0).Add(earlyExpiry).Before(t.token.Expiry):
		return ""
	}
	return t.token.AccessToken
}

// ask asks the source and keeps its answer.
func (t *tokenCache) ask(ctx context.Context, force bool) (string, error) {
	var token *oauth2.Token
	var err error
	if r, ok := t.source.(interface {
		Refresh(context.Context) (*oauth2.Token, error)
	}); ok && force {
		token, err = r.Refresh(ctx)
	} else {
		token, err = t.source.Token()
	}
	switch {
	case err != nil:
		return "", err
	case token == nil || token.AccessToken == "":
		return "", errors.New("it returned an empty token")
	case !token.Expiry.IsZero() && !time.Now().Round(0).Before(token.Expiry):
		return "", fmt.Errorf("it returned a token that expired at %s", token.Expiry.UTC().Format(time.RFC3339))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.token = token
	return token.AccessToken, nil
}

// credentialOf is what makes a credential.
func credentialOf(cfg *gosnowflake.Config) []string {
	parts := []string{
		cfg.Account, cfg.Host, cfg.User, cfg.Authenticator.String(), cfg.Password, // a new passcode makes no other credential
		cfg.OauthClientID, cfg.OauthClientSecret, tokenOf(cfg),
	}
	if cfg.PrivateKey != nil {
		parts = append(parts, string(cfg.PrivateKey.N.Bytes()))
	}
	return parts
}

// isLockable reports whether each refusal counts towards a lock-out, also that of a
// credential which has been refused before: a password, also where a passcode or a person's
// consent comes with it. Of other credentials, such as tokens, only a new one does.
func isLockable(cfg *gosnowflake.Config) bool {
	switch cfg.Authenticator {
	case gosnowflake.AuthTypeSnowflake, gosnowflake.AuthTypeUsernamePasswordMFA, gosnowflake.AuthTypeOkta:
		return true
	}
	return false
}

// hasPerson reports whether somebody has to consent to each login: then a refusal is no
// news of the next one.
func hasPerson(cfg *gosnowflake.Config) bool {
	switch cfg.Authenticator {
	case gosnowflake.AuthTypeExternalBrowser, gosnowflake.AuthTypeOAuthAuthorizationCode:
		return true
	case gosnowflake.AuthTypeUsernamePasswordMFA:
		return cfg.Passcode == "" && !cfg.PasscodeInPassword
	}
	return false
}

// An askedError is what a login failed with for which somebody may have been asked to
// consent. It is not sent again by itself.
type askedError struct{ err error }

func (e *askedError) Error() string { return e.err.Error() }
func (e *askedError) Unwrap() error { return e.err }

func hasAsked(err error) bool {
	_, asked := as[*askedError](err)
	return asked
}
