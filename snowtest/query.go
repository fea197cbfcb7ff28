package snowtest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

type queryRequest struct {
	SQLText      string         `json:"sqlText"`
	AsyncExec    bool           `json:"asyncExec"`
	DescribeOnly bool           `json:"describeOnly"`
	Parameters   map[string]any `json:"parameters"`
	BindStage    string         `json:"bindStage"`
	Bindings     map[string]struct {
		Type   string          `json:"type"`
		Value  json.RawMessage `json:"value"`
		Format string          `json:"fmt"`
	} `json:"bindings"`
}

// binds puts the bind values in the order of their placeholders.
func (q *queryRequest) binds() ([]Bind, error) {
	if len(q.Bindings) == 0 {
		return nil, nil
	}
	names := make([]string, 0, len(q.Bindings))
	for name := range q.Bindings {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		i, errA := strconv.Atoi(a)
		j, errB := strconv.Atoi(b)
		if errA == nil && errB == nil {
			return cmp.Compare(i, j)
		}
		return cmp.Compare(a, b)
	})
	binds := make([]Bind, 0, len(names))
	for _, name := range names {
		raw := q.Bindings[name]
		b := Bind{Type: raw.Type, Format: raw.Format}
		if _, err := strconv.Atoi(name); err != nil {
			b.Name = name
		}
		var err error
		if strings.HasPrefix(strings.TrimSpace(string(raw.Value)), "[") {
			err = json.Unmarshal(raw.Value, &b.Array)
		} else if len(raw.Value) > 0 {
			err = json.Unmarshal(raw.Value, &b.Value)
		}
		if err != nil {
			return nil, fmt.Errorf("bind %s: %w", name, err)
		}
		binds = append(binds, b)
	}
	return binds, nil
}

// statements is how many statements the request may hold; 0 is any number.
func (q *queryRequest) statements(session map[string]any) int {
	const name = "MULTI_STATEMENT_COUNT"
	for _, params := range []map[string]any{q.Parameters, session} {
		if v, ok := params[name]; ok {
			if n, err := strconv.Atoi(fmt.Sprint(v)); err == nil {
				return n
			}
		}
	}
	return 1
}

// query is a statement that was accepted. The fields of the first group do not
// change once it runs; those of the second are set before done is closed.
type query struct {
	id        string
	requestID string
	session   *session
	user      string
	sql       string
	tag       string // of this statement alone
	binds     []Bind
	describe  bool
	async     bool
	own       bool // a file transfer or its stage, which the engine never sees
	parent    string
	children  []*query // of a multi-statement request
	started   time.Time
	ctx       context.Context
	cancel    context.CancelFunc
	entry     *entry // nil if only described

	done   chan struct{}
	result *Result
	err    *Error
	ended  time.Time
	state  sessionState // of the session when the statement was done
	idle   bool         // a COMMIT or ROLLBACK that found no transaction

	word     string    // the status that a test has set; see SetStatus
	blocked  bool      // it waits for a lock
	attached int       // requests that wait for its result
	seen     time.Time // when the last of them ended

	render sync.Once
	data   map[string]any // of the reply
}

// sessionState is what a reply tells about the session.
type sessionState struct {
	database, schema, warehouse, role string
	params                            []parameter
}

var errCanceled = &Error{Code: "000604", SQLState: "57014", Message: "SQL execution canceled"}

// runQuery answers POST /queries/v1/query-request.
func (s *Server) runQuery(in *incoming) *reply {
	s.mu.Lock()
	ses, refused := s.authorize(in.HTTP)
	if refused != nil {
		s.mu.Unlock()
		return refused
	}
	q := s.accepted(ses, in)
	if q != nil {
		s.stats.Repeats++
	} else {
		q = s.newQuery(ses, in)
		if in.RequestID != "" {
			ses.requests[in.RequestID] = append(ses.requests[in.RequestID], q)
		}
	}
	s.mu.Unlock()
	if q.async {
		return q.inProgress()
	}
	return s.await(in, q)
}

// accepted finds the statement that an earlier request with this ID brought. One that is
// only described is no repetition of one that was carried out.
func (s *Server) accepted(ses *session, in *incoming) *query {
	for _, q := range ses.requests[in.RequestID] {
		forgotten := s.remember > 0 && time.Since(q.started) >= s.remember
		if !forgotten && q.describe == in.query.DescribeOnly && (q.sql == in.SQL || !s.byText) {
			return q
		}
	}
	return nil
}

// newQuery accepts a statement and lets it run in a goroutine.
func (s *Server) newQuery(ses *session, in *incoming) *query {
	q := s.accept(s.base, ses, in.SQL, in.Binds, in.query.DescribeOnly, "", in.RequestID)
	q.async = in.Async
	q.tag, _ = in.query.Parameters["QUERY_TAG"].(string)
	s.watchDetached(q)
	if in.query.BindStage != "" {
		binds, err := s.stagedBinds(ses, in.SQL, in.query.BindStage)
		q.binds = binds
		if q.entry != nil {
			q.entry.Binds = binds
		}
		if err != nil {
			s.startOwn(q, func() (*Result, *Error) { return nil, err })
			return q
		}
	}
	if own := s.ownStatement(q); own != nil {
		s.startOwn(q, own)
		return q
	}
	parts := splitStatements(in.SQL)
	want := in.query.statements(ses.params)
	switch {
	case len(parts) == 0:
		s.startOwn(q, func() (*Result, *Error) {
			return nil, &Error{Code: "000900", SQLState: "42601", Message: "SQL compilation error:\nEmpty SQL statement."}
		})
	case want != 0 && len(parts) != want:
		s.startOwn(q, func() (*Result, *Error) {
			return nil, &Error{Code: "000008", SQLState: "0A000", Message: fmt.Sprintf(
				"Actual statement count %d did not match the desired statement count %d.", len(parts), want)}
		})
	case len(parts) == 1:
		s.enqueue(q, func() { s.run(q) })
	default:
		s.enqueue(q, func() { s.runAll(q, parts) })
	}
	return q
}

// accept gives a statement its query ID and its entry in the ledger.
func (s *Server) accept(ctx context.Context, ses *session, sql string, binds []Bind, describe bool, parent, requestID string) *query {
	s.lastQuery++
	q := &query{
		id:        fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", 0x01bd0000+s.lastQuery>>16, s.lastQuery&0xffff, 0x32, ses.id&0xffff, s.lastQuery),
		requestID: requestID,
		session:   ses,
		user:      ses.user,
		sql:       sql,
		binds:     binds,
		describe:  describe,
		parent:    parent,
		started:   time.Now(),
		done:      make(chan struct{}),
	}
	q.ctx, q.cancel = context.WithCancel(ctx)
	s.queries[q.id] = q
	if !describe {
		s.stats.Statements++
		q.entry = s.enter(q)
	}
	return q
}

// enqueue runs fn when the statements that the session accepted before are done.
func (s *Server) enqueue(q *query, fn func()) {
	ses := q.session
	ses.running++
	before, done := ses.tail, make(chan struct{})
	ses.tail = done
	s.work.Go(func() {
		defer close(done)
		select {
		case <-before:
			fn()
		case <-q.ctx.Done():
			s.finish(q, nil, errCanceled)
			<-before // the next in the queue must not overtake
		}
	})
}

// startOwn runs what the server answers itself, none of which changes data; it does not
// wait for the statements before it.
func (s *Server) startOwn(q *query, fn func() (*Result, *Error)) {
	q.session.running++
	s.work.Go(func() {
		res, err := fn()
		if err != nil {
			s.finish(q, nil, err)
			return
		}
		res.ReadOnly = true
		s.settle(q, res)
	})
}

// run lets the engine carry out one statement.
func (s *Server) run(q *query) {
	defer s.ensureFinished(q)
	if q.ctx.Err() != nil {
		s.finish(q, nil, errCanceled)
		return
	}
	var res *Result
	err := s.lock(q)
	if err == nil {
		res, err = q.session.engine.Run(q.ctx, &Statement{
			SQL: q.sql, Binds: q.binds, DescribeOnly: q.describe, QueryID: q.id, SessionID: q.session.id, QueryTag: q.tag,
		})
	}
	switch {
	case err != nil && q.ctx.Err() != nil:
		s.finish(q, nil, errCanceled)
	case err != nil:
		s.finish(q, nil, asError(err))
	case res == nil:
		s.finish(q, nil, &Error{Code: "000603", SQLState: "XX000", Message: "the engine returned no result"})
	default:
		s.settle(q, res)
	}
}

// settle writes the result of a statement that succeeded, and finishes the
// statement.
func (s *Server) settle(q *query, res *Result) {
	own := *res // an engine may give out the same result twice
	if own.Kind == 0 {
		own.Kind = kindOfSQL(q.sql)
	}
	switch {
	case res.Parameters != nil:
		own.Parameters = map[string]any{}
		for name, value := range res.Parameters {
			own.Parameters[upper(name)] = value
		}
	case own.Kind == KindSCL:
		own.Parameters = alteredParameters(q.sql)
	}
	err := checkParameters(own.Parameters)
	if err == nil && own.written == nil {
		own.written, err = s.write(q, &own)
	}
	switch {
	case err != nil && q.ctx.Err() != nil:
		s.finish(q, nil, errCanceled)
	case err != nil:
		s.finish(q, nil, asError(err))
	default:
		s.finish(q, &own, nil)
	}
}

// runAll carries out the statements of a multi-statement request, up to the
// first that fails.
func (s *Server) runAll(q *query, parts []string) {
	defer s.ensureFinished(q)
	binds := q.binds
	var failed *Error
	for _, sql := range parts {
		n := min(countPlaceholders(sql), len(binds))
		s.mu.Lock()
		child := s.accept(q.ctx, q.session, sql, binds[:n:n], q.describe, q.id, "")
		q.children = append(q.children, child)
		child.tag = q.tag
		s.mu.Unlock()
		binds = binds[n:]
		s.run(child)
		if failed = child.err; failed != nil {
			break
		}
	}
	if failed != nil {
		s.finish(q, nil, failed)
		return
	}
	text := "Multiple statements executed successfully."
	s.settle(q, &Result{
		Kind:    KindMulti,
		Columns: []Column{{Name: "multiple statement execution", Type: "text", Length: 16777216, ByteLength: 16777216}},
		Rows:    [][]*string{{&text}},
	})
}

// ensureFinished is deferred: a handler that ends its goroutine, as t.Fatal does,
// must not leave the client waiting for ever.
func (s *Server) ensureFinished(q *query) {
	if q.running() {
		s.finish(q, nil, &Error{Code: "000603", SQLState: "XX000", Message: "the engine did not return from Run"})
	}
}

// finish records the outcome of a statement.
func (s *Server) finish(q *query, res *Result, err *Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ses := q.session
	if res != nil && !q.describe {
		ses.database = cmp.Or(res.Database, ses.database)
		ses.schema = cmp.Or(res.Schema, ses.schema)
		ses.wh = cmp.Or(res.Warehouse, ses.wh)
		ses.role = cmp.Or(res.Role, ses.role)
		for name, value := range res.Parameters {
			ses.params[name] = value
		}
	}
	q.result, q.err, q.ended = res, err, time.Now()
	q.state = sessionState{ses.database, ses.schema, ses.wh, ses.role, parameterList(ses.params)}
	s.record(q)
	if q.parent == "" {
		ses.running--
		ses.lastUsed = q.ended
	}
	q.cancel()
	close(q.done)
}

// asError gives any error of an engine Snowflake's shape.
func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: "000603", SQLState: "XX000", Message: err.Error()}
}

// await waits for a statement, but not longer than the inline wait.
func (s *Server) await(in *incoming, q *query) *reply {
	timer := time.NewTimer(s.inlineWait)
	defer timer.Stop()
	defer s.attach(q)()
	select {
	case <-q.done:
		return s.outcome(in, q)
	default:
	}
	select {
	case <-q.done:
		return s.outcome(in, q)
	case <-timer.C:
		return q.inProgress()
	case <-in.HTTP.Context().Done():
		return gone
	case <-s.closing:
		return gone
	}
}

func (q *query) inProgress() *reply {
	code, message := "333333", "Query execution in progress"
	if q.async {
		code, message = "333334", "Asynchronous execution in progress. Use provided query id to perform query monitoring and management."
	}
	return &reply{json: envelope{
		Data: map[string]any{
			"queryId":              q.id,
			"getResultUrl":         "/queries/" + q.id + "/result",
			"queryAbortsAfterSecs": 300,
			"progressDesc":         nil,
		},
		Message: &message, Code: &code, Success: true,
	}}
}
