package verify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/snowflakedb/gosnowflake/v2"
)

// This file is who is asked: an account as one user, their logins and the sessions to close.

// An account is who is asked, as one user.
type account struct {
	cfg   *gosnowflake.Config
	base  http.RoundTripper
	url   string
	blank *blanker

	logins   atomic.Int64                 // that were sent
	refused  atomic.Pointer[refusedError] // the first refusal, after which none is sent any more: five in a row lock a user out
	thrown   bool                         // a throw-away user, who may be refused
	turn     chan struct{}                // logins of a user who must not be refused twice go one at a time
	mu       sync.Mutex
	sessions []*session
}

func newAccount(cfg *gosnowflake.Config, trust *tls.Config) *account {
	a := &account{turn: make(chan struct{}, 1), cfg: cfg, base: newTransport(cfg, trust), blank: newBlanker(
		cfg.Account, cfg.User, cfg.Database, cfg.Schema, cfg.Warehouse, cfg.Role, cfg.Region, cfg.Host, cfg.Application)}
	a.url = fmt.Sprintf("%s://%s:%d", cfg.Protocol, cfg.Host, cfg.Port)
	return a
}

// A refusedError is a login that Snowflake refused.
type refusedError struct{ Exchange }

func (e *refusedError) Error() string {
	return fmt.Sprintf("the login was refused with code %s: %s", e.Code, e.Message)
}

// sessionParameters are those of every session: results are read as JSON, and no time-out of the
// user's or the account's ends a statement before its check does. A warehouse may have one of its own.
var sessionParameters = map[string]string{
	"GO_QUERY_RESULT_FORMAT":              "JSON",
	"CLIENT_SESSION_KEEP_ALIVE":           "false",
	"STATEMENT_TIMEOUT_IN_SECONDS":        "7200",
	"STATEMENT_QUEUED_TIMEOUT_IN_SECONDS": "0",
	"LOCK_TIMEOUT":                        "43200",
}

// login opens a session. Results come as JSON, and change may alter the Config further. The
// DSN's session parameters are left out: what they would change is asked here, and gosnowflake's
// heartbeat would renew the token behind verify's back.
func (a *account) login(ctx context.Context, change func(*gosnowflake.Config)) (*session, error) {
	cfg := *a.cfg
	cfg.Params = map[string]*string{}
	for name, value := range sessionParameters {
		cfg.Params[name] = &value
	}
	cfg.ServerSessionKeepAlive, cfg.LogQueryText, cfg.LogQueryParameters = false, false, false
	//lint:ignore SA1019 gosnowflake still reads it, and its log has names in it
	cfg.Tracing = ""
	rec := &recorder{base: a.base}
	cfg.Transporter = rec
	if change != nil {
		change(&cfg)
	}
	if !a.thrown {
		select {
		case a.turn <- struct{}{}:
			defer func() { <-a.turn }()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if x := a.refused.Load(); x != nil {
			return nil, x
		}
	}
	a.logins.Add(1)
	conn, err := gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, cfg).Connect(ctx)
	in := rec.answered()
	if err != nil {
		if in != nil && !in.Success && in.Code != "" {
			x := &refusedError{a.blank.exchange("POST "+loginPath, in)}
			if x.Code != "390201" { // that a warehouse does not exist is said of no credential
				a.refused.CompareAndSwap(nil, x)
			}
			return nil, x
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, errors.New("the login failed, and not by an answer of Snowflake's: " + a.blank.blank(err.Error()))
	}
	s := &session{account: a, conn: conn, rec: rec, id: in.text("sessionId"), token: in.text("token"), master: in.text("masterToken")}
	a.mu.Lock()
	a.sessions = append(a.sessions, s)
	a.mu.Unlock()
	if number(s.id) <= 0 {
		return nil, errors.New("the reply to the login has no session ID")
	}
	if on, reported := s.autocommit(); reported && !on {
		_, err = s.must(ctx, "ALTER SESSION SET AUTOCOMMIT = TRUE")
	}
	return s, err
}

// closeAll logs every session out that is not over.
func (a *account) closeAll(ctx context.Context) {
	a.mu.Lock()
	sessions := a.sessions
	a.sessions = nil
	a.mu.Unlock()
	var wg sync.WaitGroup
	for _, s := range sessions {
		wg.Go(func() { s.close(ctx) })
	}
	wg.Wait()
}

// closeOthers ends all sessions but one.
func (a *account) closeOthers(ctx context.Context, but *session) {
	a.mu.Lock()
	a.sessions = slices.DeleteFunc(a.sessions, func(s *session) bool { return s == but })
	a.mu.Unlock()
	a.closeAll(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sessions = append(a.sessions, but)
}

// drop drops something, in a new session where its own has gone: a session policy of the
// user's may be shorter than a run.
func (a *account) drop(ctx context.Context, s *session, statement string) error {
	_, err := s.must(ctx, statement)
	if err == nil {
		return nil
	}
	if s, err = a.login(ctx, nil); err == nil {
		_, err = s.must(ctx, statement)
	}
	return err
}
