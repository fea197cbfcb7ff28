package snowtest

import (
	"cmp"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// incoming is one HTTP request on its way through the server.
type incoming struct {
	Request
	body  []byte
	login *loginRequest
	query *queryRequest
	lost  bool // a fault keeps the normal reply from the client
}

// reply is an answer that is not sent yet.
type reply struct {
	status   int    // 0: 200
	json     any    // the body, or
	raw      []byte // the body as it stands
	mime     string // Content-Type of raw
	encoding string // Content-Encoding of raw
	header   http.Header
	dropped  bool     // the client or the server has gone
	session  *session // of a login
}

type envelope struct {
	Data    any     `json:"data"`
	Message *string `json:"message"`
	Code    *string `json:"code"`
	Success bool    `json:"success"`
}

func success(data any) *reply { return &reply{json: envelope{Data: data, Success: true}} }

func failure(err *Error, queryID string) *reply {
	data := map[string]any{"sqlState": err.SQLState}
	if queryID != "" {
		data["queryId"] = queryID
	}
	return &reply{json: envelope{Data: data, Message: &err.Message, Code: &err.Code}}
}

var gone = &reply{dropped: true}

// serve answers every request.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	in := s.receive(r)
	if in == nil {
		http.Error(w, "snowtest: malformed request", http.StatusBadRequest)
		return
	}
	if in.Kind == RequestLogin {
		defer s.loginEnds()
	}
	fault := s.controls.consult(&in.Request)
	if !s.wait(r.Context(), &fault) {
		panic(http.ErrAbortHandler)
	}
	in.lost = fault.replaces() || fault.Cut > 0
	var rep *reply
	if fault.Run || !fault.replaces() {
		rep = s.carryOut(in)
	}
	if fault.After != nil {
		fault.After()
	}
	if rep != nil && rep.session != nil {
		defer s.answered(rep.session)
	}
	if fault.replaces() {
		rep = fault.reply()
	}
	latency := Fault{Delay: s.latency}
	if rep.dropped || !s.wait(r.Context(), &latency) {
		panic(http.ErrAbortHandler) // closes the connection, so that the client reads EOF
	}
	rep.send(w, fault.Cut)
}

func (f *Fault) reply() *reply {
	switch {
	case f.Drop:
		return gone
	case f.Status != 0:
		return &reply{status: f.Status, raw: []byte(f.Body), header: f.Header}
	case f.Body != "":
		return &reply{raw: []byte(f.Body), header: f.Header}
	}
	if !strings.HasPrefix(f.Code, "39") { // it is no refusal of a session or a login, and has an SQLState
		return failure(&Error{Code: f.Code, SQLState: "08001", Message: cmp.Or(f.Message, "The request was refused.")}, "")
	}
	return refuse(f.Code, f.Message)
}

// send sends the reply; with a cut, only its first bytes.
func (rep *reply) send(w http.ResponseWriter, cut int) {
	body, mime := rep.raw, rep.mime
	if rep.json != nil {
		var err error
		if body, err = json.Marshal(rep.json); err != nil {
			panic(err) // the server's own types
		}
		mime = "application/json"
	}
	maps.Copy(w.Header(), rep.header)
	if mime != "" {
		w.Header().Set("Content-Type", mime)
	}
	if rep.encoding != "" {
		w.Header().Set("Content-Encoding", rep.encoding)
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if rep.status != 0 {
		w.WriteHeader(rep.status)
	}
	if cut <= 0 || cut >= len(body) {
		_, _ = w.Write(body) // a client that has gone needs no answer
		return
	}
	_, _ = w.Write(body[:cut])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// receive reads a request and counts it. It returns nil for one that cannot be
// read.
func (s *Server) receive(r *http.Request) *incoming {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil
	}
	in := &incoming{body: body}
	in.HTTP = r
	in.RequestID = r.URL.Query().Get("requestId")
	in.RetryCount, _ = strconv.Atoi(r.URL.Query().Get("retryCount"))
	in.Kind, in.QueryID = kindOf(r)
	switch in.Kind {
	case RequestLogin:
		in.login = &loginRequest{}
		err = json.Unmarshal(body, in.login)
		in.User = in.login.Data.LoginName
	case RequestQuery:
		in.query = &queryRequest{}
		if err = json.Unmarshal(body, in.query); err == nil {
			in.SQL, in.Async = in.query.SQLText, in.query.AsyncExec
			in.Binds, err = in.query.binds()
		}
	case RequestAbort:
		var abort struct {
			RequestID string `json:"requestId"`
		}
		if in.QueryID == "" { // else the path says it all, and there is no body
			err = json.Unmarshal(body, &abort)
		}
		in.RequestID = abort.RequestID
	}
	if err != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tokens[bearer(r)]; t != nil {
		in.SessionID = t.session.id
	}
	in.N = s.stats.Requests[in.Kind]
	s.stats.Requests[in.Kind]++
	if in.Kind == RequestLogin { // at once with its number: who sees that, sees it counted
		s.logins++
		s.stats.MaxConcurrentLogins = max(s.stats.MaxConcurrentLogins, s.logins)
	}
	s.sweep(time.Now())
	return in
}

// kindOf tells the kind of a request by its path, and the query ID in it.
func kindOf(r *http.Request) (RequestKind, string) {
	path := r.URL.Path
	switch path {
	case "/session/v1/login-request":
		return RequestLogin, ""
	case "/queries/v1/query-request":
		return RequestQuery, ""
	case "/queries/v1/abort-request":
		return RequestAbort, ""
	case "/session/token-request":
		return RequestRenew, ""
	case "/session/heartbeat":
		return RequestHeartbeat, ""
	case "/session":
		return RequestLogout, ""
	case "/telemetry/send":
		return RequestTelemetry, ""
	}
	if id, ok := strings.CutPrefix(path, "/monitoring/queries/"); ok {
		return RequestMonitor, id
	}
	if strings.HasPrefix(path, chunkPath) {
		return RequestChunk, ""
	}
	if rest, ok := strings.CutPrefix(path, "/queries/"); ok {
		if id, ok := strings.CutSuffix(rest, "/result"); ok {
			return RequestResult, id
		}
		if id, ok := strings.CutSuffix(rest, "/abort-request"); ok {
			return RequestAbort, id
		}
	}
	return RequestOther, ""
}

// carryOut does what the request asks for.
func (s *Server) carryOut(in *incoming) *reply {
	r := in.HTTP
	switch in.Kind {
	case RequestLogin:
		return s.logIn(in)
	case RequestQuery:
		return s.runQuery(in)
	case RequestResult:
		return s.fetchResult(in)
	case RequestRenew:
		return s.renew(r)
	case RequestHeartbeat:
		return s.heartbeat(r)
	case RequestLogout:
		return s.logout(r)
	case RequestMonitor:
		return s.monitor(in)
	case RequestAbort:
		return s.abort(in)
	case RequestTelemetry:
		return success(nil)
	case RequestChunk:
		return s.chunk(r.URL.Path)
	}
	if strings.HasPrefix(r.URL.Path+"/", uploadPath) {
		return s.storeRequest(in)
	}
	return &reply{status: http.StatusNotFound, raw: []byte("404 page not found\n")}
}
