package snowtest

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// RequestKind says what a request asks for.
type RequestKind int

// The kinds of requests.
const (
	RequestOther     RequestKind = iota // anything else, such as the upload of a file to a stage
	RequestLogin                        // POST /session/v1/login-request
	RequestQuery                        // POST /queries/v1/query-request
	RequestResult                       // GET /queries/<id>/result
	RequestRenew                        // POST /session/token-request
	RequestHeartbeat                    // POST /session/heartbeat
	RequestLogout                       // POST /session?delete=true
	RequestMonitor                      // GET /monitoring/queries/<id>
	RequestAbort                        // POST /queries/v1/abort-request, or /queries/<id>/abort-request
	RequestTelemetry                    // POST /telemetry/send
	RequestChunk                        // GET of a chunk of a large result
)

func (k RequestKind) String() string {
	names := [...]string{"other", "login", "query", "result", "renew", "heartbeat", "logout", "monitor", "abort", "telemetry", "chunk"}
	if k < 0 || int(k) >= len(names) {
		return "kind " + strconv.Itoa(int(k))
	}
	return names[k]
}

// A Request is what the function of [Server.FaultOnce] or [Server.FaultAlways] sees of one
// HTTP request.
type Request struct {
	Kind       RequestKind
	SessionID  int64         // 0 when the request brings no token that the server gave out
	RequestID  string        // of an abort request: that of the statement, or empty where it names a query ID
	RetryCount int           // gosnowflake counts from 1 in the retries of a query request
	SQL        string        // of a query request
	Binds      []Bind        // of a query request
	QueryID    string        // of a request for a result or a status, and of an abort request that names one
	Async      bool          // the query request does not wait for its result
	User       string        // of a login
	HTTP       *http.Request // the body has been read
	N          int           // how many requests of this kind came before
}

// A Fault says what becomes of a request. The zero value behaves.
//
// The order is: Delay and Hold; then Run; then After; then the answer, which is
// the first of Drop, Status, Body and Code that is set, or the normal reply if
// none is. If the client goes away during Delay or Hold, the request counts as
// never arrived and is not carried out, unless a gateway has it: see Late.
type Fault struct {
	Run     bool            // carry the request out (a statement is accepted and runs), although its reply is replaced
	Delay   time.Duration   // wait; ends early when the client or the server goes
	Hold    <-chan struct{} // wait until it is closed; ends early likewise
	Late    bool            // a gateway has taken the request: it arrives after Delay and Hold, although its client may have gone
	Drop    bool            // close the connection without an answer
	Status  int             // answer with this HTTP status, and Body
	Body    string          // with Status 0: HTTP status 200 and this in place of JSON
	Header  http.Header     // goes with Status and Body, for example a Retry-After
	Code    string          // answer success:false with this code
	Message string          // goes with Code
	Cut     int             // of the answer, send only so many bytes of the body and close the connection; 0: send all
	After   func()          // called after the request was carried out, if it is, and before it is answered
}

func (f *Fault) replaces() bool { return f.Drop || f.Status != 0 || f.Body != "" || f.Code != "" }

// controls are consulted one request at a time: a function that is used once can then
// never be used for two requests, and KeepControl needs no argument.
type controls struct {
	consulting sync.Mutex
	keep       bool // guarded by consulting, which is locked where KeepControl may be called

	mu   sync.Mutex
	list []*control
}

type control struct {
	fn     func(*Request) (Fault, bool)
	always bool
}

// FaultOnce puts a fault on one request: the first for which fn returns true. fn is then
// removed.
//
// For every request the functions of FaultOnce and [Server.FaultAlways] are called, in the
// order of their registration, until one returns true: its Fault is put on the request. One
// function runs at a time, whatever the requests, so it must not wait for other requests:
// Delay and Hold are there for that. It, and After, may call the other methods of the
// server, except Close. A nil function is not registered.
func (s *Server) FaultOnce(fn func(*Request) (Fault, bool)) { s.controls.add(fn, false) }

// FaultAlways puts a fault on every request for which fn returns true, for as long as the
// server runs. A fault that is to end is one whose fn returns false from then on. See
// [Server.FaultOnce] for what fn may do.
func (s *Server) FaultAlways(fn func(*Request) (Fault, bool)) { s.controls.add(fn, true) }

func (c *controls) add(fn func(*Request) (Fault, bool), always bool) {
	if fn == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, &control{fn, always})
}

func (c *controls) consult(req *Request) Fault {
	c.consulting.Lock()
	defer c.consulting.Unlock()
	c.mu.Lock()
	list := slices.Clone(c.list)
	c.mu.Unlock()
	for _, ctl := range list {
		c.keep = ctl.always
		fault, ok := ctl.fn(req)
		if !ok {
			continue
		}
		if !c.keep {
			c.drop(ctl)
		}
		return fault
	}
	return Fault{}
}

func (c *controls) drop(ctl *control) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = slices.DeleteFunc(c.list, func(x *control) bool { return x == ctl })
}

// wait waits for the fault's Delay and Hold. It reports whether the client (or the
// gateway that has its request) and the server are still there.
func (s *Server) wait(ctx context.Context, f *Fault) bool {
	if f.Late {
		ctx = context.WithoutCancel(ctx)
	}
	if f.Delay > 0 {
		timer := time.NewTimer(f.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return false
		case <-s.closing:
			return false
		}
	}
	if f.Hold != nil {
		select {
		case <-f.Hold:
		case <-ctx.Done():
			return false
		case <-s.closing:
			return false
		}
	}
	return true
}
