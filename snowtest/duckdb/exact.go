package duckdb

import (
	"cmp"
	"context"
	"database/sql/driver"
	"slices"
	"strconv"
	"strings"
	"time"

	duck "github.com/duckdb/duckdb-go/v2"

	"github.com/snowtether/snowtether/snowtest"
)

// This file keeps what DuckDB's times do not hold: nanoseconds, and the offset of a
// TIMESTAMP_TZ. A column of such a type is followed by a hidden one, its rest: the
// nanoseconds below a microsecond, and a thousand times the minutes of the offset plus 1440.
// A result has such columns too, each behind the one that it belongs to. So a value is
// whole where it is bound, read from text, stored, inserted from a query and selected by the
// outermost SELECT; functions, comparisons and subqueries see microseconds and the
// instant.

const restMark = "\x1f" // ends the names of hidden columns

func restName(name string) string { return name + restMark }
func isRest(name string) bool     { return strings.HasSuffix(name, restMark) }

// exact reports whether values of the type have a rest.
func (t sfType) exact() bool {
	switch t.base() {
	case "TIMESTAMPTZ":
		return !strings.Contains(t.name, "LTZ") || t.arg(9) > 6
	case "TIME", "TIMESTAMP":
		return t.arg(9) > 6
	}
	return false
}

// restOf gives the rest of a time, with its offset if it is zoned.
func restOf(t time.Time, zoned bool) int {
	rest := t.Nanosecond() % 1000
	if zoned {
		_, offset := t.Zone()
		rest += 1000 * (offset/60 + 1440)
	}
	return rest
}

// restZone names the zone of a time that has its own offset.
const restZone = "rest"

// withRest gives a value of DuckDB's its rest, if it is a time and has one.
func withRest(v, rest driver.Value) driver.Value {
	t, ok := v.(time.Time)
	n, has := rest.(int32)
	if !ok || !has {
		return v
	}
	if t = t.Add(time.Duration(n % 1000)); n >= 1000 {
		t = t.In(time.FixedZone(restZone, int(n/1000-1440)*60))
	}
	return t
}

// pair finds the columns that are shown, and which column is the rest of each: the next
// hidden one of its name.
func pair(names []string) (places, rests []int) {
	for i, name := range names {
		if !isRest(name) {
			places, rests = append(places, i), append(rests, -1)
			continue
		}
		for j := len(places) - 1; j >= 0; j-- {
			if rests[j] < 0 && strings.EqualFold(restName(names[places[j]]), name) {
				rests[j] = i
				break
			}
		}
	}
	return places, rests
}

// hidden wraps a table so that nobody sees its hidden columns.
func hidden(o object) string {
	return "(SELECT * NOT LIKE " + quoteString("%"+restMark) + " FROM " + o.sql() + ")"
}

// wholeQuery rewrites the rest of the statement, which is a query, with the rests of its
// columns where these can be told.
func (r *rewriter) wholeQuery() string {
	i, bind, wait := r.i, r.nextBind, r.wait
	r.top, r.outline, r.rests = nil, nil, false
	text := r.region(nil)
	switch {
	case r.err != nil || r.outline == nil || !r.rests && (r.outline.vague || len(r.outline.items) == 0):
		return text
	case r.outline.vague:
		r.i, r.nextBind, r.wait, r.top, r.outline, r.hide = i, bind, wait, nil, nil, true
		return r.region(nil)
	}
	o, out := r.outline, r.top.out
	for _, item := range o.items {
		rest, name := "", item.alias
		if names := item.is.column; names != nil {
			c, from := o.find(names)
			if c == nil && from.alias != "" && !slices.ContainsFunc(o.items, func(i outlineItem) bool { return i.alias == names[0] }) {
				return r.invalid(names[len(names)-1])
			}
			if c != nil && c.rest {
				rest, name = quoteIdent(from.alias)+"."+quoteIdent(restName(c.name)), cmp.Or(name, c.name)
				if o.grouped {
					rest = "any_value(" + rest + ")"
				}
			}
		} else if !o.grouped || strings.Trim(item.is.rest, "0123456789") == "" {
			rest = item.is.rest
		}
		if rest != "" && name != "" {
			out[item.at] += ", CAST(" + rest + " AS INTEGER) AS " + quoteIdent(restName(name))
		}
	}
	return strings.Join(out, " ")
}

// rest writes the rest of an expression that goes into a column or becomes a type.
func (t sfType) rest(expr string, is *static) string {
	switch {
	case !t.exact():
		return ""
	case expr == "NULL" || expr == "DEFAULT":
		return expr
	case is != nil && is.rest != "" && t.base() == is.typ.base():
		return is.rest
	case is != nil && is.rest != "" && t.base() == "TIMESTAMPTZ":
		return "(" + is.rest + " + sf_offset(" + expr + "))"
	case is != nil && is.rest != "":
		return "system.main.mod(" + is.rest + ", 1000)"
	}
	if text, ok := unquoted(expr); ok {
		if rest, ok := readRest(text, t.base()); ok && (rest >= 1000 || t.base() != "TIMESTAMPTZ") {
			return strconv.Itoa(rest)
		}
	}
	return "sf_rest(" + expr + ", '" + t.base() + "')"
}

// withRests adds the hidden columns to a list of columns.
func withRests(columns []column) []string {
	var names []string
	for _, c := range columns {
		if names = append(names, quoteIdent(c.name)); c.rest {
			names = append(names, quoteIdent(restName(c.name)))
		}
	}
	return names
}

func hasRests(columns []column) bool {
	return slices.ContainsFunc(columns, func(c column) bool { return c.rest })
}

// A queryShape is a query with its columns: those that are shown, and of all that DuckDB has
// a list of names, made up, which the places and the rests count in.
type queryShape struct {
	text          string
	columns       []snowtest.Column
	names         []string
	places, rests []int
}

// describeQuery prepares a query.
func describeQuery(ctx context.Context, c *duck.Conn, text string) (*queryShape, error) {
	prepared, err := c.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	r := &resultRows{stmt: prepared.(*duck.Stmt)}
	defer r.close()
	q := &queryShape{text: text}
	q.columns, err = r.columns()
	q.places, q.rests = r.places, r.rests
	for i := range r.values {
		q.names = append(q.names, "c"+strconv.Itoa(i))
	}
	return q, err
}

// selecting writes a query of expressions of the names.
func (q *queryShape) selecting(items []string) string {
	return "SELECT " + strings.Join(items, ", ") + " FROM (" + q.text + ") AS q(" + strings.Join(q.names, ", ") + ")"
}
