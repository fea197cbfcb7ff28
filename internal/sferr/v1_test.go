package sferr

import (
	"reflect"
	"testing"

	"github.com/snowflakedb/gosnowflake/v2"
)

// This file has types that look like gosnowflake's error. Under gosnowflake v1's name they
// would be another v1 than those that are known; what compat tests is the real one.

type (
	same struct {
		Number                     int
		SQLState, QueryID, Message string
		MessageArgs                []any
		More                       int
	}
	longer struct {
		Number                     int64
		SQLState, QueryID, Message string
		MessageArgs                []any
	}
	fewer struct {
		Number                     int
		SQLState, QueryID, Message string
	}
	inside struct {
		*same // it may be nil
	}
	strung struct {
		Number, SQLState, QueryID, Message string
		MessageArgs                        []any
	}
)

// TestErrorWithOtherFieldsSaysNothing: what is read is there and of the type that is
// expected, or nothing is read. One that has them in a struct that it embeds was read, and
// was a panic where that was nil.
func TestErrorWithOtherFieldsSaysNothing(t *testing.T) {
	for _, tt := range []struct {
		t    reflect.Type
		want bool
	}{
		{reflect.TypeFor[gosnowflake.SnowflakeError](), true},
		{reflect.TypeFor[same](), true},
		{reflect.TypeFor[longer](), false},
		{reflect.TypeFor[fewer](), false},
		{reflect.TypeFor[inside](), false},
		{reflect.TypeFor[strung](), false},
		{reflect.TypeFor[int](), false},
		{reflect.TypeFor[map[string]int](), false},
	} {
		if got := hasFields(tt.t); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.t, got, tt.want)
		}
		if isV1(tt.t) {
			t.Errorf("%v is taken for gosnowflake v1's", tt.t)
		}
	}
}

// TestErrorOfTheSameVersionIsMade: without v1 in the program it is v2's.
func TestErrorOfTheSameVersionIsMade(t *testing.T) {
	want := &gosnowflake.SnowflakeError{Number: 1003, Message: "m", QueryID: "01b2", IncludeQueryID: true}
	for _, like := range []error{nil, &gosnowflake.SnowflakeError{Number: 279301}, &SnowflakeError{1}} {
		if got := Like(like, Said{Number: 1003, Message: "m", QueryID: "01b2"}); !reflect.DeepEqual(got, want) {
			t.Errorf("%v", got)
		}
	}
}
