package duckdb

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/snowtether/snowtether/snowtest"
)

// A parameter is a session parameter that the engine knows. A fixed one changes
// what values mean or how they look as text; only its default is accepted.
type parameter struct {
	standard, kind string
	fixed          bool
}

var parameters = map[string]parameter{
	"AUTOCOMMIT":                                    {"true", "BOOLEAN", false},
	"BINARY_INPUT_FORMAT":                           {"HEX", "STRING", true},
	"BINARY_OUTPUT_FORMAT":                          {"HEX", "STRING", true},
	"CLIENT_SESSION_KEEP_ALIVE":                     {"false", "BOOLEAN", false},
	"CLIENT_SESSION_KEEP_ALIVE_HEARTBEAT_FREQUENCY": {"3600", "NUMBER", false},
	"DATE_INPUT_FORMAT":                             {"AUTO", "STRING", true},
	"DATE_OUTPUT_FORMAT":                            {"YYYY-MM-DD", "FORMAT", false},
	"DEFAULT_NULL_ORDERING":                         {"LAST", "STRING", true},
	"ENABLE_LARGE_VARCHAR_AND_BINARY_IN_RESULT":     {"true", "BOOLEAN", false},
	"ERROR_ON_NONDETERMINISTIC_MERGE":               {"true", "BOOLEAN", true},
	"ERROR_ON_NONDETERMINISTIC_UPDATE":              {"false", "BOOLEAN", true},
	"JSON_INDENT":                                   {"2", "NUMBER", true},
	"JS_TREAT_INTEGER_AS_BIGINT":                    {"false", "BOOLEAN", false},
	"LOCK_TIMEOUT":                                  {"43200", "NUMBER", false},
	"MULTI_STATEMENT_COUNT":                         {"1", "NUMBER", false},
	"QUERY_TAG":                                     {"", "STRING", false},
	"QUOTED_IDENTIFIERS_IGNORE_CASE":                {"false", "BOOLEAN", true},
	"ROWS_PER_RESULTSET":                            {"0", "NUMBER", true},
	"STATEMENT_TIMEOUT_IN_SECONDS":                  {"172800", "NUMBER", false},
	"TIMESTAMP_DAY_IS_ALWAYS_24H":                   {"false", "BOOLEAN", true},
	"TIMESTAMP_INPUT_FORMAT":                        {"AUTO", "STRING", true},
	"TIMESTAMP_LTZ_OUTPUT_FORMAT":                   {"", "FORMAT", false},
	"TIMESTAMP_NTZ_OUTPUT_FORMAT":                   {"YYYY-MM-DD HH24:MI:SS.FF3", "FORMAT", false},
	"TIMESTAMP_OUTPUT_FORMAT":                       {"YYYY-MM-DD HH24:MI:SS.FF3 TZHTZM", "FORMAT", false},
	"TIMESTAMP_TYPE_MAPPING":                        {"TIMESTAMP_NTZ", "STRING", true},
	"TIMESTAMP_TZ_OUTPUT_FORMAT":                    {"", "STRING", true},
	"TIMEZONE":                                      {"UTC", "STRING", false},
	"TIME_INPUT_FORMAT":                             {"AUTO", "STRING", true},
	"TIME_OUTPUT_FORMAT":                            {"HH24:MI:SS", "FORMAT", false},
	"TRANSACTION_ABORT_ON_ERROR":                    {"false", "BOOLEAN", true},
	"TWO_DIGIT_CENTURY_START":                       {"1970", "NUMBER", true},
	"WEEK_OF_YEAR_POLICY":                           {"0", "NUMBER", true},
	"WEEK_START":                                    {"0", "NUMBER", true},
}

// stored are parameters that are kept and reported, and change nothing here.
var stored = wordSet(`ABORT_DETACHED_QUERY ENABLE_UNLOAD_PHYSICAL_TYPE_OPTIMIZATION GEOGRAPHY_OUTPUT_FORMAT GEOMETRY_OUTPUT_FORMAT
	JDBC_TREAT_DECIMAL_AS_INT JDBC_TREAT_TIMESTAMP_NTZ_AS_UTC JDBC_USE_SESSION_TIMEZONE LOG_LEVEL METRIC_LEVEL TRACE_LEVEL
	PYTHON_CONNECTOR_QUERY_RESULT_FORMAT SEARCH_PATH SIMULATED_DATA_SHARING_CONSUMER STATEMENT_QUEUED_TIMEOUT_IN_SECONDS STRICT_JSON_OUTPUT
	TRANSACTION_DEFAULT_ISOLATION_LEVEL UNSUPPORTED_DDL_ACTION USE_CACHED_RESULT S3_STAGE_VPCE_DNS_NAME NOORDER_SEQUENCE_AS_DEFAULT
	BIND_NULL_VALUE_USE_NULL_DATATYPE MULTI_STATEMENT_COUNT`)

// switches are the beginnings of parameters that Snowflake does not document and clients
// set, and the end of one kind of them.
var switches = []string{"CLIENT_", "ENABLE_", "FEATURE_", "FORCE_", "IGNORE_", "USE_"}

// isParameter reports whether an account can have a parameter of this name.
func isParameter(name string) bool {
	_, known := parameters[name]
	return known || stored[name] || strings.HasSuffix(name, "_QUERY_RESULT_FORMAT") ||
		slices.ContainsFunc(switches, func(s string) bool { return strings.HasPrefix(name, s) })
}

func (s *session) param(name string) string {
	if v, ok := s.params[name]; ok {
		return v
	}
	return parameters[name].standard
}

func (s *session) autocommit() bool { return !strings.EqualFold(s.param("AUTOCOMMIT"), "false") }

func (s *session) lockTimeout() time.Duration {
	if v, ok := s.params["LOCK_TIMEOUT"]; ok {
		if n, err := strconv.ParseInt(v, 10, 32); err == nil {
			return time.Duration(n) * time.Second
		}
	}
	return s.e.lockWait
}

// statementTimeout gives the bound that the session sets on its statements, and
// false if it sets none.
func (s *session) statementTimeout() (time.Duration, bool) {
	n, err := strconv.ParseInt(s.params["STATEMENT_TIMEOUT_IN_SECONDS"], 10, 32)
	return time.Duration(n) * time.Second, err == nil && n > 0
}

// typed gives a value the type in which a server reports it, and refuses what the parameter
// cannot be or the engine would not heed.
func (p parameter) typed(name, value string) (any, error) {
	if p.fixed && !strings.EqualFold(value, p.standard) {
		return nil, unsupported("%s = %s", name, value)
	}
	switch p.kind {
	case "BOOLEAN":
		if on := strings.EqualFold(value, "true"); on || strings.EqualFold(value, "false") {
			return on, nil
		}
	case "NUMBER":
		if n, err := strconv.ParseInt(value, 10, 64); err == nil {
			return n, nil
		}
	case "FORMAT":
		if _, ok := writeTime(time.Unix(0, 0), value); !ok {
			return nil, unsupported("%s = %s", name, value)
		}
		return value, nil
	default:
		return value, nil
	}
	return nil, compileError("001006", "22023", "invalid value [%s] for parameter '%s'", value, name)
}

func (w *work) alterSession(ctx context.Context) (*snowtest.Result, error) {
	r := w.rewriter()
	r.i = 2
	changed := map[string]string{}
	var unset []string
	if r.need("SET", "UNSET"); r.at(-1).word("SET") {
		for r.err == nil && r.peek().kind != tEOF {
			name := r.take()
			r.expectOp("=")
			changed[name.text] = r.parameterValue()
			r.acceptOp(",")
		}
	} else {
		for r.err == nil && r.peek().kind != tEOF {
			unset = append(unset, r.take().text)
			r.acceptOp(",")
		}
	}
	if len(changed)+len(unset) == 0 {
		r.fail(r.unexpected(r.peek()))
	}
	return w.status(r, snowtest.KindSCL, executed, func(res *snowtest.Result) error { return w.setParameters(ctx, changed, unset, res) })
}

func (w *work) setParameters(ctx context.Context, changed map[string]string, unset []string, res *snowtest.Result) error {
	for _, name := range unset {
		changed[name] = parameters[name].standard
	}
	res.Parameters = map[string]any{}
	for _, name := range sortedKeys(changed) {
		if !isParameter(name) {
			return compileError("001420", "22023", "invalid property '%s' for 'SESSION'", name)
		}
		var err error
		if res.Parameters[name], err = parameters[name].typed(name, changed[name]); err != nil {
			return err
		}
	}
	if zone, ok := changed["TIMEZONE"]; ok {
		if err := w.setTimeZone(ctx, zone); err != nil {
			return err
		}
	}
	maps.Copy(w.params, changed)
	for _, name := range unset {
		delete(w.params, name)
	}
	return w.setFormats(ctx)
}

// parameterValue reads the value of a parameter: a string, a number, a word.
func (r *rewriter) parameterValue() string {
	t := r.take()
	switch {
	case t.kind == tString || t.kind == tNumber:
		return t.text
	case t.word("TRUE", "FALSE"):
		return strings.ToLower(t.text)
	case t.kind == tWord:
		return t.text
	case t.kind == tBind:
		literal, _ := r.bind(t)
		if value, ok := unquoted(literal); ok {
			return value
		}
		return literal
	case t.is("-") && r.peek().kind == tNumber:
		return "-" + r.take().text
	}
	r.fail(r.unexpected(t))
	return ""
}
