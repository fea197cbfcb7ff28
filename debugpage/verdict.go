package debugpage

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/causes"
)

// This file makes the sentence on top of a pool: how things are and what, if
// anything, needs doing. Between two events it says the same, but for how long something
// has waited, so that whoever has
// it read out hears it once.

// A level says whether somebody has to act.
type level string

const (
	levelOK     level = "ok"
	levelClosed level = "closed" // by the program
	levelWait   level = "wait"   // not well, but nothing can be done in the program or its settings
	levelAct    level = "act"
)

// Label is the level in words: colours are not seen by everybody.
func (l level) Label() string {
	switch l {
	case levelOK:
		return "In order"
	case levelClosed:
		return "Closed"
	case levelWait:
		return "Waiting"
	}
	return "To do"
}

// judge says how a connector is.
func judge(s snowtether.Snapshot) (level, string) {
	l, text := state(s)
	if doubt := inDoubt(s); doubt != "" {
		return levelAct, doubt + " " + text + "."
	}
	if l == levelOK {
		text += "; nothing needs doing"
		if past := overcome(s); past != "" {
			text += ". " + past
		}
	}
	return l, text + "."
}

// state is what judge says without what is past.
func state(s snowtether.Snapshot) (level, string) {
	gate := s.Gate
	switch {
	case s.Closed:
		return levelClosed, closed(s)
	case gate.State == snowtether.GateSuspended:
		logins := "A login was refused"
		if gate.Failures > 1 {
			logins = fmt.Sprintf("The last %d logins were refused, the last one", gate.Failures)
		}
		why, remedy := refusal(gate.Code)
		return levelAct, fmt.Sprintf("%s %s: %s. With the same credentials none is sent before %s; %s",
			logins, why, remedy, at(s, gate.Until, "15:04:05"), remaining(s))
	case gate.State == snowtether.GateProbing && s.Stats.Logins == 0: // it may be a name that was never right
		return levelAct, fmt.Sprintf("Snowflake cannot be reached since %s, and no login has succeeded yet; logins are tried again. Look at the names of the account and the host, the network, the proxy and status.snowflake.com",
			at(s, gate.Since, "15:04"))
	case gate.State == snowtether.GateProbing:
		return levelWait, fmt.Sprintf("Snowflake cannot be reached since %s; logins, and statements that were not sent, are tried again, and this program needs nothing. The cause is in the network, the proxy or at Snowflake (status.snowflake.com)",
			at(s, gate.Since, "15:04"))
	case gate.State == snowtether.GatePaced:
		why := ""
		if e, ok := last(s, snowtether.EventLost); ok && e.Code != 0 {
			why = fmt.Sprintf(" The last one was lost with code %d.", e.Code)
		}
		return levelAct, fmt.Sprintf("Since %s sessions end before they can be used; logins are spaced out until one lasts.%s Find out who ends them: a session policy, an administrator, or a gateway",
			at(s, gate.Since, "15:04"), why)
	}
	if e, ok := failing(s); ok {
		if e.Kind == snowtether.EventSetUpFailed {
			return levelAct, fmt.Sprintf("The last new session, at %s, could not be set up and was closed%s: correct the statements of WithSessionInit or the hook of WithAfterConnect; %s",
				at(s, e.Time, "15:04"), withCode(e.Code), remaining(s))
		}
		why, remedy := refusal(e.Code)
		return levelAct, fmt.Sprintf("The last login, at %s, was refused %s: %s. The next one is sent when somebody needs a session; %s",
			at(s, e.Time, "15:04"), why, remedy, remaining(s))
	}
	if e, ok := last(s, snowtether.EventPingsLate, snowtether.EventPingsInTime); ok && e.Kind == snowtether.EventPingsLate {
		return levelAct, fmt.Sprintf("Since %s idle sessions are asked too late whether they are alive, and may end: make the interval of WithIdlePing longer if the session policy allows it, or keep fewer connections idle",
			at(s, e.Time, "15:04"))
	}
	if w := s.Waiting; w.Unanswered+w.Logins > 0 {
		return waiting(s)
	}
	return levelOK, sessions(s)
}

// answersWithin is how long Snowflake takes at the most to answer a request of a statement
// that runs (45 s), and something for the network.
const answersWithin = time.Minute

// waiting says what is under way and has had no answer.
func waiting(s snowtether.Snapshot) (level, string) {
	w := s.Waiting
	var who []string
	if w.Unanswered > 0 {
		who = append(who, plural(w.Unanswered, "statement", "statements"))
	}
	if w.Logins > 0 {
		who = append(who, plural(w.Logins, "login", "logins"))
	}
	have, up := "have", "up to "
	if w.Unanswered+w.Logins == 1 {
		have, up = "has", ""
	}
	text := fmt.Sprintf("%s %s waited %s%s for an answer", strings.Join(who, " and "), have, up, seconds(w.Oldest))
	switch silent := w.Silence == 0 || w.Silence >= w.Oldest; {
	case silent && w.Oldest >= answersWithin:
		return levelWait, fmt.Sprintf("Snowflake cannot be reached since %s: %s, and nothing else was answered meanwhile. The requests are repeated, and this program needs nothing; the cause is in the network, the proxy or at Snowflake (status.snowflake.com)",
			at(s, s.Time.Add(-w.Oldest), "15:04"), text)
	case silent:
		return levelWait, text + ", and nothing else was answered meanwhile. That is usual while statements run for long: Snowflake then answers every 45 s"
	case w.Oldest >= answersWithin:
		return levelWait, text + ", while others are answered. Snowflake answers within 45 s even if a statement runs for long: the connection may be broken, and the request will be repeated"
	}
	return levelOK, sessions(s) + "; " + text + ", while others are answered"
}

func closed(s snowtether.Snapshot) string {
	text := "The program has closed this pool"
	switch n := len(s.Sessions); {
	case n == 0:
		return text + "; it has no sessions and makes no logins"
	case s.Stats.CloseTimeouts > 0:
		return fmt.Sprintf("%s; %s not logged out in time and will be ended by Snowflake", text, plural(n, "session was", "sessions were"))
	default:
		return fmt.Sprintf("%s; %s being logged out", text, plural(n, "session is", "sessions are"))
	}
}

// sessions says how the sessions are when logins are let through.
func sessions(s snowtether.Snapshot) string {
	n := tally(s)
	closing := n[snowtether.SessionClosing]
	open := len(s.Sessions) - closing
	dead, suspect := n[snowtether.SessionDead], n[snowtether.SessionSuspect]
	var parts []string
	switch {
	case open == 0 && s.Stats.Logins == 0:
		return "No session has been opened yet; the first use of the pool logs in"
	case open == 0:
		parts = append(parts, "No session is open; the next use of the pool logs in")
	case dead+suspect == 0 && open == 1:
		parts = append(parts, "The one session is in order")
	case dead+suspect == 0:
		parts = append(parts, fmt.Sprintf("All %d sessions are in order", open))
	}
	if dead > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d sessions turned out to be dead and will be replaced", dead, open))
	}
	if suspect > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d sessions will be checked before the next use, because another turned out to be dead", suspect, open))
	}
	if closing > 0 {
		parts = append(parts, plural(closing, "session is", "sessions are")+" being logged out")
	}
	return strings.Join(parts, "; ")
}

// remaining says what is left to work with while logins fail.
func remaining(s snowtether.Snapshot) string {
	n := tally(s)
	switch open := n[snowtether.SessionIdle] + n[snowtether.SessionUsed]; open {
	case 0:
		return "no session is open that could be used meanwhile"
	case 1:
		return "the one session that is open can be used meanwhile"
	default:
		return fmt.Sprintf("the %d sessions that are open can be used meanwhile", open)
	}
}

func tally(s snowtether.Snapshot) map[snowtether.SessionState]int {
	n := make(map[snowtether.SessionState]int)
	for _, info := range s.Sessions {
		n[info.State]++
	}
	return n
}

// failing returns what the last attempt to open a session came to, if that has to
// be put right by somebody and no longer shows at the gate.
func failing(s snowtether.Snapshot) (snowtether.Event, bool) {
	for _, e := range slices.Backward(s.Events) {
		switch e.Kind {
		case snowtether.EventSetUpFailed:
			switch e.Class {
			case snowtether.ClassTransient, snowtether.ClassSessionLost, snowtether.ClassContext:
				return e, false
			}
			return e, true
		case snowtether.EventLoginFailed:
			return e, e.Class == snowtether.ClassPermanent || e.Class == snowtether.ClassCredential
		case snowtether.EventOpened:
			return e, false
		}
	}
	return snowtether.Event{}, false
}

// inDoubt says which statements may have run that nobody has seen yet, and what to do about
// the last one.
func inDoubt(s snowtether.Snapshot) string {
	e, _ := last(s, snowtether.EventInDoubt)
	which := ""
	if e.Operation != "" {
		which = fmt.Sprintf(" (%s)", e.Operation)
	}
	n := s.InDoubt.Count
	switch n {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf("One statement%s failed at %s and may have run: %s.", which, at(s, e.Time, "15:04"), e.Remedy())
	}
	return fmt.Sprintf("%d statements have failed since %s and may have run. Each of them is listed; for the last one%s, at %s: %s.",
		n, at(s, s.InDoubt.Since, "15:04"), which, at(s, e.Time, "15:04"), e.Remedy())
}

// pastFor is how long trouble that is over is spoken of: whoever was woken by it
// finds it here.
const pastFor = time.Hour

// overcome says what trouble ended lately.
func overcome(s snowtether.Snapshot) string {
	for _, e := range slices.Backward(s.Events) {
		if s.Time.Sub(e.Time) >= pastFor {
			break
		}
		from, to := clock(s.Time, e.Time.Add(-e.Duration), "15:04"), at(s, e.Time, "15:04")
		switch e.Kind {
		case snowtether.EventOutageEnded:
			return fmt.Sprintf("Snowflake could not be reached from %s to %s", from, to)
		case snowtether.EventSuspensionEnded:
			return fmt.Sprintf("Logins were refused from %s to %s", from, to)
		case snowtether.EventPacingEnded:
			return fmt.Sprintf("From %s to %s sessions ended before they could be used", from, to)
		case snowtether.EventPingsInTime:
			return fmt.Sprintf("From %s to %s idle sessions were asked too late whether they are alive", from, to)
		}
	}
	return ""
}

// last returns the last event of one of these kinds.
func last(s snowtether.Snapshot, kinds ...snowtether.EventKind) (e snowtether.Event, ok bool) {
	for _, e := range slices.Backward(s.Events) {
		if slices.Contains(kinds, e.Kind) {
			return e, true
		}
	}
	return e, false
}

const unknown = "look up its text in the log, and change what that names"

func refusal(code int) (why, remedy string) {
	known := causes.Of(code)
	switch {
	case known.ForPerson() != "":
		return fmt.Sprintf("with code %d (%s)", code, known.Name), known.ForPerson()
	case code != 0:
		return fmt.Sprintf("with code %d", code), unknown
	}
	return "without a code", unknown
}

func withCode(code int) string {
	if code == 0 {
		return ""
	}
	return fmt.Sprintf(" (code %d)", code)
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprint(n, " ", many)
}

// at writes a time of day, with the date if that is not the page's own.
func at(s snowtether.Snapshot, t time.Time, layout string) string {
	return clock(s.Time, t, layout) + " UTC"
}

func clock(now, t time.Time, layout string) string {
	now, t = now.UTC(), t.UTC()
	if now.Format(time.DateOnly) != t.Format(time.DateOnly) {
		layout = "2 Jan " + layout
	}
	return t.Format(layout)
}
