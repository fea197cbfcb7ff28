package snowtether

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/snowflakedb/gosnowflake/v2"
)

// This file is about errors of any kind, after traffic of any kind.

// FuzzClassify: whatever the error, a statement that may have arrived is never
// one that database/sql may run again.
func FuzzClassify(f *testing.F) {
	f.Add(390114, "gone", "08001", 0, uint8(0), false, 1, 1, 1, 0, "", false, true)
	f.Add(390112, "renew", "-1", 0, uint8(1), false, 0, 2, 2, 0, "", false, true)
	f.Add(261000, "HTTP: %v", "", 401, uint8(2), false, 0, 1, 1, 0, "", false, true)
	f.Add(266001, "390114 (08001): expired", "", 0, uint8(3), false, 0, 3, 2, 0, "", false, true)
	f.Add(0, "Authentication token has expired", "", 0, uint8(4), false, 1, 1, 1, 0, "01b2", false, false)
	f.Fuzz(func(t *testing.T, code int, text, state string, status int, guise uint8, login bool, lookups, requests, replies, dials int, id string, ended, visible bool) {
		se := &gosnowflake.SnowflakeError{Number: code, SQLState: state, Message: text}
		if status != 0 {
			se.MessageArgs = []any{status}
		}
		causes := []error{se, fmt.Errorf("a: %w", se), errors.Join(driver.ErrBadConn, se), async(se), errors.New(text), driver.ErrBadConn, errors.Join(se, io.EOF, errRenewalLoop)}
		err := causes[int(guise)%len(causes)]
		acc := acceptance{lookups: lookups, requests: requests, replies: replies, dials: dials, lastID: id, queryID: id, visible: visible}
		ph := phaseStatement
		if login {
			ph = phaseLogin
		}
		if ended {
			acc.ctxErr = context.Canceled
		}
		class := classify(err, ph, acc)
		fail := &SessionError{Op: "exec", Class: class, Err: notBadConn(err), retry: true}
		proven := id == "" && requests == replies && !login && !ended
		if !proven && (class == ClassSessionLost || errors.Is(fail, driver.ErrBadConn)) {
			t.Errorf("%v (%T), phase %d, %+v: %q may be run again", err, err, ph, acc, class)
		}
		if class != ClassSessionLost && errors.Is(fail, driver.ErrBadConn) {
			t.Errorf("%v: %q Is ErrBadConn", err, class)
		}
		if ended != (class == ClassContext) {
			t.Errorf("%v: caller's context ended %v, class %q", err, ended, class)
		}
		if login && slices.Contains([]Class{ClassInDoubt, ClassStatement}, class) {
			t.Errorf("%v at a login is %q", err, class)
		}
		if visible && requests == 0 && dials == 0 && class == ClassSessionLost && id == "" && lookups == 0 {
			t.Errorf("%v: gosnowflake asked nobody, or somebody hides it, and class %q", err, class)
		}
		if n := number(err); class == ClassStatement && !ended && requests > 0 && id == "" && (n == 0 || n == -1 && queryIDOf(err) == "") {
			t.Errorf("%v: %d requests were written and Snowflake's answer is unknown, but class %q", err, requests, class)
		}
		if got := Classify(err); got == ClassInDoubt || got == ClassNone {
			t.Errorf("Classify(%v) = %q", err, got)
		}
		_ = fail.Error() // does not panic
	})
}
