package compat

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"reflect"
	"testing"

	v1 "github.com/snowflakedb/gosnowflake"
	v2 "github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/sferr"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about what gosnowflake v1's errors say: the same as v2's.

// hidden shows its error to errors.As and to nothing else.
type hidden struct{ error }

func (h hidden) As(target any) bool { return errors.As(h.error, target) }

// said is an error that each version has in a type of its own.
type said struct {
	number         int
	state, id, msg string
	args           []any
}

func (s said) v1() error {
	return &v1.SnowflakeError{Number: s.number, SQLState: s.state, QueryID: s.id, Message: s.msg, MessageArgs: s.args}
}

func (s said) v2() error {
	return &v2.SnowflakeError{Number: s.number, SQLState: s.state, QueryID: s.id, Message: s.msg, MessageArgs: s.args}
}

// TestErrorsOfBothVersionsSayTheSame: of every number that means something, in whatever
// the error is wrapped.
func TestErrorsOfBothVersionsSayTheSame(t *testing.T) {
	at := &url.URL{Scheme: "https", Host: "a.snowflakecomputing.com"}
	all := []said{
		{number: 1003, state: "42000", id: "01b2", msg: "syntax"}, {number: 625, state: "57014", id: "01b2", msg: "waiters"},
		{number: v1.ErrAsync, msg: "390114 (08001): expired"}, {number: v1.ErrAsync, msg: "261000: HTTP: 503"},
		{number: v1.ErrQueryIsRunning, id: "01b2", msg: "status from server: [RUNNING]"},
		{number: v1.ErrQueryStatus, id: "01b2", msg: "server ErrorCode=%s, ErrorMessage=%s", args: []any{"1003", "syntax"}},
		{number: v1.ErrNoReadOnlyTransaction, state: "0A000"}, {},
	}
	for number := 390100; number < 390500; number++ {
		all = append(all, said{number: number, state: "08001", id: "-1", msg: "m"})
	}
	for _, number := range []int{v1.ErrFailedToPostQuery, v1.ErrFailedToRenewSession, v1.ErrFailedToAuth, v1.ErrFailedToAuthSAML, v1.ErrFailedToAuthOKTA, v1.ErrCodeServiceUnavailable, v1.ErrCodeFailedToConnect} {
		for _, status := range []int{0, 401, 403, 408, 429, 500, 503} {
			all = append(all, said{number: number, state: "08001", msg: "HTTP: %v, URL: %v", args: []any{status, at}})
		}
	}
	wraps := []func(error) error{
		func(err error) error { return err },
		func(err error) error { return fmt.Errorf("opening: %w", err) },
		func(err error) error { return errors.Join(io.EOF, err) },
		func(err error) error {
			return errors.Join(fmt.Errorf("a: %w", io.EOF), fmt.Errorf("b: %w", errors.Join(err, io.EOF)))
		},
		func(err error) error { return hidden{err} },
	}
	for _, s := range all {
		for i, wrap := range wraps {
			one, ok1 := sferr.Of(wrap(s.v1()))
			two, ok2 := sferr.Of(wrap(s.v2()))
			if !reflect.DeepEqual(one, two) || !ok1 || !ok2 {
				t.Errorf("wrapped as %d, v1: %+v, %v; v2: %+v, %v", i, one, ok1, two, ok2)
			}
			if one, two := snowtether.Classify(wrap(s.v1())), snowtether.Classify(wrap(s.v2())); one != two {
				t.Errorf("%d, %v, wrapped as %d is %q of v1 and %q of v2", s.number, s.args, i, one, two)
			}
		}
	}
	if _, ok := sferr.Of((*v1.SnowflakeError)(nil)); ok {
		t.Error("no error says something")
	}
}

// TestErrorIsOfTheVersionThatSaidIt: where the driver has to make one.
func TestErrorIsOfTheVersionThatSaidIt(t *testing.T) {
	made := sferr.Like(fmt.Errorf("a: %w", said{number: v1.ErrQueryStatus}.v1()), sferr.Said{Number: 1003, Message: "m", QueryID: "01b2"})
	if want := (&v1.SnowflakeError{Number: 1003, Message: "m", QueryID: "01b2", IncludeQueryID: true}); !reflect.DeepEqual(made, want) {
		t.Errorf("%T %v", made, made)
	}
}

// TestSessionErrorHasWhatV1Said: its code, its query ID, and v1's own error inside.
func TestSessionErrorHasWhatV1Said(t *testing.T) {
	virtually(t, func(t *testing.T) {
		srv := snowtest.New(t, snowtest.InMemory(), snowtest.AllowOpenSessions())
		db := open(t, v1Connector(srv))
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback() }()
		srv.AbortSessions()
		_, err = tx.ExecContext(t.Context(), insert)
		var se *snowtether.SessionError
		var own *v1.SnowflakeError
		if !errors.As(err, &se) || !errors.As(err, &own) || !errors.Is(err, snowtether.ErrSessionLost) || se.Code != own.Number || se.Code/1000 != 390 || !se.InTx {
			t.Errorf("error is %v", err)
		}
	})
}

// TestRunTxKnowsV1sCodes: Snowflake aborts a statement that waits for a lock with too many
// others, and the transaction is run again.
func TestRunTxKnowsV1sCodes(t *testing.T) {
	virtually(t, func(t *testing.T) {
		srv := snowtest.New(t, snowtest.InMemory(), snowtest.AllowRepeats())
		tries := 0
		srv.Handle("^INSERT", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
			if tries++; tries == 1 {
				return nil, &snowtest.Error{Code: "000625", SQLState: "57014", Message: "the number of waiters for this lock exceeds the limit"}
			}
			return nil, nil
		})
		db := open(t, v1Connector(srv))
		begin := func(ctx context.Context) (*sql.Tx, error) { return db.BeginTx(ctx, nil) }
		err := snowtether.RunTx(t.Context(), begin, func(tx *sql.Tx) error {
			_, err := tx.ExecContext(t.Context(), insert)
			return err
		})
		if err != nil || tries != 2 {
			t.Errorf("after %d tries: %v", tries, err)
		}
	})
}

// TestLoginOfV1IsRefusedOnceAndAnOutageIsWaitedOut: what is permanent and what is not is
// read from v1's errors too.
func TestLoginOfV1IsRefusedOnceAndAnOutageIsWaitedOut(t *testing.T) {
	virtually(t, func(t *testing.T) {
		srv := snowtest.New(t, snowtest.InMemory())
		db := open(t, v1Connector(srv))
		logins := 0
		srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
			if r.Kind != snowtest.RequestLogin {
				return snowtest.Fault{}, false
			}
			if logins++; logins <= 3 {
				return snowtest.Fault{Status: 503}, true
			}
			return snowtest.Fault{Code: "390100", Message: "Incorrect username or password was specified."}, true
		})
		srv.AbortSessions()
		_, err := db.ExecContext(t.Context(), insert)
		if snowtether.Classify(err) != snowtether.ClassPermanent || logins != 4 {
			t.Errorf("after %d logins: %v", logins, err)
		}
	})
}
