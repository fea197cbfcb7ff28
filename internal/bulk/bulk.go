// Package bulk is about array binds: that all rows that were bound arrive, or the caller hears
// that they did not.
//
// gosnowflake v2.1.0 uploads nothing where the upload of a file to Google's store is repeated,
// and then inserts what is there. The driver prevents that where it can be seen, for any
// statement (the upload is stopped, and the whole is made again), and the rows that a plain
// INSERT counts are compared with those that were bound.
package bulk

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"
	"unsafe"
)

// A Bound is what was bound of a statement whose values are all arrays. The zero Bound is that
// of any other statement.
type Bound struct {
	Arrays bool
	Rows   int  // of an INSERT whose rows are those of its arrays; 0: what it counts says nothing of them
	Nulls  int  // of a single column
	Staged bool // they went through a stage
}

// Of reads a statement's values: Rows is the length of each array. The error says what of an
// array gosnowflake would drop without a word, or send out of step.
func Of(args []driver.NamedValue) (b Bound, _ error) {
	for i := range args {
		array, typed := arrayOf(args[i].Value)
		if !array.IsValid() {
			return Bound{}, nil
		}
		if i > 0 && array.Len() != b.Rows {
			return Bound{}, fmt.Errorf("snowtether: array bind %d has %d values, and those before it have %d; all must have as many", i+1, array.Len(), b.Rows)
		}
		if at, bad := dropped(array, typed); bad != nil {
			return Bound{}, fmt.Errorf("snowtether: value %d of array bind %d is a %v, which gosnowflake drops without an error; "+
				"use a slice of one type, or in a []any values of int, int32, int64, float32, float64, bool, string, []byte, nil, "+
				"and time.Time with its type given to gosnowflake.Array", at+1, i+1, bad)
		}
		if b.Rows = array.Len(); len(args) == 1 {
			b.Nulls = nulls(array)
		}
	}
	b.Arrays = len(args) > 0
	return b, nil
}

// Compare compares what an INSERT has counted with what was bound. Whether an account counts
// a NULL that is alone in its row, which in a stage's file is an empty line, is not known:
// where as many rows are missing as there are such NULLs, that is no error, and uncounted
// says how many.
func (b Bound) Compare(out any) (uncounted int, _ error) {
	res, ok := out.(driver.Result)
	if b.Rows == 0 || !ok {
		return 0, nil
	}
	counted, err := res.RowsAffected()
	missing := int64(b.Rows) - counted
	switch {
	case err != nil || missing == 0:
		return 0, nil
	case missing == int64(b.Nulls) && b.Staged:
		return int(missing), nil
	}
	return 0, &shortError{counted, int64(b.Rows)}
}

// A shortError says that an INSERT ran and counted other rows than were bound.
type shortError struct{ counted, bound int64 }

func (e *shortError) Error() string {
	return fmt.Sprintf("it inserted %d of %d rows that were bound", e.counted, e.bound)
}

// IsShort reports whether an INSERT ran and counted other rows than were bound.
func IsShort(err error) bool {
	var short *shortError
	return errors.As(err, &short)
}

// ErrShortUpload is the upload of a file of array binds that was about to be repeated with
// fewer bytes than it has.
var ErrShortUpload = fmt.Errorf("the upload of the bound values broke off: %w", io.ErrUnexpectedEOF)

// arrayOf is the slice in a value that gosnowflake.Array made, v2's or v1's: a pointer to a
// slice of a type of gosnowflake's own, or a struct that holds a slice or a pointer to one,
// and whether it says of which type its times are. The slice is invalid for any other value.
func arrayOf(value any) (array reflect.Value, typed bool) {
	switch value.(type) {
	case nil, int64, float64, bool, string, []byte, time.Time:
		return reflect.Value{}, false
	}
	v := reflect.ValueOf(value)
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if !v.IsValid() || !strings.HasPrefix(v.Type().PkgPath(), "github.com/snowflakedb/gosnowflake") {
		return reflect.Value{}, false
	}
	if v.Kind() == reflect.Struct && v.Type().Name() == "interfaceArrayBinding" {
		own := reflect.New(v.Type()).Elem() // whose private fields have addresses
		own.Set(v)
		held, times := own.FieldByName("timezoneTypeArray"), own.FieldByName("hasTimezone")
		if !held.IsValid() || !times.IsValid() || times.Kind() != reflect.Bool {
			return reflect.Value{}, false
		}
		typed = times.Bool()
		v = reflect.NewAt(held.Type(), unsafe.Pointer(held.UnsafeAddr())).Elem()
		for v.Kind() == reflect.Interface || v.Kind() == reflect.Pointer {
			v = v.Elem()
		}
	}
	if v.Kind() != reflect.Slice {
		return reflect.Value{}, false
	}
	return v, typed
}

// dropped finds the first value in a []any that gosnowflake knows no type for (v2.1.0,
// interfaceSliceToString): it then leaves that value out, or all of them.
func dropped(array reflect.Value, typed bool) (at int, bad reflect.Type) {
	if array.Type().Elem().Kind() != reflect.Interface {
		return 0, nil
	}
	for i := range array.Len() {
		value := array.Index(i).Interface()
		switch v := value.(type) {
		case nil, int, int32, int64, float32, float64, bool, string, []byte:
			continue
		case time.Time:
			if typed {
				continue
			}
		case driver.Valuer:
			if isText(v) {
				continue
			}
		case fmt.Stringer: // a UUID, by whichever package
			if t := reflect.TypeOf(value); t.Kind() == reflect.Array && t.Len() == 16 && t.Elem().Kind() == reflect.Uint8 {
				continue
			}
		}
		return i, reflect.TypeOf(value)
	}
	return 0, nil
}

// isText reports whether a value of the program's stands for a text. Its own function may
// panic, as that of a nil pointer does.
func isText(v driver.Valuer) (ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	value, err := v.Value()
	_, ok = value.(string)
	return ok && err == nil
}

func nulls(array reflect.Value) (n int) {
	for i := range array.Len() {
		switch e := array.Index(i); e.Kind() {
		case reflect.Interface, reflect.Pointer, reflect.Slice:
			if e.IsNil() {
				n++
			}
		}
	}
	return n
}
