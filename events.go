package snowtether

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/snowtether/snowtether/internal/causes"
	"github.com/snowtether/snowtether/internal/sqltext"
)

// This file says what happened: to sessions, to logins and to statements that met
// a lost session. Each happening is one Event, and emit makes of it the counts
// (stats.go), the metrics (metrics.go), the line in the log and the call of the
// program's hook (program.go).

// An EventKind says what happened. docs/observability.md has the kinds with their
// log lines.
type EventKind string

// The kinds of events. Of the fields of an [Event], Kind and Time are always set,
// and SessionID, Code and Class wherever they are known; the others as said here.
const (
	EventOpened              EventKind = "opened"               // a login opened a session, in Duration
	EventRenewed             EventKind = "renewed"              // a session token was renewed; the old one had lived for Duration
	EventLost                EventKind = "lost"                 // a session was found dead, at Age
	EventReconnected         EventKind = "reconnected"          // OldSessionID, lost at Age, was replaced on its connection, in Duration
	EventManyReconnected     EventKind = "many_reconnected"     // Count sessions that were lost together, also those with an event of their own, were replaced in Duration; Reasons if there are several
	EventRetired             EventKind = "retired"              // OldSessionID, of Age, was replaced before a statement could meet its end, in Duration
	EventResumed             EventKind = "resumed"              // the statement QueryID was carried over from OldSessionID, in Duration
	EventStateLost           EventKind = "state_lost"           // a session was lost with State that had been set in it
	EventInDoubt             EventKind = "in_doubt"             // a statement, the Operation, may have run; QueryID or RequestID where it has one, see Event.Remedy
	EventRowsUncounted       EventKind = "rows_uncounted"       // the INSERT QueryID counted Count rows fewer than were bound; as many of the bound rows are NULL, so it is not known whether they arrived
	EventPingFailed          EventKind = "ping_failed"          // an idle session could not be asked whether it is alive; the Attempt-th time in a row
	EventPingsLate           EventKind = "pings_late"           // SessionID, one of Count idle sessions, is asked Duration after its last use or ping: later than WithIdlePing says
	EventPingsInTime         EventKind = "pings_in_time"        // idle sessions are asked in time again, after Duration
	EventLoginFailed         EventKind = "login_failed"         // a login was sent and failed, after Duration; the Attempt-th in a row
	EventLoginSuspended      EventKind = "login_suspended"      // a login was refused, the Count-th in a row; those with the same credentials are suspended for Duration
	EventSuspensionEnded     EventKind = "suspension_ended"     // a suspended login was accepted, Duration after the first of Count refusals
	EventGuardFailed         EventKind = "guard_failed"         // the login guard failed or was too slow; it is not asked for Duration
	EventSetUpFailed         EventKind = "set_up_failed"        // a new session was closed because WithSessionInit or WithAfterConnect failed
	EventTransactionEnded    EventKind = "transaction_ended"    // SessionID ended a transaction that OldSessionID had left open
	EventTransactionRepeated EventKind = "transaction_repeated" // RunTx has begun a transaction again that had failed, now in SessionID; the Attempt-th time in all
	EventOutageBegan         EventKind = "outage_began"         // Snowflake cannot be reached; callers without a deadline wait for Duration
	EventOutageEnded         EventKind = "outage_ended"         // it can be reached again, Duration after the first request that had no answer; Count attempts failed
	EventPacingBegan         EventKind = "pacing_began"         // sessions end before they can be used, the last one at Age: logins are spaced out
	EventPacingEnded         EventKind = "pacing_ended"         // sessions can be used again, after Duration
	EventClosed              EventKind = "closed"               // a session of Age is closed; its log-out took Duration
	EventLeftOpen            EventKind = "left_open"            // in place of EventClosed: it was not logged out, which would cancel its asynchronous statements; Snowflake ends it later
	EventClosedLate          EventKind = "closed_late"          // the same in place of EventClosed, if the log-out took over 10 s
	EventCloseTimedOut       EventKind = "close_timed_out"      // Connector.Close left Count sessions behind after Duration
)

// An Event is one thing that happened. It holds no SQL, no bind value, and no name
// of a user or an account.
type Event struct {
	Kind         EventKind
	Time         time.Time
	SessionID    int64         // 0 if it is about no session, or with an inner driver that is not known to be gosnowflake
	OldSessionID int64         // the session that SessionID replaces, or whose transaction it has ended
	Code         int           // Snowflake's number of the cause, or 0
	Class        Class         // of the cause; empty if there is none
	Attempt      int           // which try in a row this was; 1 is the first
	Count        int           // how many there were, see the kinds
	Duration     time.Duration // how long it took, or will last
	Age          time.Duration // of the session, or of the old one
	QueryID      string        // of the statement
	RequestID    string        // of the statement: what it was sent under
	Operation    string        // "exec", "query", "commit", …: see SessionError.Op
	State        string        // the kinds of session state that were lost, without values
	Reasons      string        // where there are several: the codes, with how many sessions each: "390114 (62), 390111 (2)"

	// Error is the text of a failed login or ping, without the query strings of the
	// URLs in it. Like any error it may name hosts and users; that of a hook or of a
	// token source is in its own words. It is empty in a [Snapshot].
	Error string

	doubt  doubt     // of a statement in doubt
	became principal // whom the new session acts as, if a hook changed that
	again  bool      // what it speaks of has been logged, or will be
}

// Remedy says in one line what somebody has to do about the event; it is empty if nobody has
// to do anything. The log has it as an attribute, and debugpage in its sentence. What it says
// of a statement in doubt the error has in its text ([SessionError.Remedy]).
func (e Event) Remedy() string {
	switch {
	case e.Kind == EventInDoubt:
		return remedy(e.doubt, e.Operation, e.QueryID, e.SessionID, e.Time)
	case e.Kind == EventLoginSuspended:
		return cmp.Or(causes.Of(e.Code).ForPerson(), "change what the error names")
	case e.Kind == EventSetUpFailed && !e.again:
		return "correct the statements of WithSessionInit, or the hook of WithAfterConnect"
	}
	return ""
}

// A doubt says what of a statement in doubt is not known.
type doubt int

const (
	whether  doubt = iota // whether it ran
	rows                  // which of its rows arrived
	partOfTx              // whether what its transaction did before lasts; it did not run itself
)

// remedy says what somebody has to do about a statement in doubt: the event, the log, the
// error and the page have it from here.
func remedy(d doubt, op, queryID string, session int64, at time.Time) string {
	in := ""
	if session != 0 {
		in = fmt.Sprintf(" in session %d", session)
	}
	if !at.IsZero() {
		in += " at about " + at.UTC().Format("15:04 UTC")
	}
	switch {
	case d == rows:
		return fmt.Sprintf("compare the table with the rows that were bound before you run statement %s again", queryID)
	case d == partOfTx:
		return fmt.Sprintf("look in QUERY_HISTORY for what the transaction ran%s, and at what it should have changed; run it again only if nothing of it is there", in)
	case queryID != "" && op != "commit":
		return fmt.Sprintf("look up query %s in QUERY_HISTORY, and run the statement again only if it failed there", queryID)
	case op == "commit":
		return fmt.Sprintf("look in QUERY_HISTORY for the COMMIT%s, and at what the transaction should have changed; once it is over, run the transaction again only if nothing of it is there", in)
	case session != 0:
		return fmt.Sprintf("look in QUERY_HISTORY for what ran%s, and at what the statement should have changed; once it is over, run it again only if nothing of it is there", in)
	}
	return "look at what the statement should have changed; once it is over, run it again only if nothing of it is there"
}

// The keys of the log lines' attributes. docs/observability.md has what they mean.
const (
	keyEvent      = "event"
	keyReason     = "reason"
	keyCause      = "cause"
	keyOldSession = "old_session"
	keySession    = "session_id"
	keyAge        = "session_age"
	keyLogin      = "login_took"
	keyTook       = "took"
	keyFor        = "for"
	keyLasted     = "lasted"
	keyTokenAge   = "token_age"
	keyUnasked    = "unasked"
	keyQuery      = "query_id"
	keyRequest    = "request_id"
	keyOperation  = "operation"
	keyRemedy     = "remedy"
	keyAttempt    = "attempt"
	keyAttempts   = "attempts"
	keySessions   = "sessions"
	keyReasons    = "reasons"
	keyRows       = "rows"
	keyError      = "error"
	keyUser       = "new_user"
	keyRole       = "new_role"
	keyState      = "lost"
)

// A line is how events of one kind are logged.
type line struct {
	level    slog.Level
	message  string
	duration string // key of Duration, if it is logged
	count    string // key of Count, if it is logged
}

// lines are the log lines. What went well is at Info at most, and says so: users
// of other drivers report successful recoveries as bugs. Whatever a line at Info
// or Warn speaks of already is at Debug.
var lines = map[EventKind]line{
	EventOpened:              {slog.LevelDebug, "snowtether: a session was opened", keyLogin, ""},
	EventRenewed:             {slog.LevelDebug, "snowtether: a session token was renewed", keyTokenAge, ""},
	EventLost:                {slog.LevelDebug, "snowtether: a session was found dead", "", ""},
	EventReconnected:         {slog.LevelInfo, "snowtether: session was lost and has been replaced; nothing needs doing", keyLogin, ""},
	EventManyReconnected:     {slog.LevelInfo, "snowtether: further sessions were lost and have been replaced; nothing needs doing", keyTook, keySessions},
	EventRetired:             {slog.LevelInfo, "snowtether: session was replaced before a statement could meet its end; nothing needs doing", keyLogin, ""},
	EventResumed:             {slog.LevelInfo, "snowtether: a running statement was carried over to a new session; nothing needs doing", keyTook, ""},
	EventStateLost:           {slog.LevelWarn, "snowtether: a session was lost with state that had been set in it; set it again where it matters", "", ""},
	EventInDoubt:             {slog.LevelWarn, "snowtether: a statement failed and may have run; look before you run it again", "", ""},
	EventRowsUncounted:       {slog.LevelWarn, "snowtether: an INSERT of array binds counted fewer rows than were bound, and so many of them are NULL; look whether they arrived", "", keyRows},
	EventPingFailed:          {slog.LevelDebug, "snowtether: an idle session could not be asked whether it is alive", "", ""},
	EventPingsLate:           {slog.LevelWarn, "snowtether: idle sessions are asked too late whether they are alive, and may end; make the interval of WithIdlePing longer if the session policy allows it, or keep fewer connections idle", keyUnasked, keySessions},
	EventPingsInTime:         {slog.LevelInfo, "snowtether: idle sessions are asked in time again; nothing needs doing", keyLasted, ""},
	EventLoginFailed:         {slog.LevelDebug, "snowtether: a login failed", keyTook, ""},
	EventLoginSuspended:      {slog.LevelWarn, "snowtether: a login was refused; none is sent with the same credentials for a while", keyFor, keyAttempts},
	EventSuspensionEnded:     {slog.LevelInfo, "snowtether: logins are accepted again; nothing needs doing", keyLasted, keyAttempts},
	EventGuardFailed:         {slog.LevelWarn, "snowtether: the login guard failed; logins are sent without it for a while", keyFor, ""},
	EventSetUpFailed:         {slog.LevelWarn, "snowtether: a new session could not be set up and was closed", keyTook, ""},
	EventTransactionEnded:    {slog.LevelInfo, "snowtether: a transaction that a lost session had left open was ended; nothing needs doing", "", ""},
	EventTransactionRepeated: {slog.LevelInfo, "snowtether: a transaction had failed, and RunTx runs it again; nothing needs doing", "", ""},
	EventOutageBegan:         {slog.LevelWarn, "snowtether: Snowflake cannot be reached, or its answers cannot be read; logins, and statements that were not sent, are tried again", keyFor, ""},
	EventOutageEnded:         {slog.LevelInfo, "snowtether: Snowflake can be reached again; nothing needs doing", keyLasted, keyAttempts},
	EventPacingBegan:         {slog.LevelWarn, "snowtether: sessions end before they can be used; logins are being spaced out", "", ""},
	EventPacingEnded:         {slog.LevelInfo, "snowtether: sessions can be used again; nothing needs doing", keyLasted, ""},
	EventClosed:              {slog.LevelDebug, "snowtether: a session was closed", keyTook, ""},
	EventLeftOpen:            {slog.LevelInfo, "snowtether: a session was closed here and not logged out, because asynchronous statements are under way in it; nothing needs doing", "", ""},
	EventClosedLate:          {slog.LevelInfo, "snowtether: a session was slow to log out; nobody waited for it", keyTook, ""},
	EventCloseTimedOut:       {slog.LevelWarn, "snowtether: gave up waiting for log-outs", keyTook, keySessions},
}

// nothingNeedsDoing ends the lines about what went well.
const nothingNeedsDoing = "; nothing needs doing"

// The lines that are about no event.
const (
	functionFailed = "snowtether: a function of the program's panicked or did not return; that is not logged again"
	eventsDropped  = "snowtether: events were dropped, because the log handler or the event hook is too slow"
	paramRenamed   = "snowtether: a parameter is given under its earlier name, which goes with 0.1.0; use the new one"
	versionOld     = "snowtether: the gosnowflake v1 inside is older than v1.14.1, and was not tried; require v1.19.1"
)

// emit makes an event known. It is not called with a lock held: whoever waits for
// the lock would wait for the program's log handler and hook as well.
func (c *Connector) emit(ctx context.Context, e Event) { c.queue(ctx, e)() }

// queue puts an event in its place among the others, and may be called with a lock held. The
// function that it returns may not: it makes the event known.
func (c *Connector) queue(ctx context.Context, e Event) (emit func()) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	c.counters.count(e)
	c.recent.add(e)
	await := c.deliver(ctx, e)
	return func() {
		c.metrics.record(ctx, e)
		await()
	}
}

// logger is where lines go, from the level of tetherLog.
func (c *Connector) logger() *slog.Logger {
	l := cmp.Or(c.settings.logger, slog.Default())
	if c.settings.logFrom == slog.LevelDebug {
		return l
	}
	return slog.New(limited{l.Handler(), c.settings.logFrom})
}

// limited is a handler for lines from a level on. The driver derives no others from it.
type limited struct {
	slog.Handler
	from slog.Level
}

func (h limited) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= h.from && h.Handler.Enabled(ctx, level)
}

// parseLog reads tetherLog: the level from which lines are written.
func parseLog(v string) (from slog.Level, err error) {
	switch strings.ToLower(v) {
	case "off":
		return slog.LevelError + 1, nil
	case "warn":
		return slog.LevelWarn, nil
	case "info":
		return slog.LevelDebug, nil // what becomes of those is the handler's to say
	}
	return 0, errors.New("must be off, warn or info")
}

// write logs an event.
func (c *Connector) write(ctx context.Context, e Event) {
	l, logger := lines[e.Kind], c.logger()
	if e.again {
		l.level = slog.LevelDebug
	}
	if !logger.Enabled(ctx, l.level) {
		return
	}
	attrs := []slog.Attr{slog.String(keyEvent, string(e.Kind))}
	add := func(there bool, attr slog.Attr) {
		if there {
			attrs = append(attrs, attr)
		}
	}
	add(e.Code != 0, slog.Int(keyReason, e.Code))
	name := causes.Of(e.Code).Name
	add(name != "", slog.String(keyCause, name))
	add(e.Code == 0 && e.Class != "" && e.Reasons == "", slog.String(keyReason, string(e.Class)))
	add(e.Reasons != "", slog.String(keyReasons, e.Reasons))
	add(e.OldSessionID != 0, slog.Int64(keyOldSession, e.OldSessionID))
	add(e.SessionID != 0, slog.Int64(keySession, e.SessionID))
	add(e.Age != 0, slog.Duration(keyAge, e.Age.Round(time.Millisecond)))
	add(l.duration != "", slog.Duration(l.duration, e.Duration.Round(time.Millisecond)))
	add(e.Operation != "", slog.String(keyOperation, e.Operation))
	add(e.QueryID != "", slog.String(keyQuery, e.QueryID))
	add(e.RequestID != "", slog.String(keyRequest, e.RequestID))
	add(e.State != "", slog.String(keyState, e.State))
	add(e.Attempt != 0, slog.Int(keyAttempt, e.Attempt))
	add(l.count != "", slog.Int(l.count, e.Count))
	add(e.Error != "", slog.String(keyError, e.Error))
	if remedy := e.Remedy(); remedy != "" {
		attrs = append(attrs, slog.String(keyRemedy, remedy))
	}
	// Only a hook can change the user or the role. It may be meant, but it is never
	// an accident that nobody hears of.
	add(e.became != principal{}, slog.String(keyUser, e.became.user))
	add(e.became != principal{}, slog.String(keyRole, e.became.role))
	if e.State != "" { // which has been told, or is told now: somebody may have to do something
		l.message = strings.TrimSuffix(l.message, nothingNeedsDoing)
	}
	logger.LogAttrs(ctx, l.level, l.message, attrs...)
}

// reason is what an event is counted under: Snowflake's code, or the class where it
// has none. The codes of lost sessions are few; those of refused logins could be
// any.
func (e Event) reason() string {
	if e.Code != 0 {
		return strconv.Itoa(e.Code)
	}
	return string(e.Class)
}

// replaced says that a connection has a new session. If the old one was not dead,
// it was replaced ahead of its end.
func (c *Connector) replaced(ctx context.Context, old, fresh *session, cause error, went sqltext.Loss, took time.Duration) {
	e := Event{
		Kind: EventRetired, SessionID: fresh.id(), OldSessionID: old.id(), Age: old.age(), Duration: took, State: went.String(),
	}
	if old.dead.Load() != nil {
		e.Kind, e.Code, e.Class = EventReconnected, number(cause), ClassSessionLost
	}
	if old.principal != fresh.principal {
		e.became = fresh.principal
	}
	if e.Kind == EventReconnected {
		e.again = c.burst.fold(e, c.manyReplaced)
	}
	c.emit(ctx, e)
}

// repeated says that RunTx has begun a transaction again. A storm of them is told in a few lines.
func (c *Connector) repeated(ctx context.Context, s *session, r *remains) {
	e := Event{
		Kind: EventTransactionRepeated, SessionID: s.id(), Code: number(r.failed), Class: Classify(r.failed),
		Attempt: r.attempt, again: !c.repeats.spend(time.Now()),
	}
	if failed, ok := as[*SessionError](r.failed); ok {
		e.OldSessionID = failed.SessionID
	}
	c.emit(ctx, e)
}

// pinged says what the ping of an idle session came to. err is nil if the server
// answered, also that the session is dead.
func (c *Connector) pinged(ctx context.Context, s *session, err error) {
	c.counters.pings.Add(1)
	if err == nil {
		c.counters.unanswered.Store(0)
		return
	}
	c.emit(ctx, Event{
		Kind: EventPingFailed, SessionID: s.id(), Code: number(err), Class: Classify(err),
		Attempt: int(c.counters.unanswered.Add(1)), Error: redact(err),
	})
}
