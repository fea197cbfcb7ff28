package snowtether

import (
	"context"
	"database/sql/driver"
	"errors"
	"net/http/httptrace"
	"reflect"
	"sync"

	"github.com/snowflakedb/gosnowflake/v2"
)

// This file finds out whether a statement that failed had been accepted. The
// error alone cannot tell: the same code, text and empty query ID stand for a
// statement that was refused and for one that ran before its reply was lost.
// What can tell is the traffic: see acceptance.refused.

// An acceptance is what was seen of one statement's way to the server.
type acceptance struct {
	lookups  int    // replies to statements: gosnowflake looks for a query-ID channel once in each
	lastID   string // the query ID that the last of them brought, "" for a refusal
	queryID  string // the statement's, if it is known
	dials    int    // requests that began to look for a network connection
	requests int    // requests of which at least the headers were written
	replies  int    // replies begun
	visible  bool   // the inner driver is gosnowflake: a statement without traffic cannot be
	watched  bool   // this is what was seen, and not nothing known
	ctxErr   error  // the caller's context, if it had ended
}

// refused reports whether a statement whose session is gone provably did not
// run. Measured on gosnowflake v2.1.0, for a request, its retries, and the
// renewal that an expired token (390112) sets off:
//
//	what happened                             look-ups  requests/replies  ran
//	refused at once (390111, 390114)          1, empty  1/1               no
//	refused by the renewal (390112 → 390114)  0         2/2               no
//	HTTP 401                                  0         1/1               no
//	accepted, lost while polled               1, an ID                    yes
//	reply lost, then expiry                   0         3/2               yes
//	503 after execution, then expiry          0         3/3               yes
//	503 after execution, then 390111          1, empty  2/2               yes
//	503 after execution, then HTTP 401        0         2/2               yes
//
// An array bind sends statements of its own first; each adds a look-up and, where
// nothing went wrong, one request and one reply. So the statement was refused
// exactly where every request was answered and none is left over. Whatever does
// not add up is in doubt.
//
// Without any traffic the inner driver is not one that speaks HTTP, and its word
// that the session is gone is all there is. Where it is known to be gosnowflake,
// somebody hides the traffic: a Config.Transporter that drops the context.
func (a acceptance) refused(unauthorized bool) bool {
	// A renewal that succeeded in between leaves two requests over, and so a doubt:
	// it may have been another's, the heartbeat's for example, on the same tokens.
	requests := a.requests
	switch {
	case a.lastID != "" || requests != a.replies:
		return false
	case a.lookups > 0:
		return requests == a.lookups
	case unauthorized:
		return requests == 1
	}
	return requests == 2 || requests == 0 && !a.visible
}

// unsent reports whether provably nothing of the statement has left this machine:
// requests were seen that looked for a network connection, and none that found
// one.
func (a acceptance) unsent() bool {
	return a.requests == 0 && a.replies == 0 && a.lookups == 0 && a.queryID == "" && (a.dials > 0 || !a.watched)
}

// A watch is the context that a statement is carried out with. It answers what
// gosnowflake looks up in it and counts the traffic. Rows keep it for as long as
// they download chunks; what it counts then is not looked at any more.
type watch struct {
	context.Context
	trace httptrace.ClientTrace
	args  []driver.NamedValue

	mu      sync.Mutex
	seen    acceptance
	pending []chan string  // handed to gosnowflake, not yet read
	room    [1]chan string // for pending: all that most statements need
	own     chan<- string  // the caller's own channel, if there is one
	early   *courier       // carries the first ID to the caller while the statement runs

	renewing, atRenew int // see mayRenew
}

// The keys of gosnowflake's query-ID channel and of net/http's trace are private to
// them. A probe that holds a known value finds one: the key is that for which the
// probe answers with that value.
var (
	sentinel   chan<- string = make(chan string)
	probe                    = gosnowflake.WithQueryIDChan(context.Background(), sentinel)
	noTrace                  = new(httptrace.ClientTrace)
	traceProbe               = httptrace.WithClientTrace(context.Background(), noTrace)
)

// newWatch derives the context for one statement with the given bind values.
func newWatch(ctx context.Context, args []driver.NamedValue) *watch {
	w := &watch{Context: ctx, args: args}
	w.pending = w.room[:0]
	w.trace.GetConn = w.getConn
	w.trace.WroteHeaders = w.wroteHeaders
	w.trace.GotFirstResponseByte = w.gotReply
	if httptrace.ContextClientTrace(ctx) != nil { // the caller watches too
		w.Context = httptrace.WithClientTrace(ctx, &w.trace)
	}
	return w
}

// Value hands gosnowflake a fresh buffered channel at each look-up. It closes the
// channel after the first reply, so that with one for all an array bind, which
// sends several statements with the same context, would panic.
func (w *watch) Value(key any) any {
	v := w.Context.Value(key)
	if v == nil && traceProbe.Value(key) == any(noTrace) {
		return &w.trace
	}
	if probe.Value(key) != any(sentinel) {
		return v
	}
	ch := make(chan string, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen.lookups++
	if own, _ := v.(chan<- string); own != nil {
		w.own = own
	}
	if w.own != nil && w.early == nil && !hasArray(w.args) {
		w.early = &courier{from: ch, over: make(chan struct{}), read: make(chan struct{})}
		go w.early.run(w.Context, w.own)
	} else {
		w.pending = append(w.pending, ch)
	}
	return (chan<- string)(ch)
}

// hasArray reports whether a bind value is an array. Then gosnowflake may upload
// the values first, and the first ID is that of an internal statement; the caller
// gets the last one, when all is over.
func hasArray(args []driver.NamedValue) bool {
	for _, arg := range args {
		t := reflect.TypeOf(arg.Value)
		if t != nil && t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t != nil && t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8 {
			return true
		}
	}
	return false
}

func (w *watch) getConn(string) {
	w.mu.Lock()
	w.seen.dials++
	w.mu.Unlock()
}

// wroteHeaders counts a request before its last byte can be on its way. WroteRequest
// would come too late: net/http reports it behind the body, and a gateway may answer
// before it has read that.
func (w *watch) wroteHeaders() {
	w.mu.Lock()
	w.seen.requests++
	w.mu.Unlock()
}

func (w *watch) gotReply() {
	w.mu.Lock()
	w.seen.replies++
	w.mu.Unlock()
}

// maxRenewals is how many renewals may follow each other with nothing but
// refusals in between. One is the rule; a few more are a server that is behind.
const maxRenewals = 5

var errRenewalLoop = errors.New("the server refuses the session token again after each renewal")

// mayRenew ends the loop into which a server sends gosnowflake by answering 390112
// for ever while renewals succeed (92 a second, measured). A long statement is
// renewed many times too, but has replies of its own in between: a turn of the
// loop has exactly two, the refusal and the renewal.
func (w *watch) mayRenew() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen.replies-w.atRenew > 2 {
		w.renewing = 0
	}
	w.renewing++
	w.atRenew = w.seen.replies
	if w.renewing > maxRenewals {
		return errRenewalLoop
	}
	return nil
}

// end reads what became of the statement. Call it when gosnowflake has returned.
func (w *watch) end(ctx context.Context) acceptance {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.early != nil {
		close(w.early.over)
		<-w.early.read
		w.note(w.early.id)
	}
	for _, ch := range w.pending {
		select {
		case id := <-ch:
			w.note(id)
		default:
			// Looked up, but nothing was sent: only a driver that looks for other
			// reasons than gosnowflake's does so.
			w.seen.lookups--
		}
	}
	w.pending = nil
	w.seen.ctxErr = ctx.Err()
	acc := w.seen
	if acc.lookups > 1 {
		acc.queryID = "" // an array bind's: which statement the last ID is of, is not known
	}
	return acc
}

func (w *watch) note(id string) {
	w.seen.lastID, w.seen.queryID = id, id
}

// tell gives the caller's own channel what it has not got yet, and closes it as
// gosnowflake would. It is not called for a statement that will be run again:
// then the channel is the next run's.
func (w *watch) tell(ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.own != nil && (w.early == nil || w.early.id == "") {
		deliver(ctx, w.own, w.seen.queryID)
	}
}

// A courier carries an ID from gosnowflake to the caller, who may be waiting for
// it while the statement still runs.
type courier struct {
	from <-chan string
	over chan struct{} // closed when the statement is over
	read chan struct{} // closed when id is set
	id   string
}

func (c *courier) run(ctx context.Context, to chan<- string) {
	select {
	case c.id = <-c.from:
	case <-c.over:
		select {
		case c.id = <-c.from:
		default:
		}
	}
	if c.id != "" {
		deliver(ctx, to, c.id)
	}
	close(c.read)
}

// delivering has the callers' channels to which an ID is on its way. Statements with the
// same context have the same channel, and one must not close it while another sends.
var delivering sync.Map

// deliver sends and closes without making anybody wait.
func deliver(ctx context.Context, to chan<- string, id string) {
	if _, other := delivering.LoadOrStore(to, nil); other {
		return // the caller gets the ID that came first
	}
	waits := false
	defer func() {
		// The channel may be closed already, by an earlier statement with the same
		// context. In gosnowflake that is a panic in the caller's goroutine; here it is
		// nothing.
		_ = recover()
		if !waits {
			delivering.Delete(to)
		}
	}()
	select {
	case to <- id:
		close(to)
	default:
		waits = true
		go func() {
			defer func() {
				_ = recover()
				delivering.Delete(to)
			}()
			select {
			case to <- id:
				close(to)
			case <-ctx.Done():
			}
		}()
	}
}
