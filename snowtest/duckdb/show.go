package duckdb

import (
	"cmp"
	"context"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/snowtether/snowtether/snowtest"
)

// textTable makes a result of texts.
func textTable(names []string, rows [][]*string) *snowtest.Result {
	res := &snowtest.Result{Kind: snowtest.KindSelect, ReadOnly: true, Rows: append([][]*string{}, rows...)}
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
	return textTable(names, rows), nil
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
	kind := slices.IndexFunc(res.Columns, func(c snowtest.Column) bool { return c.Name == "kind" })
	var rows [][]*string
	for _, row := range res.Rows {
		rows = append(rows, append(row[:2:2], texts("SCHEMA")[0]))
		if kind >= 0 {
			rows[len(rows)-1][2] = row[kind]
		}
	}
	out := textTable([]string{"created_on", "name", "kind"}, rows)
	out.Columns[0] = res.Columns[0]
	return out, nil
}

// A listing is a SHOW command with its filters.
type listing struct {
	what   string
	terse  bool
	like   *regexp.Regexp // nil for all
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
			l.like = r.like()
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
	switch l.what {
	case "TABLES", "VIEWS", "SCHEMAS", "DATABASES", "SEQUENCES", "OBJECTS":
		return w.showObjects(ctx, l)
	case "WAREHOUSES":
		return w.showWarehouses(l), nil
	case "COLUMNS":
		return w.showColumns(ctx, l)
	case "PARAMETERS":
		return w.showParameters(l), nil
	case "VARIABLES":
		return w.showVariables(ctx, l)
	case "STAGES":
		return w.showStages(l), nil
	}
	return nil, unsupported("SHOW %s", l.what)
}

// like reads the pattern of a LIKE, which in SHOW has no regard to case.
func (r *rewriter) like() *regexp.Regexp {
	pattern := strings.NewReplacer(`\\_`, "_", `\\%`, "%", "_", ".", "%", ".*").Replace(regexp.QuoteMeta(r.takeString().text))
	like, err := regexp.Compile("(?is)^" + pattern + "$")
	if err != nil {
		r.fail(unsupported("SHOW with this LIKE"))
	}
	return like
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

// where writes the place to which a SHOW is limited as a condition on catalog columns.
func (w *work) where(l *listing) string {
	database, schema := w.place(l)
	text := pick(l.what != "DATABASES" && database != "", "database_name = "+quoteString(database), "TRUE")
	return text + pick(l.what != "SCHEMAS" && l.what != "DATABASES" && schema != "", " AND schema_name = "+quoteString(schema), "")
}

// filtered applies LIKE, STARTS WITH and LIMIT to rows that have their names in this column.
func (l *listing) filtered(rows [][]*string, name int) [][]*string {
	rows = slices.DeleteFunc(rows, func(row []*string) bool {
		return l.like != nil && !l.like.MatchString(*row[name]) || !strings.HasPrefix(*row[name], l.prefix)
	})
	if n, err := strconv.Atoi(l.limit); err == nil {
		rows = rows[:min(n, len(rows))]
	}
	return rows
}

func (w *work) showObjects(ctx context.Context, l *listing) (*snowtest.Result, error) {
	text := "SELECT * FROM sf_show_" + strings.ToLower(l.what) + "(" + quoteString(w.database) + ", " + quoteString(w.schema) + ") WHERE " + w.where(l) + " ORDER BY "
	text += pick(l.what == "OBJECTS", "database_name, schema_name, name", "name")
	res := &snowtest.Result{Kind: snowtest.KindSelect, ReadOnly: true}
	var err error
	if res.Columns, res.Rows, err = query(ctx, w.conn, text, w.st.DescribeOnly); err != nil {
		return nil, err
	}
	res.Rows = l.filtered(res.Rows, 1)
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
	} else {
		columns, err = w.columnsWhere(ctx, "database_name NOT IN ("+hiddenDatabases+") AND "+w.where(l))
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
	return textTable([]string{"table_name", "schema_name", "column_name", "data_type", "null?", "default", "kind", "expression", "comment", "database_name", "autoincrement"}, l.filtered(rows, 2)), nil
}

func (w *work) showParameters(l *listing) *snowtest.Result {
	values := maps.Clone(w.params)
	for name := range parameters {
		values[name] = w.param(name)
	}
	var rows [][]*string
	for _, name := range sortedKeys(values) {
		p := parameters[name]
		_, set := w.params[name]
		rows = append(rows, texts(name, values[name], p.standard, pick(set, "SESSION", ""), "", cmp.Or(p.kind, "STRING")))
	}
	return textTable([]string{"key", "value", "default", "level", "description", "type"}, l.filtered(rows, 0))
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
