package duckdb

import (
	"database/sql"
	"database/sql/driver"
	"encoding/hex"
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
		if text, ok := formatted(a[0], a[1], a[2]); ok {
			return text, nil
		}
		return formatText(a[0], a[1]), nil
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
func divide(a, b string) (string, error) {
	n, sa, okA := unscaled(a)
	d, sb, okB := unscaled(b)
	if more := moreDigits(sa); okA && okB && d != 0 && sb+more < len(powers) {
		if n, ok := multiply(n, powers[sb+more]); ok {
			return placePoint(strconv.FormatInt(roundQuotient(n, d), 10), sa+more), nil
		}
	}
	bigN, sa, okA := bigUnscaled(a)
	bigD, sb, okB := bigUnscaled(b)
	if !okA || !okB || bigD.Sign() == 0 {
		return "", raise("100038", "22018", "Numeric value '"+a+"/"+b+"' is not recognized")
	}
	more := moreDigits(sa)
	bigN.Mul(bigN, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(sb+more)), nil))
	negative := bigN.Sign()*bigD.Sign() < 0
	bigN.Abs(bigN).Lsh(bigN, 1)
	bigD.Abs(bigD)
	bigN.Add(bigN, bigD).Quo(bigN, bigD.Lsh(bigD, 1))
	if negative {
		bigN.Neg(bigN)
	}
	return placePoint(bigN.String(), sa+more), nil
}

// moreDigits gives how much larger the scale of a quotient is than that of the
// dividend.
func moreDigits(scale int) int { return max(0, min(6, 12-scale)) }

// powers are the powers of ten that 64 bits hold.
var powers = func() []int64 {
	p := []int64{1}
	for len(p) < 19 {
		p = append(p, p[len(p)-1]*10)
	}
	return p
}()

// unscaled reads a decimal of at most 17 digits as an integer and a scale.
func unscaled(s string) (n int64, scale int, ok bool) {
	digits := strings.TrimPrefix(s, "-")
	if len(digits) > 18 {
		return 0, 0, false
	}
	whole, fraction, _ := strings.Cut(digits, ".")
	n, err := strconv.ParseInt(whole+fraction, 10, 64)
	if len(digits) < len(s) {
		n = -n
	}
	return n, len(fraction), err == nil
}

func bigUnscaled(s string) (n *big.Int, scale int, ok bool) {
	whole, fraction, _ := strings.Cut(s, ".")
	n, ok = new(big.Int).SetString(whole+fraction, 10)
	return n, len(fraction), ok
}

// multiply keeps a bit free, which rounding needs.
func multiply(a, b int64) (int64, bool) {
	c := a * b
	return c, a == 0 || c/a == b && c < 1<<61 && c > -1<<61
}

func roundQuotient(n, d int64) int64 {
	q, r := n/d, n%d
	if r < 0 {
		r = -r
	}
	if abs := max(d, -d); r >= abs-r {
		if (n < 0) != (d < 0) {
			return q - 1
		}
		return q + 1
	}
	return q
}

// placePoint writes an integer with a decimal point before its last digits.
func placePoint(digits string, scale int) string {
	if scale == 0 {
		return digits
	}
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	if len(digits) <= scale {
		digits = strings.Repeat("0", scale-len(digits)+1) + digits
	}
	point := len(digits) - scale
	return sign + digits[:point] + "." + digits[point:]
}

// formatText turns DuckDB's text of a value into Snowflake's, where they differ.
func formatText(s, typ string) string {
	switch typ {
	case "DOUBLE", "FLOAT":
		if s == "nan" {
			return "NaN"
		}
		return strings.TrimSuffix(s, ".0")
	case "BLOB":
		return strings.ToUpper(hex.EncodeToString(blobBytes(s)))
	}
	return s
}

// blobBytes reads DuckDB's text of a BLOB, which escapes bytes as \xAB.
func blobBytes(s string) []byte {
	var out []byte
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && s[i+1] == 'x' {
			if b, err := hex.DecodeString(s[i+2 : i+4]); err == nil {
				out = append(out, b...)
				i += 3
				continue
			}
		}
		out = append(out, s[i])
	}
	return out
}
