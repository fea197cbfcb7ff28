package duckdb

import (
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
	rest    string    // an expression of what DuckDB's value of a time lacks; empty for nothing
	column  []string  // the parts of a column's name, of which only the outline knows more
	terms   []*static // of an expression: its pieces
	op      string    // a piece that is no operand
}

// An outline is what the outermost SELECT of a statement lists, and from where.
type outline struct {
	items   []outlineItem
	sources []source
	vague   bool // a set operation, a CTE or a join by names: columns cannot be traced
	outer   bool // an outer join: any column can be NULL
	grouped bool
}

// An outlineItem is one item of the list.
type outlineItem struct {
	is    *static
	star  bool // all columns, of the table that it names
	alias string
	at    int // its place in the text of the SELECT
}

// A source is one table of a FROM clause. One that is no table has no object. Its columns are
// nil where they are not known.
type source struct {
	object  object
	alias   string
	named   bool // the alias was given
	renamed bool // and new names for the columns
	tokens  int  // of the name
	columns []column
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
	s := source{object: objectOf(parts), alias: parts[len(parts)-1].text, tokens: i}
	if s.object.schema == informationSchemaName {
		return source{}
	}
	if r.at(i).word("AS") {
		i++
	}
	if t := r.at(i); t.ident() && (t.kind == tQuoted || !keywords[t.text] && !clauseWords[t.text] && !t.word("LEFT", "RIGHT", "AT", "BEFORE")) {
		s.alias, s.named, s.renamed = t.text, true, r.at(i+1).is("(")
	}
	return s
}

const informationSchemaName = "INFORMATION_SCHEMA"

// described improves the columns of a query by what its outline says.
func described(columns []snowtest.Column, o *outline) {
	if o == nil || o.vague {
		return
	}
	var list []*static
	for _, item := range o.items {
		if item.star {
			list = append(list, o.starred(item.is.column)...)
		} else {
			list = append(list, o.known(item.is))
		}
	}
	for i := range columns {
		if len(list) == len(columns) && list[i] != nil {
			list[i].describe(&columns[i])
		}
	}
}

// known gives the type of an expression, and nil if it is not known.
func (o *outline) known(s *static) *static {
	switch {
	case s == nil || s.op != "":
		return nil
	case s.column != nil:
		c, _ := o.find(s.column)
		return c.static(o)
	case len(s.terms) == 1:
		return o.known(s.terms[0])
	case s.terms == nil:
		return s
	}
	for _, ops := range []string{"+-", "*/"} {
		for i := len(s.terms) - 2; i > 0; i-- {
			if t := s.terms[i]; t != nil && t.op != "" && strings.Contains(ops, t.op) {
				return calculated(o.known(&static{terms: s.terms[:i]}), t.op, o.known(&static{terms: s.terms[i+1:]}))
			}
		}
	}
	return nil
}

// calculated gives the type that Snowflake documents for an operation of numbers.
func calculated(a *static, op string, b *static) *static {
	if a == nil || b == nil || a.typ.base() != "DECIMAL" || b.typ.base() != "DECIMAL" {
		return nil
	}
	p1, s1 := a.digits()
	p2, s2 := b.digits()
	leading, scale := max(p1-s1, p2-s2)+1, max(s1, s2)
	switch op {
	case "*":
		leading, scale = p1-s1+p2-s2, min(s1+s2, max(s1, s2, 12))
	case "/":
		leading, scale = p1-s1+s2, max(s1, min(s1+6, 12))
	}
	return &static{typ: sfType{"NUMBER", []int{min(leading+scale, 38), scale}}}
}

// digits are the precision and the scale of a number.
func (s *static) digits() (precision, scale int) {
	if s.length > 0 {
		return s.length, s.scale
	}
	return s.typ.decimal()
}

// starred gives what is known of the columns of a star, and none if they cannot be told.
func (o *outline) starred(qualifier []string) (list []*static) {
	for _, from := range o.sources {
		if len(qualifier) > 0 && from.alias != qualifier[len(qualifier)-1] {
			continue
		}
		if from.columns == nil {
			return nil
		}
		for i := range from.columns {
			list = append(list, from.columns[i].static(o))
		}
	}
	return list
}

// find gives the one column that a name means, and nil if that is not certain; with its
// source, if that has a column whose name differs in case only.
func (o *outline) find(parts []string) (found *column, in source) {
	for _, from := range o.sources {
		if len(parts) > 1 && from.alias != parts[len(parts)-2] {
			continue
		}
		if from.columns == nil {
			return nil, source{}
		}
		for i, c := range from.columns {
			switch {
			case c.name == parts[len(parts)-1] && found != nil:
				return nil, source{}
			case c.name == parts[len(parts)-1]:
				found, in = &from.columns[i], from
			case found == nil && strings.EqualFold(c.name, parts[len(parts)-1]):
				in = from
			}
		}
	}
	return found, in
}

func (c *column) static(o *outline) *static {
	if c == nil || c.typ.base() == "" {
		return nil
	}
	return &static{typ: c.typ, notNull: !c.nullable && !o.outer}
}

// describe writes what is known into a column of DuckDB's, if the two agree.
func (s *static) describe(c *snowtest.Column) {
	base := s.typ.base()
	if c.Type != kinds[base] {
		return
	}
	switch base {
	case "DECIMAL":
		p, scale := s.digits()
		if int64(scale) != c.Scale {
			return
		}
		c.Precision = int64(p)
	case "VARCHAR":
		if n, ok := s.typ.length(); ok {
			c.Length = int64(n)
		} else if s.notNull && s.typ.args == nil && s.length > 0 {
			c.Length = int64(s.length)
		}
		c.ByteLength = max(min(4*c.Length, maxText), c.Length)
	case "BLOB":
		c.Length = int64(s.typ.arg(maxBinary))
		c.ByteLength = c.Length
	case "TIME", "TIMESTAMP", "TIMESTAMPTZ":
		c.Scale = int64(s.typ.arg(9))
		if base == "TIMESTAMPTZ" && !strings.Contains(s.typ.name, "LTZ") {
			c.Type = "timestamp_tz"
		}
	case variantType:
		c.Type = strings.ToLower(s.typ.name)
	}
	c.Nullable = !s.notNull
}
