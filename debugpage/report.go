package debugpage

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/snowtether/snowtether"
)

// This file is what the page and its JSON form show. The names of the fields are
// documented in docs/observability.md and do not change.

type report struct {
	Time  time.Time `json:"time"`
	Pools []pool    `json:"pools"`
}

type pool struct {
	Pool     string        `json:"pool"`
	Level    level         `json:"level"`
	Sentence string        `json:"sentence"`
	Closed   bool          `json:"closed"`
	Sessions rows[session] `json:"sessions"`
	Gate     gate          `json:"gate"`
	Counts   counts        `json:"counts"`
	Events   rows[event]   `json:"events"`
	InDoubt  doubts        `json:"in_doubt,omitzero"`
	Waiting  underway      `json:"waiting"`
	Hour     []minute      `json:"hour,omitempty"`

	now time.Time
}

type session struct {
	ID       int64                   `json:"id"`
	State    snowtether.SessionState `json:"state"`
	Age      seconds                 `json:"age_seconds"`
	Idle     seconds                 `json:"idle_seconds"`
	TokenAge seconds                 `json:"token_age_seconds,omitzero"`
}

type gate struct {
	State    snowtether.GateState `json:"state"`
	Since    time.Time            `json:"since,omitzero"`
	Until    time.Time            `json:"until,omitzero"`
	Failures int                  `json:"failures"`
	Code     int                  `json:"code,omitzero"`
	Class    snowtether.Class     `json:"class,omitzero"`
}

type underway struct {
	Statements int     `json:"statements"`
	Unanswered int     `json:"unanswered"`
	Logins     int     `json:"logins"`
	Oldest     seconds `json:"oldest_seconds,omitzero"`
	Silence    seconds `json:"silence_seconds,omitzero"`
}

type doubts struct {
	Count int       `json:"count"`
	Since time.Time `json:"since"`
}

type counts struct {
	Open                 int64                      `json:"open"`
	Idle                 int64                      `json:"idle"`
	Suspect              int64                      `json:"suspect"`
	Logins               int64                      `json:"logins"`
	LoginFailures        int64                      `json:"login_failures"`
	LoginFailuresByClass map[snowtether.Class]int64 `json:"login_failures_by_class"`
	Suspensions          int64                      `json:"suspensions"`
	Lost                 int64                      `json:"lost"`
	Reconnects           int64                      `json:"reconnects"`
	ReconnectsByReason   map[string]int64           `json:"reconnects_by_reason"`
	Retired              int64                      `json:"retired"`
	Renewals             int64                      `json:"renewals"`
	Resumed              int64                      `json:"resumed"`
	InDoubt              int64                      `json:"in_doubt"`
	Pings                int64                      `json:"pings"`
	PingFailures         int64                      `json:"ping_failures"`
	CloseTimeouts        int64                      `json:"close_timeouts"`
	TxRepeats            int64                      `json:"tx_repeats"`
	SetUpFailures        int64                      `json:"set_up_failures"`
	MeanSessionLife      seconds                    `json:"mean_session_life_seconds,omitzero"`
	LastSessionLife      seconds                    `json:"last_session_life_seconds,omitzero"`
	MeanTokenLife        seconds                    `json:"mean_token_life_seconds,omitzero"`
	LastTokenLife        seconds                    `json:"last_token_life_seconds,omitzero"`
	LastReconnect        time.Time                  `json:"last_reconnect,omitzero"`
}

type event struct {
	Kind         snowtether.EventKind `json:"kind"`
	Time         time.Time            `json:"time"`
	SessionID    int64                `json:"session_id,omitzero"`
	OldSessionID int64                `json:"old_session_id,omitzero"`
	Code         int                  `json:"code,omitzero"`
	Class        snowtether.Class     `json:"class,omitzero"`
	Attempt      int                  `json:"attempt,omitzero"`
	Count        int                  `json:"count,omitzero"`
	Duration     seconds              `json:"duration_seconds,omitzero"`
	Age          seconds              `json:"age_seconds,omitzero"`
	QueryID      string               `json:"query_id,omitzero"`
	RequestID    string               `json:"request_id,omitzero"`
	Operation    string               `json:"operation,omitzero"`
	Remedy       string               `json:"remedy,omitzero"`
	Reasons      string               `json:"reasons,omitzero"`
	Lost         string               `json:"lost,omitzero"`
	Acknowledged bool                 `json:"acknowledged,omitzero"`

	exact, now time.Time
}

// newPool takes from a snapshot what is shown: field by field, so that nothing gets
// onto a page because somebody added it to a snapshot.
func newPool(s snowtether.Snapshot) pool {
	n := s.Stats
	p := pool{
		Pool: s.Pool, Closed: s.Closed, now: s.Time,
		Sessions: make([]session, len(s.Sessions)),
		Gate:     gate{s.Gate.State, utc(s.Gate.Since), utc(s.Gate.Until), s.Gate.Failures, s.Gate.Code, s.Gate.Class},
		Events:   make([]event, len(s.Events)),
		InDoubt:  doubts{s.InDoubt.Count, utc(s.InDoubt.Since)},
		Waiting:  underway{s.Waiting.Statements, s.Waiting.Unanswered, s.Waiting.Logins, seconds(s.Waiting.Oldest), seconds(s.Waiting.Silence)},
		Counts: counts{
			Open: n.Open, Idle: n.Idle, Suspect: n.Suspect,
			Logins: n.Logins, LoginFailures: n.LoginFailures, LoginFailuresByClass: n.LoginFailuresByClass, Suspensions: n.Suspensions,
			Lost: n.Lost, Reconnects: n.Reconnects, ReconnectsByReason: n.ReconnectsByReason, Retired: n.Retired, Renewals: n.Renewals,
			Resumed: n.Resumed, InDoubt: n.InDoubt, Pings: n.Pings, PingFailures: n.PingFailures, CloseTimeouts: n.CloseTimeouts,
			TxRepeats: n.TxRepeats, SetUpFailures: n.SetUpFailures,
			MeanSessionLife: seconds(n.MeanSessionLife), LastSessionLife: seconds(n.LastSessionLife),
			MeanTokenLife: seconds(n.MeanTokenLife), LastTokenLife: seconds(n.LastTokenLife), LastReconnect: utc(n.LastReconnect),
		},
	}
	p.Level, p.Sentence = judge(s)
	for _, m := range s.Hour {
		p.Hour = append(p.Hour, minute{utc(m.Time), m.Logins, m.Lost, m.InDoubt, m.Waited})
	}
	s.Sessions = slices.Clone(s.Sessions)
	slices.SortStableFunc(s.Sessions, func(a, b snowtether.SessionInfo) int { return cmp.Compare(a.ID, b.ID) })
	for i, x := range s.Sessions {
		p.Sessions[i] = session{x.ID, x.State, seconds(x.Age), seconds(x.Idle), seconds(x.TokenAge)}
	}
	for i, e := range s.Events {
		p.Events[i] = event{
			e.Kind, utc(e.Time), e.SessionID, e.OldSessionID, e.Code, e.Class, e.Attempt, e.Count,
			seconds(e.Duration), seconds(e.Age), e.QueryID, e.RequestID, e.Operation, e.Remedy(), e.Reasons, e.State, acknowledged(s, e), e.Time, s.Time,
		}
	}
	return p
}

// acknowledged reports whether an event is a statement in doubt that somebody has seen.
func acknowledged(s snowtether.Snapshot, e snowtether.Event) bool {
	return e.Kind == snowtether.EventInDoubt && (s.InDoubt.Count == 0 || e.Time.Before(s.InDoubt.Since))
}

func utc(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// seconds are a duration that JSON shows in seconds and the page in words.
type seconds time.Duration

func (s seconds) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Duration(s).Round(time.Millisecond).Seconds())
}

func (s seconds) String() string {
	d := time.Duration(s)
	switch {
	case d == 0:
		return "–"
	case d < time.Second:
		return fmt.Sprintf("%dms", max(d.Milliseconds(), 1))
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm %02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh %02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd %02dh", int(d.Hours())/24, int(d.Hours())%24)
}

// The rest is what the page shows and the JSON form leaves to its reader.

// Clock writes a time of day where it is said that it is UTC.
func (p pool) Clock(t time.Time) string { return clock(p.now, t, "15:04:05") }

// shown is how many rows of a table are seen before the others are asked for.
const shown = 5

// rows are those of a table, in two parts.
type rows[T any] []T

func (r rows[T]) First() rows[T] { return r[:min(shown, len(r))] }
func (r rows[T]) Rest() rows[T]  { return r[min(shown, len(r)):] }

// Newest has the events in the order of the page.
func (p pool) Newest() rows[event] {
	events := slices.Clone(p.Events)
	slices.Reverse(events)
	return events
}

// Unseen are the statements in doubt that nobody has seen, the newest first.
func (p pool) Unseen() rows[event] {
	return slices.DeleteFunc(p.Newest(), func(e event) bool { return e.Kind != snowtether.EventInDoubt || e.Acknowledged })
}

// DoubtsCaption says how many they are.
func (p pool) DoubtsCaption() string {
	switch n, listed := p.InDoubt.Count, len(p.Unseen()); {
	case n > listed:
		return fmt.Sprintf("%d statements since %s UTC, of which these are the last %d", n, p.Clock(p.InDoubt.Since), listed)
	case n > 1:
		return fmt.Sprintf("%d statements since %s UTC", n, p.Clock(p.InDoubt.Since))
	}
	return "1 statement"
}

// Clock is when it happened, where it is said that it is UTC.
func (e event) Clock() string { return clock(e.now, e.Time, "15:04:05") }

// Moment is when it happened, to the nanosecond: the name of a statement in doubt.
func (e event) Moment() int64 { return e.exact.UnixNano() }

// States counts the sessions by their state.
func (p pool) States() string {
	n := make(map[snowtether.SessionState]int)
	for _, s := range p.Sessions {
		n[s.State]++
	}
	var parts []string
	for _, state := range []snowtether.SessionState{
		snowtether.SessionUsed, snowtether.SessionIdle, snowtether.SessionSuspect, snowtether.SessionDead, snowtether.SessionClosing,
	} {
		if n[state] > 0 {
			parts = append(parts, fmt.Sprint(n[state], " ", state))
		}
	}
	return strings.Join(parts, ", ")
}

// Says explains the state of the gate.
func (g gate) Says() string {
	switch g.State {
	case snowtether.GateFree:
		return "logins are sent as they come"
	case snowtether.GateProbing:
		return "one login is tried from time to time"
	case snowtether.GatePaced:
		return "logins are spaced out"
	case snowtether.GateSuspended:
		return "no login with the same credentials"
	}
	return ""
}

// A fact is a line of a list.
type fact struct{ Name, Value string }

// Facts are the counts in the order of the page.
func (p pool) Facts() []fact {
	n := p.Counts
	var facts []fact
	add := func(name string, value any) { facts = append(facts, fact{name, fmt.Sprint(value)}) }
	add("Logins", n.Logins)
	add("Logins that failed", n.LoginFailures)
	for _, class := range slices.Sorted(maps.Keys(n.LoginFailuresByClass)) {
		add("… "+string(class), n.LoginFailuresByClass[class])
	}
	add("Logins suspended", n.Suspensions)
	add("Sessions lost", n.Lost)
	add("Sessions replaced", n.Reconnects)
	for _, reason := range slices.Sorted(maps.Keys(n.ReconnectsByReason)) {
		if _, err := strconv.Atoi(reason); err == nil {
			add("… code "+reason, n.ReconnectsByReason[reason])
		} else {
			add("… "+reason, n.ReconnectsByReason[reason])
		}
	}
	if !n.LastReconnect.IsZero() {
		add("Last replaced (UTC)", p.Clock(n.LastReconnect))
	}
	add("Replaced ahead of time", n.Retired)
	add("Tokens renewed", n.Renewals)
	add("Statements carried over", n.Resumed)
	add("Statements in doubt", n.InDoubt)
	add("Pings", n.Pings)
	add("Pings not answered", n.PingFailures)
	add("Log-outs given up", n.CloseTimeouts)
	add("Transactions begun again", n.TxRepeats)
	add("Sessions not set up", n.SetUpFailures)
	add("Session life, mean", n.MeanSessionLife)
	add("Session life, last", n.LastSessionLife)
	add("Token life, mean", n.MeanTokenLife)
	add("Token life, last", n.LastTokenLife)
	return facts
}

// Grave says that the log has the event as a warning, and nobody has seen it.
func (e event) Grave() bool {
	switch e.Kind {
	case snowtether.EventInDoubt:
		return !e.Acknowledged
	case snowtether.EventLoginSuspended, snowtether.EventSetUpFailed, snowtether.EventStateLost, snowtether.EventRowsUncounted,
		snowtether.EventOutageBegan, snowtether.EventPacingBegan, snowtether.EventGuardFailed, snowtether.EventPingsLate, snowtether.EventCloseTimedOut:
		return true
	}
	return false
}

// Details are what is known about the event, in words. What to do is beside it, as long as
// somebody has to.
func (e event) Details() string {
	var parts []string
	add := func(there bool, format string, args ...any) {
		if there {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	add(e.Code != 0, "code %d", e.Code)
	add(e.Code == 0 && e.Class != "" && e.Reasons == "", "%s", e.Class)
	add(e.Reasons != "", "codes %s", e.Reasons)
	add(e.Lost != "", "lost: %s", e.Lost)
	add(e.SessionID != 0, "session %d", e.SessionID)
	add(e.OldSessionID != 0 && e.Kind == snowtether.EventTransactionEnded, "left open by %d", e.OldSessionID)
	add(e.OldSessionID != 0 && e.Kind != snowtether.EventTransactionEnded, "in place of %d", e.OldSessionID)
	add(e.Age != 0, "session age %s", e.Age)
	switch e.Kind {
	case snowtether.EventRenewed:
		add(e.Duration != 0, "token lived %s", e.Duration)
	case snowtether.EventLoginSuspended:
		add(e.Duration != 0, "for %s", e.Duration)
	case snowtether.EventPingsLate:
		add(e.Duration != 0, "not asked for %s", e.Duration)
	case snowtether.EventOutageEnded, snowtether.EventSuspensionEnded, snowtether.EventPacingEnded, snowtether.EventPingsInTime:
		add(e.Duration != 0, "lasted %s", e.Duration)
	default:
		add(e.Duration != 0, "took %s", e.Duration)
	}
	add(e.Attempt != 0, "attempt %d", e.Attempt)
	switch e.Kind {
	case snowtether.EventCloseTimedOut:
		add(e.Count != 0, "left behind %d", e.Count)
	case snowtether.EventPingsLate:
		add(e.Count != 0, "one of %d idle sessions", e.Count)
	case snowtether.EventManyReconnected:
		add(e.Count != 0, "%d sessions", e.Count)
	default:
		add(e.Count != 0, "attempts %d", e.Count)
	}
	add(e.Operation != "", "%s", e.Operation)
	add(e.QueryID != "", "query %s", e.QueryID)
	add(e.RequestID != "", "request %s", e.RequestID)
	add(e.Acknowledged, "seen")
	return strings.Join(parts, ", ")
}
