package duckdb

import (
	"cmp"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/snowtether/snowtether/snowtest"
)

// This file keeps what a session has run, for QUERY_HISTORY_BY_SESSION.

// historyRows is how many statements a session remembers: what the table function gives
// without a RESULT_LIMIT.
const historyRows = 100

// A historyEntry is one statement of a session, which may still run.
type historyEntry struct {
	id, text, kind, tag, database, schema string
	status, code, message                 string
	started, ended                        time.Time
}

func (s *session) remember(w *work) *historyEntry {
	h := &historyEntry{id: w.st.QueryID, text: w.st.SQL, kind: w.toks[0].text, tag: cmp.Or(w.st.QueryTag, s.param("QUERY_TAG")), database: s.database, schema: s.schema,
		status: "RUNNING", started: w.now}
	if w.st.DescribeOnly || h.id == "" {
		return h
	}
	s.history = append(s.history, h)
	if len(s.history) > historyRows {
		s.history = s.history[1:]
	}
	return h
}

// end notes how the statement ended.
func (h *historyEntry) end(err error) {
	h.ended, h.status = time.Now(), "SUCCESS"
	if sf := (*snowtest.Error)(nil); errors.As(err, &sf) {
		h.status, h.code, h.message = "FAILED_WITH_ERROR", sf.Code, sf.Message
	}
}

// queryHistory writes the statements of the session as a table of DuckDB's, the newest
// first.
func (s *session) queryHistory() string {
	optional := func(text string) string { return pick(text == "", "CAST(NULL AS VARCHAR)", quoteString(text)) }
	var rows []string
	for i := len(s.history) - 1; i >= 0; i-- {
		h := s.history[i]
		ended, elapsed := "CAST(NULL AS TIMESTAMPTZ)", time.Since(h.started)
		if !h.ended.IsZero() {
			ended, elapsed = timeLiteral(h.ended, "TIMESTAMPTZ"), h.ended.Sub(h.started)
		}
		rows = append(rows, "("+strings.Join([]string{
			quoteString(h.id), quoteString(h.text), optional(h.database), optional(h.schema), quoteString(h.kind),
			strconv.FormatInt(s.info.ID, 10) + "::HUGEINT", quoteString(strings.ToUpper(s.info.User)), quoteString(s.role), optional(s.warehouse), quoteString(h.tag),
			quoteString(h.status), optional(h.code), optional(h.message), timeLiteral(h.started, "TIMESTAMPTZ"), ended,
			strconv.FormatInt(elapsed.Milliseconds(), 10) + "::HUGEINT",
		}, ", ")+")")
	}
	return "(SELECT * FROM (VALUES " + strings.Join(rows, ", ") + ") AS history$(QUERY_ID, QUERY_TEXT, DATABASE_NAME, SCHEMA_NAME, QUERY_TYPE, " +
		"SESSION_ID, USER_NAME, ROLE_NAME, WAREHOUSE_NAME, QUERY_TAG, EXECUTION_STATUS, ERROR_CODE, ERROR_MESSAGE, START_TIME, END_TIME, TOTAL_ELAPSED_TIME))"
}
