package dsn

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"

	"github.com/snowflakedb/gosnowflake/v2"
)

// This file has gosnowflake read connections.toml.

// ReadTOML has gosnowflake read connections.toml, and explains what is wrong with it. elsewhere
// is the error that says that gosnowflake has read it and keeps it where nobody finds it.
func ReadTOML[T any](parse func(string) (T, error), elsewhere error) (read T, err error) {
	name := os.Getenv("SNOWFLAKE_DEFAULT_CONNECTION_NAME")
	if name == "" {
		name = "default"
	}
	var none T
	defer func() {
		if recover() != nil {
			read, err = none, fmt.Errorf("snowtether: autoConfig: the connection %s in connections.toml is not a table", Shorten(name))
		}
	}()
	switch read, err = parse(AutoConfig); {
	case errors.Is(err, elsewhere):
		return none, fmt.Errorf("snowtether: autoConfig: %w", err)
	case err != nil:
		return none, fmt.Errorf("snowtether: autoConfig: %s", explain(name, err))
	}
	return read, nil
}

// lastKey finds the name and not the value in an error of the TOML parser.
var lastKey = regexp.MustCompile(`last key "([\w.-]+)"`)

func explain(name string, err error) string {
	if says := Problem(err); says != "" {
		return says + " (connections.toml, connection " + Shorten(name) + ")"
	}
	var se *gosnowflake.SnowflakeError
	var missing *fs.PathError
	numbered, noFile := errors.As(err, &se), errors.As(err, &missing)
	switch {
	case numbered && se.Number == gosnowflake.ErrCodeFailedToFindDSNInToml:
		return "connections.toml has no connection " + Shorten(name)
	case numbered && se.Number == gosnowflake.ErrCodeTomlFileParsingFailed && len(se.MessageArgs) > 0:
		return fmt.Sprintf("the value of %s in connections.toml is not valid; numbers and booleans stand in quotes there", Shorten(fmt.Sprint(se.MessageArgs[0])))
	case numbered && se.Number == gosnowflake.ErrCodeInvalidFilePermission:
		return "connections.toml can be read by others; set its permissions to 0600"
	case noFile:
		return "connections.toml cannot be read: " + missing.Err.Error()
	}
	if m := lastKey.FindStringSubmatch(err.Error()); m != nil {
		return "connections.toml cannot be parsed at or after " + Shorten(m[1]) + "; values stand in quotes"
	}
	return "connections.toml cannot be parsed; values stand in quotes"
}
