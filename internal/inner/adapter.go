package inner

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"reflect"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"
)

// This file makes up for what an inner driver lacks.

// An adapter makes up for the methods that an inner connection lacks, in the way
// in which database/sql would.
type adapter struct{ driver.Conn }

var _ Full = adapter{}

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

// ErrNotSnowflake is what an inner driver that is not gosnowflake answers to what only that can do.
var ErrNotSnowflake = errors.New("snowtether: the inner driver is not gosnowflake and cannot do this")

func (a adapter) AddTelemetryData(ctx context.Context, at time.Time, data map[string]string) error {
	if c, ok := a.Conn.(gosnowflake.SnowflakeConnection); ok {
		return c.AddTelemetryData(ctx, at, data)
	}
	return ErrNotSnowflake
}

func (a adapter) QueryArrowStream(ctx context.Context, query string, bindings ...driver.NamedValue) (gosnowflake.ArrowStreamLoader, error) {
	if c, ok := a.Conn.(arrowQueryer); ok {
		return c.QueryArrowStream(ctx, query, bindings...)
	}
	return nil, ErrNotSnowflake
}

// GetQueryStatus asks the gosnowflake inside, behind what wraps it and says so.
func (a adapter) GetQueryStatus(ctx context.Context, queryID string) (*gosnowflake.SnowflakeQueryStatus, error) {
	conn := a.Conn
	for n := 0; conn != nil && n < maxWrappers; n++ {
		if c, ok := conn.(gosnowflake.SnowflakeConnection); ok {
			return c.GetQueryStatus(ctx, queryID)
		}
		if ask := reflect.ValueOf(conn).MethodByName("GetQueryStatus"); ask.IsValid() && isStatus(ask.Type()) {
			return statusOfV1(ask, ctx, queryID)
		}
		wrapper, ok := conn.(interface{ Raw() driver.Conn })
		if !ok {
			break
		}
		conn = wrapper.Raw()
	}
	return nil, ErrNotSnowflake
}

// maxWrappers is how many wrappers are looked through.
const maxWrappers = 8

// isStatus reports whether a method is v1's GetQueryStatus: as v2's, with a struct of v1's
// own that has v2's fields.
func isStatus(method reflect.Type) bool {
	v2 := reflect.TypeFor[gosnowflake.SnowflakeQueryStatus]()
	if method.NumIn() != 2 || method.NumOut() != 2 || method.In(0) != reflect.TypeFor[context.Context]() || method.In(1) != reflect.TypeFor[string]() || method.Out(1) != reflect.TypeFor[error]() {
		return false
	}
	t := method.Out(0)
	return t.Kind() == reflect.Pointer && isSnowflake(t.Elem()) && t.Elem().ConvertibleTo(v2)
}

func statusOfV1(ask reflect.Value, ctx context.Context, queryID string) (*gosnowflake.SnowflakeQueryStatus, error) {
	out := ask.Call([]reflect.Value{reflect.ValueOf(ctx), reflect.ValueOf(queryID)})
	if err, _ := out[1].Interface().(error); err != nil || out[0].IsNil() {
		return nil, err
	}
	status, _ := out[0].Elem().Convert(reflect.TypeFor[gosnowflake.SnowflakeQueryStatus]()).Interface().(gosnowflake.SnowflakeQueryStatus)
	return &status, nil
}

// ExecStmt carries a prepared statement out whose result is a count.
func ExecStmt(ctx context.Context, stmt driver.Stmt, args []driver.NamedValue) (driver.Result, error) {
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

// QueryStmt carries a prepared statement out that has rows.
func QueryStmt(ctx context.Context, stmt driver.Stmt, args []driver.NamedValue) (driver.Rows, error) {
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

// Named are values with their places.
func Named(values []driver.Value) []driver.NamedValue {
	args := make([]driver.NamedValue, len(values))
	for i, v := range values {
		args[i] = driver.NamedValue{Ordinal: i + 1, Value: v}
	}
	return args
}

// A NothingToDo is what Snowflake answers to a ROLLBACK that had nothing to do, for a query
// whose transaction had ended with its session.
type NothingToDo struct{ told bool }

func (*NothingToDo) Columns() []string { return []string{"status"} }
func (*NothingToDo) Close() error      { return nil }
func (n *NothingToDo) Next(dest []driver.Value) error {
	if n.told {
		return io.EOF
	}
	n.told, dest[0] = true, "Statement executed successfully."
	return nil
}
