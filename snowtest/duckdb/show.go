package duckdb

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/snowtether/snowtether/snowtest"
)

// A column is one column of a table in DuckDB's catalog.
type column struct {
	name, dataType, standard, note string
	nullable                       bool
	table                          object
}

// columns lists the columns of a table or view.
func (s *session) columns(ctx context.Context, o object) ([]column, error) {
	full, err := o.in(s)
	if err != nil {
		return nil, err
	}
	where := "database_name = " + quoteString(full.database) + " AND schema_name = " + quoteString(full.schema) + " AND table_name = " + quoteString(full.name)
	if o.schema == "" {
		temp, err := s.columnsWhere(ctx, "database_name = 'temp' AND table_name = "+quoteString(o.name))
		if err != nil || len(temp) > 0 {
			return temp, err
		}
	}
	columns, err := s.columnsWhere(ctx, where)
	if err == nil && len(columns) == 0 {
		return nil, notExists(o.String())
	}
	return columns, err
}

func (s *session) columnsWhere(ctx context.Context, where string) ([]column, error) {
	rows, err := s.values(ctx, `SELECT column_name, data_type, column_default, comment, is_nullable, database_name, schema_name, table_name
		FROM duckdb_columns() WHERE NOT internal AND `+where+` ORDER BY database_name, schema_name, table_name, column_index`)
	if err != nil {
		return nil, err
	}
	var out []column
	for _, r := range rows {
		c := column{name: *r[0], dataType: *r[1], nullable: *r[4] == "1", table: object{*r[5], *r[6], *r[7]}}
		if r[2] != nil && *r[2] != "NULL" {
			c.standard = *r[2]
		}
		if r[3] != nil {
			c.note = *r[3]
		}
		out = append(out, c)
	}
	return out, nil
}

func (c column) declared() string { return strings.Split(c.note, noteSeparator)[0] }

func (c column) comment() string {
	if _, text, ok := strings.Cut(c.note, noteSeparator); ok {
		return text
	}
	return ""
}

// length gives the declared length of a text.
func (c column) length() (int, bool) {
	text, ok := strings.CutPrefix(c.declared(), "VARCHAR(")
	n, err := strconv.Atoi(strings.TrimSuffix(text, ")"))
	return n, ok && err == nil
}

// columnNote gives the declared type of the column that a qualified name means.
func (s *session) columnNote(ctx context.Context, parts []token) (string, error) {
	var names []string
	for _, p := range parts[:len(parts)-1] {
		names = append(names, p.text)
	}
	o := object{name: names[len(names)-1]}
	if len(names) > 1 {
		o.schema = names[len(names)-2]
	}
	if len(names) > 2 {
		o.database = names[len(names)-3]
	}
	columns, err := s.columns(ctx, o)
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(columns, func(c column) bool { return c.name == parts[len(parts)-1].text })
	if i < 0 {
		return "", compileError("000904", "42000", "invalid identifier '%s'", parts[len(parts)-1].text)
	}
	return columns[i].declared(), nil
}

// typeName gives the type as DESCRIBE TABLE writes it.
func (c column) typeName() string {
	if d := c.declared(); d != "" {
		return d
	}
	switch {
	case strings.HasPrefix(c.dataType, "DECIMAL"):
		return "NUMBER" + strings.TrimPrefix(c.dataType, "DECIMAL")
	case c.dataType == variantType:
		return "VARIANT"
	}
	switch c.dataType {
	case "VARCHAR":
		return "VARCHAR(16777216)"
	case "DOUBLE", "FLOAT":
		return "FLOAT"
	case "INTEGER":
		return "NUMBER(10,0)"
	case "BIGINT":
		return "NUMBER(19,0)"
	case "HUGEINT":
		return "NUMBER(38,0)"
	case "TIMESTAMP":
		return "TIMESTAMP_NTZ(9)"
	case "TIMESTAMP WITH TIME ZONE":
		return "TIMESTAMP_LTZ(9)"
	case "BLOB":
		return "BINARY(8388608)"
	case "TIME":
		return "TIME(9)"
	}
	return c.dataType
}

// typeJSON gives the type as SHOW COLUMNS writes it.
func (c column) typeJSON() string {
	name, args, _ := strings.Cut(strings.TrimSuffix(c.typeName(), ")"), "(")
	info := map[string]any{"nullable": c.nullable, "type": name}
	first, second, two := strings.Cut(args, ",")
	n, _ := strconv.Atoi(first)
	m, _ := strconv.Atoi(second)
	switch {
	case name == "NUMBER" && two:
		info["type"], info["precision"], info["scale"] = "FIXED", n, m
	case name == "VARCHAR":
		info["type"], info["length"], info["byteLength"], info["fixed"] = "TEXT", n, min(4*n, maxText), false
	case name == "BINARY":
		info["length"], info["byteLength"], info["fixed"] = n, n, false
	case name == "FLOAT":
		info["type"] = "REAL"
	case args != "":
		info["precision"], info["scale"] = 0, n
	}
	text, err := json.Marshal(info)
	if err != nil {
		return name
	}
	return string(text)
}

// textTable makes a result of texts.
func textTable(names []string, rows [][]*string) *snowtest.Result {
	res := &snowtest.Result{Kind: snowtest.KindSelect, Rows: rows}
	if rows == nil {
		res.Rows = [][]*string{}
	}
	for _, n := range names {
		res.Columns = append(res.Columns, snowtest.Column{Name: n, Type: "text", Length: maxText, ByteLength: maxText, Nullable: true})
	}
	return res
}

func texts(values ...string) []*string {
	row := make([]*string, len(values))
	for i := range values {
		row[i] = &values[i]
	}
	return row
}

// describe carries out DESCRIBE TABLE and DESCRIBE VIEW.
func (w *work) describe(ctx context.Context) (*snowtest.Result, error) {
	r := w.rewriter()
	r.i = 1
	if !r.accept("TABLE", "VIEW") {
		return nil, unsupported("DESCRIBE %s", r.peek().text)
	}
	name := r.objectName()
	if r.accept("TYPE") {
		r.acceptOp("=")
		r.accept("COLUMNS")
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	columns, err := w.columns(ctx, name)
	if err != nil {
		return nil, err
	}
	names := []string{"name", "type", "kind", "null?", "default", "primary key", "unique key", "check", "expression", "comment", "policy name"}
	var rows [][]*string
	for _, c := range columns {
		null := "N"
		if c.nullable {
			null = "Y"
		}
		row := texts(c.name, c.typeName(), "COLUMN", null, c.standard, "N", "N", "", "", c.comment(), "")
		for _, i := range []int{4, 7, 8, 9, 10} {
			if *row[i] == "" {
				row[i] = nil
			}
		}
		rows = append(rows, row)
	}
	res := textTable(names, rows)
	if w.st.DescribeOnly {
		return describeOnly(res), nil
	}
	return res, nil
}

// A listing is a SHOW command with its filters.
type listing struct {
	what   string
	terse  bool
	like   string
	prefix string
	limit  string
	scope  string // ACCOUNT, DATABASE, SCHEMA, TABLE or empty
	in     object
}

func (w *work) show(ctx context.Context) (*snowtest.Result, error) {
	r := w.rewriter()
	r.i = 1
	l := &listing{terse: r.accept("TERSE")}
	l.what = r.take().text
	r.accept("HISTORY")
	for r.err == nil && r.peek().kind != tEOF {
		switch t := r.take(); {
		case t.word("LIKE") && r.peek().kind == tString:
			l.like = r.take().text
		case t.word("STARTS") && r.accept("WITH") && r.peek().kind == tString:
			l.prefix = r.take().text
		case t.word("LIMIT") && r.peek().kind == tNumber:
			l.limit = r.take().text
		case t.word("IN", "FOR"):
			r.scope(l)
		default:
			r.fail(r.unexpected(t))
		}
	}
	if r.err != nil {
		return nil, r.err
	}
	if database, schema := w.place(l); l.in.name != "" && database != "" {
		if err := w.mustExist(ctx, object{database: database, schema: schema}); err != nil {
			return nil, err
		}
	}
	var res *snowtest.Result
	var err error
	switch l.what {
	case "TABLES", "VIEWS", "SCHEMAS", "DATABASES", "SEQUENCES":
		res, err = w.showObjects(ctx, l)
	case "COLUMNS":
		res, err = w.showColumns(ctx, l)
	case "PARAMETERS":
		res = w.showParameters(l)
	case "VARIABLES":
		res, err = w.showVariables(ctx)
	default:
		return nil, unsupported("SHOW %s", l.what)
	}
	if err == nil && w.st.DescribeOnly {
		res = describeOnly(res)
	}
	return res, err
}

// scope reads what follows IN.
func (r *rewriter) scope(l *listing) {
	switch t := r.peek(); {
	case t.word("ACCOUNT", "SESSION"):
		r.i++
		l.scope = "ACCOUNT"
	case t.word("DATABASE", "SCHEMA", "TABLE", "VIEW"):
		r.i++
		l.scope = t.text
		if n := r.peek(); n.ident() && !n.word("LIKE", "STARTS", "LIMIT") {
			l.in = r.objectName()
		}
	default:
		l.in = r.objectName()
		switch {
		case l.what == "COLUMNS":
			l.scope = "TABLE"
		case l.what == "SCHEMAS":
			l.scope = "DATABASE"
		default:
			l.scope = "SCHEMA"
		}
	}
}

// place gives the database and the schema to which a SHOW is limited.
func (w *work) place(l *listing) (database, schema string) {
	switch l.scope {
	case "DATABASE":
		if database = l.in.name; database == "" {
			database = w.database
		}
	case "SCHEMA":
		database, schema = l.in.schema, l.in.name
		if database == "" {
			database = w.database
		}
		if schema == "" {
			schema = w.schema
		}
	case "":
		database = w.database
		if l.what != "SCHEMAS" && l.what != "DATABASES" {
			schema = w.schema
		}
	}
	return database, schema
}

// where writes the filters of a SHOW as a condition on catalog columns.
func (w *work) where(l *listing, name string) string {
	var conds []string
	add := func(format string, args ...any) { conds = append(conds, fmt.Sprintf(format, args...)) }
	database, schema := w.place(l)
	if l.what != "DATABASES" && database != "" {
		add("database_name = %s", quoteString(database))
	}
	if l.what != "SCHEMAS" && l.what != "DATABASES" && schema != "" {
		add("schema_name = %s", quoteString(schema))
	}
	add("database_name NOT IN (%s)", hiddenDatabases)
	if l.like != "" {
		add("%s ILIKE %s ESCAPE '\\'", name, quoteString(l.like))
	}
	if l.prefix != "" {
		add("starts_with(%s, %s)", name, quoteString(l.prefix))
	}
	text := strings.Join(conds, " AND ") + " ORDER BY " + name
	if l.limit != "" {
		text += " LIMIT " + l.limit
	}
	return text
}
