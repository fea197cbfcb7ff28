package snowtether

import (
	"context"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"
)

// This file is how the keeper asks the server about a session that is not its own.

// pingTimeout bounds a ping; gosnowflake's own repetitions take about a minute.
const pingTimeout = 20 * time.Second

// A lane is a connection of the keeper's own, for one ping at a time. It borrows the
// tokens of the session that is asked about: a caller who is handed the session at
// the same moment shares nothing with the ping and does not wait for it.
type lane struct {
	conn    inner
	address *gosnowflake.Config // that conn was made for; nil without one
	tokens  *borrowed           // of conn: gosnowflake keeps them while it cancels a ping that was left behind
}

// look asks whether a session is alive. It reports whether the server answered, also
// that the session is dead, and what was left behind, if anything was.
func (l *lane) look(c *Connector, s *session) (answered bool, left *leftover) {
	now := c.clock.Load()
	ctx, cancel := context.WithTimeout(c.stopped, pingTimeout)
	defer cancel()
	left, err := l.ping(ctx, s)
	switch {
	case c.stopped.Err() != nil:
		return false, left
	case err != nil && (isTransient(err) || isContext(err) || isGarbled(err)):
		c.pinged(c.stopped, s, err)
		return false, left
	}
	c.pinged(c.stopped, s, nil) // an error of another kind is an answer too
	switch {
	case !lost(err):
		s.heard(now)
		c.served(c.stopped)
	case !s.leaving.Load(): // else it ended by its log-out, and that is no news of others
		c.lost(c.stopped, s, err)
	}
	return true, left
}

// ping asks the server about a session. A statement that is only compiled needs no
// warehouse, renews the session token if that has expired, and is the cheapest
// request that gosnowflake offers in which the server looks at the session.
func (l *lane) ping(ctx context.Context, s *session) (*leftover, error) {
	if l.address == nil || l.address.Host != s.address.Host || l.address.Port != s.address.Port {
		l.hangUp()
		l.tokens = &borrowed{watcher: s.watcher}
		cfg := cloneConfig(s.address)
		cfg.TokenAccessor = l.tokens
		conn, err := guard(ctx, gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *cfg).Connect)
		if err != nil {
			return nil, err
		}
		l.conn, l.address = asInner(conn), s.address
	}
	l.tokens.watcher, l.tokens.renewals = s.watcher, 0
	conn := l.conn
	_, left, err := leave(ctx, gosnowflake.WithDescribeOnly(ctx), func(ctx context.Context) (any, error) {
		return nil, conn.execSimple(ctx, "SELECT 1")
	})
	if left != nil {
		// gosnowflake cancels the statement, and tries that for minutes. It is left to
		// that, and with it the connection.
		l.address = nil
		go func() {
			<-left.over
			_ = conn.Close()
		}()
	}
	return left, err
}

// hangUp gives the lane's connection up. Its session is somebody else's and is not
// logged out.
func (l *lane) hangUp() {
	if l.address != nil {
		l.address = nil
		_ = l.conn.Close()
	}
}

// addressOf is the Config of a lane's connection to where cfg logs in: it
// brings no credentials, needs no login, and logs nobody out.
func addressOf(cfg *gosnowflake.Config) *gosnowflake.Config {
	at := cloneConfig(cfg)
	off := "false"
	at.Params = map[string]*string{paramKeepAlive: &off}
	at.Authenticator = gosnowflake.AuthTypeTokenAccessor
	at.ServerSessionKeepAlive = true
	at.Password, at.Passcode, at.Token, at.TokenFilePath, at.PrivateKey = "", "", "", "", nil
	at.OauthClientID, at.OauthClientSecret = "", ""
	return at
}

// borrowed hands gosnowflake the tokens of the session that is being asked about,
// and a renewal back to that session.
type borrowed struct {
	watcher  *tokenWatcher
	renewals int
}

func (b *borrowed) GetTokens() (token, master string, sessionID int64) { return b.watcher.GetTokens() }

func (b *borrowed) SetTokens(token, master string, sessionID int64) {
	b.watcher.SetTokens(token, master, sessionID)
}

func (b *borrowed) Lock() error {
	if b.renewals++; b.renewals > maxRenewals {
		return errRenewalLoop
	}
	return b.watcher.lock()
}

func (b *borrowed) Unlock() { b.watcher.Unlock() }
