package snowtest

import (
	"encoding/json"
	"maps"
	"strconv"
	"strings"
	"time"
)

// rowType is a column as clients are told of it. What a type does not have is null.
type rowType struct {
	Name       string  `json:"name"`
	Database   string  `json:"database"`
	Schema     string  `json:"schema"`
	Table      string  `json:"table"`
	Type       string  `json:"type"`
	Precision  *int64  `json:"precision"`
	Scale      *int64  `json:"scale"`
	Length     *int64  `json:"length"`
	ByteLength *int64  `json:"byteLength"`
	Nullable   bool    `json:"nullable"`
	Collation  *string `json:"collation"`
}

func rowTypeOf(c *Column) rowType {
	t := rowType{Name: c.Name, Type: c.Type, Nullable: c.Nullable}
	switch c.Type {
	case "fixed", "time", "timestamp_ntz", "timestamp_ltz", "timestamp_tz":
		t.Precision, t.Scale = &c.Precision, &c.Scale
	case "real", "boolean", "date":
	default:
		t.Length, t.ByteLength = &c.Length, &c.ByteLength
	}
	return t
}

// fetchResult answers GET /queries/<id>/result, for every session of the user
// who ran the statement.
func (s *Server) fetchResult(in *incoming) *reply {
	s.mu.Lock()
	ses, refused := s.authorize(in.HTTP)
	if refused != nil {
		s.mu.Unlock()
		return refused
	}
	q := s.queries[in.QueryID]
	s.mu.Unlock()
	if q == nil || !q.belongsTo(ses.user) {
		return failure(&Error{Code: codeNoResult, SQLState: "02000", Message: "Result for query " + in.QueryID + " not found."}, "")
	}
	return s.await(in, q)
}

// codeNoResult is that of a result which does not exist, or not yet; RESULT_SCAN's is
// another.
const codeNoResult = "000612"

// monitor answers GET /monitoring/queries/<id>.
func (s *Server) monitor(in *incoming) *reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	ses, refused := s.authorize(in.HTTP)
	if refused != nil {
		return refused
	}
	queries := []map[string]any{}
	if q := s.queries[in.QueryID]; q != nil && q.belongsTo(ses.user) {
		queries = append(queries, q.status())
	}
	return success(map[string]any{"queries": queries})
}

// abort answers POST /queries/v1/abort-request, which gosnowflake sends when
// the context of a statement ends, and POST /queries/<id>/abort-request, with which the
// clients for Node and Python cancel a statement whose query ID they know.
func (s *Server) abort(in *incoming) *reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	ses, refused := s.authorize(in.HTTP)
	if refused != nil {
		return refused
	}
	found, targets := false, ses.requests[in.RequestID]
	if q := s.queries[in.QueryID]; q != nil && q.belongsTo(ses.user) {
		targets = []*query{q}
	}
	for _, q := range targets {
		if q.running() {
			q.cancel()
			found = true
		}
	}
	if !found {
		return failure(&Error{Code: "000605", SQLState: "57014", Message: "Identified SQL statement is not currently executing."}, "")
	}
	return success(nil)
}

func (q *query) running() bool {
	select {
	case <-q.done:
		return false
	default:
		return true
	}
}

// belongsTo compares users as Snowflake does, in any case.
func (q *query) belongsTo(user string) bool { return strings.EqualFold(q.user, user) }

// SetStatus sets the word that the monitor answers for a statement, whatever becomes of it,
// such as RESTARTED, DISCONNECTED, QUEUED, RESUMING_WAREHOUSE or NO_DATA; "" lets it tell
// the truth again. By itself the server says RUNNING, BLOCKED of a statement that waits for
// a lock, ABORTING of one that was cancelled and has not ended, SUCCESS and
// FAILED_WITH_ERROR, which is also the word for one that was cancelled. SetStatus does
// nothing for a query ID that is unknown.
func (s *Server) SetStatus(queryID, word string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q := s.queries[queryID]; q != nil {
		q.word = word
	}
}

func (q *query) statusWord() string {
	switch {
	case q.word != "":
		return q.word
	case q.running() && q.ctx.Err() != nil:
		return "ABORTING"
	case q.running() && q.blocked:
		return "BLOCKED"
	case q.running():
		return "RUNNING"
	case q.err == nil:
		return "SUCCESS"
	}
	return "FAILED_WITH_ERROR"
}

func (q *query) status() map[string]any {
	status := map[string]any{
		"id":        q.id,
		"status":    q.statusWord(),
		"sqlText":   q.sql,
		"startTime": q.started.UnixMilli(),
		"endTime":   int64(0),
		"stats":     map[string]int{"scanBytes": 0, "producedRows": 0},
		"errorCode": "", "errorMessage": nil,
	}
	if q.running() {
		status["state"] = "EXECUTING"
		return status
	}
	status["endTime"] = q.ended.UnixMilli()
	if q.err == nil {
		// What was scanned is not known: what was sent is the least of it.
		status["stats"] = map[string]int{"scanBytes": q.result.written.size(), "producedRows": q.result.written.rows}
		return status
	}
	status["errorCode"], status["errorMessage"] = q.err.Code, q.err.Message
	return status
}

// outcome is the reply with the result of a statement that is done.
func (s *Server) outcome(in *incoming, q *query) *reply {
	if q.err != nil {
		return failure(q.err, q.id)
	}
	if q.idle && q.parent == "" {
		return success(nil)
	}
	base := s.scheme() + "://" + in.HTTP.Host // of absolute URLs: the host that the client asked for
	q.render.Do(func() { q.data = s.data(q, base) })
	chunks := q.result.written.chunks
	if len(chunks) == 0 {
		return success(q.data)
	}
	data := maps.Clone(q.data)
	data["chunks"] = s.grant(chunks, base)
	return success(data)
}

// data makes the data part of a reply, once for each statement, but for the URLs
// of the chunks, which are new in each reply.
func (s *Server) data(q *query, base string) map[string]any {
	res := q.result
	columns := make([]rowType, 0, len(res.Columns))
	for i := range res.Columns {
		columns = append(columns, rowTypeOf(&res.Columns[i]))
	}
	data := map[string]any{
		"queryId":            q.id,
		"sqlState":           "00000",
		"rowtype":            columns,
		"total":              res.written.rows,
		"returned":           res.written.rows,
		"queryResultFormat":  res.written.format,
		"statementTypeId":    statementType(res.Kind, q.sql),
		"queryContext":       queryContext(q),
		"finalDatabaseName":  q.state.database,
		"finalSchemaName":    q.state.schema,
		"finalWarehouseName": q.state.warehouse,
		"finalRoleName":      q.state.role,
		"parameters":         q.state.params,
		"numberOfBinds":      countPlaceholders(q.sql),
		"arrayBindSupported": res.Kind.IsDML(),
		"databaseProvider":   nil,
		"sendResultTime":     time.Now().UnixMilli(),
		"version":            1,
	}
	if res.written.format == formatArrow {
		data["rowsetBase64"] = res.written.first
	} else {
		data["rowset"] = json.RawMessage("[" + string(res.written.first) + "]")
	}
	if len(res.written.chunks) > 0 {
		// Headers of the store's own; without any, gosnowflake sends those of
		// server-side encryption.
		data["chunkHeaders"] = map[string]string{"X-Snowtest-Query": q.id}
	}
	if len(q.children) > 0 {
		var ids, types []string
		for _, c := range q.children {
			ids = append(ids, c.id)
			types = append(types, strconv.FormatInt(statementType(c.result.Kind, c.sql), 10))
		}
		data["resultIds"], data["resultTypes"] = strings.Join(ids, ","), strings.Join(types, ",")
	}
	if res.Transfer != nil {
		maps.Copy(data, s.transferData(q, res.Transfer, base))
	}
	return data
}

// queryContext is what an account tells about the databases that a statement used; its
// client sends it back with later statements.
func queryContext(q *query) map[string]any {
	return map[string]any{"entries": []map[string]any{{"id": 0, "timestamp": q.ended.UnixMicro(), "priority": 0, "context": "c25vdw=="}}}
}

// statementTypes are the narrower values of the kinds whose statements have several, by the
// first words (SFStatementType of Snowflake's JDBC driver).
var statementTypes = []struct {
	first, second string
	id            int64
}{
	{"ALTER", "SESSION", 0x4100},
	{"USE", "DATABASE", 0x4301}, {"USE", "SCHEMA", 0x4302}, {"USE", "WAREHOUSE", 0x4303}, {"USE", "", 0x4300},
	{"SHOW", "", 0x4400}, {"DESCRIBE", "", 0x4500}, {"DESC", "", 0x4500},
	{"LIST", "", 0x4701}, {"LS", "", 0x4701},
	{"GET", "", 0x7101}, {"PUT", "", 0x7102}, {"REMOVE", "", 0x7103}, {"RM", "", 0x7103},
}

func statementType(kind Kind, sql string) int64 {
	if kind == KindSelect || kind == KindSCL {
		w := append(words(sql, 2), "", "")
		for _, t := range statementTypes {
			if w[0] == t.first && (t.second == "" || w[1] == t.second) {
				return t.id
			}
		}
	}
	return int64(kind)
}
