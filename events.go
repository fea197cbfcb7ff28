package snowtether

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// This file says what happened to sessions: as lines in the log and as counts.

// The keys of the log lines' attributes.
const (
	keyReason     = "reason"      // Snowflake's code for the loss, or its class
	keySession    = "session_id"  // the session that the line is about
	keyOldSession = "old_session" // the session that it replaces
	keyAge        = "session_age" // how long the lost session had lived
	keyLogin      = "login_took"  // how long the login took, waiting included
	keyTook       = "took"        // how long the rest took
	keyQuery      = "query_id"    // the statement that the line is about
	keyError      = "error"
	keyUser       = "new_user" // only where a hook changed whom the session acts as
	keyRole       = "new_role" // only where a hook changed whom the session acts as
)

// Stats counts what happened since the connector was made. The counters only
// grow; reading them stops nobody.
type Stats struct {
	Open          int64 // sessions open now, those being closed included
	Logins        int64 // logins that succeeded
	LoginFailures int64 // logins that were sent and failed
	Reconnects    int64 // lost sessions that were replaced on their connection
	Renewals      int64 // session tokens renewed
	Lost          int64 // sessions that were found dead
	Resumed       int64 // accepted statements that were carried over to a new session
	InDoubt       int64 // statements whose outcome nobody knows
	CloseTimeouts int64 // sessions whose log-out did not end within its bound
}

// counters are the live form of Stats.
type counters struct {
	open, logins, loginFailures, reconnects, renewals, lost, resumed, inDoubt, closeTimeouts atomic.Int64
}

// Stats reports what the connector has done so far.
func (c *Connector) Stats() Stats {
	n := &c.counters
	return Stats{
		Open:          n.open.Load(),
		Logins:        n.logins.Load(),
		LoginFailures: n.loginFailures.Load(),
		Reconnects:    n.reconnects.Load(),
		Renewals:      n.renewals.Load(),
		Lost:          n.lost.Load(),
		Resumed:       n.resumed.Load(),
		InDoubt:       n.inDoubt.Load(),
		CloseTimeouts: n.closeTimeouts.Load(),
	}
}

func (c *Connector) log(ctx context.Context, level slog.Level, msg string, attrs ...slog.Attr) {
	l := c.settings.logger
	if l == nil {
		l = slog.Default()
	}
	l.LogAttrs(ctx, level, msg, attrs...)
}

// logReconnect says that a lost session was replaced. It is good news, at Info:
// users of other drivers report successful recoveries as bugs.
func (c *Connector) logReconnect(ctx context.Context, old, fresh *session, cause error, took time.Duration) {
	c.counters.reconnects.Add(1)
	attrs := []slog.Attr{
		slog.Any(keyReason, reason(cause)),
		slog.Int64(keyOldSession, old.id()),
		slog.Int64(keySession, fresh.id()),
		slog.Duration(keyAge, time.Since(old.opened).Round(time.Millisecond)),
		slog.Duration(keyLogin, took.Round(time.Millisecond)),
	}
	if old.principal != fresh.principal {
		// Only a hook can do that. It may be meant, but it is never an accident that
		// nobody hears of.
		attrs = append(attrs, slog.String(keyUser, fresh.principal.user), slog.String(keyRole, fresh.principal.role))
	}
	c.log(ctx, slog.LevelInfo, "snowtether: session was lost and has been replaced; nothing needs doing", attrs...)
}

// reason is Snowflake's code for an error, or its class where it has none.
func reason(err error) any {
	if n := number(err); n != 0 {
		return n
	}
	return string(Classify(err))
}
