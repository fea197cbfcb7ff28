package verify

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"
)

// This file is a session: gosnowflake logs it in, whatever the authenticator, and verify
// then sends its own requests with its token, because gosnowflake shows neither a reply's
// status nor its keys, repeats what is not answered, and renews by itself.

const driverVersion = gosnowflake.SnowflakeGoDriverVersion

const (
	loginPath     = "/session/v1/login-request"
	queryPath     = "/queries/v1/query-request"
	renewPath     = "/session/token-request"
	heartbeatPath = "/session/heartbeat"
	logoutPath    = "/session"
)

// A session is one login.
type session struct {
	*account
	conn driver.Conn
	rec  *recorder
	id   string

	sequence atomic.Int64
	mu       sync.Mutex
	token    string
	master   string
	over     bool // logged out here, or known to be gone
}

// autocommit is what the login reported.
func (s *session) autocommit() (on, reported bool) {
	var params []struct {
		Name  string `json:"name"`
		Value any    `json:"value"`
	}
	_ = json.Unmarshal(s.rec.answered().Data["parameters"], &params)
	for _, p := range params {
		if strings.EqualFold(p.Name, "AUTOCOMMIT") {
			return strings.EqualFold(fmt.Sprint(p.Value), "true"), true
		}
	}
	return false, false
}

// close logs the session out, which cancels what runs in it, and lets gosnowflake clean up.
func (s *session) close(ctx context.Context) {
	if !s.isOver() {
		_, _ = s.logout(ctx)
	}
	_ = s.conn.Close()
}

func (s *session) isOver() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

func (s *session) ended() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
}

func (s *session) tokens() (token, master string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token, s.master
}

// A question is one request of verify's own.
type question struct {
	method, path string
	query        url.Values
	token        string
	body         any
}

// send asks and reads the answer.
func (a *account) send(ctx context.Context, q question) (*reply, error) {
	var body io.Reader
	if q.body != nil {
		text, err := json.Marshal(q.body)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(text)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, q.method, a.url+q.path+"?"+q.query.Encode(), body)
	if err != nil {
		return nil, errors.New("a request could not be made")
	}
	req.Header.Set("Authorization", `Snowflake Token="`+q.token+`"`)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/snowflake")
	req.Header.Set("User-Agent", "Go/"+driverVersion+" snowtether-verify")
	res, err := (&http.Client{Transport: a.base}).Do(req)
	if err != nil {
		return nil, unanswered(ctx)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(res.Body, 8<<20))
	if err != nil {
		return nil, unanswered(ctx)
	}
	r := read(res.StatusCode, text)
	if r.foreign() {
		return nil, fmt.Errorf("a request was answered HTTP %d by something that is not Snowflake, or cannot answer now", r.Status)
	}
	return r, nil
}

// unanswered is the error of a request that brought no answer. The network's own is not shown:
// it has addresses in it.
func unanswered(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return errors.New("a request was not answered")
}

// A statement is what can be asked for with a text.
type statement struct {
	SQLText      string         `json:"sqlText"`
	AsyncExec    bool           `json:"asyncExec"`
	SequenceID   int64          `json:"sequenceId"`
	DescribeOnly bool           `json:"describeOnly,omitempty"`
	Parameters   map[string]any `json:"parameters,omitempty"`

	repetition int // as gosnowflake counts them in the URL; 0 for the first sending
}

// submit sends a statement under a request ID, and does not wait longer than the server does.
func (s *session) submit(ctx context.Context, requestID string, st statement) (*reply, error) {
	if st.SequenceID == 0 {
		st.SequenceID = s.sequence.Add(1)
	}
	return s.renewing(ctx, func(token string) (*reply, error) {
		query := url.Values{
			"requestId": {requestID}, "request_guid": {newID()},
			"clientStartTime": {strconv.FormatInt(time.Now().UnixMilli(), 10)},
		}
		if st.repetition > 0 {
			query.Set("retryCount", strconv.Itoa(st.repetition))
			query.Set("retryReason", "0")
		}
		return s.send(ctx, question{method: http.MethodPost, path: queryPath, token: token, body: st, query: query})
	})
}

// renewing asks with the session's token, and once more with a new one where it has expired.
func (s *session) renewing(ctx context.Context, ask func(token string) (*reply, error)) (*reply, error) {
	token, _ := s.tokens()
	r, err := ask(token)
	if err != nil || r.Code != "390112" {
		return r, err
	}
	if again, err := s.renew(ctx); err != nil || !again.Success {
		return r, err
	}
	token, _ = s.tokens()
	return ask(token)
}

// start sends a statement asynchronously and returns its ID.
func (s *session) start(ctx context.Context, sql string) (string, error) {
	r, err := s.submit(ctx, newID(), statement{SQLText: sql, AsyncExec: true})
	if err != nil {
		return "", err
	}
	if r.queryID() == "" || !r.Success {
		return "", s.unexpected("an asynchronous statement", r)
	}
	return r.queryID(), nil
}

// errEnded is the error of a check whose own session has ended, for example by a policy of the
// user's: nothing that it is told then is an answer.
var errEnded = errors.New("the session of the check has ended meanwhile; a policy of the user's may be shorter than it takes")

// run carries a statement out and waits for its end.
func (s *session) run(ctx context.Context, sql string) (*reply, error) {
	return alive(s.try(ctx, sql))
}

// try is run where a refusal of the session is an answer.
func (s *session) try(ctx context.Context, sql string) (*reply, error) {
	r, err := s.submit(ctx, newID(), statement{SQLText: sql})
	if err != nil {
		return nil, err
	}
	return s.finish(ctx, r)
}

// alive makes an error of a refusal of the session.
func alive(r *reply, err error) (*reply, error) {
	if err == nil && r.refused() {
		return nil, errEnded
	}
	return r, err
}

// must is run, for what has to succeed for a check to go on.
func (s *session) must(ctx context.Context, sql string) (*reply, error) {
	r, err := s.run(ctx, sql)
	if err == nil && !r.Success {
		err = s.unexpected("a statement", r)
	}
	return r, err
}

// unexpected is the error of a check that cannot go on.
func (s *session) unexpected(what string, r *reply) error {
	x := s.blank.exchange("", r)
	return fmt.Errorf("%s was answered HTTP %d, code %q: %s", what, x.Status, x.Code, x.Message)
}

// finish asks for a result until there is one.
func (s *session) finish(ctx context.Context, r *reply) (*reply, error) {
	for r.inProgress() && r.queryID() != "" {
		if err := pause(ctx, time.Second); err != nil {
			return nil, err
		}
		var err error
		if r, err = s.result(ctx, r.queryID()); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// result asks for a statement's result once.
func (s *session) result(ctx context.Context, queryID string) (*reply, error) {
	return s.renewing(ctx, func(token string) (*reply, error) {
		return s.send(ctx, question{
			method: http.MethodGet, path: "/queries/" + queryID + "/result", token: token,
			query: url.Values{"requestId": {newID()}},
		})
	})
}

const (
	askStatement = "POST " + queryPath
	askResult    = "GET /queries/{id}/result"
	askStatus    = "GET /monitoring/queries/{id}"
	askRenewal   = "POST " + renewPath
	askLogin     = "POST " + loginPath
)

// A progress is what the monitor says of a statement.
type progress struct {
	*reply
	word  string // "" if it does not know the statement
	ended bool   // it has an end time
}

// monitor asks for a statement's status.
func (s *session) monitor(ctx context.Context, queryID string) (progress, error) {
	r, err := s.renewing(ctx, func(token string) (*reply, error) {
		return s.send(ctx, question{
			method: http.MethodGet, path: "/monitoring/queries/" + queryID, token: token,
			query: url.Values{"requestId": {newID()}},
		})
	})
	if err != nil {
		return progress{}, err
	}
	if r.refused() {
		return progress{}, errEnded
	}
	p := progress{reply: r}
	var queries []struct {
		Status  string      `json:"status"`
		EndTime json.Number `json:"endTime"`
	}
	_ = json.Unmarshal(r.Data["queries"], &queries)
	if len(queries) > 0 {
		p.word = statusWord(queries[0].Status)
		end, _ := queries[0].EndTime.Int64()
		p.ended = end > 0
	}
	return p, nil
}

// renew renews the session's token.
func (s *session) renew(ctx context.Context) (*reply, error) {
	token, master := s.tokens()
	r, err := s.send(ctx, question{
		method: http.MethodPost, path: renewPath, token: master, query: url.Values{"requestId": {newID()}},
		body: map[string]string{"oldSessionToken": token, "requestType": "RENEW"},
	})
	if err == nil && r.Success && r.text("sessionToken") != "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.token = r.text("sessionToken")
		if m := r.text("masterToken"); m != "" {
			s.master = m
		}
	}
	return r, err
}

// heartbeat sends what keeps a session's token alive.
func (s *session) heartbeat(ctx context.Context) (*reply, error) {
	token, _ := s.tokens()
	return s.send(ctx, question{method: http.MethodPost, path: heartbeatPath, token: token, query: url.Values{"requestId": {newID()}}})
}

// logout logs the session out with its own token, which anybody can do who has it.
func (s *session) logout(ctx context.Context) (*reply, error) {
	r, err := s.renewing(ctx, func(token string) (*reply, error) {
		return s.send(ctx, question{method: http.MethodPost, path: logoutPath, token: token, query: url.Values{"delete": {"true"}, "requestId": {newID()}}})
	})
	if err == nil && (r.Success || r.refused()) {
		s.ended()
	}
	return r, err
}

// newID makes a request ID.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, says crypto/rand
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// pause waits.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		return -1
	}
	return n
}
