package transcript

import (
	"context"
	"fmt"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"
)

// A Recorder is the context that one statement is carried out with. It answers what
// gosnowflake looks up in it, and writes down what it sees until End. Rows keep it for
// as long as they download chunks; that is not written down any more.
type Recorder struct {
	context.Context
	trace httptrace.ClientTrace
	begun time.Time

	mu       sync.Mutex
	t        Transcript
	room     [6]mark // for t.marks: all that most statements need
	over     bool
	ours     bool               // the request whose headers are being written is gosnowflake's
	body     bool               // it has a body
	google   bool               // it brings a file to Google's store
	last     byte               // what request was the last
	size     int64              // how long the body is
	file     int64              // how large the file of the present statement was at first; 0: none was sent
	stop     context.CancelFunc // nil: nobody asks for uploads to be stopped
	requests int                // of which the headers were written
	written  int                // of which the rest was, too
	pending  []pendingID
	one      [1]pendingID // for pending
	caller   caller
	renewals turns
	asked    time.Time // when the request began that has no answer yet; zero: there is none
}

// A pendingID is a channel that gosnowflake was handed, and the mark that depends on
// what comes out of it.
type pendingID struct {
	ch   chan string
	mark int
}

// brought makes of a look-up of the channel what came out of that.
func (m *mark) brought(id string, sent bool) {
	switch {
	case id != "":
		m.kind, m.id = accepted, id
	case !sent: // gosnowflake's look-ups have a reply; this one is somebody else's
		m.kind = odd
	}
}

// New derives the context for one statement.
func New(ctx context.Context) *Recorder {
	r := &Recorder{Context: ctx, begun: time.Now(), caller: caller{ctx: ctx}}
	r.t.marks, r.pending = r.room[:0], r.one[:0]
	r.trace = httptrace.ClientTrace{
		GetConn:              r.getConn,
		WroteHeaderField:     r.wroteField,
		WroteHeaders:         r.wroteHeaders,
		WroteRequest:         r.wroteRequest,
		GotFirstResponseByte: func() { r.note(reply) },
	}
	if httptrace.ContextClientTrace(ctx) != nil { // the caller watches too
		r.Context = httptrace.WithClientTrace(ctx, &r.trace)
	}
	return r
}

// StopShortUploads ends the statement, an array bind, as its caller could, at the moment in
// which gosnowflake repeats the upload of a file to Google's store with fewer bytes than it
// sent at first, or with none: it reads a buffer again that it has read (v2.1.0), and would
// go on with what is there. Each file is a PUT of its own. Other stores' requests may differ
// in length, and are not looked at. Call it before the statement is sent, and the function
// that it returns when nobody goes on with the context.
func (r *Recorder) StopShortUploads() (done func()) {
	r.Context, r.stop = context.WithCancel(r.Context)
	return r.stop
}

// Value is where gosnowflake and net/http look things up.
//
// The request ID is handed out once, for the statement itself: under one ID
// for all that an array bind sends, a server would answer one statement with the reply
// to another. The query-ID channel is a fresh one each time, because gosnowflake closes
// it after each reply.
func (r *Recorder) Value(key any) any {
	text, d := keyOf(key)
	if d == nil {
		if key == traceKey {
			return &r.trace
		}
		return r.Context.Value(key)
	}
	switch text {
	case RequestID:
		if isLookUp() {
			if !r.lookedUp(d) {
				return nil
			}
			return r.requestID(key, d)
		}
	case QueryID:
		own, _ := r.Context.Value(key).(chan<- string)
		return r.channel(own)
	case truncated:
		r.note(cut)
	}
	v := r.Context.Value(key)
	if text == Describe && v == true || text == Fetch && v != nil {
		r.idles()
	}
	return v
}

// lookedUp notes a look-up of the request ID, and reports whether it is the first.
func (r *Recorder) lookedUp(d *Dialect) (first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.t.dialect = d
	return r.add(mark{kind: lookup})
}

// requestID is what the statement is sent with: the caller's, or one that gosnowflake need
// not make. Where a statement got no query ID, it is all that names it.
func (r *Recorder) requestID(key any, d *Dialect) any {
	v := r.Context.Value(key)
	if v == nil && d == V2 {
		v = gosnowflake.NewUUID()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.t.request, _ = v.(fmt.Stringer)
	return v
}

// idles notes that gosnowflake was told to run nothing.
func (r *Recorder) idles() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.t.idle = true
}

// note writes a mark down.
func (r *Recorder) note(kind byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.add(mark{kind: kind})
}

// add writes a mark down, and reports whether it is the first.
func (r *Recorder) add(m mark) (first bool) {
	if r.over {
		return false
	}
	m.at = time.Since(r.begun)
	switch m.kind {
	case reply:
		r.renewals.replies++
		if r.last != post { // the reply to a statement is known by what follows it
			r.asked = time.Time{}
		}
		if r.last != other {
			r.t.heard = r.begun.Add(m.at)
		}
	case lookup:
		r.file, r.asked = 0, time.Time{}
	case answered: // End finds out which of them was accepted
		r.asked = time.Time{}
	case post, get, other:
		r.last = m.kind
	}
	r.t.marks = append(r.t.marks, m)
	return len(r.t.marks) == 1
}

func (r *Recorder) getConn(string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.t.dials++; r.asked.IsZero() {
		r.asked = time.Now()
	}
}

// Unanswered is when the request began that has had no answer yet, repetitions of it
// included, or zero.
func (r *Recorder) Unanswered() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return time.Time{}
	}
	return r.asked
}

// digestHeader is what gosnowflake sends with a file to Google's store: the file's hash.
const digestHeader = "X-Goog-Meta-Sfc-Digest"

// wroteField reads one header of a request. Names differ in case between HTTP versions.
// The token itself is not kept.
func (r *Recorder) wroteField(name string, values []string) {
	if len(values) == 0 {
		return
	}
	switch len(name) {
	case len("Authorization"):
		if strings.EqualFold(name, "Authorization") && strings.HasPrefix(values[0], "Snowflake Token=") {
			r.mu.Lock()
			r.ours = true
			r.mu.Unlock()
		}
	case len("Content-Length"):
		if !strings.EqualFold(name, "Content-Length") {
			return
		}
		if n, _ := strconv.ParseInt(values[0], 10, 64); n > 0 { // net/http writes an int64
			r.mu.Lock()
			r.body, r.size = true, n
			r.mu.Unlock()
		}
	case len(digestHeader):
		if strings.EqualFold(name, digestHeader) {
			r.mu.Lock()
			r.google = true
			r.mu.Unlock()
		}
	case len("Transfer-Encoding"):
		if strings.EqualFold(name, "Transfer-Encoding") {
			r.mu.Lock()
			r.body, r.size = true, -1
			r.mu.Unlock()
		}
	}
}

// wroteHeaders notes a request before its last byte can be on its way: net/http reports
// the whole request behind its body, and a gateway may answer before it has read that.
func (r *Recorder) wroteHeaders() {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := mark{kind: other, size: r.size}
	switch {
	case r.ours && r.body:
		m.kind = post
	case r.ours:
		m.kind = get
	}
	r.upload(m)
	r.ours, r.body, r.size, r.google = false, false, 0, false
	r.requests++
	r.add(m)
}

// upload looks at the request whose headers were written.
func (r *Recorder) upload(m mark) {
	if r.stop == nil || !r.google || m.size < 0 {
		return
	}
	if m.size == 0 || m.size < r.file {
		r.t.short = true
		r.stop()
	}
	r.file = max(r.file, m.size)
}

// wroteRequest gives a large body its time. Where a reply came before the end of the
// body, net/http may report that when another request is under way: then none gets more.
func (r *Recorder) wroteRequest(httptrace.WroteRequestInfo) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.written++
	last := len(r.t.marks) - 1
	if r.over || r.written != r.requests {
		return
	}
	if m := &r.t.marks[last]; m.kind == post || m.kind == get || m.kind == other {
		m.at = time.Since(r.begun)
	}
}

// Sent reports whether any request has been written so far.
func (r *Recorder) Sent() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.t.Sent()
}

// Answers is how many requests have been answered so far.
func (r *Recorder) Answers() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.t.marks {
		if m.kind == reply {
			n++
		}
	}
	return n
}

// End reads what became of the statement. Call it once, when gosnowflake has returned;
// or, with abandoned, when its caller left it behind.
func (r *Recorder) End(abandoned bool) Transcript {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.caller.from; c != nil {
		c.stop()
		r.t.marks[r.caller.mark].brought(c.id, c.sent)
	}
	for _, p := range r.pending {
		select {
		case id, sent := <-p.ch:
			r.t.marks[p.mark].brought(id, sent)
		default:
			r.t.marks[p.mark].brought("", false)
		}
	}
	r.pending, r.over = nil, true
	r.t.unanswered = r.asked
	r.t.end, r.t.abandoned = time.Since(r.begun), abandoned
	return r.t
}

// maxRenewals is how many renewals may follow each other with nothing but refusals in
// between. One is the rule; a few more are a server that is behind.
const maxRenewals = 5

// turns counts renewals that follow each other.
type turns struct{ replies, at, n int }

// MayRenew ends the loop into which a server sends gosnowflake by answering 390112 for
// ever while renewals succeed (92 a second, measured). A long statement is renewed many
// times too, but has replies of its own in between: a turn of the loop has exactly two,
// the refusal and the renewal.
func (r *Recorder) MayRenew() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := &r.renewals
	if t.replies-t.at > 2 {
		t.n = 0
	}
	t.n++
	t.at = t.replies
	return t.n <= maxRenewals
}
