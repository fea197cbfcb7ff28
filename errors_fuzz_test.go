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

// This file is about errors of any kind.

// FuzzClassify: whatever the error, a login is never a statement's; only what can be
// Snowflake's own answer is called one; and no error is taken for driver.ErrBadConn that
// was not said to be lost without having run.
func FuzzClassify(f *testing.F) {
	f.Add(390114, "gone", "08001", 0, uint8(0), false, "")
	f.Add(390112, "renew", "-1", 0, uint8(1), false, "")
	f.Add(261000, "HTTP: %v", "", 401, uint8(2), false, "")
	f.Add(266001, "390114 (08001): expired", "", 0, uint8(3), false, "")
	f.Add(0, "Authentication token has expired", "", 0, uint8(4), false, "01b2")
	f.Fuzz(func(t *testing.T, code int, text, state string, status int, guise uint8, ended bool, id string) {
		se := &gosnowflake.SnowflakeError{Number: code, SQLState: state, Message: text, QueryID: id}
		if status != 0 {
			se.MessageArgs = []any{status}
		}
		causes := []error{se, fmt.Errorf("a: %w", se), errors.Join(driver.ErrBadConn, se), async(se), errors.New(text), driver.ErrBadConn, errors.Join(se, io.EOF, errRenewalLoop)}
		err := causes[int(guise)%len(causes)]
		var ctxErr error
		if ended {
			ctxErr = context.Canceled
		}
		class := classifyLogin(err, ctxErr)
		if ended != (class == ClassContext) {
			t.Errorf("%v: caller's context ended %v, class %q", err, ended, class)
		}
		if slices.Contains([]Class{ClassInDoubt, ClassStatement, ClassSessionLost}, class) {
			t.Errorf("%v at a login is %q", err, class)
		}
		for _, class := range []Class{ClassStatement, ClassInDoubt, ClassTransient, ClassPermanent} {
			fail := &SessionError{Op: "exec", Class: class, Err: err, retry: true}
			if errors.Is(fail, driver.ErrBadConn) {
				t.Errorf("%v: %q Is ErrBadConn", err, class)
			}
			_ = fail.Error() // does not panic
		}
		o := outcomeOf(err)
		if n := number(err); o.Answer && (n <= 0 || n >= 390000 && n <= 399999 || n >= 260000 && n <= 279999) {
			t.Errorf("%v: %d is taken for Snowflake's answer", err, n)
		}
		if o.Answer && o.Gone {
			t.Errorf("%v is an answer of a session that is gone", err)
		}
		if got := Classify(err); got == "" {
			t.Errorf("Classify(%v) = %q", err, got)
		}
	})
}
