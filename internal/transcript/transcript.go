// Package transcript reads what was seen of one statement's way to Snowflake, and
// says what is known of it: whether it ran.
//
// An error cannot tell. The same code, text and empty query ID stand for a statement
// that was refused and for one that ran before its reply was lost. What can tell is
// the traffic, and all of it can be seen through the statement's context: net/http
// reports to the trace in it, and gosnowflake looks two things up in it. It asks for
// the caller's request ID once at the start of each statement that it sends and once
// for each renewal of the session token that it makes for this statement (never for a
// retry, nor for a renewal of the heartbeat's, which has another context); and it asks
// for the caller's query-ID channel once for each reply that is not "renew". Found on
// gosnowflake v2.1.0 and v1.19.1; the package's tests hold each fact on the version in
// use.
//
// A [Recorder] is the context that a statement is carried out with. It writes down one
// mark for each of these:
//
//	q    look-up of the request ID: a statement begins, or a renewal
//	P G  a request of gosnowflake's with / without a body: statement or renewal / poll
//	x    any other request: an upload, a redirect to another host
//	.    first byte of the reply
//	i o  look-up of the channel that brought an ID / none: accepted / answered without
//	t    the reply was cut, and gosnowflake sends the statement once more
//
// So `qP.i` is a statement, and `qP.qR.P.iG.G.` one whose token had expired and that was
// polled (R is a P, told apart by its length). [Judge] reads them.
package transcript

import (
	"fmt"
	"strings"
	"time"
)

// The marks.
const (
	lookup   = 'q'
	post     = 'P'
	get      = 'G'
	other    = 'x'
	reply    = '.'
	accepted = 'i'
	answered = 'o'
	cut      = 't'
	odd      = '?' // a look-up of the channel that nothing came of
)

// A mark is one thing that was seen.
type mark struct {
	kind byte
	size int64         // of a request: its Content-Length, -1 if it has none
	at   time.Duration // since the beginning; of a request: when it had been written, body and all
	id   string        // of an accepted: the query ID
}

// A Transcript is all that was seen of one statement.
type Transcript struct {
	marks      []mark
	dials      int           // times that a network connection was looked for
	end        time.Duration // when gosnowflake returned, or its caller left
	abandoned  bool          // the caller left, and gosnowflake goes on
	short      bool          // an upload was about to be repeated with fewer bytes, and stopped
	dialect    *Dialect      // of the gosnowflake that looked the request ID up; nil: none did
	request    fmt.Stringer  // the request ID that it was sent with; nil: it is not known
	unanswered time.Time     // see Unanswered
	heard      time.Time     // see Heard
	idle       bool          // it was told to run nothing: to describe, or to fetch by an ID
}

// String is the transcript's marks. It holds neither IDs nor tokens.
func (t Transcript) String() string {
	var b strings.Builder
	for _, m := range t.marks {
		b.WriteByte(m.kind)
	}
	return b.String()
}

// Unsent reports whether a network connection was looked for and nothing was sent.
func (t Transcript) Unsent() bool { return t.dials > 0 && !t.Sent() && !t.abandoned }

// Transferred reports whether anything was sent elsewhere, as an upload is.
func (t Transcript) Transferred() bool { return t.has(other) }

// Short reports whether the repetition of an upload was stopped; see StopShortUploads.
func (t Transcript) Short() bool { return t.short }

// Sent reports whether any request was written.
func (t Transcript) Sent() bool { return t.has(post) || t.has(get) || t.has(other) }

// Shows reports whether a request of gosnowflake's was seen, and so whether the traffic
// of this session can be.
func (t Transcript) Shows() bool { return t.has(post) || t.has(get) }

// Dialect is that of the gosnowflake that began the statement, or nil if none was seen to.
func (t Transcript) Dialect() *Dialect { return t.dialect }

// Request is the ID of the statement's own request, or nil if that is not known: with
// gosnowflake v1 it is the caller's or nil.
func (t Transcript) Request() fmt.Stringer { return t.request }

// Unanswered is when the request began that had no answer at the end, repetitions of it
// included, or zero.
func (t Transcript) Unanswered() time.Time { return t.unanswered }

// Heard is when Snowflake last answered, or zero if that was not seen. An object store's replies
// say nothing of Snowflake.
func (t Transcript) Heard() time.Time { return t.heard }

// Idle reports whether gosnowflake was told to run nothing.
func (t Transcript) Idle() bool { return t.idle }

// Silent reports whether nothing at all was seen that an HTTP client or gosnowflake does.
func (t Transcript) Silent() bool { return len(t.marks) == 0 && t.dials == 0 }

func (t Transcript) has(kind byte) bool {
	for _, m := range t.marks {
		if m.kind == kind {
			return true
		}
	}
	return false
}
