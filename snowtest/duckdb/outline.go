package duckdb

import (
	"context"
	"slices"
	"strings"

	"github.com/snowtether/snowtether/snowtest"
)

// This file says what the columns of a query are where Snowflake knows more of them
// than DuckDB does: how long a text is, how many digits a time has, whether a value can
// be NULL, which kind of variant it is. What is not known for certain stays as DuckDB
// has it.

// A static is what is known of an expression without carrying it out.
type static struct {
	typ     sfType
	length  int // of a text or number literal, whose type has none
	scale   int // of a number literal
	notNull bool
}

// An outline is what the outermost SELECT of a statement lists, and from where.
type outline struct {
	items   []outlineItem
	sources []source
	vague   bool // a set operation, a CTE or a join by names: columns cannot be traced
	outer   bool // an outer join: any column can be NULL
}

// An outlineItem is one item of the list: an expression, a column, or a star.
type outlineItem struct {
	is     *static  // nil if it is not known
	column []string // the parts of the column's name
	star   bool     // all columns, of the table that column names
}

// A source is one table of a FROM clause. One that is no table has no object.
type source struct {
	object object
	alias  string
}

// literalOf says what a literal is.
func literalOf(t token) *static {
	switch t.kind {
	case tString:
		return &static{typ: sfType{name: "VARCHAR"}, length: len([]rune(t.text)), notNull: true}
	case tNumber:
		whole, fraction, _ := strings.Cut(t.text, ".")
		digits := strings.TrimLeft(whole+fraction, "0")
		if strings.ContainsAny(t.text, "eE") || len(digits) > 38 {
			return nil
		}
		return &static{typ: sfType{name: "NUMBER"}, length: max(len(digits), len(fraction), 1), scale: len(fraction), notNull: true}
	}
	return nil
}

// source notes what follows FROM, JOIN or a comma in the outermost FROM clause.
func (r *rewriter) source() source {
	var parts []token
	i := 0
	for r.at(i).ident() {
		parts = append(parts, r.at(i))
		if i++; !r.at(i).is(".") {
			break
		}
		i++
	}
	if len(parts) == 0 || len(parts) > 3 || r.at(i).is("(") || r.at(i).is(".") || len(parts) == 1 && r.peek().word("DUAL") {
		return source{}
	}
	s := source{object: objectOf(parts), alias: parts[len(parts)-1].text}
	if s.object.schema == informationSchemaName {
		return source{}
	}
	if r.at(i).word("AS") {
		i++
	}
	if t := r.at(i); t.ident() && (t.kind == tQuoted || !keywords[t.text] && !clauseWords[t.text] && !t.word("LEFT", "RIGHT", "AT", "BEFORE")) {
		if s.alias = t.text; r.at(i + 1).is("(") {
			return source{} // its columns have other names
		}
	}
	return s
}

const informationSchemaName = "INFORMATION_SCHEMA"

// described improves the columns of a query by what its outline says.
func (s *session) described(ctx context.Context, columns []snowtest.Column, o *outline) {
	if o == nil || o.vague || len(o.items) == 0 {
		return
	}
	list, ok := s.traced(ctx, o)
	if !ok || len(list) != len(columns) {
		return
	}
	for i, is := range list {
		if is != nil {
			is.describe(&columns[i])
		}
	}
}

// traced gives what is known of each column, and false if the stars cannot be told.
func (s *session) traced(ctx context.Context, o *outline) ([]*static, bool) {
	var list []*static
	var tables [][]column // of the sources; nil where they are not known
	if slices.ContainsFunc(o.items, func(i outlineItem) bool { return i.column != nil || i.star }) {
		for _, from := range o.sources {
			var columns []column
			if from.object.name != "" {
				columns, _ = s.columns(ctx, from.object) // what is no table is not known
			}
			tables = append(tables, columns)
		}
	}
	for _, item := range o.items {
		switch {
		case item.star:
			all, ok := starred(o, tables, item.column)
			if !ok {
				return nil, false
			}
			list = append(list, all...)
		case item.column != nil:
			list = append(list, named(o, tables, item.column))
		default:
			list = append(list, item.is)
		}
	}
	return list, true
}

// starred gives the columns of a star.
func starred(o *outline, tables [][]column, qualifier []string) ([]*static, bool) {
	var list []*static
	for i, columns := range tables {
		if len(qualifier) > 0 && o.sources[i].alias != qualifier[len(qualifier)-1] {
			continue
		}
		if columns == nil {
			return nil, false
		}
		for _, c := range columns {
			list = append(list, c.static(o))
		}
	}
	return list, len(list) > 0
}

// named gives the one column that a name means, and nil if that is not certain.
func named(o *outline, tables [][]column, parts []string) *static {
	var found *static
	for i, columns := range tables {
		if len(parts) > 1 && o.sources[i].alias != parts[len(parts)-2] {
			continue
		}
		if columns == nil {
			return nil
		}
		for _, c := range columns {
			if c.name == parts[len(parts)-1] {
				if found != nil {
					return nil
				}
				found = c.static(o)
			}
		}
	}
	return found
}

// static says what is known of a table's column.
func (c column) static(o *outline) *static {
	typ, ok := parseType(c.typeName())
	if !ok {
		return nil
	}
	return &static{typ: typ, notNull: !c.nullable && !o.outer}
}

// parseType reads a type as DESCRIBE TABLE writes it.
func parseType(text string) (sfType, bool) {
	toks, err := tokenize(text)
	if err != nil {
		return sfType{}, false
	}
	r := &rewriter{src: text, toks: toks}
	typ := r.dataType()
	return typ, r.end() == nil
}

// describe writes what is known into a column of DuckDB's, if the two agree.
func (s *static) describe(c *snowtest.Column) {
	switch base := s.typ.base(); {
	case c.Type == "fixed" && base == "DECIMAL":
		p, scale := s.typ.decimal()
		if s.length > 0 {
			p, scale = s.length, s.scale
		}
		if int64(scale) != c.Scale {
			return
		}
		c.Precision = int64(p)
	case c.Type == "text" && base == "VARCHAR":
		if n, ok := s.typ.length(); ok {
			c.Length = int64(n)
		} else if s.notNull && s.typ.args == nil && s.length > 0 {
			c.Length = int64(s.length)
		}
		c.ByteLength = max(min(4*c.Length, maxText), c.Length)
	case c.Type == "binary" && base == "BLOB":
		c.Length = int64(s.typ.arg(maxBinary))
		c.ByteLength = c.Length
	case c.Type == "time" && base == "TIME":
		c.Scale = int64(s.typ.arg(9))
	case c.Type == "timestamp_ntz" && base == "TIMESTAMP":
		c.Scale = int64(s.typ.arg(9))
	case c.Type == "timestamp_ltz" && base == "TIMESTAMPTZ":
		c.Scale = int64(s.typ.arg(9))
		if !strings.Contains(s.typ.name, "LTZ") {
			c.Type = "timestamp_tz"
		}
	case c.Type == "variant" && s.typ.semi():
		c.Type = strings.ToLower(s.typ.name)
	case c.Type != "boolean" && c.Type != "real" && c.Type != "date":
		return
	}
	c.Nullable = !s.notNull
}
