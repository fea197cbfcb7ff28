package duckdb

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	duck "github.com/duckdb/duckdb-go/v2"
)

// A scalar is a function of texts that DuckDB calls in Go: what its SQL could
// only say slowly.
type scalar struct {
	args  int
	apply func(args []string) (any, error)
}

// scalars are registered once for an engine. A NULL argument gives NULL, and so
// does nil.
var scalars = map[string]scalar{
	"sf_divide": {2, func(a []string) (any, error) { return divide(a[0], a[1]) }},
	"sf_format": {3, func(a []string) (any, error) {
		text, _ := formatted(a[0], a[1], a[2])
		return text, nil
	}},
	"sf_to_char": {3, func(a []string) (any, error) {
		if text, ok := formatted(a[0], a[1], strings.Repeat(a[2]+noteSeparator, len(outputFormats))); ok {
			return text, nil
		}
		return nil, raise("000002", "0A000", "Unsupported feature 'TO_CHAR of "+a[1]+" with a format'.")
	}},
	"sf_read_time":     {3, readTimeText},
	"sf_try_read_time": {3, try(readTimeText)},
	"sf_read_rest": {2, func(a []string) (any, error) {
		if rest, ok := readRest(a[0], a[1]); ok {
			return strconv.Itoa(rest), nil
		}
		return nil, nil
	}},
	"sf_json":     {1, readJSON},
	"sf_try_json": {1, try(readJSON)},
	"sf_flatten":  {5, func(a []string) (any, error) { return flatten(a[0], a[1], a[2] == "true", a[3] == "true", a[4]) }},
	"sf_json_at":  {2, func(a []string) (any, error) { return jsonAt(a[0], a[1]) }},
}

func registerScalars(c *sql.Conn) error {
	for name, s := range scalars {
		if err := duck.RegisterScalarUDF(c, name, s); err != nil {
			return err
		}
	}
	return nil
}

func readTimeText(a []string) (any, error) {
	if text, ok := readTime(a[0], a[1], a[2]); ok {
		return text, nil
	}
	return nil, notRecognized(a[0], a[1])
}

func readJSON(a []string) (any, error) {
	text, err := canonicalJSON(a[0])
	if err != nil {
		return nil, raise("100069", "22P02", "Error parsing JSON: "+err.Error())
	}
	return text, nil
}

// try gives NULL instead of an error.
func try(apply func([]string) (any, error)) func([]string) (any, error) {
	return func(a []string) (any, error) {
		if v, err := apply(a); err == nil {
			return v, nil
		}
		return nil, nil
	}
}

// raise makes an error that translate turns into one of Snowflake's shape, as
// the macros do.
func raise(code, state, message string) error {
	return fmt.Errorf("SF|%s|%s|%s|", code, state, strings.ReplaceAll(message, "|", "/"))
}

func (s scalar) Config() duck.ScalarFuncConfig {
	text, err := duck.NewTypeInfo(duck.TYPE_VARCHAR)
	if err != nil {
		panic(err) // VARCHAR needs no parameters
	}
	cfg := duck.ScalarFuncConfig{ResultTypeInfo: text}
	for range s.args {
		cfg.InputTypeInfos = append(cfg.InputTypeInfos, text)
	}
	return cfg
}

func (s scalar) Executor() duck.ScalarFuncExecutor {
	return duck.ScalarFuncExecutor{RowExecutor: func(values []driver.Value) (any, error) {
		args := make([]string, len(values))
		for i, v := range values {
			text, ok := v.(string)
			if !ok {
				return nil, fmt.Errorf("argument %d is a %T", i+1, v)
			}
			args[i] = text
		}
		return s.apply(args)
	}}
}

// divide gives the quotient of two decimals as Snowflake does: with six digits
// of scale more than the dividend, but not more than twelve, rounded half away
// from zero.
func divide(a, b string) (any, error) {
	n, okN := new(big.Rat).SetString(a)
	d, okD := new(big.Rat).SetString(b)
	if !okN || !okD || d.Sign() == 0 {
		return nil, raise("100038", "22018", "Numeric value '"+a+"/"+b+"' is not recognized")
	}
	_, fraction, _ := strings.Cut(a, ".")
	return n.Quo(n, d).FloatString(max(len(fraction), min(len(fraction)+6, 12))), nil
}
