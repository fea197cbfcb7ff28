package snowtether

import (
	"context"
	"database/sql/driver"
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"
	"unsafe"

	"github.com/snowtether/snowtether/internal/transcript"
	"github.com/snowtether/snowtether/internal/verdict"
)

// This file is about array binds: that all rows that were bound arrive, or the caller hears
// that they did not. gosnowflake v2.1.0 uploads nothing where the upload of a file to
// Google's store is repeated, and then inserts what is there. That is prevented where it can
// be seen, for any statement (the upload is stopped, and the whole is made again), and the
// rows that a plain INSERT counts are compared with those that were bound.

// A bulk is what was bound of a statement whose values are all arrays.
type bulk struct {
	arrays bool
	rows   int  // of an INSERT whose rows are those of its arrays; 0: what it counts says nothing of them
	nulls  int  // of a single column
	staged bool // they went through a stage
}

// bulkOf reads a statement's values. The error says what of an array gosnowflake would drop
// without a word, or send out of step.
func (op *operation) bulkOf(args []driver.NamedValue) (b bulk, _ error) {
	if len(args) == 0 {
		return bulk{}, nil
	}
	for i := range args {
		array, typed := arrayOf(args[i].Value)
		if !array.IsValid() {
			return bulk{}, nil
		}
		if i > 0 && array.Len() != b.rows {
			return bulk{}, fmt.Errorf("snowtether: array bind %d has %d values, and those before it have %d; all must have as many", i+1, array.Len(), b.rows)
		}
		if at, bad := dropped(array, typed); bad != nil {
			return bulk{}, fmt.Errorf("snowtether: value %d of array bind %d is a %v, which gosnowflake drops without an error; "+
				"use a slice of one type, or in a []any values of int, int32, int64, float32, float64, bool, string, []byte, nil, "+
				"and time.Time with its type given to gosnowflake.Array", at+1, i+1, bad)
		}
		if b.rows = array.Len(); len(args) == 1 {
			b.nulls = nulls(array)
		}
	}
	b.arrays = true
	if !op.isOver() || op.call != verdict.Statement || op.text.PlainInsert() != len(args) {
		b.rows = 0
	}
	return b, nil
}

// isOver reports whether nothing goes on when gosnowflake has returned: it is an Exec that is
// not asynchronous.
func (op *operation) isOver() bool { return op.nothing == driver.ResultNoRows && !op.async }

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

// A shortError says that an INSERT ran and counted other rows than were bound.
type shortError struct{ counted, bound int64 }

func (e *shortError) Error() string {
	return fmt.Sprintf("it inserted %d of %d rows that were bound", e.counted, e.bound)
}

func isShort(err error) bool {
	_, ok := as[*shortError](err)
	return ok
}

// counts compares what an INSERT has counted with what was bound. Whether an account counts
// a NULL that is alone in its row, which in a stage's file is an empty line, is not known:
// where as many rows are missing as there are such NULLs, that is a line in the log.
func (c *conn) counts(ctx context.Context, b bulk, out any, id string) error {
	res, ok := out.(driver.Result)
	if b.rows == 0 || !ok {
		return nil
	}
	counted, err := res.RowsAffected()
	missing := int64(b.rows) - counted
	switch {
	case err != nil || missing == 0:
		return nil
	case missing == int64(b.nulls) && b.staged:
		c.connector.emit(ctx, Event{Kind: EventRowsUncounted, SessionID: c.session.id(), QueryID: id, Count: int(missing)})
		return nil
	}
	return &shortError{counted, int64(b.rows)}
}

// errShortUpload is the upload of a file of array binds that was about to be repeated with
// fewer bytes than it has.
var errShortUpload = fmt.Errorf("the upload of the bound values broke off: %w", io.ErrUnexpectedEOF)

// checked is a try of an array bind with what is known of its rows: an upload that was
// stopped before the INSERT was sent is one that failed, and an INSERT that counts other
// rows than were bound is in doubt.
func (c *conn) checked(ctx context.Context, op *operation, t *try, saw transcript.Transcript) *try {
	switch {
	case !op.bulk.arrays, c.session.silent && saw.Silent(): // a mock's counts are seldom exact
	case saw.Short() && t.err != nil && t.fate.Kind == transcript.NotRun:
		t.err = errShortUpload
	case t.err == nil:
		op.bulk.staged = saw.Transferred()
		if t.err = c.counts(ctx, op.bulk, t.out, t.fate.ID); t.err != nil {
			t.fate.Kind, t.out = transcript.Open, nil
		}
	}
	return t
}
