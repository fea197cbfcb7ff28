// Package sferr reads what an error of gosnowflake's says, v2's and v1's alike: the
// number, the HTTP status, the query ID. It decides nothing.
//
// v1 is not imported: most programs do not have it. Its error is recognised by its
// type's name and package path, and its fields are read by reflection. Where they are
// not as expected, the error says nothing, and nothing is provable from it.
package sferr

import (
	"errors"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"sync"

	"github.com/snowflakedb/gosnowflake/v2"
)

// A Said is what an error says. Its zero value is an error that is not gosnowflake's.
type Said struct {
	Number   int    // Snowflake's or gosnowflake's; of an asynchronous statement, the one inside the text
	Async    bool   // it is the error of an asynchronous statement's result
	Status   int    // the HTTP status that gosnowflake put into it, or 0
	QueryID  string // "" where gosnowflake writes "-1": it knows none
	SQLState string
	Message  string
	Args     []any // that Message is formatted with
}

// Of reads an error, whatever it is wrapped in. ok is false where it holds none of
// gosnowflake's.
func Of(err error) (said Said, ok bool) {
	if err == nil {
		return Said{}, false
	}
	var v2 *gosnowflake.SnowflakeError
	if errors.As(err, &v2) {
		said = Said{Number: v2.Number, QueryID: v2.QueryID, SQLState: v2.SQLState, Message: v2.Message, Args: v2.MessageArgs}
	} else if said, ok = ofV1(err); !ok {
		return Said{}, false
	}
	if said.QueryID == "-1" {
		said.QueryID = ""
	}
	said.Async = said.Number == gosnowflake.ErrAsync
	switch {
	case said.Async:
		// An asynchronous statement reports its failure as text inside 266001.
		if m := asyncCode.FindString(said.Message); m != "" {
			said.Number, _ = strconv.Atoi(m)
		}
		if m := asyncStatus.FindStringSubmatch(said.Message); m != nil {
			said.Status, _ = strconv.Atoi(m[1])
		}
	case len(said.Args) > 0 && slices.Contains(statusCodes, said.Number):
		said.Status, _ = said.Args[0].(int)
	}
	return said, true
}

var (
	asyncCode   = regexp.MustCompile(`\b(?:39\d{4}|26\d{4})\b`)
	asyncStatus = regexp.MustCompile(`HTTP: (\d{3})\b`)
)

// The numbers whose first argument is an HTTP status (restful.go, auth.go).
var statusCodes = []int{
	gosnowflake.ErrCodeServiceUnavailable, gosnowflake.ErrCodeFailedToConnect, gosnowflake.ErrFailedToPostQuery,
	gosnowflake.ErrFailedToRenewSession, gosnowflake.ErrFailedToAuth, gosnowflake.ErrFailedToAuthSAML, gosnowflake.ErrFailedToAuthOKTA,
}

// Own reports whether the number is one of gosnowflake's own, which no server sends. It
// has an SQLState too, which is no answer of Snowflake's either.
func (s Said) Own() bool { return s.Number >= 260000 && s.Number <= 279999 }

// AboutSession reports whether the number is about a session or a login, and never about
// a statement.
func (s Said) AboutSession() bool { return s.Number >= 390000 && s.Number <= 399999 }

// v1Path is the package path of gosnowflake v1.
const v1Path = "github.com/snowflakedb/gosnowflake"

// ofV1 looks for v1's error in the chain.
func ofV1(err error) (said Said, ok bool) {
	for err != nil {
		v := reflect.ValueOf(err)
		if v.Kind() == reflect.Pointer && !v.IsNil() && isV1(v.Type().Elem()) {
			return readV1(v.Elem()), true
		}
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			err = e.Unwrap()
		case interface{ Unwrap() []error }:
			for _, one := range e.Unwrap() {
				if said, ok = ofV1(one); ok {
					return said, true
				}
			}
			return Said{}, false
		default:
			return Said{}, false
		}
	}
	return Said{}, false
}

// v1Fields are the fields that are read, and their types.
var v1Fields = map[string]reflect.Type{
	"Number": reflect.TypeFor[int](), "SQLState": reflect.TypeFor[string](), "QueryID": reflect.TypeFor[string](),
	"Message": reflect.TypeFor[string](), "MessageArgs": reflect.TypeFor[[]any](),
}

var checked sync.Map // reflect.Type → bool

// isV1 reports whether a type is v1's error with the fields that are expected.
func isV1(t reflect.Type) bool {
	if t.Name() != "SnowflakeError" || t.PkgPath() != v1Path {
		return false
	}
	if known, ok := checked.Load(t); ok {
		return known.(bool)
	}
	as := t.Kind() == reflect.Struct
	for name, want := range v1Fields {
		if !as {
			break
		}
		f, there := t.FieldByName(name)
		as = there && f.Type == want
	}
	checked.Store(t, as)
	return as
}

func readV1(v reflect.Value) Said {
	text := func(name string) string { return v.FieldByName(name).String() }
	args, _ := v.FieldByName("MessageArgs").Interface().([]any)
	return Said{
		Number: int(v.FieldByName("Number").Int()), SQLState: text("SQLState"), QueryID: text("QueryID"), Message: text("Message"), Args: args,
	}
}
