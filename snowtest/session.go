package snowtest

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strings"
	"time"
)

// The codes of refusals that concern a session and its tokens.
const (
	codeSessionUnknown = "390104"
	codeSessionGone    = "390111"
	codeSessionExpired = "390112"
	codeMasterExpired  = "390114"
	codeNoToken        = "390101"
	codeUserDisabled   = "390102" // the text is known, the code is not
)

var refusals = map[string]string{
	codeSessionUnknown: "Session no longer exists.  New login required to access the service.",
	codeSessionGone:    "Session no longer exists.  New login required to access the service.",
	codeSessionExpired: "Your session has expired. Please login again.",
	codeNoToken:        "Authorization header not found in the request data.",
	codeMasterExpired:  "Authentication token has expired.  The user must authenticate again.",
}

// A Refusal says how the server refuses the requests of a session that it has ended: with
// Status if it is set, else with Code if it is set, else with 390112, upon which clients
// renew their token. A renewal is refused with Renewal if it is set, else like the other
// requests. The zero value is Refusal{Code: "390111"}.
type Refusal struct {
	Code    string // Snowflake's code, six digits
	Status  int    // an HTTP status, such as 401
	Renewal string // Snowflake's code, of renewals
}

// ExpireSessionTokens makes the session tokens of these sessions (of all open
// ones if none is named) expire now. The next request is refused with 390112; a
// renewal works.
func (s *Server) ExpireSessionTokens(ids ...int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ses := range s.named(ids) {
		ses.token.expired = true
	}
}

// ExpireMasterTokens makes the session token and the master token of these
// sessions (of all open ones if none is named) expire now, which is the end of
// the session: the next request is refused with 390112 and the renewal with
// 390114.
func (s *Server) ExpireMasterTokens(ids ...int64) {
	s.EndSessions(Refusal{Renewal: codeMasterExpired}, ids...)
}

// AbortSessions ends these sessions (all open ones if none is named) as an
// administrator does: their requests are refused with 390111 from now on.
func (s *Server) AbortSessions(ids ...int64) { s.EndSessions(Refusal{Code: codeSessionGone}, ids...) }

// EndSessions ends these sessions (all open ones if none is named). A running
// statement goes on, unless [WithCancelOnEnd] says otherwise; the open transaction is rolled back when it is done, or later: see
// [WithDetachedTransactions].
func (s *Server) EndSessions(how Refusal, ids ...int64) {
	if how == (Refusal{}) {
		how.Code = codeSessionGone
	}
	s.mu.Lock()
	idle := s.endAll(how, ids)
	s.mu.Unlock()
	idle()
}

// endAll ends sessions, with mu held. idle, to be called without it, waits until what they
// leave open is rolled back.
func (s *Server) endAll(how Refusal, ids []int64) (idle func()) {
	var rest []<-chan struct{}
	for _, ses := range s.named(ids) {
		if done := s.end(ses, how, s.detached > 0); done != nil {
			rest = append(rest, done)
		}
	}
	return func() {
		for _, done := range rest {
			<-done
		}
	}
}

// DisableUser does what ALTER USER … SET DISABLED = TRUE does: it cancels all that the user
// runs, ends their sessions, and refuses their logins until EnableUser. With which code an
// account refuses them is not known.
func (s *Server) DisableUser() {
	s.mu.Lock()
	s.disabled = true
	for _, ses := range s.open {
		s.cancelAll(ses)
	}
	idle := s.endAll(Refusal{Code: codeSessionGone}, nil) // at once: nobody whose statement was cancelled sends another
	s.mu.Unlock()
	idle()
}

// EnableUser lets the user of [Server.DisableUser] log in again.
func (s *Server) EnableUser() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disabled = false
}

func (s *Server) isDisabled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.disabled
}

// session is one login. Its fields are guarded by the server's mu.
type session struct {
	id       int64
	user     string
	role     string
	database string
	schema   string
	wh       string
	params   map[string]any
	client   string // the program that logged in, such as Go or JavaScript
	opened   time.Time
	lastUsed time.Time
	renewals int
	token    *token // the current session token
	master   *token // the current master token

	engine   EngineSession
	tail     chan struct{}       // closed when the last statement in the queue is done
	running  int                 // statements accepted and not done
	requests map[string][]*query // by request ID
	tx       *transaction
	ended    *Refusal

	begun int64 // transactions

	unanswered bool // the reply to the login is on its way
	excused    bool // if it stays open, that is not the client's fault; see check
}

// Advance puts the server's clock forward, as when the client's machine has slept:
// from now on tokens, sessions and the URLs of chunks are older by d.
func (s *Server) Advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ses := range s.open {
		ses.opened, ses.lastUsed = ses.opened.Add(-d), ses.lastUsed.Add(-d)
	}
	for _, t := range s.tokens {
		t.expires = t.expires.Add(-d)
	}
	for _, g := range s.grants {
		g.expires = g.expires.Add(-d)
	}
	s.sweep(time.Now())
}

// token is a session token or a master token.
type token struct {
	session *session
	master  bool
	expires time.Time
	expired bool // replaced, or made to expire
}

func (t *token) valid(now time.Time) bool { return !t.expired && now.Before(t.expires) }

func (s *Server) named(ids []int64) []*session {
	var list []*session
	if len(ids) == 0 {
		for _, ses := range s.open {
			list = append(list, ses)
		}
	}
	for _, id := range ids {
		if ses := s.open[id]; ses != nil {
			list = append(list, ses)
		}
	}
	return list
}

// issue gives the session a new session token and a new master token. Earlier
// session tokens are no longer good. Earlier master tokens are, for the rest of
// their life: the reply that carries the new one can be lost.
func (s *Server) issue(ses *session, now time.Time) (sessionToken, masterToken string) {
	if ses.token != nil {
		ses.token.expired = true
	}
	sessionToken, masterToken = "snowtest-session-"+randomHex(32), "snowtest-master-"+randomHex(32)
	ses.token = &token{session: ses, expires: now.Add(s.sessionLife)}
	ses.master = &token{session: ses, master: true, expires: now.Add(s.masterLife)}
	s.tokens[sessionToken], s.tokens[masterToken] = ses.token, ses.master
	s.secrets.add(sessionToken)
	s.secrets.add(masterToken)
	return sessionToken, masterToken
}

// sweep ends the sessions whose time is over.
func (s *Server) sweep(now time.Time) {
	for _, ses := range s.open {
		idle := s.idle > 0 && ses.running == 0 && now.Sub(ses.lastUsed) >= s.idle
		old := s.maxLife > 0 && now.Sub(ses.opened) >= s.maxLife
		switch {
		case idle || old:
			s.end(ses, Refusal{Code: codeSessionGone}, s.detached > 0)
		case !ses.token.valid(now) && !ses.master.valid(now):
			s.end(ses, Refusal{Renewal: codeMasterExpired}, s.detached > 0)
		}
	}
}

// end ends a session. A goroutine closes the engine's session, which rolls the
// open transaction back, as soon as the statements that were accepted are done; if the
// session leaves its transaction detached, when that is over.
// The channel is closed then; it is nil if that may take as long as a statement, or as a
// detached transaction.
func (s *Server) end(ses *session, how Refusal, detach bool) <-chan struct{} {
	if ses.ended != nil {
		return nil
	}
	ses.ended = &how
	delete(s.open, ses.id)
	if s.cancelOnEnd && how.Renewal != codeMasterExpired {
		s.cancelAll(ses)
	}
	s.stats.SessionsEnded++
	detach = detach && (ses.running > 0 || ses.tx != nil)
	busy := ses.running > 0 || detach
	before, done := ses.tail, make(chan struct{})
	ses.tail = done
	s.work.Go(func() {
		defer close(done)
		<-before
		s.mu.Lock()
		tx := ses.tx
		s.mu.Unlock()
		if detach && tx != nil {
			s.leave(tx)
		}
		_ = ses.engine.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.endTransaction(ses) // nothing in it takes effect
	})
	if busy {
		return nil
	}
	return done
}

// authorize finds the session of a request by its token, or the reply that
// refuses the request.
func (s *Server) authorize(r *http.Request) (*session, *reply) {
	now := time.Now()
	t := s.tokens[bearer(r)]
	switch {
	case r.Header.Get("Authorization") == "":
		return nil, unauthorized(codeNoToken)
	case t == nil || t.master:
		return nil, unauthorized(codeSessionUnknown)
	case t.session.ended != nil:
		return nil, t.session.ended.answer(false)
	case !t.valid(now):
		return nil, refuse(codeSessionExpired, "")
	}
	t.session.lastUsed = now
	return t.session, nil
}

func (e *Refusal) answer(renewal bool) *reply {
	switch {
	case renewal && e.Renewal != "":
		return refuse(e.Renewal, "")
	case e.Status != 0:
		return &reply{status: e.Status}
	case e.Code == codeSessionUnknown:
		return unauthorized(codeSessionUnknown)
	case e.Code != "":
		return refuse(e.Code, "")
	}
	return refuse(codeSessionExpired, "")
}

// refuse refuses a request, without an SQLState; with an empty message, in the words of a
// real server. The words and shapes are those of exchanges that Snowflake's drivers for Node
// and Python ship as recordings.
func refuse(code, message string) *reply {
	var data any
	if code == codeMasterExpired {
		data = map[string]any{"errorCode": code, "reAuthnMethods": []string{}}
	}
	return refuseWith(code, message, data)
}

func refuseWith(code, message string, data any) *reply {
	message = cmp.Or(message, refusals[code], "The request was refused.")
	return &reply{json: envelope{Data: data, Message: &message, Code: &code}}
}

// unauthorized refuses a request whose token is missing, or not one of the server's, which it
// does with HTTP 401 as well.
func unauthorized(code string) *reply {
	rep := refuse(code, "")
	rep.status = http.StatusUnauthorized
	return rep
}

// bearer is the token of a request: Authorization: Snowflake Token="…".
func bearer(r *http.Request) string {
	t, ok := strings.CutPrefix(r.Header.Get("Authorization"), `Snowflake Token="`)
	if !ok {
		return ""
	}
	return strings.TrimSuffix(t, `"`)
}

// renew answers POST /session/token-request.
func (s *Server) renew(r *http.Request) *reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	t := s.tokens[bearer(r)]
	switch {
	case t == nil || !t.master:
		return refuse(codeSessionGone, "")
	case t.session.ended != nil:
		return t.session.ended.answer(true)
	case !t.valid(now):
		return refuse(codeMasterExpired, "")
	}
	ses := t.session
	ses.lastUsed = now
	ses.renewals++
	s.stats.Renewals++
	sessionToken, masterToken := s.issue(ses, now)
	return success(map[string]any{
		"sessionToken":        sessionToken,
		"validityInSecondsST": int64(s.sessionLife / time.Second),
		"masterToken":         masterToken,
		"validityInSecondsMT": int64(s.masterLife / time.Second),
		"sessionId":           ses.id,
	})
}

// heartbeat answers POST /session/heartbeat.
func (s *Server) heartbeat(r *http.Request) *reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, refused := s.authorize(r); refused != nil {
		return refused
	}
	s.stats.Heartbeats++
	return success(nil)
}

// logout answers POST /session?delete=true.
func (s *Server) logout(r *http.Request) *reply {
	s.mu.Lock()
	t := s.tokens[bearer(r)]
	ses, refused := s.authorize(r)
	if refused != nil {
		defer s.mu.Unlock()
		if t == nil {
			return refuse(codeSessionGone, "")
		}
		// gosnowflake takes the refusal of an expired token for a log-out and
		// does not renew for it. The session stays until its master token
		// expires, as on a real server.
		t.session.excused = true
		return refused
	}
	s.stats.Logouts++
	s.cancelAll(ses)
	done := s.end(ses, Refusal{Code: codeSessionGone}, false)
	s.mu.Unlock()
	if done != nil {
		<-done
	}
	return success(nil)
}

// cancelAll cancels what runs in a session: a log-out does. A client that vanishes does not.
func (s *Server) cancelAll(ses *session) {
	for _, q := range s.queries {
		if q.session == ses && q.running() {
			q.cancel()
		}
	}
}

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails, says crypto/rand
	return hex.EncodeToString(b)
}
