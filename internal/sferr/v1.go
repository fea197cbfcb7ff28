package sferr

import (
	"errors"
	"reflect"
	"sync"
	"sync/atomic"

	"github.com/snowflakedb/gosnowflake/v2"
)

// This file finds and reads the error of gosnowflake v1.

// v1Path is the package path of gosnowflake v1.
const v1Path = "github.com/snowflakedb/gosnowflake"

// v1Type is v1's error, a pointer, once one was seen.
var v1Type atomic.Pointer[reflect.Type]

// inV1 is v1's error in the chain, or the zero Value. Some errors have it and show it to
// errors.As alone.
func inV1(err error) reflect.Value {
	if t := v1Type.Load(); t != nil {
		found := reflect.New(*t)
		if errors.As(err, found.Interface()) && !found.Elem().IsNil() {
			return found.Elem().Elem()
		}
		return reflect.Value{}
	}
	return walk(err)
}

// walk looks for the first error of v1's that there is.
func walk(err error) reflect.Value {
	for err != nil {
		v := reflect.ValueOf(err)
		if v.Kind() == reflect.Pointer && !v.IsNil() && isV1(v.Type().Elem()) {
			t := v.Type()
			v1Type.Store(&t)
			return v.Elem()
		}
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			err = e.Unwrap()
		case interface{ Unwrap() []error }:
			for _, one := range e.Unwrap() {
				if v := walk(one); v.IsValid() {
					return v
				}
			}
			return reflect.Value{}
		default:
			return reflect.Value{}
		}
	}
	return reflect.Value{}
}

var checked sync.Map // reflect.Type → bool

// isV1 reports whether a type is v1's error with the fields that are expected.
func isV1(t reflect.Type) bool {
	if t.Name() != "SnowflakeError" || t.PkgPath() != v1Path {
		return false
	}
	known, ok := checked.Load(t)
	if !ok {
		known = hasFields(t)
		checked.Store(t, known)
	}
	return known.(bool)
}

// hasFields reports whether a struct has the fields of v2's error that are read, of the
// same types and its own. Those of what it embeds may not be there.
func hasFields(t reflect.Type) bool {
	if t.Kind() != reflect.Struct {
		return false
	}
	v2 := reflect.TypeFor[gosnowflake.SnowflakeError]()
	for _, name := range []string{"Number", "SQLState", "QueryID", "Message", "MessageArgs"} {
		want, _ := v2.FieldByName(name)
		if f, ok := t.FieldByName(name); !ok || f.Type != want.Type || len(f.Index) != 1 {
			return false
		}
	}
	return true
}

func readV1(v reflect.Value) Said {
	text := func(name string) string { return v.FieldByName(name).String() }
	args, _ := v.FieldByName("MessageArgs").Interface().([]any)
	return Said{
		Number: int(v.FieldByName("Number").Int()), SQLState: text("SQLState"), QueryID: text("QueryID"), Message: text("Message"), Args: args,
	}
}

// Like makes an error that says this number, message and query ID, of the version that the
// given one is of, for callers who look for its type.
func Like(err error, said Said) error {
	if old := inV1(err); old.IsValid() {
		made := reflect.New(old.Type())
		made.Elem().FieldByName("Number").SetInt(int64(said.Number))
		made.Elem().FieldByName("Message").SetString(said.Message)
		made.Elem().FieldByName("QueryID").SetString(said.QueryID)
		if f := made.Elem().FieldByName("IncludeQueryID"); f.IsValid() && f.Kind() == reflect.Bool {
			f.SetBool(true)
		}
		if e, ok := made.Interface().(error); ok {
			return e
		}
	}
	return &gosnowflake.SnowflakeError{Number: said.Number, Message: said.Message, QueryID: said.QueryID, IncludeQueryID: true}
}
