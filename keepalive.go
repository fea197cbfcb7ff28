package snowtether

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/internal/dsn"
	"github.com/snowtether/snowtether/internal/inner"
	"github.com/snowtether/snowtether/internal/program"
	"github.com/snowtether/snowtether/internal/sferr"
	"github.com/snowtether/snowtether/internal/sqltext"
	"github.com/snowtether/snowtether/internal/tokens"
)

// This file is about what keeps an idle session alive, about the idle session that is
// not, and about how the keeper asks for a session that is not its own.
//
//	what ends an idle session           heartbeat 3600 s  900 s  idle ping d     else
//	master token, 4 h                   kept alive        kept   kept, d < 4 h   new login
//	policy: idle time-out over 60 min   kept              kept   kept            new login
//	policy: over 15 min                 –                 kept   kept            new login
//	policy: 5 to 15 min                 –                 –      kept, d below   new login
//	policy: maximum life                –                 –      –               new login
//	an administrator, a revoked user    –                 –      –               new login
//	the machine sleeps longer than any  –                 –      –               new login
//
// The heartbeat (tetherKeepAlive, tetherHeartbeat) is gosnowflake's own: one
// goroutine per session; all that is done here is to see to it that it really
// runs. It also serves sessions that are in use, between statements. The idle ping
// (tetherIdlePing) is the keeper's (keeper.go), and serves those in the pool. Who pays
// for the new login: with an idle ping nobody, because the keeper finds the dead
// session first; else the next statement on that connection.
//
// The figures: the tokens' lives and the heartbeat's bounds are gosnowflake's and
// Snowflake's documentation of CLIENT_SESSION_KEEP_ALIVE; idle time-outs (5 min to
// 24 h) and maximum lives (up to 30 days) its documentation of session policies.
// That a heartbeat and a statement that is only compiled count as activity under
// such a policy is believed, and was not seen on an account. If they do not, the
// session dies, and the keeper or the next statement replaces it.

// The session parameters, in the spelling that gosnowflake acts on: only the
// lower-case key counts, and for the first only the exact text "true"
// (isClientSessionKeepAliveEnabled of v2.1.0). Anything else silently means no
// heartbeat.
const (
	paramKeepAlive = "client_session_keep_alive"
	paramHeartbeat = "client_session_keep_alive_heartbeat_frequency"
)

// applyKeepAlive normalises what the DSN or the program put into cfg.Params to
// what gosnowflake acts on, and fills in what nobody said.
func (s *settings) applyKeepAlive(cfg *gosnowflake.Config) error {
	if cfg.Params == nil {
		cfg.Params = make(map[string]*string)
	}
	on, found, err := takeParam(cfg.Params, paramKeepAlive, dsn.ParseBool)
	if err != nil {
		return err
	}
	switch {
	case s.keepAlive != nil:
		on = *s.keepAlive
	case !found:
		on = true
	}
	frequency, found, err := takeParam(cfg.Params, paramHeartbeat, parseSeconds)
	if err != nil {
		return err
	}
	if s.heartbeat != 0 {
		frequency, found = s.heartbeat, true
	}
	value := strconv.FormatBool(on)
	cfg.Params[paramKeepAlive] = &value
	if found {
		value := strconv.Itoa(int(frequency / time.Second))
		cfg.Params[paramHeartbeat] = &value
	}
	return nil
}

// takeParam removes every spelling of a parameter from params and parses it.
func takeParam[T comparable](params map[string]*string, name string, parse func(string) (T, error)) (value T, found bool, err error) {
	for key, v := range params {
		if !strings.EqualFold(key, name) {
			continue
		}
		if v == nil {
			return value, false, fmt.Errorf("snowtether: the parameter %s has no value", name)
		}
		parsed, err := parse(*v)
		if err != nil {
			return value, false, fmt.Errorf("snowtether: the parameter %s %w", name, err)
		}
		if found && parsed != value {
			return value, false, fmt.Errorf("snowtether: the parameter %s is given twice, with different values", name)
		}
		value, found = parsed, true
		delete(params, key)
	}
	return value, found, nil
}

func parseSeconds(v string) (time.Duration, error) {
	n, err := strconv.ParseInt(v, 10, 32)
	if d := time.Duration(n) * time.Second; err == nil && d >= minHeartbeat && d <= maxHeartbeat {
		return d, nil
	}
	return 0, errors.New("must be a whole number of seconds from 900 to 3600")
}

// masterLife is how long a master token lives unless it is renewed.
const masterLife = 4 * time.Hour

var errExpired = errors.New("it lay idle for longer than its master token lives")

// expired reports whether the session has certainly ended because nobody renewed
// its tokens since it came into the pool at the given time. The wall clock counts:
// the monotonic one stands still while a machine sleeps. After a wall clock was put
// forward by hours it errs once for each connection, which costs a login.
func (s *session) expired(since time.Time) bool {
	if since.IsZero() || s.connector.cfg == nil {
		return false // nothing is known about the tokens of a connector that was given
	}
	now := s.connector.settings.now().Round(0)
	if now.Sub(since.Round(0)) <= masterLife {
		return false
	}
	return now.Sub(s.watcher.IssuedAt().Round(0)) > masterLife
}

// idleSince says since when the session lies in the pool; zero if it does not.
func (s *session) idleSince() time.Time {
	cn := s.holder.Load()
	if cn == nil {
		return time.Time{}
	}
	cn.mu.Lock()
	defer cn.mu.Unlock()
	if !cn.holds(s) {
		return time.Time{}
	}
	return cn.idle
}

// holds reports whether the connection lies in the pool with this session. In this
// order: while it is in use, its session is its user's alone.
func (c *conn) holds(s *session) bool { return !c.idle.IsZero() && c.session == s }

// swap puts a fresh session in the place of a dead one, if it still lies in the
// pool. lost is what earlier users of the connection had set.
func (s *session) swap(fresh *session) (lost sqltext.Loss, swapped bool) {
	cn := s.holder.Load()
	cn.mu.Lock()
	defer cn.mu.Unlock()
	if !cn.holds(s) {
		return 0, false
	}
	lost = cn.mine | cn.theirs
	untold := cn.untold | cn.mine
	cn.attach(fresh)
	cn.untold, cn.earlier = untold, untold
	cn.forget()
	return lost, true
}

// pingTimeout bounds a ping; gosnowflake's own repetitions take about a minute.
const pingTimeout = 20 * time.Second

// A lane is a connection of the keeper's own, for one ping at a time. It borrows the
// tokens of the session that is asked about: a caller who is handed the session at
// the same moment shares nothing with the ping and does not wait for it.
type lane struct {
	conn    inner.Conn
	address *gosnowflake.Config // that conn was made for; nil without one
	tokens  *tokens.Loan        // of conn: gosnowflake keeps them while it cancels a ping that was left behind
}

// look asks whether a session is alive. It reports whether the server answered, also
// that the session is dead, and what was left behind, if anything was.
func (l *lane) look(c *Connector, s *session) (answered bool, left *program.Leftover) {
	now := c.clock.Load()
	ctx, cancel := context.WithTimeout(c.stopped, pingTimeout)
	defer cancel()
	left, err := l.ping(ctx, s)
	switch {
	case c.stopped.Err() != nil:
		return false, left
	case err != nil && (isTransient(err) || isContext(err) || sferr.IsGarbled(err)):
		c.pinged(c.stopped, s, err)
		return false, left
	}
	c.pinged(c.stopped, s, nil) // an error of another kind is an answer too
	switch {
	case !lost(err):
		s.heard(now)
		if err == nil || outcomeOf(err).Answer { // else it is the client's own, and says nothing of Snowflake
			c.served(c.stopped, time.Now())
		}
	case !s.leaving.Load(): // else it ended by its log-out, and that is no news of others
		c.lost(c.stopped, s, err)
	}
	return true, left
}

// ping asks the server about a session. A statement that is only compiled needs no
// warehouse, renews the session token if that has expired, and is the cheapest
// request that gosnowflake offers in which the server looks at the session.
func (l *lane) ping(ctx context.Context, s *session) (*program.Leftover, error) {
	if l.address == nil || l.address.Host != s.address.Host || l.address.Port != s.address.Port {
		l.hangUp()
		l.tokens = new(tokens.Loan)
		l.tokens.Lend(s.watcher, errRenewalLoop)
		cfg := dsn.Clone(s.address)
		cfg.TokenAccessor = l.tokens
		conn, err := program.Guard(ctx, gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *cfg).Connect)
		if err != nil {
			return nil, err
		}
		l.conn, l.address = inner.Of(conn), s.address
	}
	l.tokens.Lend(s.watcher, errRenewalLoop)
	conn := l.conn
	_, left, err := program.Leave(ctx, gosnowflake.WithDescribeOnly(ctx), func(ctx context.Context) (any, error) {
		return nil, conn.Exec(ctx, "SELECT 1")
	})
	if left != nil {
		// gosnowflake cancels the statement, and tries that for minutes. It is left to
		// that, and with it the connection.
		l.address = nil
		go func() {
			<-left.Over
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
	at := dsn.Clone(cfg)
	off := "false"
	at.Params = map[string]*string{paramKeepAlive: &off}
	at.Authenticator = gosnowflake.AuthTypeTokenAccessor
	at.ServerSessionKeepAlive = true
	at.Password, at.Passcode, at.Token, at.TokenFilePath, at.PrivateKey = "", "", "", "", nil
	at.OauthClientID, at.OauthClientSecret = "", ""
	return at
}
