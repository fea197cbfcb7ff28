package snowtether

import (
	"cmp"
	"database/sql"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// This file has the counts, and what a connector looks like at one moment: its sessions, and
// what has had no answer.

// Stats counts what happened since the connector was made. Open, Idle and Suspect
// are of the moment; the other counts only grow. Reading them blocks nobody and
// sends nothing to Snowflake.
type Stats struct {
	Open    int64 // sessions open now, those being closed included
	Idle    int64 // of them, those that lie in the pool
	Suspect int64 // of them, those to be asked before their next use whether they are alive

	Logins        int64 // logins that succeeded
	LoginFailures int64 // logins that were sent and failed
	Suspensions   int64 // of the failures, those refused for good, after which logins were suspended
	Reconnects    int64 // lost sessions that were replaced on their connection
	Retired       int64 // sessions that were replaced ahead of their end
	Renewals      int64 // session tokens renewed
	Lost          int64 // sessions that were found dead
	Resumed       int64 // accepted statements that were carried over to a new session
	InDoubt       int64 // statements whose outcome is not known
	TxRepeats     int64 // transactions that RunTx has begun again, each time
	SetUpFailures int64 // new sessions that WithSessionInit or WithAfterConnect failed for
	Pings         int64 // idle sessions that were asked whether they are alive
	PingFailures  int64 // pings that were not answered
	CloseTimeouts int64 // sessions whose log-out did not end within its bound

	ReconnectsByReason   map[string]int64 // by Snowflake's code, or "session_lost" for an inner driver that has none
	LoginFailuresByClass map[Class]int64  // ClassTransient, ClassCredential or ClassPermanent

	MeanSessionLife time.Duration // of the lost sessions
	LastSessionLife time.Duration // of the session that was lost last
	MeanTokenLife   time.Duration // of the session tokens that were renewed
	LastTokenLife   time.Duration // of the session token that was renewed last
	LastReconnect   time.Time     // zero before the first
}

// counters are the live form of Stats.
type counters struct {
	open, pings   atomic.Int64
	failingLogins atomic.Int64 // in a row
	unanswered    atomic.Int64 // pings in a row
	events        map[EventKind]*atomic.Int64
	sessionLife   lives
	tokenLife     lives
	lastReconnect atomic.Pointer[time.Time]

	mu      sync.Mutex
	reasons map[string]int64
	classes map[Class]int64
}

// start makes the counters of all kinds of events; the map is only read after that.
func (n *counters) start() {
	n.events = make(map[EventKind]*atomic.Int64, len(lines))
	for kind := range lines {
		n.events[kind] = new(atomic.Int64)
	}
	n.reasons, n.classes = make(map[string]int64), make(map[Class]int64)
}

// lives has how long things lived.
type lives struct{ count, total, last atomic.Int64 }

func (l *lives) add(d time.Duration) {
	l.total.Add(int64(d))
	l.count.Add(1)
	l.last.Store(int64(d))
}

func (l *lives) mean() time.Duration {
	if n := l.count.Load(); n > 0 {
		return time.Duration(l.total.Load() / n)
	}
	return 0
}

// count counts an event.
func (n *counters) count(e Event) {
	switch e.Kind {
	case EventLost:
		n.sessionLife.add(e.Age)
	case EventRenewed:
		if e.Duration > 0 { // else it is not known
			n.tokenLife.add(e.Duration)
		}
	case EventReconnected:
		n.lastReconnect.Store(&e.Time)
		n.mu.Lock()
		n.reasons[e.reason()]++
		n.mu.Unlock()
	case EventLoginFailed:
		n.mu.Lock()
		n.classes[e.Class]++
		n.mu.Unlock()
	case EventCloseTimedOut:
		n.events[e.Kind].Add(int64(e.Count))
		return
	}
	n.events[e.Kind].Add(1)
}

func (n *counters) of(kind EventKind) int64 { return n.events[kind].Load() }

// split returns copies of the counts by reason and by class.
func (n *counters) split() (map[string]int64, map[Class]int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.reasons), maps.Clone(n.classes)
}

// Stats reports what the connector has done so far.
func (c *Connector) Stats() Stats {
	return c.stats(c.survey(c.settings.now()))
}

func (c *Connector) stats(sessions []SessionInfo) Stats {
	n := &c.counters
	s := Stats{
		Open:            n.open.Load(),
		Logins:          n.of(EventOpened),
		LoginFailures:   n.of(EventLoginFailed),
		Suspensions:     n.of(EventLoginSuspended),
		Reconnects:      n.of(EventReconnected),
		Retired:         n.of(EventRetired),
		Renewals:        n.of(EventRenewed),
		Lost:            n.of(EventLost),
		Resumed:         n.of(EventResumed),
		InDoubt:         n.of(EventInDoubt),
		TxRepeats:       n.of(EventTransactionRepeated),
		SetUpFailures:   n.of(EventSetUpFailed),
		Pings:           n.pings.Load(),
		PingFailures:    n.of(EventPingFailed),
		CloseTimeouts:   n.of(EventCloseTimedOut),
		MeanSessionLife: n.sessionLife.mean(),
		LastSessionLife: time.Duration(n.sessionLife.last.Load()),
		MeanTokenLife:   n.tokenLife.mean(),
		LastTokenLife:   time.Duration(n.tokenLife.last.Load()),
	}
	if last := n.lastReconnect.Load(); last != nil {
		s.LastReconnect = *last
	}
	s.ReconnectsByReason, s.LoginFailuresByClass = n.split()
	for _, info := range sessions {
		if info.Idle > 0 {
			s.Idle++
		}
		if info.State == SessionSuspect {
			s.Suspect++
		}
	}
	return s
}

// ConnectorOf returns the connector of a pool, even of one that was opened by name
// (sql.Open), for [Connector.Stats] and [Connector.Snapshot]. It opens no connection
// and waits for none. Leave closing the connector to the pool. ConnectorOf returns an
// error for a pool of another driver, or of a wrapper around this one; there, keep
// what [NewConnector] returned.
func ConnectorOf(db *sql.DB) (*Connector, error) {
	if db == nil {
		return nil, errors.New("snowtether: ConnectorOf: db is nil")
	}
	if d, ok := db.Driver().(Driver); ok && d.connector != nil {
		return d.connector, nil
	}
	return nil, errors.New("snowtether: ConnectorOf: the pool was not opened with snowtether, or a wrapper is around its driver: use the connector that NewConnector or WrapConnector returned")
}

// A Snapshot is what a connector looks like at one moment, for pages and dumps. It
// holds no secret, no SQL, and no name of a user, a host or an account.
type Snapshot struct {
	Time     time.Time     // when it was taken
	Pool     string        // see WithPoolName
	Closed   bool          // Close was called: sessions that are left are being logged out
	Sessions []SessionInfo // the oldest first
	Gate     GateInfo
	Stats    Stats

	// Events are the last 100, and besides them what more recent ones do not displace:
	// the statements in doubt of the last 24 hours and the warnings, the last 100 of
	// each, and the newest event of each kind. The oldest comes first. They have no Error.
	Events []Event

	InDoubt InDoubtInfo
	Waiting WaitingInfo
	Hour    []MinuteInfo // the minutes of the last hour in which something happened, the oldest first
}

// A SessionState says how a session is.
type SessionState string

// The states of a session.
const (
	SessionUsed    SessionState = "used"    // on a connection that somebody uses
	SessionIdle    SessionState = "idle"    // on a connection that lies in the pool
	SessionSuspect SessionState = "suspect" // idle too, and to be asked before its next use whether it is alive
	SessionDead    SessionState = "dead"    // found dead
	SessionClosing SessionState = "closing" // being logged out
)

// SessionInfo is one session of a [Snapshot].
type SessionInfo struct {
	ID       int64 // 0 with an inner driver that is not known to be gosnowflake
	State    SessionState
	Age      time.Duration // since its login
	Idle     time.Duration // since it came into the pool; 0 while it is in use
	TokenAge time.Duration // of the session token; 0 if it is not known
}

// A GateState says how logins are let through.
type GateState string

// The states of the gate that all logins pass.
const (
	GateFree      GateState = "free"      // logins are sent as they come, WithMaxLogins at the same time
	GateProbing   GateState = "probing"   // Snowflake cannot be reached: one login is tried from time to time
	GatePaced     GateState = "paced"     // sessions end before they can be used: logins are spaced out
	GateSuspended GateState = "suspended" // the last login was refused: none is sent with the same credentials
)

// GateInfo is the gate of a [Snapshot].
type GateInfo struct {
	State    GateState
	Since    time.Time // zero if it is free
	Until    time.Time // no login is sent before this, and if State is GateSuspended none with the same credentials; zero if there is no such time
	Failures int       // since Since: attempts that have failed; if State is GatePaced, sessions that did not last
	Code     int       // of the last failure: Snowflake's number, or 0
	Class    Class     // of the last failure
}

// InDoubtInfo counts the statements in doubt of the last 24 hours that nobody has seen
// ([Connector.Acknowledge]), also those that are no longer among the Events of a [Snapshot].
type InDoubtInfo struct {
	Count int
	Since time.Time // when the first of them failed; zero if there is none
}

// Snapshot reports the state of the connector now. It blocks nobody and sends
// nothing to Snowflake.
func (c *Connector) Snapshot() Snapshot {
	now := c.settings.now()
	s := Snapshot{Time: now, Pool: c.settings.poolName, Closed: c.stopped.Err() != nil, Sessions: c.survey(now), Gate: gateInfo(c.gate.Info(now))}
	s.Events, s.InDoubt = c.recent.list(now)
	s.Waiting, s.Hour = c.waiting(), c.recent.hour(now)
	s.Stats = c.stats(s.Sessions)
	return s
}

// Acknowledge marks statements in doubt as seen: those that failed up to the given time. It
// returns how many of the last 24 hours it has marked. Snapshot.InDoubt no longer counts
// them, so the page of package debugpage no longer asks for a person; Snapshot.Events and
// [Stats] still have them. For upTo, take the Time of the last such Event of a [Snapshot]:
// statements that were not in that Snapshot stay unseen.
func (c *Connector) Acknowledge(upTo time.Time) int {
	return c.recent.acknowledge(c.settings.now(), upTo)
}

// list returns the sessions in no order.
func (c *Connector) list() []*session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Keys(c.sessions))
}

// survey describes the sessions, the oldest first.
func (c *Connector) survey(now time.Time) []SessionInfo {
	sessions := c.list()
	slices.SortFunc(sessions, func(a, b *session) int { return cmp.Compare(a.order, b.order) })
	infos := make([]SessionInfo, len(sessions))
	for i, s := range sessions {
		infos[i] = s.info(now)
	}
	return infos
}

func (s *session) info(now time.Time) SessionInfo {
	since := s.idleSince()
	info := SessionInfo{ID: s.id(), State: SessionUsed, Age: s.age()}
	if !since.IsZero() {
		info.State, info.Idle = SessionIdle, max(elapsed(since, now), 1) // 0 is in use
	}
	switch {
	case s.leaving.Load():
		info.State = SessionClosing
	case s.dead.Load() != nil:
		info.State = SessionDead
	case !since.IsZero() && s.suspect():
		info.State = SessionSuspect
	}
	if issued := s.watcher.IssuedAt(); !issued.IsZero() {
		info.TokenAge = elapsed(issued, now)
	}
	return info
}

// What is under way and has had no answer is no event: an error of a request that nobody
// answers comes after minutes, and until then nothing has happened. So it is looked up where
// it is kept, when somebody asks: a statement's requests in its transcript, logins here.

// WaitingInfo is what a [Snapshot] says of statements and logins under way. That a request
// has had no answer for a while need not mean anything: Snowflake answers a statement that
// runs for long after 45 s, and again every 45 s.
type WaitingInfo struct {
	Statements int           // under way
	Unanswered int           // of them, those whose last request has had no answer for 5 s
	Logins     int           // that have had no answer for 5 s, but for those that wait for a person at a browser
	Oldest     time.Duration // for how long the oldest request of all of these has had no answer; 0 if there is none
	Silence    time.Duration // since Snowflake last answered anything; 0 if it has never
}

// unansweredFor is from when on a request counts as unanswered.
const unansweredFor = 5 * time.Second

// waits are what a connector keeps of its waiting.
type waits struct {
	epoch time.Time    // when the connector was made
	heard atomic.Int64 // when Snowflake last answered, as reading has it

	mu     sync.Mutex
	logins map[*time.Time]bool // when each login under way was sent
}

// reading is a time as a number that is never 0, by the monotonic clock: behind a wall clock
// that was put back no answer would be later than the last one.
func (w *waits) reading(t time.Time) int64 { return int64(t.Sub(w.epoch)) + 1 }

// answered notes that Snowflake answered at a time that may be before its last answer.
func (w *waits) answered(at time.Time) {
	now := w.reading(at)
	for last := w.heard.Load(); last < now && !w.heard.CompareAndSwap(last, now); {
		last = w.heard.Load()
	}
}

// answeredSince reports whether Snowflake has answered anything from then on.
func (w *waits) answeredSince(t time.Time) bool { return w.heard.Load() >= w.reading(t) }

// login notes that a login is sent. The function that it returns, which may be called
// twice, notes that there is an answer.
func (w *waits) login(begun time.Time, person bool) (over func()) {
	if person {
		return func() {}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.logins == nil {
		w.logins = make(map[*time.Time]bool)
	}
	w.logins[&begun] = true
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.logins, &begun)
	}
}

// notBeforeAnswer is since, or when Snowflake last answered if that was later: an outage
// does not begin before that.
func (w *waits) notBeforeAnswer(since time.Time) time.Time {
	return since.Add(time.Duration(max(w.heard.Load()-w.reading(since), 0)))
}

// waiting looks at what is under way now.
func (c *Connector) waiting() (w WaitingInfo) {
	now := time.Now()
	wait := func(since time.Time, n *int) {
		if age := now.Sub(since); !since.IsZero() && age > 0 {
			if w.Oldest = max(w.Oldest, age); age >= unansweredFor {
				*n++
			}
		}
	}
	for _, s := range c.list() {
		if seen := s.watch.Load(); seen != nil {
			w.Statements++
			wait(seen.Unanswered(), &w.Unanswered)
		}
	}
	c.waits.mu.Lock()
	for begun := range c.waits.logins {
		wait(*begun, &w.Logins)
	}
	c.waits.mu.Unlock()
	if heard := c.waits.heard.Load(); heard != 0 {
		w.Silence = time.Duration(max(c.waits.reading(now)-heard, 1))
	}
	return w
}
