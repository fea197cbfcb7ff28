package duckdb

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/snowtether/snowtether/snowtest"
)

// textTable makes a result of texts.
func textTable(names []string, rows [][]*string) *snowtest.Result {
	res := &snowtest.Result{Kind: snowtest.KindSelect, ReadOnly: true, Rows: rows}
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

func (w *work) describe(ctx context.Context) (*snowtest.Result, error) {
	r := w.rewriter()
	r.i = 1
	what := r.take()
	if what.word("SCHEMA", "DATABASE") {
		return w.describeContainer(ctx, r, what.text)
	}
	if !what.word("TABLE", "VIEW", "STAGE") {
		return nil, unsupported("DESCRIBE %s", what.text)
	}
	name := r.objectName()
	if r.accept("TYPE") {
		r.acceptOp("=")
		r.accept("COLUMNS")
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	if what.word("STAGE") {
		return w.describeStage(name)
	}
	columns, err := w.columns(ctx, name)
	if err != nil {
		return nil, err
	}
	names := []string{"name", "type", "kind", "null?", "default", "primary key", "unique key", "check", "expression", "comment", "policy name"}
	var rows [][]*string
	for _, c := range columns {
		null := pick(c.nullable, "Y", "N")
		row := texts(c.name, c.typeName(), "COLUMN", null, c.defaultText(), "N", "N", "", "", c.comment(), "")
		for _, i := range []int{4, 7, 8, 9, 10} {
			if *row[i] == "" {
				row[i] = nil
			}
		}
		rows = append(rows, row)
	}
	return w.shown(textTable(names, rows)), nil
}

func (w *work) describeContainer(ctx context.Context, r *rewriter, scope string) (*snowtest.Result, error) {
	l := &listing{what: map[string]string{"SCHEMA": "OBJECTS", "DATABASE": "SCHEMAS"}[scope], scope: scope, in: r.objectName()}
	if err := r.end(); err != nil {
		return nil, err
	}
	database, schema := w.place(l)
	if err := w.mustExist(ctx, object{database: database, schema: schema}, errNoObject); err != nil {
		return nil, err
	}
	res, err := w.showObjects(ctx, l)
	if err != nil {
		return nil, err
	}
	var rows [][]*string
	for _, row := range res.Rows {
		rows = append(rows, append(row[:2:2], texts("SCHEMA")[0]))
		if i := slices.IndexFunc(res.Columns, func(c snowtest.Column) bool { return c.Name == "kind" }); i >= 0 {
			rows[len(rows)-1][2] = row[i]
		}
	}
	out := textTable([]string{"created_on", "name", "kind"}, rows)
	out.Columns[0] = res.Columns[0]
	return w.shown(out), nil
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
		if err := w.mustExist(ctx, object{database: database, schema: schema}, errNoObject); err != nil {
			return nil, err
		}
	}
	var res *snowtest.Result
	var err error
	switch l.what {
	case "TABLES", "VIEWS", "SCHEMAS", "DATABASES", "SEQUENCES", "OBJECTS":
		res, err = w.showObjects(ctx, l)
	case "WAREHOUSES":
		res = w.showWarehouses(l)
	case "COLUMNS":
		res, err = w.showColumns(ctx, l)
	case "PARAMETERS":
		res = w.showParameters(l)
	case "VARIABLES":
		res, err = w.showVariables(ctx)
	case "STAGES":
		res, err = w.showStages(l)
	default:
		return nil, unsupported("SHOW %s", l.what)
	}
	if err != nil {
		return nil, err
	}
	return w.shown(res), nil
}

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
		l.scope = cmp.Or(map[string]string{"COLUMNS": "TABLE", "SCHEMAS": "DATABASE"}[l.what], "SCHEMA")
	}
}

// place gives the database and the schema to which a SHOW is limited.
func (w *work) place(l *listing) (database, schema string) {
	switch l.scope {
	case "DATABASE":
		database = cmp.Or(l.in.name, w.database)
	case "SCHEMA":
		database, schema = cmp.Or(l.in.schema, w.database), cmp.Or(l.in.name, w.schema)
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
	conds := []string{"TRUE"}
	add := func(format string, args ...any) { conds = append(conds, fmt.Sprintf(format, args...)) }
	database, schema := w.place(l)
	if l.what != "DATABASES" && database != "" {
		add("database_name = %s", quoteString(database))
	}
	if l.what != "SCHEMAS" && l.what != "DATABASES" && schema != "" {
		add("schema_name = %s", quoteString(schema))
	}
	if l.like != "" {
		add("%s ILIKE %s ESCAPE '\\'", name, quoteString(l.like))
	}
	if l.prefix != "" {
		add("starts_with(%s, %s)", name, quoteString(l.prefix))
	}
	return strings.Join(conds, " AND ")
}

func (w *work) showObjects(ctx context.Context, l *listing) (*snowtest.Result, error) {
	text := "SELECT * FROM sf_show_" + strings.ToLower(l.what) + "(" + quoteString(w.database) + ", " + quoteString(w.schema) + ") WHERE " + w.where(l, "name") + " ORDER BY "
	text += pick(l.what == "OBJECTS", "database_name, schema_name, name", "name") + pick(l.limit != "", " LIMIT "+l.limit, "")
	res := &snowtest.Result{Kind: snowtest.KindSelect, ReadOnly: true}
	var err error
	if res.Columns, res.Rows, err = query(ctx, w.conn, text, w.st.DescribeOnly); err != nil {
		return nil, err
	}
	return res, w.fill(ctx, strings.TrimSuffix(l.what, "S"), res)
}

// fill says of each object when it was created, where DuckDB does not know, and of each
// table how many rows it has: DuckDB's own estimate counts deleted rows too.
func (w *work) fill(ctx context.Context, kind string, res *snowtest.Result) error {
	at := map[string]int{}
	for i, c := range res.Columns {
		at[c.Name] = i
	}
	for _, row := range res.Rows {
		o := object{name: *row[at["name"]]}
		if i, ok := at["database_name"]; ok {
			o.database = *row[i]
		}
		if i, ok := at["schema_name"]; ok {
			o.schema = *row[i]
		}
		if row[0] == nil {
			text := w.e.createdOn(kind, o)
			row[0] = &text
		}
		if kind == "TABLE" {
			if *row[at["kind"]] == "TEMPORARY" {
				o = object{name: o.name}
			}
			count, err := w.values(ctx, "SELECT count(*) FROM "+o.sql())
			if err != nil {
				return err
			}
			row[at["rows"]] = count[0][0]
		}
	}
	return nil
}

func (w *work) showColumns(ctx context.Context, l *listing) (*snowtest.Result, error) {
	var columns []column
	var err error
	if l.scope == "TABLE" || l.scope == "VIEW" {
		columns, err = w.columns(ctx, l.in)
		like := strings.ToUpper(l.like)
		columns = slices.DeleteFunc(columns, func(c column) bool { return like != "" && !likeMatch(like, strings.ToUpper(c.name)) })
	} else {
		columns, err = w.columnsWhere(ctx, "database_name NOT IN ("+hiddenDatabases+") AND "+w.where(l, "column_name"))
	}
	if err != nil {
		return nil, err
	}
	var rows [][]*string
	for _, c := range columns {
		null := pick(c.nullable, "true", "NOT_NULL")
		auto := pick(strings.Contains(c.standard, "identity$"), "IDENTITY", "")
		rows = append(rows, texts(c.table.name, c.table.schema, c.name, c.typeJSON(), null, c.defaultText(), "COLUMN", "", c.comment(), c.table.database, auto))
	}
	return textTable([]string{"table_name", "schema_name", "column_name", "data_type", "null?", "default", "kind", "expression", "comment", "database_name", "autoincrement"}, rows), nil
}

func (w *work) showParameters(l *listing) *snowtest.Result {
	names := sortedKeys(w.params)
	for _, p := range parameters {
		if _, ok := w.params[p.name]; !ok {
			names = append(names, p.name)
		}
	}
	slices.Sort(names)
	var rows [][]*string
	for _, name := range names {
		if l.like != "" && !likeMatch(strings.ToUpper(l.like), name) {
			continue
		}
		p, _ := findParameter(name)
		_, set := w.params[name]
		rows = append(rows, texts(name, w.param(name), p.standard, pick(set, "SESSION", ""), "", p.kind))
	}
	return textTable([]string{"key", "value", "default", "level", "description", "type"}, rows)
}

// likeMatch matches % and _ as LIKE does.
func likeMatch(pattern, s string) bool {
	for pattern != "" {
		switch pattern[0] {
		case '%':
			for i := 0; i <= len(s); i++ {
				if likeMatch(pattern[1:], s[i:]) {
					return true
				}
			}
			return false
		case '_':
			if s == "" {
				return false
			}
		default:
			if s == "" || s[0] != pattern[0] {
				return false
			}
		}
		pattern, s = pattern[1:], s[1:]
	}
	return s == ""
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
