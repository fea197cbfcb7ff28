package snowtest

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/snowtether/snowtether/internal/sqltext"
)

// Script is an [Engine] that answers from a script: handlers that a test
// registers for patterns, and plausible answers for everything else. It keeps
// no data. The zero value is ready to use.
//
// Without a handler:
//
//   - SELECT of one integer or string literal answers that value, and SELECT
//     CURRENT_SESSION() the session ID. Any other query, SHOW, DESCRIBE and CALL
//     answer one row with the text 1.
//   - INSERT, UPDATE, DELETE and MERGE answer their counts: 1, or for an INSERT
//     the number of its tuples or of the values of an array bind.
//   - Everything else answers its status row.
//
// What a statement has done, the ledger learns from the answer: a handler's counts of rows
// are those of a change, and its rows for a SELECT, WITH, VALUES, SHOW, DESCRIBE, EXPLAIN or
// LIST are those of a read. Without a handler such a statement has read if it calls nothing
// but the plainest functions, such as COUNT and MAX. Of all else that has rows, such as CALL,
// the ledger thinks that it may have done anything, unless the handler's Result says
// ReadOnly.
type Script struct {
	mu    sync.RWMutex
	rules []rule
}

type rule struct {
	pattern *regexp.Regexp
	handle  HandlerFunc
}

// A HandlerFunc answers a statement. With a nil result and a nil error the
// statement gets the answer that it would get without a handler. The context
// ends when the statement is cancelled; a handler that waits must heed it.
// Statements of several sessions are answered at the same time.
type HandlerFunc func(ctx context.Context, st *Statement) (*Result, error)

// Handle registers an answer for statements that match the regular expression,
// wherever in their text and whatever the case. Of several that match, the one
// registered last answers. Handle panics if the pattern does not compile.
func (s *Script) Handle(pattern string, h HandlerFunc) {
	re := regexp.MustCompile("(?is)" + pattern)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = append(s.rules, rule{re, h})
}

// OpenSession is called by the server.
func (s *Script) OpenSession(_ context.Context, info SessionConfig) (EngineSession, error) {
	return &scriptSession{script: s, id: info.ID}, nil
}

// Close is called by the server; it does nothing.
func (s *Script) Close() error { return nil }

func (s *Script) find(sql string) HandlerFunc {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for i := len(s.rules) - 1; i >= 0; i-- {
		if s.rules[i].pattern.MatchString(sql) {
			return s.rules[i].handle
		}
	}
	return nil
}

type scriptSession struct {
	script *Script
	id     int64
}

func (s *scriptSession) Run(ctx context.Context, st *Statement) (*Result, error) {
	var res *Result
	if h := s.script.find(st.SQL); h != nil {
		var err error
		if res, err = h(ctx, st); err != nil {
			return nil, err
		}
	}
	handled := res != nil
	if !handled {
		res = s.answer(st)
	}
	told := *res // a handler may give out the same result twice
	told.ReadOnly = told.ReadOnly || isQuery(st.SQL) && (handled || onlyReads(st.SQL))
	return &told, nil
}

// calm are the words behind which a parenthesis opens no call of a function that could change
// anything: plain functions, types and keywords. Whatever is not here could.
var calm = strings.Fields(`
	COUNT SUM MIN MAX AVG MEDIAN LISTAGG ARRAY_AGG ROW_NUMBER RANK DENSE_RANK LAG LEAD FIRST_VALUE LAST_VALUE
	COALESCE NVL IFNULL IFF NULLIF ZEROIFNULL GREATEST LEAST DECODE CAST TRY_CAST TO_CHAR TO_VARCHAR TO_NUMBER TO_DATE
	TO_TIMESTAMP TO_TIMESTAMP_NTZ PARSE_JSON OBJECT_CONSTRUCT ARRAY_CONSTRUCT FLATTEN GENERATOR SEQ4 SEQ8
	ABS ROUND FLOOR CEIL TRUNC MOD UPPER LOWER TRIM LTRIM RTRIM LENGTH SUBSTR SUBSTRING REPLACE CONCAT SPLIT_PART LEFT RIGHT
	CONTAINS STARTSWITH MD5 SHA2 HASH DATEADD DATEDIFF DATE_TRUNC YEAR MONTH DAY EXTRACT
	CURRENT_SESSION CURRENT_TRANSACTION CURRENT_TIMESTAMP CURRENT_DATE CURRENT_TIME CURRENT_USER CURRENT_ROLE CURRENT_DATABASE
	CURRENT_SCHEMA CURRENT_WAREHOUSE CURRENT_VERSION CURRENT_ACCOUNT CURRENT_REGION LAST_QUERY_ID RESULT_SCAN TABLE
	NUMBER DECIMAL NUMERIC VARCHAR CHAR STRING TEXT BINARY TIME TIMESTAMP TIMESTAMP_NTZ TIMESTAMP_LTZ TIMESTAMP_TZ
	SELECT FROM JOIN AS IN EXISTS AND OR NOT WHERE ON BY OVER USING VALUES UNION ALL ANY DISTINCT LIMIT HAVING QUALIFY EXCEPT
	INTERSECT MINUS LATERAL CASE WHEN THEN ELSE LIKE BETWEEN GROUP SAMPLE TABLESAMPLE PIVOT UNPIVOT`)

// isQuery reports whether a statement begins as one that can only read, unless it calls
// something: no chain, and behind WITH no procedure and no DML.
func isQuery(sql string) bool {
	first := append(words(sql, 1), "")[0]
	if !slices.Contains([]string{"SELECT", "WITH", "VALUES", "(", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "LIST", "LS"}, first) {
		return false
	}
	plain := true
	tokens(sql, func(t sqltext.Token) bool {
		plain = plain && !t.Is("->>")
		if first == "WITH" && t.Kind == sqltext.Word {
			plain = plain && !slices.Contains([]string{"PROCEDURE", "CALL", "INSERT", "UPDATE", "DELETE", "MERGE"}, upper(t.Text))
		}
		return plain
	})
	return plain
}

// onlyReads reports whether the script can be sure that a query changes nothing.
func onlyReads(sql string) bool {
	sure, before := true, sqltext.Token{}
	tokens(sql, func(t sqltext.Token) bool {
		sure = sure && !before.Is(";") && !t.Is("!")
		if t.Is("(") {
			switch before.Kind {
			case sqltext.Word:
				sure = sure && slices.Contains(calm, upper(before.Text))
			case sqltext.QuotedName:
				sure = false
			default:
				sure = sure && !before.Is(")")
			}
		}
		before = t
		return sure
	})
	return sure
}

func (s *scriptSession) Close() error { return nil }

var (
	literal   = regexp.MustCompile(`(?is)^\s*SELECT\s+(?:(-?\d{1,18})|'((?:[^']|'')*)')\s*;?\s*$`)
	sessionID = regexp.MustCompile(`(?is)^\s*SELECT\s+CURRENT_SESSION\s*\(\s*\)`)
	useObject = regexp.MustCompile(`(?is)^\s*USE\s+(DATABASE|SCHEMA|WAREHOUSE|ROLE)\s+"?([\w$.]+)"?\s*;?\s*$`)
)

// answer is what a statement gets without a handler.
func (s *scriptSession) answer(st *Statement) *Result {
	const executed = "Statement executed successfully."
	switch kind := kindOfSQL(st.SQL); {
	case kind.IsDML():
		return countAnswer(kind, st)
	case kind == KindSCL:
		res := Status(KindSCL, executed)
		if m := useObject.FindStringSubmatch(st.SQL); m != nil {
			res.use(upper(m[1]), upper(m[2]))
		}
		return res
	case kind != KindSelect:
		return Status(kind, executed)
	}
	if m := literal.FindStringSubmatch(st.SQL); m != nil {
		if m[1] != "" {
			return &Result{
				Kind:    KindSelect,
				Columns: []Column{{Name: m[1], Type: "fixed", Precision: int64(len(strings.TrimPrefix(m[1], "-")))}},
				Rows:    [][]*string{{&m[1]}},
			}
		}
		text := strings.ReplaceAll(m[2], "''", "'")
		return Rows([]string{"'" + upper(m[2]) + "'"}, []any{text})
	}
	if sessionID.MatchString(st.SQL) {
		return Rows([]string{"CURRENT_SESSION()"}, []any{fmt.Sprint(s.id)})
	}
	return Rows([]string{"1"}, []any{"1"})
}

func (r *Result) use(what, name string) {
	switch what {
	case "DATABASE":
		r.Database = name
	case "SCHEMA":
		r.Schema = name
	case "WAREHOUSE":
		r.Warehouse = name
	case "ROLE":
		r.Role = name
	}
}

func countAnswer(kind Kind, st *Statement) *Result {
	switch kind {
	case KindUpdate:
		return Count(kind, []string{"number of rows updated", "number of multi-joined rows updated"}, []int64{1, 0})
	case KindDelete:
		return Count(kind, []string{"number of rows deleted"}, []int64{1})
	case KindMerge:
		return Count(kind, []string{"number of rows inserted", "number of rows updated"}, []int64{1, 0})
	case KindInsert:
		n := int64(countTuples(st.SQL))
		for _, b := range st.Binds {
			if b.Array != nil {
				n = int64(len(b.Array))
				break
			}
		}
		return Count(kind, []string{"number of rows inserted"}, []int64{n})
	}
	return Count(kind, []string{"number of rows inserted"}, []int64{1})
}

// countTuples counts the tuples after VALUES; 1 if there are none.
func countTuples(sql string) int {
	tuples, depth, values := 0, 0, false
	tokens(sql, func(t sqltext.Token) bool {
		switch {
		case t.Is("("):
			if depth == 0 && values {
				tuples++
			}
			depth++
		case t.Is(")"):
			depth--
		case depth == 0 && t.Word("VALUES"):
			values = true
		}
		return true
	})
	return max(tuples, 1)
}
