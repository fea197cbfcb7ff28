package snowtether

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"reflect"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/internal/program"
	"github.com/snowtether/snowtether/internal/transcript"
)

// This file is what an inner connection has to be: all that gosnowflake's is. A
// lesser one, such as a mock, is made up for.

// fullConn is the union of what gosnowflake's connection has.
type fullConn interface {
	driver.Conn
	driver.ConnPrepareContext
	driver.ConnBeginTx
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.NamedValueChecker
	gosnowflake.SnowflakeConnection
	arrowQueryer
}

type arrowQueryer interface {
	QueryArrowStream(ctx context.Context, query string, bindings ...driver.NamedValue) (gosnowflake.ArrowStreamLoader, error)
}

// inner is an inner connection as the rest of the package uses it. full is it, or
// an adapter around it.
type inner struct {
	driver.Conn // what the inner driver returned
	full        fullConn
	snowflake   reflect.Value // gosnowflake's, or the zero Value
}

func asInner(conn driver.Conn) inner {
	snowflake, _ := snowflakeIn(conn)
	if full, ok := conn.(fullConn); ok {
		return inner{conn, full, snowflake}
	}
	return inner{conn, adapter{conn}, snowflake}
}

// execSimple carries out a statement without binds whose result does not matter.
func (in inner) execSimple(ctx context.Context, query string) error {
	_, err := in.full.ExecContext(ctx, query, nil)
	if !errors.Is(err, driver.ErrSkip) {
		return err
	}
	stmt, err := in.full.PrepareContext(ctx, query)
	if err != nil {
		return err
	}
	_, err = execStmt(ctx, stmt, nil)
	return errors.Join(err, stmt.Close())
}

// queryOne carries out a query without binds and returns the first value of its first row.
func (in inner) queryOne(ctx context.Context, query string) (driver.Value, error) {
	rows, err := in.full.QueryContext(ctx, query, nil)
	if err != nil {
		return nil, err
	}
	dest := make([]driver.Value, max(1, len(rows.Columns())))
	if err = rows.Next(dest); err == io.EOF { // driver.Rows returns it bare
		err = nil
	}
	return dest[0], errors.Join(err, rows.Close())
}

// parameter is a session parameter as the server last reported it, by its name in
// lower case. gosnowflake keeps what each reply reports in a private field, and has no
// other way to ask than SHOW PARAMETERS, a round trip; what is not found there is not
// known. TestAutocommitThatIsOffIsNoticed fails if a newer gosnowflake keeps it
// elsewhere.
func (in inner) parameter(name string) (value string, known bool) {
	v := in.snowflake
	for _, field := range []string{"syncParams", "params"} {
		if v = reflect.Indirect(v); v.Kind() != reflect.Struct {
			return "", false
		}
		v = v.FieldByName(field)
	}
	if v.Kind() != reflect.Map || v.Type().Key().Kind() != reflect.String {
		return "", false
	}
	v = v.MapIndex(reflect.ValueOf(name).Convert(v.Type().Key()))
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.String {
		return "", false
	}
	return v.Elem().String(), true
}

// snowflakeIn looks for a gosnowflake, v2 or v1, inside a connection, through the fields
// that a wrapper can have it in. What is none, and sends nothing over HTTP, is a mock; and
// what wraps one hides what the server has reported to it.
func snowflakeIn(conn driver.Conn) (found reflect.Value, ok bool) {
	seen := 0
	var look func(v reflect.Value, depth int) bool
	look = func(v reflect.Value, depth int) bool {
		if seen++; depth > 8 || seen > 1000 || !v.IsValid() {
			return false
		}
		if transcript.IsSnowflake(v.Type()) && v.Kind() == reflect.Struct {
			found = v
			return true
		}
		switch v.Kind() {
		case reflect.Pointer, reflect.Interface:
			return !v.IsNil() && look(v.Elem(), depth+1)
		case reflect.Struct:
			for i := range v.NumField() {
				if look(v.Field(i), depth+1) {
					return true
				}
			}
		}
		return false
	}
	return found, look(reflect.ValueOf(conn), 0)
}

// An adapter makes up for the methods that an inner connection lacks, in the way
// in which database/sql would.
type adapter struct{ driver.Conn }

var _ fullConn = adapter{}

func (a adapter) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if c, ok := a.Conn.(driver.ConnPrepareContext); ok {
		return c.PrepareContext(ctx, query)
	}
	return a.Prepare(query)
}

func (a adapter) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if c, ok := a.Conn.(driver.ConnBeginTx); ok {
		return c.BeginTx(ctx, opts)
	}
	if opts.Isolation != 0 || opts.ReadOnly {
		return nil, errors.New("snowtether: the inner driver supports neither isolation levels nor read-only transactions")
	}
	return a.Begin() // all that this driver has
}

func (a adapter) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if c, ok := a.Conn.(driver.ExecerContext); ok {
		return c.ExecContext(ctx, query, args)
	}
	return nil, driver.ErrSkip
}

func (a adapter) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if c, ok := a.Conn.(driver.QueryerContext); ok {
		return c.QueryContext(ctx, query, args)
	}
	return nil, driver.ErrSkip
}

func (a adapter) Ping(ctx context.Context) error {
	if c, ok := a.Conn.(driver.Pinger); ok {
		return c.Ping(ctx)
	}
	return nil
}

func (a adapter) CheckNamedValue(nv *driver.NamedValue) error {
	if c, ok := a.Conn.(driver.NamedValueChecker); ok {
		return c.CheckNamedValue(nv)
	}
	return driver.ErrSkip
}

var errNotSnowflake = errors.New("snowtether: the inner driver is not gosnowflake and cannot do this")

func (a adapter) AddTelemetryData(ctx context.Context, at time.Time, data map[string]string) error {
	if c, ok := a.Conn.(gosnowflake.SnowflakeConnection); ok {
		return c.AddTelemetryData(ctx, at, data)
	}
	return errNotSnowflake
}

func (a adapter) QueryArrowStream(ctx context.Context, query string, bindings ...driver.NamedValue) (gosnowflake.ArrowStreamLoader, error) {
	if c, ok := a.Conn.(arrowQueryer); ok {
		return c.QueryArrowStream(ctx, query, bindings...)
	}
	return nil, errNotSnowflake
}

// A nothingToDo is what Snowflake answers to a ROLLBACK that had nothing to do, for a query
// whose transaction had ended with its session.
type nothingToDo struct{ told bool }

func (*nothingToDo) Columns() []string { return []string{"status"} }
func (*nothingToDo) Close() error      { return nil }
func (n *nothingToDo) Next(dest []driver.Value) error {
	if n.told {
		return io.EOF
	}
	n.told, dest[0] = true, "Statement executed successfully."
	return nil
}

func execStmt(ctx context.Context, stmt driver.Stmt, args []driver.NamedValue) (driver.Result, error) {
	if s, ok := stmt.(driver.StmtExecContext); ok {
		return s.ExecContext(ctx, args)
	}
	values, err := positional(args)
	if err != nil {
		return nil, err
	}
	//lint:ignore SA1019 it is all that this driver has
	return stmt.Exec(values)
}

func queryStmt(ctx context.Context, stmt driver.Stmt, args []driver.NamedValue) (driver.Rows, error) {
	if s, ok := stmt.(driver.StmtQueryContext); ok {
		return s.QueryContext(ctx, args)
	}
	values, err := positional(args)
	if err != nil {
		return nil, err
	}
	//lint:ignore SA1019 it is all that this driver has
	return stmt.Query(values)
}

func positional(args []driver.NamedValue) ([]driver.Value, error) {
	values := make([]driver.Value, len(args))
	for i, arg := range args {
		if arg.Name != "" {
			return nil, fmt.Errorf("snowtether: the inner driver does not support the named parameter %q", arg.Name)
		}
		values[i] = arg.Value
	}
	return values, nil
}

func named(values []driver.Value) []driver.NamedValue {
	args := make([]driver.NamedValue, len(values))
	for i, v := range values {
		args[i] = driver.NamedValue{Ordinal: i + 1, Value: v}
	}
	return args
}

// call runs something on the session, and leaves it behind if the caller's context
// ends: gosnowflake then sends a request that cancels the statement, and tries
// that for minutes while the server cannot be reached. inner is the context for
// the inner driver. left says that it was left behind: from then on the connection is
// another's, so run takes its session from here and touches nothing else of it.
func (s *session) call(ctx, inner context.Context, run func(context.Context, *session) (any, error)) (_ any, left bool, _ error) {
	out, behind, err := program.Leave(ctx, inner, func(ctx context.Context) (any, error) { return run(ctx, s) })
	if behind != nil {
		s.busy.Store(behind)
	}
	return out, behind != nil, err
}

// watched is call with a recorder as the inner context, which sees renewals of the session
// token too; it gives what was seen.
func (s *session) watched(ctx context.Context, seen *transcript.Recorder, run func(context.Context, *session) (any, error)) (_ any, saw transcript.Transcript, left bool, _ error) {
	s.watcher.watch.Store(seen)
	out, left, err := s.call(ctx, seen, run)
	s.rest()
	s.unheard.Store(err != nil && !outcomeOf(err).Answer)
	s.watcher.watch.Store(nil)
	return out, seen.End(left), left, err
}

// awaitLeft waits for an operation that its caller left behind: gosnowflake may still
// be cancelling it.
func (s *session) awaitLeft() {
	if left := s.busy.Load(); left != nil {
		<-left.Over
	}
}
