package transcript

import (
	"context"
	"reflect"
	"runtime"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"
)

// TestGosnowflakesKeysAreKnownByTheirType: a program's own key may have the same text, and a value
// of gosnowflake's is no key for being its.
func TestGosnowflakesKeysAreKnownByTheirType(t *testing.T) {
	type text string
	for _, tt := range []struct {
		key  any
		want Key
		of   *Dialect
	}{
		{gosnowflake.ContextKey("DESCRIBE_ONLY"), Describe, V2},
		{gosnowflake.ContextKey("OF_A_LATER_VERSION"), "OF_A_LATER_VERSION", V2},
		{text("DESCRIBE_ONLY"), "", nil},
		{"DESCRIBE_ONLY", "", nil},
		{gosnowflake.AuthTypeJwt, "", nil},
		{gosnowflake.SnowflakeDriver{}, "", nil},
		{nil, "", nil},
	} {
		if got, of := keyOf(tt.key); got != tt.want || of != tt.of {
			t.Errorf("%T: %q of %v, want %q of %v", tt.key, got, of, tt.want, tt.of)
		}
	}
}

// forgets makes a test leave no dialect behind that it has taught.
func forgets(t *testing.T) {
	before := dialects.Load()
	t.Cleanup(func() { dialects.Store(before) })
}

// TestTypeOfKeysIsLearned: that of gosnowflake v1 can be had in no other way. A type of v2 that
// has no keys stands for it.
func TestTypeOfKeysIsLearned(t *testing.T) {
	type v1 = gosnowflake.QueryStatus
	forgets(t)
	text, learned := keyOf(v1("QUERY_ID_CHANNEL"))
	if text != QueryID || learned == nil || learned == V2 {
		t.Fatalf("%q of %v", text, learned)
	}
	if _, again := keyOf(v1("DESCRIBE_ONLY")); again != learned {
		t.Error("it is learned anew")
	}
	ctx := context.WithValue(t.Context(), v1(Describe), 1)
	if got := learned.Get(ctx, Describe); got != 1 || V2.Get(ctx, Describe) != nil {
		t.Errorf("the caller has put %v there", got)
	}
	if got := With(ctx, Describe, 2).Value(v1(Describe)); got != 2 {
		t.Errorf("it is told %v", got)
	}
	if got := Without(ctx).Value(v1(Describe)); got != nil {
		t.Errorf("it sees %v", got)
	}
}

// TestDialectIsThatOfThePackage: of any type of gosnowflake's.
func TestDialectIsThatOfThePackage(t *testing.T) {
	if d := DialectOf(reflect.TypeFor[gosnowflake.SnowflakeDriver]()); d != V2 || d.Module() != "github.com/snowflakedb/gosnowflake/v2" {
		t.Errorf("gosnowflake speaks %v", d)
	}
	if d := DialectOf(reflect.TypeFor[time.Time]()); d != nil {
		t.Errorf("package time speaks %v", d.Module())
	}
	for path, want := range map[string]bool{
		"github.com/snowflakedb/gosnowflake":          true,
		"github.com/snowflakedb/gosnowflake/v2":       true,
		"github.com/snowflakedb/gosnowflake/v2/inner": false,
		"": false,
	} {
		if isSnowflake(path) != want {
			t.Errorf("%q is gosnowflake: %v", path, !want)
		}
	}
}

// TestWhatCallersPutIntoAContextIsRead: each key under gosnowflake's own type.
func TestWhatCallersPutIntoAContextIsRead(t *testing.T) {
	for _, key := range []Key{RequestID, QueryID, Fetch, Describe, Async} {
		ctx := context.WithValue(t.Context(), gosnowflake.ContextKey(key), 1)
		if got := V2.Get(ctx, key); got != 1 {
			t.Errorf("%s is %v", key, got)
		}
		if got := V2.Get(t.Context(), key); got != nil {
			t.Errorf("%s, which nobody put there, is %v", key, got)
		}
	}
}

// TestWithTellsGosnowflakeOneThing: and hides nothing else.
func TestWithTellsGosnowflakeOneThing(t *testing.T) {
	type own string
	ctx := context.WithValue(gosnowflake.WithQueryTag(t.Context(), "tag"), own("SF_FETCH_RESULT_BY_ID"), 1)
	ctx = With(ctx, Fetch, "01b2")
	for key, want := range map[any]any{
		gosnowflake.ContextKey("SF_FETCH_RESULT_BY_ID"): "01b2",
		gosnowflake.ContextKey("QUERY_TAG"):             "tag",
		gosnowflake.ContextKey("DESCRIBE_ONLY"):         nil,
		own("SF_FETCH_RESULT_BY_ID"):                    1,
		own("DESCRIBE_ONLY"):                            nil,
	} {
		if got := ctx.Value(key); got != want {
			t.Errorf("%T %v is %v, want %v", key, key, got, want)
		}
	}
}

// TestOnlyGosnowflakesLookUpLooks: contexts pass it on, and anybody else is somebody else.
func TestOnlyGosnowflakesLookUpLooks(t *testing.T) {
	const function = ".getOrGenerateRequestIDFromContext"
	for name, want := range map[string]looker{
		"github.com/snowflakedb/gosnowflake/v2" + function:     looking,
		"github.com/snowflakedb/gosnowflake" + function:        looking,
		"example.com/gosnowflake" + function:                   foreign,
		"github.com/snowflakedb/gosnowflake/v2":                foreign,
		"github.com/snowflakedb/gosnowflake/v2.(*rawLog).Info": foreign,
		"context.value":                     passing,
		"context.(*valueCtx).Value":         passing,
		"example.com/trace.(*span).Value":   passing,
		"example.com/trace.span.Value":      passing,
		"example.com/trace.span.peekValue":  foreign,
		"example.com/context.value":         foreign,
		"example.com/trace.(*span).RawText": foreign,
		"":                                  foreign,
	} {
		if got := lookerOf(name); got != want {
			t.Errorf("%q: %d, want %d", name, got, want)
		}
	}
	pc, _, _, _ := runtime.Caller(0)
	if got := whoIs(pc); got != foreign {
		t.Errorf("this test: %d", got)
	}
	if _, noted := (*lookers.Load())[pc]; !noted {
		t.Error("what is at a program counter is found out each time")
	}
}
