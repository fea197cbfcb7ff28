package duckdb

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	driver "github.com/duckdb/duckdb-go/v2"

	"github.com/snowtether/snowtether/snowtest"
)

// errConflict marks a write-write conflict between two sessions. Snowflake
// would make the later statement wait for the lock.
var errConflict = errors.New("write-write conflict")

func sfError(code, state, format string, args ...any) *snowtest.Error {
	return &snowtest.Error{Code: code, SQLState: state, Message: fmt.Sprintf(format, args...)}
}

func compileError(code, state, format string, args ...any) *snowtest.Error {
	return sfError(code, state, "SQL compilation error:\n"+format, args...)
}

func syntaxError(src string, at int, unexpected string) *snowtest.Error {
	line, pos := place(src, at)
	return compileError("001003", "42000", "syntax error line %d at position %d unexpected '%s'.", line, pos, unexpected)
}

func unexpectedEnd(src string) *snowtest.Error { return syntaxError(src, len(src), "<EOF>") }

// unsupported refuses what this engine cannot answer as Snowflake would.
func unsupported(format string, args ...any) *snowtest.Error {
	return sfError("000002", "0A000", "Unsupported feature '%s'.", fmt.Sprintf(format, args...))
}

func domainNotExists(domain, name string) *snowtest.Error {
	return compileError("002003", "02000", "%s '%s' does not exist or not authorized.", domain, name)
}

func alreadyExists(name string) *snowtest.Error {
	return compileError("002002", "42710", "Object '%s' already exists.", name)
}

// An errorRule maps one of DuckDB's messages to Snowflake's code and words. The
// message's verbs take the submatches of the pattern.
type errorRule struct {
	pattern     *regexp.Regexp
	code, state string
	message     string
}

func rule(pattern, code, state, message string) errorRule {
	return errorRule{regexp.MustCompile(`(?s)` + pattern), code, state, message}
}

const compilation = "SQL compilation error:\n"

// The macros raise their errors as SF|code|state|message|.
var raised = regexp.MustCompile(`SF\|(\d{6})\|(\w{5})\|([^|]*)\|`)

var errorRules = []errorRule{
	rule(`(?:Table|View|Sequence|Type) with name (\S+?) does not exist`, "002003", "42S02", compilation+"Object '%s' does not exist or not authorized."),
	rule(`(?:Scalar|Table|Aggregate|Macro|Table Macro)? ?(?:Macro )?Function with name (\S+?) does not exist`, "002140", "42601", compilation+"Unknown function %s."),
	rule(`^Catalog Error: (\S+) is not an aggregate function`, "002140", "42601", compilation+"Unknown aggregate function %s."),
	rule(`Catalog "(.*?)" does not exist`, "002003", "02000", compilation+"Database '%s' does not exist or not authorized."),
	rule(`[Ss]chema with name "?([^"\s]+?)"? does not exist`, "002003", "02000", compilation+"Schema '%s' does not exist or not authorized."),
	rule(`(?:Table|View|Schema|Sequence|Catalog Entry|Macro Function) with name "(.*?)" already exists`, "002002", "42710", compilation+"Object '%s' already exists."),
	rule(`Column with name (\S+) already exists|duplicate column name "(.*?)"`, "002025", "42S21", compilation+"duplicate column name '%s'"),
	rule(`Referenced column "(.*?)" (?:was )?not found|does not have a column (?:with name|named) "(.*?)"|Referenced table "(.*?)" not found|Column "(.*?)" referenced that exists|Column with name "?(.*?)"? does not exist|Referenced update column (\S+) not found|Could not find key "(.*?)" in struct`, "000904", "42000", "SQL compilation error: error line 1 at position 0\ninvalid identifier '%s'"),
	rule(`Ambiguous reference to column name "(.*?)"`, "000904", "42000", compilation+"ambiguous column name '%s'"),
	rule(`column "?([^"]*?)"? must appear in the GROUP BY clause`, "000979", "42601", compilation+"[%s] is not a valid group by expression"),
	rule(`table \S+ has (\d+) columns but (\d+) values were supplied`, "002020", "21S01", compilation+"Insert value list does not match column list expecting %s but got %s"),
	rule(`expected (\d+) columns but (\d+) values were supplied`, "002020", "21S01", compilation+"Insert value list does not match column list expecting %s but got %s"),
	rule(`No function matches [^\n]*STRUCT\(json_ VARCHAR\)|can't be cast to the destination type STRUCT\(json_ VARCHAR\)|STRUCT\(json_ VARCHAR\) -> |-> STRUCT\(json_ VARCHAR\)`, "000002", "0A000", "Unsupported feature 'VARIANT and another type without a cast'."),
	rule(`No function matches the given name and argument types '(.*?)\('?(.*?)\)'`, "001044", "42P13", "SQL compilation error: error line 1 at position 0\nInvalid argument types for function '%s': (%s)"),
	rule(`Macro "?(\S+?)"?\(?\)? (?:requires|does not support)`, "000939", "22023", "SQL compilation error: error line 1 at position 0\nwrong number of arguments for function [%s]"),
	rule(`NOT NULL constraint failed: \S+?\.(\S+)`, "100072", "22000", "NULL result in a non-nullable column"),
	rule(`CHECK constraint failed on table (\S+) with expression CHECK\(\(length\("?(.*?)"?\) <= (\d+)\)\)`, "100078", "22000", "A value for column '%[2]s' is too long for VARCHAR(%[3]s) and would be truncated"),
	rule(`Could not convert string ["']([^"']*)["'] to BOOL`, "100037", "22018", "Boolean value '%s' is not recognized"),
	rule(`Could not convert string ["']([^"']*)["'] to (?:U?INT|DECIMAL|DOUBLE|FLOAT|HUGEINT|UHUGEINT)`, "100038", "22018", "Numeric value '%s' is not recognized"),
	rule(`(?:invalid date field format|date field value out of range): "(.*?)"`, "100040", "22007", "Date '%s' is not recognized"),
	rule(`(?:invalid timestamp field format|timestamp field value out of range): "(.*?)"`, "100035", "22007", "Timestamp '%s' is not recognized"),
	rule(`Could not parse string "(.*?)" according to format specifier`, "100035", "22007", "Timestamp '%s' is not recognized"),
	rule(`time field value out of range: "(.*?)"`, "100108", "22007", "Time '%s' is not recognized"),
	rule(`Could not cast value (\S+) to DECIMAL|with value (\S+) can't be cast because the value is out of range`, "100039", "22003", "Numeric value '%s' is out of range"),
	rule(`Overflow in (\w+) of ([^!]*)`, "100046", "22003", "Number out of representable range: %s of %s"),
	rule(`Malformed JSON at byte \d+ of input: ([^.]*)`, "100069", "22P02", "Error parsing JSON: %s"),
	rule(`Invalid input for hex digit`, "100053", "22023", "The string is not a legal hex-encoded string"),
	rule(`cannot take (.*)`, "100050", "22003", "Invalid floating point operation: %s"),
	rule(`a single transaction can only write to a single attached database`, "000002", "0A000", "Unsupported feature 'writes to two databases in one transaction'."),
	rule(`Current transaction is aborted`, "000603", "25P02", abortedMessage),
	rule(`Unimplemented type for cast \(([^\n]*?) -> ([^\n]*)\)`, "001065", "22023", compilation+"Function CAST cannot be used with arguments of types %s and %s"),
	rule(`Cannot compare values of type (\S+) and type (\S+)`, "002016", "22000", compilation+"Can not compare the types %s and %s"),
	rule(`Unknown TimeZone '(.*?)'`, "001006", "22023", compilation+"invalid value ['%s'] for parameter 'TIMEZONE'"),
	rule(`^Permission Error: (.*)`, "003001", "42501", "SQL access control error:\nInsufficient privileges: %s"),
	rule(`^Dependency Error: ([^\n]*)`, "000002", "0A000", "Unsupported feature '%s'"),
	rule(`^Not implemented Error: ([^\n]*)`, "000002", "0A000", "Unsupported feature '%s'."),
	rule(`^(?:Binder|Catalog) Error: ([^\n]*)`, "001003", "42000", compilation+"%s"),
	rule(`^(?:Conversion|Out of Range|Invalid Input) Error: ([^\n]*)`, "100132", "22000", "%s"),
}

// DuckDB has no savepoints: where Snowflake undoes only the statement that
// failed, DuckDB gives the whole transaction up.
const abortedMessage = "An earlier statement of this transaction failed. The DuckDB engine cannot undo a single statement: " +
	"roll the transaction back and begin it again."

var nearText = regexp.MustCompile(`syntax error at or near "(.*?)"`)

// translate gives a DuckDB error Snowflake's shape. Errors that have it already
// pass through.
func translate(ctx context.Context, src string, err error) error {
	var sf *snowtest.Error
	if err == nil || errors.As(err, &sf) {
		return err
	}
	var de *driver.Error
	if !errors.As(err, &de) {
		if ctx.Err() != nil {
			return canceled()
		}
		if errors.Is(err, errConflict) {
			return err
		}
		return sfError("000603", "XX000", "SQL execution internal error:\n%v", err)
	}
	msg := de.Msg
	if ctx.Err() != nil || de.Type == driver.ErrorTypeInterrupt || strings.HasPrefix(msg, "INTERRUPT") {
		return canceled()
	}
	if m := raised.FindStringSubmatch(msg); m != nil {
		return sfError(m[1], m[2], "%s", strings.ReplaceAll(m[3], `\n`, "\n"))
	}
	if isConflict(msg) {
		return errConflict
	}
	if strings.HasPrefix(msg, "Parser Error") {
		return parserError(src, msg)
	}
	for _, r := range errorRules {
		m := r.pattern.FindStringSubmatch(msg)
		if m == nil {
			continue
		}
		var args []any
		for _, s := range m[1:] {
			if s != "" {
				args = append(args, spelled(src, r.code, s))
			}
		}
		text := r.message
		for len(args) < strings.Count(text, "%s") {
			args = append(args, "")
		}
		if strings.Contains(text, "%") {
			text = fmt.Sprintf(text, args...)
		}
		if r.code == "000904" && len(args) > 0 {
			text = located(src, fmt.Sprint(args[0]), text)
		}
		return &snowtest.Error{Code: r.code, SQLState: r.state, Message: text}
	}
	first, _, _ := strings.Cut(msg, "\n")
	return sfError("000603", "XX000", "SQL execution internal error:\n%s", first)
}

// located says where in the statement an unknown name stands: at its first use that is no
// call and no qualifier.
func located(src, name, text string) string {
	if at, _, ok := mentioned(src, name, "("); ok {
		line, pos := place(src, at)
		return strings.Replace(text, "error line 1 at position 0", fmt.Sprintf("error line %d at position %d", line, pos), 1)
	}
	return text
}

// mentioned finds the first use of a name that is no qualifier and that nothing of besides
// follows, and gives its place and how it is qualified there.
func mentioned(src, name, besides string) (at int, qualified string, ok bool) {
	toks, _ := tokenize(src) // of a statement that was read before
	for i, t := range toks {
		if !t.ident() || !strings.EqualFold(t.text, name) || i+1 < len(toks) && (toks[i+1].is(besides) || toks[i+1].is(".")) {
			continue
		}
		at, qualified = t.start, name
		for ; i >= 2 && toks[i-1].is(".") && toks[i-2].ident(); i -= 2 {
			at, qualified = toks[i-2].start, toks[i-2].text+"."+qualified
		}
		return at, qualified, true
	}
	return 0, "", false
}

func place(src string, at int) (line, pos int) {
	return strings.Count(src[:at], "\n") + 1, at - strings.LastIndexByte(src[:at], '\n') - 1
}

// spelled writes a name from one of DuckDB's messages as Snowflake does: an
// object as the statement qualified it, a function in upper case.
func spelled(src, code, name string) string {
	switch code {
	case "002140", "001044", "000939":
		return strings.ToUpper(strings.TrimPrefix(name, "sf_"))
	case "002003", "002002":
		if _, qualified, ok := mentioned(src, name, ""); ok {
			return qualified
		}
	}
	return name
}

func canceled() *snowtest.Error { return sfError("000604", "57014", "SQL execution canceled") }

func isConflict(msg string) bool {
	return strings.Contains(msg, "write-write conflict") ||
		strings.HasPrefix(msg, "TransactionContext Error") &&
			(strings.Contains(msg, "onflict") || strings.Contains(msg, "has been altered"))
}

// parserError finds the text that DuckDB stumbled over in the statement that
// the client sent.
func parserError(src, msg string) error {
	if m := nearText.FindStringSubmatch(msg); m != nil {
		if at := strings.Index(strings.ToUpper(src), strings.ToUpper(m[1])); at >= 0 && at <= len(src) {
			return syntaxError(src, at, src[at:min(at+len(m[1]), len(src))])
		}
		return syntaxError(src, 0, m[1])
	}
	if strings.Contains(msg, "end of input") {
		return unexpectedEnd(src)
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(msg, "Parser Error: "), "\n")
	return compileError("001003", "42000", "%s", first)
}
