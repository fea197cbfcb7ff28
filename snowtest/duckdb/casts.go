package duckdb

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// An sfType is a data type as a statement names it.
type sfType struct {
	name string // as written, in upper case
	args []int  // precision and scale, or a length
}

// typeNames maps Snowflake's names to DuckDB's types.
var typeNames = map[string]string{
	"NUMBER": "DECIMAL", "DECIMAL": "DECIMAL", "NUMERIC": "DECIMAL", "DEC": "DECIMAL",
	"INT": "DECIMAL", "INTEGER": "DECIMAL", "BIGINT": "DECIMAL", "SMALLINT": "DECIMAL", "TINYINT": "DECIMAL", "BYTEINT": "DECIMAL",
	"FLOAT": "DOUBLE", "FLOAT4": "DOUBLE", "FLOAT8": "DOUBLE", "DOUBLE": "DOUBLE", "DOUBLE PRECISION": "DOUBLE", "REAL": "DOUBLE",
	"VARCHAR": "VARCHAR", "STRING": "VARCHAR", "TEXT": "VARCHAR", "CHAR": "VARCHAR", "CHARACTER": "VARCHAR", "NVARCHAR": "VARCHAR",
	"NVARCHAR2": "VARCHAR", "NCHAR": "VARCHAR", "CHAR VARYING": "VARCHAR",
	"BOOLEAN": "BOOLEAN", "BOOL": "BOOLEAN", "DATE": "DATE", "TIME": "TIME",
	"DATETIME": "TIMESTAMP", "TIMESTAMP": "TIMESTAMP", "TIMESTAMP_NTZ": "TIMESTAMP", "TIMESTAMPNTZ": "TIMESTAMP",
	"TIMESTAMP_LTZ": "TIMESTAMPTZ", "TIMESTAMPLTZ": "TIMESTAMPTZ", "TIMESTAMP_TZ": "TIMESTAMPTZ", "TIMESTAMPTZ": "TIMESTAMPTZ",
	"BINARY": "BLOB", "VARBINARY": "BLOB",
	"VARIANT": variantType, "OBJECT": variantType, "ARRAY": variantType,
}

// zoned reads what the standard has behind TIMESTAMP, and gives Snowflake's name.
func (r *rewriter) zoned() string {
	name := "TIMESTAMP_TZ"
	switch with := r.accept("WITH"); {
	case with && r.accept("LOCAL"):
		name = "TIMESTAMP_LTZ"
	case !with && r.accept("WITHOUT"):
		name = "TIMESTAMP_NTZ"
	}
	if !r.accept("TIME") || !r.accept("ZONE") {
		r.fail(r.unexpected(r.peek()))
	}
	return name
}

func (r *rewriter) dataType() sfType {
	t := r.take()
	typ := sfType{name: t.text}
	switch {
	case t.kind != tWord:
		r.fail(r.unexpected(t))
		return typ
	case t.text == "DOUBLE" && r.accept("PRECISION"):
		typ.name = "DOUBLE PRECISION"
	case t.word("CHAR", "NCHAR", "CHARACTER") && r.accept("VARYING"):
		typ.name = "CHAR VARYING"
	case t.text == "TIMESTAMP" && r.peek().word("WITH", "WITHOUT") && r.at(1).word("TIME", "LOCAL"):
		typ.name = r.zoned()
	}
	if name, ok := map[string]string{"MAP": "structured type MAP", "DECFLOAT": "DECFLOAT", "GEOGRAPHY": "GEOGRAPHY", "GEOMETRY": "GEOMETRY", "VECTOR": "VECTOR"}[typ.name]; ok {
		r.fail(unsupported("%s", name))
		return typ
	}
	if _, ok := typeNames[typ.name]; !ok {
		r.fail(compileError("002040", "42601", "Unsupported data type '%s'.", typ.name))
		return typ
	}
	if r.peek().is("(") {
		r.bracketed("(", func() {
			n := r.take()
			v, err := strconv.Atoi(n.text)
			if n.kind != tNumber || err != nil {
				if typ.semi() {
					r.fail(unsupported("structured type"))
				}
				r.fail(r.unexpected(n))
			}
			typ.args = append(typ.args, v)
		})
	}
	if n, ok := typ.length(); ok && (n < 1 || n > maxLargeText) {
		r.fail(compileError("001424", "22000", "invalid length for VARCHAR: %d; it must be between 1 and %d", n, maxLargeText))
	}
	if typ.base() == "DECIMAL" {
		if p, s := typ.decimal(); p < 1 || p > 38 || s < 0 || s > p {
			r.fail(compileError("002015", "42601", "invalid precision or scale: %s", typ.declared()))
		}
	}
	return typ
}

func (t sfType) base() string { return typeNames[t.name] }

// semi reports whether the type is VARIANT, OBJECT or ARRAY.
func (t sfType) semi() bool { return t.base() == variantType }

// decimal gives the precision and the scale: 38 and 0 where none are given.
func (t sfType) decimal() (precision, scale int) {
	precision = 38
	switch t.name {
	case "NUMBER", "DECIMAL", "NUMERIC", "DEC":
		if len(t.args) > 0 {
			precision = t.args[0]
		}
		if len(t.args) > 1 {
			scale = t.args[1]
		}
	}
	return precision, scale
}

func (t sfType) length() (int, bool) {
	if t.base() != "VARCHAR" {
		return 0, false
	}
	switch {
	case len(t.args) > 0:
		return t.args[0], t.args[0] != maxText
	case t.name == "CHAR" || t.name == "CHARACTER" || t.name == "NCHAR":
		return 1, true
	}
	return 0, false
}

// wholeType is NUMBER(38,0), which is what INT means. It is not a DECIMAL:
// where DuckDB meets a DECIMAL(38,0) and a fraction, it rounds the fraction.
const wholeType = "HUGEINT"

func (t sfType) whole() bool {
	p, s := t.decimal()
	return t.base() == "DECIMAL" && p == 38 && s == 0
}

func (t sfType) duck() string {
	switch p, s := t.decimal(); {
	case t.whole():
		return wholeType
	case t.base() == "DECIMAL":
		return fmt.Sprintf("DECIMAL(%d,%d)", p, s)
	}
	return t.base()
}

func (t sfType) arg(standard int) int {
	if len(t.args) == 1 {
		return t.args[0]
	}
	return standard
}

// loses reports whether a value of the type has fewer digits after the second
// than this engine keeps.
func (t sfType) loses() bool {
	return (t.base() == "TIME" || strings.HasPrefix(t.base(), "TIMESTAMP")) && t.arg(9) < 6
}

func (t sfType) declared() string {
	switch t.base() {
	case "DECIMAL":
		p, s := t.decimal()
		return fmt.Sprintf("NUMBER(%d,%d)", p, s)
	case "DOUBLE":
		return "FLOAT"
	case "VARCHAR":
		if n, ok := t.length(); ok {
			return fmt.Sprintf("VARCHAR(%d)", n)
		}
		return fmt.Sprintf("VARCHAR(%d)", maxText)
	case "BLOB":
		return fmt.Sprintf("BINARY(%d)", t.arg(maxBinary))
	case "TIME":
		return fmt.Sprintf("TIME(%d)", t.arg(9))
	case "TIMESTAMP":
		return fmt.Sprintf("TIMESTAMP_NTZ(%d)", t.arg(9))
	case "TIMESTAMPTZ":
		return fmt.Sprintf("TIMESTAMP_%s(%d)", pick(strings.Contains(t.name, "LTZ"), "LTZ", "TZ"), t.arg(9))
	case variantType:
		return t.name
	}
	return t.base()
}

// castMacros convert to a type what DuckDB would convert in another way.
var castMacros = map[string]string{
	"DATE": "date", "TIME": "time", "TIMESTAMP": "timestamp", "TIMESTAMPTZ": "timestamptz", "BLOB": "binary", wholeType: "whole",
}

// cast writes the conversion of an expression to the type. A variant gives its
// value, not its JSON text. With try, what cannot be converted is NULL.
func (t sfType) cast(expr string, variant, try bool) string {
	prefix, fn := pick(try, "sf_try_", "sf_"), pick(try, "TRY_CAST", "CAST")
	switch {
	case t.base() == "VARCHAR":
		expr = "sf_text(" + expr + ")"
		if n, ok := t.length(); ok {
			return fmt.Sprintf("system.main.left(%s, %d)", expr, n)
		}
		return expr
	case t.semi() && t.name != "VARIANT":
		return "sf_to_" + strings.ToLower(t.name) + "(" + expr + ")"
	case t.semi():
		return "sf_variant(" + expr + ")"
	case castMacros[t.duck()] != "":
		return t.cut(prefix + castMacros[t.duck()] + "(" + expr + ")")
	case variant:
		expr = "sf_text(" + expr + ")"
	case isName(expr):
		// Perhaps a column of variants.
		return "CASE WHEN sf_is_variant(" + expr + ") THEN " + fn + "(sf_text(" + expr + ") AS " + t.duck() + ") ELSE " + fn + "(" + expr + " AS " + t.duck() + ") END"
	}
	return fn + "(" + expr + " AS " + t.duck() + ")"
}

// cut drops the digits after the second that the type does not keep.
func (t sfType) cut(expr string) string {
	if !t.loses() {
		return expr
	}
	return fmt.Sprintf("sf_cut_%s(%s, %d)", castMacros[t.base()], expr, int(math.Pow10(6-t.arg(9))))
}

// isName reports whether an expression is a name and no more.
func isName(expr string) bool {
	return expr != "" && !isDigit(expr[0]) && strings.IndexFunc(expr, func(c rune) bool {
		return c != '"' && c != '.' && !isNameRune(c)
	}) < 0
}

func (r *rewriter) castCall(try bool) (string, bool) {
	r.expectOp("(")
	expr := r.region(func(t token) bool { return t.word("AS") })
	from := r.is
	r.need("AS")
	typ := r.dataType()
	r.expectOp(")")
	r.cast = &static{typ: typ, notNull: !try && from != nil && from.notNull, rest: typ.rest(expr, from)}
	return typ.cast(expr, isVariantText(expr), try), typ.semi()
}
