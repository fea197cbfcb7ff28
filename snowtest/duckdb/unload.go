package duckdb

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"github.com/snowtether/snowtether/snowtest"
	"github.com/snowtether/snowtether/snowtest/internal/stagefiles"
)

// This file unloads: COPY INTO @stage FROM a table or a query.

var unloadSettings = wordSet("FILE_FORMAT OVERWRITE SINGLE MAX_FILE_SIZE HEADER DETAILED_OUTPUT")

type unloading struct {
	*work
	format *stagefiles.Format
	set    stagefiles.Settings
	query  *queryShape
	single bool
	limit  int
}

func (w *work) unload(ctx context.Context, r *rewriter) (*snowtest.Result, error) {
	loc := r.location()
	r.need("FROM")
	text := ""
	if r.peek().is("(") {
		text = r.parens()
	} else {
		text = "SELECT * FROM " + r.objectName().sql()
	}
	if r.peek().word("PARTITION") {
		r.fail(unsupported("PARTITION BY in COPY INTO a stage"))
	}
	u := &unloading{work: w, set: r.settings(unloadSettings)}
	u.limit, u.single = u.set.Number("MAX_FILE_SIZE", stagefiles.DefaultFileSize), u.set.Is("SINGLE", false)
	err := r.end()
	if err == nil {
		u.format, err = w.formatFor(loc, u.set)
	}
	if err == nil {
		u.query, err = describeQuery(ctx, w.conn, text)
	}
	if err != nil {
		return nil, err
	}
	var files []stagefiles.Unloaded
	switch {
	case w.st.DescribeOnly:
	case u.format.Kind == "CSV":
		files, err = u.csv(ctx)
	case u.format.Kind == "PARQUET":
		files, err = u.parquet(ctx)
	default:
		err = unsupported("COPY INTO a stage with TYPE = %s", u.format.Kind)
	}
	if err != nil {
		return nil, err
	}
	return w.e.files.Keep(loc.stage, loc.path, u.format, u.set, files)
}

func (u *unloading) list(column func(c snowtest.Column, i int, name string) string) string {
	items := make([]string, len(u.query.columns))
	for i, c := range u.query.columns {
		items[i] = u.query.names[u.query.places[i]]
		if c.Type == "variant" {
			items[i] = "CAST(system.main.to_json(" + items[i] + ") ->> '$." + variantField + "' AS VARCHAR)"
		}
		items[i] = column(c, i, items[i])
	}
	return u.query.selecting(items)
}

func (u *unloading) csv(ctx context.Context) ([]stagefiles.Unloaded, error) {
	rows, err := u.values(ctx, u.list(func(_ snowtest.Column, _ int, item string) string { return "sf_text(" + item + ")" }))
	var header []*string
	var isText []bool
	for i, c := range u.query.columns {
		isText = append(isText, c.Type == "text" || c.Type == "variant")
		if u.set.Is("HEADER", false) {
			header = append(header, &u.query.columns[i].Name)
		}
	}
	if u.single {
		u.limit = 0
	}
	return u.format.Unload(header, rows, isText, u.limit), err
}

// parquetRows writes the query as it is unloaded to Parquet.
func (u *unloading) parquetRows() string {
	return u.list(func(c snowtest.Column, i int, item string) string {
		if c.Type == "fixed" && c.Scale == 0 && c.Precision == 38 {
			item = "CAST(" + item + " AS DECIMAL(38,0))" // DuckDB's own whole numbers would be floats there
		}
		name := c.Name
		if !u.set.Is("HEADER", false) {
			name = "_COL_" + strconv.Itoa(i)
		}
		return item + " AS " + quoteIdent(name)
	})
}

// parquet lets DuckDB write the files: twice as many as before, until each is small enough.
func (u *unloading) parquet(ctx context.Context) ([]stagefiles.Unloaded, error) {
	// It runs once: a query that ran anew for each file would give its rows in another order.
	unloaded := "temp.main." + quoteIdent(u.e.uniqueName("unload$"))
	if _, err := exec(ctx, u.conn, "CREATE TEMP TABLE "+unloaded+" AS "+u.parquetRows()); err != nil {
		return nil, err
	}
	defer func() { _, _ = exec(ctx, u.conn, "DROP TABLE "+unloaded) }()
	rows, err := u.values(ctx, "SELECT count(*) FROM "+unloaded)
	if err != nil {
		return nil, err
	}
	total, err := strconv.Atoi(*rows[0][0])
	if err != nil {
		return nil, err
	}
	path, err := u.e.scratch()
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(path) }()
	for parts := 1; ; parts *= 2 {
		var files []stagefiles.Unloaded
		each, largest := (total+parts-1)/parts, 0
		for at := 0; at < total; at += each {
			if _, err := exec(ctx, u.conn, fmt.Sprintf("COPY (SELECT * FROM %s ORDER BY rowid LIMIT %d OFFSET %d) TO %s (FORMAT parquet)", unloaded, each, at, quoteString(path))); err != nil {
				return nil, err
			}
			content, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			largest = max(largest, len(content))
			files = append(files, stagefiles.Unloaded{Content: content, Rows: min(each, total-at), Size: len(content)})
		}
		if largest <= u.limit || each <= 1 || u.single {
			return files, nil
		}
	}
}
