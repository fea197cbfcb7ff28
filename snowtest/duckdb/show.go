package duckdb

import (
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
		row := texts(c.name, c.typeName(), "COLUMN", null, c.defaultText(), "N", "N", "", "", c.comment(), "")
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
	case "OBJECTS":
		res, err = w.showTablesAndViews(ctx, l)
	case "WAREHOUSES":
		res = w.showWarehouses(l)
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

// showObjects lists tables, views, schemas, databases and sequences.
func (w *work) showObjects(ctx context.Context, l *listing) (*snowtest.Result, error) {
	const created = "TRY_CAST(split_part(comment, chr(31), 1) AS TIMESTAMPTZ) AS created_on, "
	const unknown = "CAST(NULL AS TIMESTAMPTZ) AS created_on, "
	const owner = ", 'SYSADMIN' AS owner"
	text := ""
	switch l.what {
	case "TABLES":
		// A temporary table belongs to the session and to no schema. DuckDB's own
		// column "temporary" turns false when a comment is set.
		counts, err := w.rowCounts(ctx)
		if err != nil {
			return nil, err
		}
		text = "SELECT " + created + "table_name AS name, CASE WHEN t.database_name = 'temp' THEN " + quoteString(w.database) + " ELSE t.database_name END AS database_name, CASE WHEN t.database_name = 'temp' THEN " +
			quoteString(w.schema) + " ELSE t.schema_name END AS schema_name, CASE WHEN t.database_name = 'temp' THEN 'TEMPORARY' ELSE 'TABLE' END AS kind" +
			", COALESCE(split_part(comment, chr(31), 3), '') AS comment, '' AS cluster_by, " + counts + " AS \"rows\", CAST(NULL AS BIGINT) AS bytes" + owner + ", '1' AS retention_time" +
			" FROM duckdb_tables() t WHERE " + strings.NewReplacer("database_name =", "(CASE WHEN t.database_name = 'temp' THEN "+quoteString(w.database)+" ELSE t.database_name END) =",
			"schema_name =", "(CASE WHEN t.database_name = 'temp' THEN "+quoteString(w.schema)+" ELSE t.schema_name END) =",
			"database_name NOT IN ("+hiddenDatabases+")", "t.database_name <> '"+macroDatabase+"'").Replace(w.where(l, "table_name"))
	case "VIEWS":
		text = "SELECT " + unknown + "view_name AS name, '' AS reserved, database_name, schema_name" + owner + ", COALESCE(comment, '') AS comment, sql AS text" +
			" FROM duckdb_views() WHERE NOT internal AND " + w.where(l, "view_name")
	case "SEQUENCES":
		text = "SELECT " + unknown + "sequence_name AS name, database_name, schema_name, start_value AS next_value, increment_by AS \"interval\"" + owner +
			" FROM duckdb_sequences() WHERE NOT starts_with(sequence_name, 'identity$') AND " + w.where(l, "sequence_name")
	case "SCHEMAS":
		current := "CASE WHEN database_name = " + quoteString(w.database) + " AND schema_name = " + quoteString(w.schema) + " THEN 'Y' ELSE 'N' END"
		text = "SELECT " + unknown + "schema_name AS name, 'N' AS is_default, " + current + " AS is_current, database_name" + owner + ", '' AS comment, '' AS options, '1' AS retention_time" +
			" FROM duckdb_schemas() WHERE schema_name NOT IN ('main', 'information_schema', 'pg_catalog') AND " + w.where(l, "schema_name")
	default:
		current := "CASE WHEN database_name = " + quoteString(w.database) + " THEN 'Y' ELSE 'N' END"
		text = "SELECT " + unknown + "database_name AS name, 'N' AS is_default, " + current + " AS is_current, '' AS origin" + owner + ", '' AS comment, '' AS options, '1' AS retention_time" +
			" FROM duckdb_databases() WHERE NOT internal AND " + w.where(l, "database_name")
	}
	res := &snowtest.Result{Kind: snowtest.KindSelect, ReadOnly: true}
	var err error
	res.Columns, res.Rows, err = query(ctx, w.conn, text, w.st.DescribeOnly)
	w.fillCreated(strings.TrimSuffix(l.what, "S"), res)
	return res, err
}

// fillCreated says of each object when it was created, where DuckDB does not know.
func (w *work) fillCreated(kind string, res *snowtest.Result) {
	at := map[string]int{}
	for i, c := range res.Columns {
		at[c.Name] = i
	}
	for _, row := range res.Rows {
		if row[0] != nil {
			continue
		}
		o := object{name: *row[at["name"]]}
		if i, ok := at["database_name"]; ok {
			o.database = *row[i]
		}
		if i, ok := at["schema_name"]; ok {
			o.schema = *row[i]
		}
		text := w.e.createdOn(kind, o)
		row[0] = &text
	}
}

// rowCounts writes an expression that gives the number of rows of each table of
// duckdb_tables(): DuckDB's own estimate counts deleted rows too.
func (w *work) rowCounts(ctx context.Context) (string, error) {
	rows, err := w.values(ctx, "SELECT CAST(table_oid AS VARCHAR), database_name, schema_name, table_name FROM duckdb_tables() WHERE database_name NOT IN ('system', '"+macroDatabase+"')")
	if err != nil {
		return "", err
	}
	if len(rows) == 0 {
		return "CAST(0 AS BIGINT)", nil
	}
	var b strings.Builder
	b.WriteString("CASE")
	for _, r := range rows {
		o := object{*r[1], *r[2], *r[3]}
		b.WriteString(" WHEN table_oid = " + *r[0] + " AND t.database_name = " + quoteString(o.database) + " THEN (SELECT count(*) FROM " + o.sql() + ")")
	}
	b.WriteString(" END")
	return b.String(), nil
}

func (w *work) showColumns(ctx context.Context, l *listing) (*snowtest.Result, error) {
	var columns []column
	var err error
	if l.scope == "TABLE" || l.scope == "VIEW" {
		columns, err = w.columns(ctx, l.in)
		like := strings.ToUpper(l.like)
		columns = slices.DeleteFunc(columns, func(c column) bool { return like != "" && !likeMatch(like, strings.ToUpper(c.name)) })
	} else {
		where, _, _ := strings.Cut(w.where(l, "column_name"), " ORDER BY ")
		columns, err = w.columnsWhere(ctx, where)
	}
	if err != nil {
		return nil, err
	}
	var rows [][]*string
	for _, c := range columns {
		null := "NOT_NULL"
		if c.nullable {
			null = "true"
		}
		auto := ""
		if strings.Contains(c.standard, "identity$") {
			auto = "IDENTITY"
		}
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
		level := ""
		if _, ok := w.params[name]; ok {
			level = "SESSION"
		}
		rows = append(rows, texts(name, w.param(name), p.standard, level, "", p.kind))
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
