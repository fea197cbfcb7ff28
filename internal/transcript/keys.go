package transcript

import (
	"context"
	"maps"
	"net/http/httptrace"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/snowflakedb/gosnowflake/v2"
)

// A Key is something that gosnowflake looks up in a statement's context (util.go): the text
// of its key there. The keys of v2 are of an exported type, those of v1 of an unexported
// one; both types are strings that are defined in a package named as below.
type Key string

// The keys that mean something to a statement's fate.
const (
	RequestID Key = "SNOWFLAKE_REQUEST_ID"
	QueryID   Key = "QUERY_ID_CHANNEL"
	Fetch     Key = "SF_FETCH_RESULT_BY_ID" // a query ID, whose result is to be fetched
	Describe  Key = "DESCRIBE_ONLY"
	Async     Key = "ASYNC_MODE_QUERY"
	truncated Key = "TRUNCATED_RESPONSE_RETRY" // v2 alone
)

// Packages are gosnowflake's, v2 and v1.
var packages = [...]string{"github.com/snowflakedb/gosnowflake/v2", "github.com/snowflakedb/gosnowflake"}

// isSnowflake reports whether a package is one of gosnowflake's.
func isSnowflake(path string) bool { return slices.Contains(packages[:], path) }

// A Dialect is in which type one version of gosnowflake has its keys.
type Dialect struct {
	t    reflect.Type
	keys map[Key]any
}

// V2 is that of the gosnowflake that this module requires.
var V2 = newDialect(reflect.TypeFor[gosnowflake.ContextKey]())

func newDialect(t reflect.Type) *Dialect {
	d := &Dialect{t, map[Key]any{}}
	for _, key := range []Key{RequestID, QueryID, Fetch, Describe, Async} {
		d.keys[key] = reflect.ValueOf(key).Convert(t).Interface()
	}
	return d
}

// Module is the path of that version's module.
func (d *Dialect) Module() string { return d.t.PkgPath() }

// Get is what a caller has put into ctx for this gosnowflake, or nil.
func (d *Dialect) Get(ctx context.Context, key Key) any { return ctx.Value(d.keys[key]) }

// dialects are those whose keys have been seen. v1's type can be had in no other way: v1
// asks for its keys at each login, in the context that it is given.
var dialects atomic.Pointer[[]*Dialect]

func init() { dialects.Store(&[]*Dialect{V2}) }

// DialectOf is the dialect of the gosnowflake that a type is of, or nil if that is none, or
// has not asked for anything yet.
func DialectOf(t reflect.Type) *Dialect {
	for _, d := range *dialects.Load() {
		if d.t.PkgPath() == t.PkgPath() {
			return d
		}
	}
	return nil
}

// keyOf reads a context key, if it is one of gosnowflake's. It is called some forty times a
// statement: v2's type is known, and another is looked into when it is seen for the first time.
func keyOf(key any) (text Key, d *Dialect) {
	if v2, ok := key.(gosnowflake.ContextKey); ok {
		return Key(v2), V2
	}
	t := reflect.TypeOf(key)
	if t == nil || t.Kind() != reflect.String {
		return "", nil
	}
	all := dialects.Load()
	for _, d := range *all {
		if d.t == t {
			return Key(reflect.ValueOf(key).String()), d
		}
	}
	if !isSnowflake(t.PkgPath()) {
		return "", nil
	}
	d = newDialect(t)
	more := append(slices.Clip(*all), d)
	dialects.CompareAndSwap(all, &more) // if another was quicker, the next look-up learns it
	return Key(reflect.ValueOf(key).String()), d
}

// With puts something into ctx for whichever gosnowflake asks for it.
func With(ctx context.Context, key Key, value any) context.Context { return with{ctx, key, value} }

type with struct {
	context.Context
	key   Key
	value any
}

func (w with) Value(key any) any {
	if text, _ := keyOf(key); text == w.key {
		return w.value
	}
	return w.Context.Value(key)
}

// isLookUp reports whether it is gosnowflake that looks the request ID up, for a
// statement or a renewal. Others may do so too: its own log, a tracing wrapper, a
// program's transport. What they look up says nothing about a statement.
func isLookUp() bool {
	const (
		own = 3 // runtime.Callers, this function and Recorder.Value
		few = 3 // As a rule it is among the first; to unwind costs a statement most of what its transcript does.
	)
	var pcs [16]uintptr
	if who := first(pcs[:runtime.Callers(own, pcs[:few])]); who != passing {
		return who == looking
	}
	return first(pcs[:runtime.Callers(own, pcs[:])]) == looking
}

// first is the first of the callers that does not only pass a look-up on.
func first(callers []uintptr) looker {
	known := lookers.Load()
	for _, pc := range callers {
		who, ok := (*known)[pc]
		if !ok {
			who = whoIs(pc)
		}
		if who != passing {
			return who
		}
	}
	return passing
}

// A looker is what a function on the way to a look-up is. Of those that the compiler has
// made one, the last of these counts.
type looker uint8

const (
	foreign looker = iota
	passing        // a context that asks the one in it
	looking        // gosnowflake's look-up
)

// lookerOf is what a function is, by its full name.
func lookerOf(function string) looker {
	if path, is := strings.CutSuffix(function, lookUp); is && isSnowflake(path) {
		return looking
	}
	if strings.HasPrefix(function, "context.") || strings.HasSuffix(function, ".Value") {
		return passing
	}
	return foreign
}

// lookers is what is at each program counter that was seen. It is replaced and never changed:
// there are few, and after the first statements no new ones.
var lookers atomic.Pointer[map[uintptr]looker]

func init() { lookers.Store(&map[uintptr]looker{}) }

// whoIs finds out what is at a program counter, and notes it.
func whoIs(pc uintptr) looker {
	who := foreign
	frames := runtime.CallersFrames([]uintptr{pc})
	for more := true; more; {
		var frame runtime.Frame
		frame, more = frames.Next()
		who = max(who, lookerOf(frame.Function))
	}
	known := lookers.Load()
	more := maps.Clone(*known)
	more[pc] = who
	lookers.CompareAndSwap(known, &more) // if another was quicker, the next look-up learns it
	return who
}

// lookUp is the function in which gosnowflake looks the request ID up (util.go). Without
// it nothing is provable.
const lookUp = ".getOrGenerateRequestIDFromContext"

// traceKey is the key under which net/http looks for a trace. It is private to it: it is what
// it asks a context for.
var traceKey = func() any {
	var probe asked
	httptrace.ContextClientTrace(&probe)
	return probe.key
}()

// asked is a context that keeps the key that it was asked for.
type asked struct {
	context.Context
	key any
}

func (a *asked) Value(key any) any {
	a.key = key
	return nil
}

// Without hides from ctx all that a caller has put there for gosnowflake and for one
// statement: a request ID, for example, under which Snowflake would take a COMMIT for
// the BEGIN before it.
func Without(ctx context.Context) context.Context { return without{ctx} }

type without struct{ context.Context }

func (w without) Value(key any) any {
	if _, d := keyOf(key); d != nil {
		return nil
	}
	return w.Context.Value(key)
}
