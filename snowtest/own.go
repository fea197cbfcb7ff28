package snowtest

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var (
	cancelQuery = regexp.MustCompile(`(?is)^\s*SELECT\s+SYSTEM\$CANCEL_QUERY\s*\(\s*'([^']*)'\s*\)\s*;?\s*$`)
	cancelAll   = regexp.MustCompile(`(?is)^\s*SELECT\s+SYSTEM\$CANCEL_ALL_QUERIES\s*\(\s*(\d+)\s*\)\s*;?\s*$`)
	currentTx   = regexp.MustCompile(`(?is)^\s*SELECT\s+CURRENT_TRANSACTION\s*\(\s*\)\s*;?\s*$`)
	showTx      = regexp.MustCompile(`(?is)^\s*SHOW\s+TRANSACTIONS\s*;?\s*$`)
	abortTx     = regexp.MustCompile(`(?is)^\s*SELECT\s+SYSTEM\$ABORT_TRANSACTION\s*\(\s*(-?\d+)\s*\)\s*;?\s*$`)
	resultScan  = regexp.MustCompile(`(?is)^\s*SELECT\s+\*\s+FROM\s+TABLE\s*\(\s*RESULT_SCAN\s*\(\s*'([^']*)'\s*\)\s*\)\s*;?\s*$`)
	bindStage   = regexp.MustCompile(`(?is)^\s*CREATE\s+(OR\s+REPLACE\s+)?TEMPORARY\s+STAGE\s+SYSTEM\$BIND\b`)
	putFile     = regexp.MustCompile(`(?is)^\s*PUT\s+'?file://([^'\s]+)(?:'?\s+'?|')(@[^'\s;]+)'?(.*)$`)
	getFile     = regexp.MustCompile(`(?is)^\s*GET\s+'?@`)
)

// ownStatement returns what answers a statement that the server answers itself,
// whatever its engine; nil for the others.
func (s *Server) ownStatement(q *query) func() (*Result, *Error) {
	if m := cancelQuery.FindStringSubmatch(q.sql); m != nil {
		return func() (*Result, *Error) { return s.cancelByID(q, m[1]), nil }
	}
	if m := cancelAll.FindStringSubmatch(q.sql); m != nil {
		return func() (*Result, *Error) { return s.cancelSession(q, m[1]), nil }
	}
	if currentTx.MatchString(q.sql) {
		return func() (*Result, *Error) { return s.currentTransaction(q), nil }
	}
	if showTx.MatchString(q.sql) {
		return func() (*Result, *Error) { return s.showTransactions(q), nil }
	}
	if m := abortTx.FindStringSubmatch(q.sql); m != nil {
		return func() (*Result, *Error) { return s.abortTransaction(q, m[1]) }
	}
	if m := abortSession.FindStringSubmatch(q.sql); m != nil {
		return func() (*Result, *Error) { return s.abortByID(q, m[1]) }
	}
	if m := resultScan.FindStringSubmatch(q.sql); m != nil {
		return func() (*Result, *Error) { return s.scanResult(q, m[1]) }
	}
	if bindStage.MatchString(q.sql) {
		q.own = true
		return func() (*Result, *Error) {
			return Status(KindDDL, "Stage area SYSTEM$BIND successfully created."), nil
		}
	}
	_, script := s.engine.(*Script)
	if m := putFile.FindStringSubmatch(q.sql); m != nil && (script || strings.HasPrefix(upper(m[2]), "@SYSTEM$BIND")) {
		q.own = true
		return func() (*Result, *Error) { return s.put(q, m[1], m[2], m[3]), nil }
	}
	if script && getFile.MatchString(q.sql) {
		return func() (*Result, *Error) {
			return nil, &Error{Code: "000002", SQLState: "0A000", Message: "Unsupported feature 'GET'."}
		}
	}
	return nil
}

// cancelByID answers SELECT SYSTEM$CANCEL_QUERY('<id>').
func (s *Server) cancelByID(q *query, id string) *Result {
	s.mu.Lock()
	target := s.queries[id]
	s.mu.Unlock()
	text := "Identified SQL statement is not currently executing."
	if target != nil && target.belongsTo(q.user) && target.running() {
		target.cancel()
		text = "query [" + id + "] terminated."
	}
	return Rows([]string{"SYSTEM$CANCEL_QUERY('" + id + "')"}, []any{text})
}

// cancelSession answers SELECT SYSTEM$CANCEL_ALL_QUERIES(<session>), which stops all that
// a session of the same user runs, also one that has ended.
func (s *Server) cancelSession(q *query, id string) *Result {
	n := 0
	s.mu.Lock()
	targets := slices.Collect(maps.Values(s.queries))
	s.mu.Unlock()
	for _, target := range targets {
		if target != q && strconv.FormatInt(target.session.id, 10) == id && target.belongsTo(q.user) && target.running() {
			target.cancel()
			n++
		}
	}
	return Rows([]string{"SYSTEM$CANCEL_ALL_QUERIES(" + id + ")"}, []any{fmt.Sprintf("%d cancelled.", n)})
}

// currentTransaction answers SELECT CURRENT_TRANSACTION(): the ID of the session's open
// transaction, NULL if there is none.
func (s *Server) currentTransaction(q *query) *Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	var id any
	if tx := q.session.tx; tx != nil {
		id = strconv.FormatInt(tx.id, 10)
	}
	return Rows([]string{"CURRENT_TRANSACTION()"}, []any{id})
}

// scanResult answers SELECT * FROM TABLE(RESULT_SCAN('<id>')): the result of
// another statement of the same user once more. Rows that the server has not
// kept come in the format in which they were written.
func (s *Server) scanResult(q *query, id string) (*Result, *Error) {
	s.mu.Lock()
	target := s.queries[id]
	s.mu.Unlock()
	if target == nil || !target.belongsTo(q.user) || target.running() || target.result == nil {
		return nil, &Error{Code: "000709", SQLState: "02000", Message: "Statement " + id + " not found"}
	}
	of := target.result
	res := &Result{Kind: KindSelect, Columns: of.Columns, Rows: of.Rows, More: of.More}
	if of.More != nil && !q.describe {
		res.written = of.written
	}
	return res, nil
}
