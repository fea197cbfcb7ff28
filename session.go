package snowtether

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/internal/gate"
	"github.com/snowtether/snowtether/internal/http2"
	"github.com/snowtether/snowtether/internal/inner"
	"github.com/snowtether/snowtether/internal/login"
	"github.com/snowtether/snowtether/internal/program"
	"github.com/snowtether/snowtether/internal/sqltext"
	"github.com/snowtether/snowtether/internal/tokens"
	"github.com/snowtether/snowtether/internal/transcript"
)

// This file is the life of a session: what one login opens and sets up, whether it is
// believed to be alive, and its log-out. How logins are let through is in gate.go and internal/gate.

// A session is what one login opened: the inner connection and what is known
// about it.
type session struct {
	connector  *Connector
	conn       inner.Conn
	watcher    *tokens.Watcher
	watch      *atomic.Pointer[transcript.Recorder] // of the statement under way
	holder     atomic.Pointer[conn]                 // the connection whose session it is or was
	address    *gosnowflake.Config                  // for the keeper: where the session is, without credentials; nil without an idle ping
	opened     time.Time
	order      int64        // when it was opened, by Connector.clock
	verified   atomic.Int64 // when it was last known to be alive, by Connector.clock
	used       atomic.Int64 // when something was last sent on its own network connections, by the wall clock
	doubted    atomic.Bool  // a statement on it failed, and nobody knows why
	unheard    atomic.Bool  // what was last asked of it was not answered
	principal  principal
	state      sqltext.State                      // when it was set up
	reports    inner.Parameter                    // what the server reports of AUTOCOMMIT
	autocommit string                             // as it last did
	visible    atomic.Bool                        // gosnowflake's requests can be seen
	dialect    atomic.Pointer[transcript.Dialect] // of the gosnowflake inside; nil while none was seen
	silent     bool                               // its login did nothing that an HTTP client does: a mock
	detached   bool                               // it is being used, and will be closed, in the background
	kept       bool                               // it is not logged out
	inTx       bool                               // it was given up with a transaction that may be open
	dead       atomic.Pointer[error]              // why, once it was found dead
	vanished   atomic.Bool                        // it was found dead when it was to be logged out
	runsOn     bool                               // a request of several statements, a chain, a procedure, or an asynchronous statement that is not in under, may still run in it
	runner     program.Runner[onSession]
	busy       atomic.Pointer[program.Leftover] // what a caller left behind, until somebody has seen it over
	carried    atomic.Pointer[chan struct{}]    // closed when what is carried over from it has ended; nil: nothing is
	alive      bool                             // one of them was running when it was last asked
	under      []string                         // way: the query IDs of its asynchronous statements, the last hundred
	closing    sync.Once
	leaving    atomic.Bool // it is being logged out

	preparing sync.Mutex
	prepared  map[*prepared]struct{} // the inner statements that are open; nil once it is closed
}

// A principal is whom a session acts as.
type principal struct{ user, role string }

func (s *session) id() int64 {
	_, _, id := s.watcher.GetTokens()
	return max(id, 0)
}

// heard notes that the session was alive at this time of Connector.clock.
func (s *session) heard(at int64) {
	s.verified.Store(at)
	s.doubted.Store(false)
}

// rest notes that something was sent on the session's own network connections until now.
func (s *session) rest() { s.used.Store(s.connector.settings.now().UnixNano()) }

// suspect reports whether the session may have ended unnoticed.
func (s *session) suspect() bool {
	return s.doubted.Load() || s.verified.Load() < s.connector.suspectSince.Load()
}

func (s *session) age() time.Duration { return elapsed(s.opened, s.connector.settings.now()) }

// newWatcher makes the holder of the tokens of a session that is about to be opened. watch has
// the recorder of the statement under way in it.
func (c *Connector) newWatcher(l *login.Context, watch *atomic.Pointer[transcript.Recorder]) *tokens.Watcher {
	now := c.settings.now
	return tokens.New(tokens.Observer{
		Now: now, Since: func(then time.Time) time.Duration { return elapsed(then, now()) },
		Refused: l.Refused, Succeeded: l.Succeeded,
		Renewed: func(id int64, lived time.Duration) {
			c.emit(context.Background(), Event{Kind: EventRenewed, SessionID: id, Duration: lived})
		},
		MayRenew: func() error {
			if seen := watch.Load(); seen != nil && !seen.MayRenew() {
				return errRenewalLoop
			}
			return nil
		},
	})
}

// errNoToken is a login that went well by its own words: gosnowflake asks for no
// more.
var errNoToken = fmt.Errorf("the login was answered without a session token: %w", io.ErrUnexpectedEOF)

// open sends one login and sets the session up. cfg is nil for a connector that
// was given. in is called when the login has succeeded, before the set-up.
func (c *Connector) open(ctx context.Context, cfg *gosnowflake.Config, in func()) (*session, error) {
	lctx := login.New(ctx, c.stopped, cfg, closeTimeout/2)
	defer lctx.Release()
	watch := new(atomic.Pointer[transcript.Recorder])
	w := c.newWatcher(lctx, watch)
	by, who, address, kept := c.inner, principal{}, (*gosnowflake.Config)(nil), false
	if cfg != nil {
		if c.settings.idlePing > 0 {
			address = addressOf(cfg)
		}
		// gosnowflake would try for LoginTimeout, 300 s by default, waiting in between;
		// it counts only the waiting. Next to nothing leaves the one attempt.
		//lint:ignore SA1019 there is no other setting for it
		cfg.LoginTimeout = time.Nanosecond
		kept = cfg.ServerSessionKeepAlive
		w.Adopt(cfg.TokenAccessor, cfg.Authenticator == gosnowflake.AuthTypeTokenAccessor)
		cfg.TokenAccessor = w
		if w.Shared() {
			if err := c.sharing.Join(); err == tokens.ErrEnding { // identity is meant
				return nil, &localError{err}
			} else if err != nil {
				return nil, err
			}
			cfg.ServerSessionKeepAlive, kept = true, true // it is never logged out: it is somebody else's
		}
		if cfg.Transporter != nil {
			cfg.Transporter = http2.Looked(cfg.Transporter, readAdvice)
		}
		by, who = gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *cfg), principal{cfg.User, cfg.Role}
	}
	begun := time.Now()
	seen := transcript.New(lctx)
	conn, err := c.connectInner(lctx, seen, by)
	saw := seen.End(err != nil)
	if err != nil {
		if w.Shared() {
			c.sharing.Leave()
		}
		if cfg != nil && login.HasPerson(cfg) && saw.Sent() {
			err = &askedError{err}
		}
		if err = lctx.Explain(err, number(err)); cfg != nil && !lctx.WasRefused() && classifyLogin(err, nil) == ClassPermanent && isLocal(cfg, err) {
			err = &localError{err}
		}
		return nil, err
	}
	s := &session{connector: c, conn: inner.Of(conn), watcher: w, watch: watch, address: address, opened: time.Now(), kept: kept, order: c.clock.Add(1), principal: who, prepared: map[*prepared]struct{}{}}
	s.dialect.Store(dialectOf(saw, s.conn, cfg != nil))
	s.visible.Store(saw.Sent() && saw.Dialect() != nil)
	c.tellVersion(s.dialect.Load())
	s.silent = cfg == nil && saw.Silent() && s.conn.Snowflake() == nil
	s.heard(s.order)
	s.rest()
	c.in.Store(true)
	c.counters.open.Add(1)
	c.mu.Lock()
	c.sessions[s] = struct{}{}
	c.mu.Unlock()
	c.emit(ctx, Event{Kind: EventOpened, SessionID: s.id(), Duration: s.opened.Sub(begun)})
	c.pace()
	switch token, _, _ := w.GetTokens(); {
	case cfg != nil && token == "":
		err = errNoToken
	case c.stopped.Err() != nil:
		err = errClosed
	default:
		in()
		if err = c.setUp(transcript.Without(ctx), s); err == nil && c.stopped.Err() != nil {
			err = errClosed
		}
	}
	if err != nil {
		if isSetUp(err) {
			// One that passes by itself needs nobody, and of those that follow each other the first tells.
			again := classifyLogin(err, nil) == ClassTransient || c.unready.Swap(true)
			c.emit(ctx, Event{Kind: EventSetUpFailed, SessionID: s.id(), Code: number(err), Class: Classify(err), Duration: time.Since(s.opened), again: again})
		}
		c.retire(s)
		return nil, err
	}
	c.unready.Store(false)
	s.reports = s.conn.Parameter("autocommit")
	s.state = c.stateAfterSetUp(cfg, s)
	if c.settings.idlePing > 0 {
		c.keeping.Do(func() { c.spawn(c.keep) })
	}
	return s, nil
}

// stateAfterSetUp is the state in which a session starts. What the server has reported
// of AUTOCOMMIT counts, because a hook, the user or the account can have switched it
// off as well, and is noted. Whatever is not known to be on is off.
func (c *Connector) stateAfterSetUp(cfg *gosnowflake.Config, s *session) (st sqltext.State) {
	if cfg != nil {
		for key, v := range cfg.Params {
			if v != nil && strings.EqualFold(key, "AUTOCOMMIT") {
				st.AutocommitOff = !isTrue(*v)
			}
		}
	}
	for _, statement := range c.settings.sessionInit {
		st = c.reader.Read(statement).After(st, false)
	}
	reported, known := s.reports.Read()
	if s.autocommit = reported; known {
		st.AutocommitOff = !isTrue(reported)
	}
	return sqltext.State{AutocommitOff: st.AutocommitOff} // what else there is, every session has
}

// isTrue reads a Boolean parameter: what is not known to be on is off.
func isTrue(value string) bool {
	return strings.EqualFold(value, "true") || strings.EqualFold(value, "on") || value == "1"
}

// setUpTimeout bounds the statements and the hook between a login and the
// session's first use.
const setUpTimeout = time.Minute

// setUp makes a new session what the program wants it to be.
func (c *Connector) setUp(ctx context.Context, s *session) error {
	if len(c.settings.sessionInit) == 0 && c.settings.afterConnect == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, setUpTimeout)
	defer cancel()
	defer context.AfterFunc(c.stopped, cancel)()
	w := transcript.New(ctx)
	defer w.End(true)
	s.watch.Store(w)
	defer s.watch.Store(nil)
	for i, statement := range c.settings.sessionInit {
		_, _, err := s.call(ctx, w, func(ctx context.Context, s *session) (any, error) { return nil, s.conn.Exec(ctx, statement) })
		if err != nil {
			return &setUpError{fmt.Sprintf("statement %d of WithSessionInit", i+1), err}
		}
	}
	if hook := c.settings.afterConnect; hook != nil {
		_, _, err := s.call(ctx, w, func(ctx context.Context, s *session) (any, error) {
			ctx, over := c.programs.Enter(ctx)
			defer over()
			return nil, hook(ctx, s.conn.Conn)
		})
		if err != nil {
			return &setUpError{"the hook after the login", err}
		}
	}
	return nil
}

// A setUpError is a failure after a login that went well.
type setUpError struct {
	who string
	err error
}

func (e *setUpError) Error() string { return e.who + " failed: " + e.err.Error() }
func (e *setUpError) Unwrap() error { return notBadConn(e.err) }

// retire closes a session in the background: nobody waits for a log-out.
func (c *Connector) retire(s *session) {
	s.closing.Do(func() {
		s.leaving.Store(true)
		s.runner.Close()
		switch {
		case s.watcher.Shared() && s.inTx:
			c.sharing.End()
		case s.watcher.Shared():
			c.sharing.Leave()
		}
		since := time.Now()
		c.afterAll(s, func() {
			begun, id, ends := time.Now(), s.id(), s.ending()
			out := s.unreached()
			defer func() {
				_ = recover() // a panic while closing changes nothing any more
				c.mu.Lock()
				delete(c.sessions, s)
				c.mu.Unlock()
				c.counters.open.Add(-1)
				e := Event{Kind: EventClosed, SessionID: id, Age: s.age(), Duration: time.Since(begun)}
				switch {
				case s.watcher.Muted():
					e.Kind = EventLeftOpen
				case e.Duration > closeTimeout:
					e.Kind, e.again = EventClosedLate, out || c.isOut()
				}
				c.emit(context.Background(), e)
			}()
			reached := !out || ends != loggedOut || s.reach(since)
			if s.inTx {
				if !reached {
					c.endElsewhere(s)
				}
				s.awaitLeft()
				if ends == rolledBack {
					s.rollBack()
				}
				if s.watcher.Shared() {
					c.sharing.Leave()
				}
			}
			s.preparing.Lock()
			for p := range s.prepared {
				_ = p.Stmt.Close()
			}
			s.prepared = nil
			s.preparing.Unlock()
			_ = s.conn.Close()
		})
	})
}

// An ending is what Snowflake is told of a session that is closed.
type ending int

const (
	loggedOut  ending = iota
	rolledBack        // it stays, without its transaction
	closedHere        // nothing: it stays, or a log-out would cancel what runs in it
)

// ending is what Snowflake is told of the session.
func (s *session) ending() ending {
	switch {
	case s.watcher.Muted(), s.kept && !s.inTx:
		return closedHere
	case s.kept:
		return rolledBack
	}
	return loggedOut
}

// rollBack ends the transaction of a session that is not logged out, because it is others'
// too (AuthTypeTokenAccessor) or because the program wants it so (ServerSessionKeepAlive):
// else it would stay open, with its locks, and the next user's rows would end in it. It goes
// on until the server has answered, or the connector has been closed for a while.
func (s *session) rollBack() {
	for pause, late := 100*time.Millisecond, 0; late < 3; pause = min(2*pause, 10*time.Second) {
		ctx, cancel := context.WithTimeout(context.Background(), rollbackTimeout)
		_, _, left, err := s.watched(ctx, transcript.New(ctx), func(ctx context.Context, s *session) (any, error) { return nil, s.conn.Exec(ctx, "ROLLBACK") })
		cancel()
		if err == nil || hasEnded(err) || outcomeOf(err).Answer {
			return
		}
		if left {
			s.awaitLeft()
		}
		if s.connector.stopped.Err() != nil {
			late++
		}
		gate.Sleep(context.Background(), s.connector.stopped, pause)
	}
}

// reach has Snowflake answer the session once more before it is logged out, goes on until it
// does, and reports whether it did: gosnowflake sends a log-out for 5 s and says nothing of its
// failure, so that a session given up in an outage would stay behind, with its transaction and
// the locks of that. The answer also has an expired token renewed, which gosnowflake's log-out
// does not do. The pauses grow to half a minute, an outage being no reason for a storm. That
// another session was answered behind such a question is enough, as this one may be busy; and so
// is one that was answered since it was given up, where two questions on end were sent and not
// answered: in an outage the second is not even sent. It is given up after an hour, when the
// connector ends, and where asking makes no sense.
func (s *session) reach(since time.Time) (answered bool) {
	const timeout = 4 * time.Second // with the log-out's 5 s it is less than Close waits for
	stopped, begun, busy := s.connector.stopped, time.Now(), 0
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 30*time.Second) {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		seen := transcript.New(transcript.With(ctx, transcript.Describe, true))
		_, saw, left, err := s.watched(ctx, seen, ask)
		cancel()
		gone := hasEnded(err)
		s.vanished.Store(gone)
		switch {
		case !s.unheard.Load(), gone, saw.Silent(): // or it cannot be asked
			return true
		case errors.Is(err, errRenewalLoop), stopped.Err() != nil, time.Since(begun) > time.Hour:
			return false
		case left:
			s.awaitLeft()
		}
		if busy++; !saw.Sent() {
			busy = 0
		}
		counts := time.Now() // from when on an answer to another session counts
		if busy > 1 {
			counts = since
		}
		gate.Sleep(context.Background(), stopped, pause)
		if !s.connector.isOut() && s.connector.waits.answeredSince(counts) {
			return false
		}
	}
}

// unreached reports whether a log-out now might reach nobody.
func (s *session) unreached() bool {
	return s.inTx || !s.silent && s.dead.Load() == nil && (s.unheard.Load() || s.connector.isOut())
}

// isOut reports whether an outage is known of.
func (c *Connector) isOut() bool { return c.cut.Load() != 0 || c.gate.IsOut() }

// pace holds further logins back once more sessions have been opened, with no
// statement carried out in between, than the pool and the gate can account for: a
// server that ends sessions right after their login is not to be asked in a loop.
func (c *Connector) pace() {
	if c.fruitless.Add(1) > c.counters.open.Load()+int64(c.settings.maxLogins) {
		c.gate.Pace(time.Duration(c.counters.sessionLife.last.Load()))
	}
}

// served notes that a statement was carried out, or that a session answered a ping:
// sessions last. Snowflake answered at the given time: a PUT returns when its files have been
// sent, which may be long after that.
func (c *Connector) served(ctx context.Context, at time.Time) {
	c.waits.answered(at)
	if c.fruitless.Load() != 0 {
		c.fruitless.Store(0)
		c.gate.Unpace(ctx)
	}
	if cut := c.cut.Load(); cut != 0 && c.waits.reading(at) >= cut && c.gate.Reached(ctx) {
		c.cut.CompareAndSwap(cut, 0)
	}
}

// unreachable notes that a statement could not be sent. Its request, which began at the
// given time or now, has had no answer.
func (c *Connector) unreachable(ctx context.Context, since time.Time, err error) {
	now := time.Now()
	if since.IsZero() {
		since = now
	}
	c.gate.Unreachable(ctx, c.waits.notBeforeAnswer(since), err)
	c.cut.Store(c.waits.reading(now)) // behind the outage that an answer is to end
}

// lost notes that a session turned out dead, and makes all suspect that were not
// heard of since: what ended it (an administrator, an outage, a policy) may have
// ended them too. The end of one that was suspect itself is what it was suspected of,
// and no news of those opened or heard of meanwhile.
func (c *Connector) lost(ctx context.Context, s *session, cause error) {
	if s.dead.CompareAndSwap(nil, &cause) {
		if s.verified.Load() >= c.suspectSince.Load() {
			c.suspectSince.Store(c.clock.Add(1))
			c.gate.Shut()
		}
		c.emit(ctx, Event{Kind: EventLost, SessionID: s.id(), Code: number(cause), Class: ClassSessionLost, Age: s.age()})
	}
}
