// Package bridge is what takeover/gosnowflakev1 needs of the driver and programs do not: it
// is a module of its own, so that only those get gosnowflake v1 who import it.
package bridge

import (
	"database/sql/driver"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"unsafe"
)

// A Parse reads a DSN, or "autoConfig", with the inner driver's own parser. params are the
// parameters that the inner driver sends with its logins; what is changed in them before the
// first Connect counts.
type Parse func(dsn string) (inner driver.Connector, params map[string]*string, err error)

// Open makes a *snowtether.Connector around what parse makes of the DSN. The tether…
// parameters are taken out of params and obeyed; heartbeats are on by default, as they are
// without an inner driver. The driver sets it when it is initialised.
var Open func(dsn string, parse Parse) (driver.Connector, error)

// Connect logs in and returns one connection, with which the connector ends.
var Connect func(driver.Connector) (driver.Conn, error)

// OldestV1 is the oldest gosnowflake v1 that takeover/gosnowflakev1 was tried with; its go.mod
// requires it, but a replace directive wins over that.
const OldestV1 = "v1.19.1"

// TooOld says what is wrong with a version of gosnowflake v1 that was not tried because it is
// older. It is empty for others, and where the version cannot be read.
func TooOld(version string) string {
	order := func(v string) (n int, ok bool) {
		core, _, _ := strings.Cut(strings.TrimPrefix(v, "v"), "-")
		parts := strings.Split(core, ".")
		for _, part := range parts {
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i > 999_999 {
				return 0, false
			}
			n = n*1_000_000 + i
		}
		return n, len(parts) == 3
	}
	oldest, _ := order(OldestV1)
	if n, ok := order(version); !ok || n >= oldest {
		return ""
	}
	return "gosnowflake " + version + " is older than " + OldestV1 + ", the oldest that was tried here: go get github.com/snowflakedb/gosnowflake@" + OldestV1
}

// ErrElsewhere is what a newer gosnowflake would give whose connector is built otherwise.
var ErrElsewhere = errors.New("this version of gosnowflake keeps its Config elsewhere")

// Config returns the Config that gosnowflake's connector, v2's or v1's, has in a private
// field: gosnowflake exports no other way to what it read from connections.toml.
func Config[T any](connector driver.Connector) (cfg *T, ok bool) {
	v := reflect.New(reflect.TypeOf(connector)).Elem()
	v.Set(reflect.ValueOf(connector))
	if v.Kind() != reflect.Struct {
		return nil, false
	}
	field := v.FieldByName("cfg")
	if !field.IsValid() || field.Type() != reflect.TypeFor[T]() {
		return nil, false
	}
	return (*T)(unsafe.Pointer(field.UnsafeAddr())), true
}
