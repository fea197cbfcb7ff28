package transcript

import (
	"context"
	"net/http/httptrace"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
)

// gosnowflake's context keys, by their text. Those of v2 are of an exported type,
// those of v1 of an unexported one: both are strings that are defined in a package
// named as below.
const (
	keyRequestID = "SNOWFLAKE_REQUEST_ID"     // util.go
	keyQueryID   = "QUERY_ID_CHANNEL"         // util.go
	keyTruncated = "TRUNCATED_RESPONSE_RETRY" // util.go, v2 alone
)

// Packages are gosnowflake's, v2 and v1.
var packages = [...]string{"github.com/snowflakedb/gosnowflake/v2", "github.com/snowflakedb/gosnowflake"}

// SnowflakeKey reports whether a context key is one of gosnowflake's, and its text.
func SnowflakeKey(key any) (text string, ok bool) {
	t := reflect.TypeOf(key)
	if t == nil || t.Kind() != reflect.String {
		return "", false
	}
	if known, _ := lastType.Load().(reflect.Type); t != known {
		if !IsSnowflake(t) {
			return "", false
		}
		lastType.Store(t)
	}
	return reflect.ValueOf(key).String(), true
}

// IsSnowflake reports whether a type is one of gosnowflake's.
func IsSnowflake(t reflect.Type) bool {
	return t.PkgPath() == packages[0] || t.PkgPath() == packages[1]
}

// lastType is the type of the last key that was one: a program has one gosnowflake, as a
// rule, and asks some forty times a statement.
var lastType atomic.Value

// isLookUp reports whether it is gosnowflake that looks the request ID up, for a
// statement or a renewal. Others may do so too: its own log, a tracing wrapper, a
// program's transport. What they look up says nothing about a statement.
func isLookUp() bool {
	var pcs [16]uintptr
	for _, pc := range pcs[:runtime.Callers(3, pcs[:])] {
		if who := whoIs(pc); who != passing {
			return who == looking
		}
	}
	return false
}

// A looker is what a function on the way to a look-up is.
type looker uint8

const (
	foreign looker = iota
	passing        // a context that asks the one in it
	looking        // gosnowflake's look-up
)

var lookers sync.Map // what is at a program counter: uintptr → looker

func whoIs(pc uintptr) looker {
	if who, ok := lookers.Load(pc); ok {
		return who.(looker)
	}
	who := foreign
	frames := runtime.CallersFrames([]uintptr{pc})
	for more := true; more; {
		var frame runtime.Frame
		frame, more = frames.Next()
		switch name := frame.Function; {
		case name == packages[0]+lookUp, name == packages[1]+lookUp:
			who = looking
		case who == foreign && (strings.HasPrefix(name, "context.") || strings.HasSuffix(name, ").Value") || strings.HasSuffix(name, ".Value")):
			who = passing
		}
	}
	lookers.Store(pc, who)
	return who
}

// lookUp is the function in which gosnowflake looks the request ID up (util.go). Without
// it nothing is provable.
const lookUp = ".getOrGenerateRequestIDFromContext"

// A valuer is a context, as far as its values go.
type valuer interface{ Value(key any) any }

// IsTraceKey reports whether a key is that under which net/http looks for a trace. The
// key is private to it: it is the one for which a context with a known trace answers
// with that trace.
func isTraceKey(key any) bool { return traceProbe.Value(key) == any(noTrace) }

var (
	noTrace           = new(httptrace.ClientTrace)
	traceProbe valuer = httptrace.WithClientTrace(context.Background(), noTrace)
)

// Without hides from ctx all that a caller has put there for gosnowflake and for one
// statement: a request ID, for example, under which Snowflake would take a COMMIT for
// the BEGIN before it.
func Without(ctx context.Context) context.Context { return without{ctx} }

type without struct{ context.Context }

func (w without) Value(key any) any {
	if _, ok := SnowflakeKey(key); ok {
		return nil
	}
	return w.Context.Value(key)
}
