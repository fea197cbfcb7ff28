package duckdb

import (
	"cmp"
	"strings"
)

// An object is the name of a table, view, sequence or schema, with what
// qualifies it as far as the client said.
type object struct{ database, schema, name string }

func (o object) sql() string { return o.joined(quoteIdent) }

func (o object) joined(each func(string) string) string {
	var parts []string
	for _, p := range []string{o.database, o.schema, o.name} {
		if p != "" {
			parts = append(parts, each(p))
		}
	}
	return strings.Join(parts, ".")
}

// String writes the name as Snowflake's messages do.
func (o object) String() string { return o.joined(func(p string) string { return p }) }

func (o object) in(s *session) (object, error) {
	if o.schema == "" {
		o.schema, o.database = s.schema, s.database
	}
	o.database = cmp.Or(o.database, s.database)
	if o.database == "" {
		return o, sfError("090105", "22000", "Cannot perform operation. This session does not have a current database. Call 'USE DATABASE', or use a qualified name.")
	}
	if o.schema == "" {
		return o, sfError("090106", "22000", "Cannot perform operation. This session does not have a current schema. Call 'USE SCHEMA', or use a qualified name.")
	}
	return o, nil
}

func (r *rewriter) objectName() object {
	var parts []token
	if r.peek().word("IDENTIFIER") && r.at(1).is("(") {
		r.i++
		return r.identified(r.parens())
	}
	for r.err == nil {
		t := r.take()
		if !t.ident() {
			if t.is(".") && len(parts) == 1 {
				parts = append(parts, token{text: defaultSchema})
				continue
			}
			r.fail(r.unexpected(t))
			return object{}
		}
		parts = append(parts, t)
		if !r.acceptOp(".") {
			break
		}
	}
	if len(parts) == 0 || len(parts) > 3 {
		r.fail(r.unexpected(r.at(-1)))
		return object{}
	}
	return objectOf(parts)
}

func objectOf(parts []token) object {
	o := object{name: parts[len(parts)-1].text}
	if len(parts) > 1 {
		o.schema = parts[len(parts)-2].text
	}
	if len(parts) > 2 {
		o.database = parts[len(parts)-3].text
	}
	return o
}

func (r *rewriter) identified(value string) object {
	name, ok := unquoted(value)
	sub := newReader(r.s, name)
	o := sub.objectName()
	if !ok || sub.end() != nil {
		r.fail(unsupported("IDENTIFIER(%s)", value))
	}
	return o
}

func (r *rewriter) schemaName() object {
	o := r.objectName()
	if o.database != "" {
		r.fail(r.unexpected(r.at(-1)))
	}
	full, err := object{database: o.schema, schema: o.name}.in(r.s)
	r.fail(err)
	return full
}
