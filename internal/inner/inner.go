// Package inner is about the connection that a session has inside: gosnowflake's, v2's or v1's,
// bare or wrapped, or that of a lesser driver, such as a mock. What that lacks is made up for,
// in the way in which database/sql would.
package inner

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"reflect"
	"runtime/debug"
	"slices"

	"github.com/snowflakedb/gosnowflake/v2"
)

// Full is the union of what gosnowflake's connection has.
type Full interface {
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

// A Conn is an inner connection as the driver uses it. Full is it, or an adapter around it.
type Conn struct {
	driver.Conn // what the inner driver returned
	Full        Full
	snowflake   reflect.Value // gosnowflake's, or the zero Value
}

// Of is what an inner driver has returned.
func Of(conn driver.Conn) Conn {
	snowflake, _ := snowflakeIn(conn)
	if full, ok := conn.(Full); ok {
		return Conn{conn, full, snowflake}
	}
	return Conn{conn, adapter{conn}, snowflake}
}

// Exec carries out a statement without binds whose result does not matter.
func (in Conn) Exec(ctx context.Context, query string) error {
	_, err := in.Full.ExecContext(ctx, query, nil)
	if !errors.Is(err, driver.ErrSkip) {
		return err
	}
	stmt, err := in.Full.PrepareContext(ctx, query)
	if err != nil {
		return err
	}
	_, err = ExecStmt(ctx, stmt, nil)
	return errors.Join(err, stmt.Close())
}

// QueryOne carries out a query without binds and returns the first value of its first row.
func (in Conn) QueryOne(ctx context.Context, query string) (driver.Value, error) {
	rows, err := in.Full.QueryContext(ctx, query, nil)
	if err != nil {
		return nil, err
	}
	dest := make([]driver.Value, max(1, len(rows.Columns())))
	if err = rows.Next(dest); err == io.EOF { // driver.Rows returns it bare
		err = nil
	}
	return dest[0], errors.Join(err, rows.Close())
}

// Parameter is a session parameter as the server last reported it, by its name in
// lower case. gosnowflake keeps what each reply reports in a private field, and has no
// other way to ask than SHOW PARAMETERS, a round trip; what is not found there is not
// known. TestAutocommitThatIsOffIsNoticed fails if a newer gosnowflake keeps it
// elsewhere.
func (in Conn) Parameter(name string) (p Parameter) {
	v := in.snowflake
	for _, field := range []string{"syncParams", "params"} {
		if v = reflect.Indirect(v); v.Kind() != reflect.Struct {
			return p
		}
		v = v.FieldByName(field)
	}
	if v.Kind() != reflect.Map || v.Type().Key().Kind() != reflect.String {
		return p
	}
	return Parameter{v, reflect.ValueOf(name).Convert(v.Type().Key())}
}

// A Parameter is where the connection keeps it. Its zero value is not known.
type Parameter struct{ params, name reflect.Value }

// Read is its present value. It must not be called while gosnowflake is at work.
func (p Parameter) Read() (value string, known bool) {
	if !p.params.IsValid() {
		return "", false
	}
	v := p.params.MapIndex(p.name)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.String {
		return "", false
	}
	return v.Elem().String(), true
}

// Snowflake is the type of the gosnowflake inside, or nil if none was found.
func (in Conn) Snowflake() reflect.Type {
	if !in.snowflake.IsValid() {
		return nil
	}
	return in.snowflake.Type()
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
		if isSnowflake(v.Type()) && v.Kind() == reflect.Struct {
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

// isSnowflake reports whether a type is one of gosnowflake's, v2's or v1's.
func isSnowflake(t reflect.Type) bool {
	const v1 = "github.com/snowflakedb/gosnowflake"
	return t.PkgPath() == v1 || t.PkgPath() == v1+"/v2"
}

// oldestTried is the oldest gosnowflake v1 that the tests were run with.
var oldestTried = [3]int{1, 14, 1}

// Older reports whether a version is older than the oldest that was tried. Of one that is no
// release of v1's, or is not known, nobody can say so.
func Older(version string) bool {
	var v [3]int
	if n, err := fmt.Sscanf(version, "v%d.%d.%d", &v[0], &v[1], &v[2]); n != len(v) || err != nil {
		return false
	}
	return slices.Compare(v[:], oldestTried[:]) < 0
}

// VersionIn is the version of a module in a program, or "" where that is not known.
func VersionIn(program *debug.BuildInfo, module string) string {
	for _, dep := range program.Deps {
		if dep.Path == module && dep.Replace == nil {
			return dep.Version
		}
	}
	return ""
}
