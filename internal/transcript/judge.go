package transcript

import "time"

// This file judges a transcript. It is pure: it knows marks, and what an error says.

// A Kind of fate is what is known of one try of a statement.
type Kind uint8

// The kinds of fate. New kinds of failure land in Open by themselves.
const (
	Open     Kind = iota // it may have run, or may still do
	Local                // gosnowflake's own error: nothing was sent
	NotRun               // it did not run, and will not
	Accepted             // it was accepted under an ID; what came of it is not known
	Answered             // it ended with Snowflake's own error
	Done                 // it succeeded
	kinds
)

func (k Kind) String() string {
	return [kinds]string{"open", "local", "not run", "accepted", "answered", "done"}[k]
}

// A Fate is what is known of one try of a statement, and its query ID where that is
// known. The ID of a statement that an array bind sends before it is never it.
type Fate struct {
	Kind Kind
	ID   string
}

// An Outcome is what the error of a try says.
type Outcome struct {
	Failed   bool   // there is one
	Local    bool   // that nothing was sent, unless something was seen
	Gone     bool   // that the session has ended
	Refused  bool   // that the last request was refused without an answer: HTTP 401, or one renewal too many
	Network  bool   // that the network or a gateway failed
	Answer   bool   // by its number it can be Snowflake's about the statement: not 39xxxx, none of gosnowflake's own
	QueryID  string // the query ID in it
	SQLState string // the SQLState in it
}

// slow is how long a request may take to be refused. A server may hold a statement for
// 45 s while it runs; that it then never answers with a refusal is believed, not known.
const slow = 3 * time.Second

// Judge says what is known of a statement. With visible false the traffic cannot be
// seen, and nothing is ever called NotRun.
func (t Transcript) Judge(o Outcome, visible bool) Fate {
	id := t.ID()
	own := t.own(len(t.marks))
	switch {
	case !o.Failed:
		return Fate{Done, id}
	case o.Answer && id != "" && o.QueryID == id:
		return Fate{Answered, id}
	case o.Answer && own >= 0 && len(o.SQLState) == 5 && visible && t.answeredOnce(own):
		return Fate{Answered, o.QueryID}
	case id != "":
		return Fate{Accepted, id}
	case t.abandoned:
		return Fate{Kind: Open}
	case t.Silent() && o.Local:
		return Fate{Kind: Local} // it did not come to be sent
	case t.Silent() && o.Answer && o.QueryID != "" && len(o.SQLState) == 5:
		return Fate{Answered, o.QueryID} // what wraps gosnowflake hides the statement, not its error
	case !visible:
		return Fate{Kind: Open}
	case own == notSent && (o.Gone || o.Network && t.dials > 0 || t.short || t.last() == answered):
		// The last: a statement that an array bind sends before the caller's was refused,
		// and gosnowflake's error may hide by whom.
		return Fate{Kind: NotRun}
	case own == notSent:
		return Fate{Kind: Local}
	case own >= 0 && t.refused(own, o):
		return Fate{Kind: NotRun}
	}
	return Fate{Kind: Open}
}

// last is the last mark, 0 if there is none.
func (t Transcript) last() byte {
	if len(t.marks) == 0 {
		return 0
	}
	return t.marks[len(t.marks)-1].kind
}

// ID is the caller's own statement's query ID, or "".
func (t Transcript) ID() string {
	own := t.own(len(t.marks))
	if own < 0 {
		return ""
	}
	for _, m := range t.marks[own:] {
		switch m.kind {
		case accepted:
			return m.id
		case answered:
			return ""
		}
	}
	return ""
}

// notSent and notKnown are where the caller's own segment begins if it does not, and if
// that cannot be told.
const (
	notSent  = -1
	notKnown = -2
)

// own is where the caller's own segment begins among the first n marks: with the first
// request for their statement, or, where the traffic is hidden, with its reply.
//
// With an array bind through a stage, gosnowflake begins one statement (q), and then
// sends others with a q each before it: q qP.i qP.ix. P.i. The request that follows a
// whole reply without a q of its own is the caller's.
func (t Transcript) own(n int) int {
	marks := t.marks[:n]
	switch {
	case len(marks) > 0 && marks[0].kind != lookup && t.has(post):
		return notKnown // nothing is known of when it began
	case len(marks) < 2 || marks[0].kind != lookup:
		return notSent
	}
	if marks[1].kind != lookup {
		return 1
	}
	inner := true // within a statement of gosnowflake's, whose reply is awaited
	for i := 2; i < len(marks); i++ {
		switch marks[i].kind {
		case lookup:
			inner = true
		case accepted, answered:
			if !inner {
				return i
			}
			inner = false
		case post:
			if !inner {
				return i
			}
		case get:
			// A poll, if the reply before it has been read. Else it is a redirect, or the
			// renewal before it was one of the polling.
			if inner {
				return notKnown
			}
		}
	}
	return notSent
}

// An ending is how the requests for a statement came to their end.
type ending uint8

const (
	unclear  ending = iota // one of them may have been accepted
	cutShort               // the last was answered, and what that said was not read
	replied                // the last was answered without an ID
	renewing               // the last was followed by a renewal of the session token
)

// ends reads the requests for the statement. Each was answered, and each but the last is
// followed by a renewal of the session token: else the ending is unclear. slow says that
// one of them took so long that it could have been accepted.
func (t Transcript) ends(own int) (how ending, tooSlow bool) {
	marks := t.marks[own:]
	size, i := marks[0].size, 0
	for {
		if i+1 >= len(marks) || marks[i].kind != post || marks[i+1].kind != reply {
			return unclear, tooSlow
		}
		sent, next := marks[i].at, t.end
		if i += 2; i < len(marks) {
			next = marks[i].at
		}
		tooSlow = tooSlow || next-sent > slow
		switch {
		case i == len(marks):
			return cutShort, tooSlow
		case marks[i].kind == answered && i+1 == len(marks):
			return replied, tooSlow
		case marks[i].kind != lookup:
			return unclear, tooSlow
		}
		after, ended, ok := renewal(marks, i+1, size)
		switch {
		case !ok:
			return unclear, tooSlow
		case ended:
			return renewing, tooSlow
		}
		i = after
	}
}

// refused reports whether every request for the statement was refused: the last is
// followed by a renewal, whatever came of that, or by the session's end.
func (t Transcript) refused(own int, o Outcome) bool {
	how, tooSlow := t.ends(own)
	return !tooSlow && (how == renewing || how == replied && o.Gone || how == cutShort && o.Refused)
}

// answeredOnce reports whether the one request that was not refused was answered without
// an ID. A second one, of a retry, may be answered about something else than the first,
// which may have run.
func (t Transcript) answeredOnce(own int) bool {
	how, _ := t.ends(own)
	return how == replied
}

// renewal reads a renewal from its first mark on. It is told from the statement by its
// length: the statement's is the same each time. Where both have one length, nothing is
// proven.
func renewal(marks []mark, i int, size int64) (next int, ended, ok bool) {
	if i == len(marks) {
		return i, true, true // it was never sent
	}
	if marks[i].kind != post || marks[i].size == size {
		return i, false, false
	}
	for ; i < len(marks); i++ {
		switch m := marks[i]; {
		case m.kind == post && m.size == size:
			return i, false, true
		case m.kind != post && m.kind != reply:
			return i, false, false
		}
	}
	return i, true, true
}

// Word is the fate of a statement of an inner driver that sends no HTTP at all, such
// as a mock: its word is all there is.
func (o Outcome) Word() Fate {
	switch {
	case o.Gone && o.QueryID == "":
		return Fate{Kind: NotRun}
	case o.Gone || o.Network:
		return Fate{Kind: Open, ID: o.QueryID}
	}
	return Fate{Kind: Local}
}

// StrangersWord is the fate of a statement of an inner driver that sends HTTP and is no
// gosnowflake that is known: of what it sends nothing can be read. Its own errors are the
// caller's, but where they may be a loss; those of one that speaks as gosnowflake does,
// such as a copy of it under another name, may all be.
func (t Transcript) StrangersWord(o Outcome, commits bool) Fate {
	switch {
	case o.Local && t.Silent():
		return Fate{Kind: Local}
	case o.Gone || o.Network || commits || t.Shows():
		return Fate{Kind: Open}
	}
	return Fate{Kind: Answered}
}
