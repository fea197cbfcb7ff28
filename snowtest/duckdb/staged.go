package duckdb

import (
	"context"
	"database/sql/driver"
	"os"
	"strconv"
	"strings"

	"github.com/snowtether/snowtether/snowtest/internal/stagefiles"
)

// This file makes tables of staged files: a column of text for each field, or one for a
// document. COPY INTO loads from them, and a query whose FROM names a stage reads one.

const (
	fileColumn = "METADATA$FILENAME"
	rowColumn  = "METADATA$FILE_ROW_NUMBER"
)

func position(n int) string { return "$" + strconv.Itoa(n) }

// A stagedTable is a temporary table with the records of files.
type stagedTable struct {
	name   string // for DuckDB
	format *stagefiles.Format
	width  int
}

func (w *work) records(ctx context.Context, f *stagefiles.Format, content []byte) ([]stagefiles.Record, error) {
	content, err := f.Plain(content)
	switch {
	case err != nil:
		return nil, err
	case f.Kind == "CSV":
		return f.Lines(string(content)), nil
	case f.Kind == "JSON":
		return f.Documents(content), nil
	}
	path, err := w.e.scratch()
	if err == nil {
		err = os.WriteFile(path, content, 0o600)
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(path) }()
	rows, err := w.values(ctx, "SELECT CAST(system.main.to_json(t) AS VARCHAR) FROM system.main.read_parquet("+quoteString(path)+") AS t")
	list := make([]stagefiles.Record, len(rows))
	for i, row := range rows {
		list[i] = stagefiles.Record{Fields: row, Line: i + 1}
	}
	return list, err
}

// A stagedFile is a file with its records.
type stagedFile struct {
	name    string
	records []stagefiles.Record
}

func (w *work) makeStaged(ctx context.Context, t *stagedTable, files ...stagedFile) error {
	for _, f := range files {
		for _, rec := range f.records {
			t.width = max(t.width, len(rec.Fields))
		}
	}
	if err := w.execute(ctx, "CREATE OR REPLACE TEMP TABLE "+t.name+" ("+strings.Join(t.columns(" VARCHAR"), ", ")+")"); err != nil {
		return err
	}
	rows := &bindTable{}
	for n, name := range t.columns("") {
		var values []driver.Value
		for _, f := range files {
			for i, rec := range f.records {
				var value driver.Value
				switch {
				case n == t.width:
					value = f.name
				case n > t.width:
					value = strconv.Itoa(i + 1)
				case n < len(rec.Fields) && rec.Fields[n] != nil:
					value = *rec.Fields[n]
				}
				values = append(values, value)
			}
		}
		rows.names, rows.values, rows.rows = append(rows.names, strings.Trim(name, `"`)), append(rows.values, values), len(values)
	}
	return rows.insert(ctx, w.conn, "INSERT INTO "+t.name+` SELECT * FROM "binds$"`)
}

func (t *stagedTable) columns(typ string) []string {
	var names []string
	for n := range t.width {
		names = append(names, quoteIdent(position(n+1))+typ)
	}
	return append(names, quoteIdent(fileColumn)+typ, quoteIdent(rowColumn)+typ)
}

// source writes what stands for the stage in FROM: documents are variants there.
func (t *stagedTable) source() string {
	replaced := "CAST(" + quoteIdent(rowColumn) + " AS BIGINT) AS " + quoteIdent(rowColumn)
	if t.format.Kind != "CSV" {
		replaced += ", parse_json(" + quoteIdent("$1") + ") AS " + quoteIdent("$1")
	}
	return "(SELECT * REPLACE (" + replaced + ") FROM " + t.name + ")"
}

// stage finds the stage in the statement's FROM, and the largest n of its columns $n.
func (r *rewriter) stage() (at, widest int) {
	for i, t := range r.toks {
		if t.isStage() && i > 0 && r.toks[i-1].word("FROM", "JOIN") {
			at = i
		}
		if n, err := strconv.Atoi(t.text); t.kind == tVar && err == nil {
			widest = max(widest, n)
		}
	}
	return at, widest
}

// stagedSource reads @stage (FILE_FORMAT => …, PATTERN => …) in FROM.
func (r *rewriter) stagedSource() string {
	ctx, w := context.Background(), &work{session: r.s}
	loc, set := r.location(), stagefiles.Settings{}
	if r.acceptOp("(") {
		set = r.settings(wordSet("FILE_FORMAT PATTERN"))
		r.expectOp(")")
	}
	if r.err != nil {
		return ""
	}
	if r.staged != nil {
		return r.staged.source()
	}
	_, n := r.stage()
	t := &stagedTable{name: `temp.main."` + r.s.e.uniqueName("staged$") + `"`, width: max(1, n)}
	if err := w.stageTable(ctx, t, loc, set); err != nil {
		r.fail(err)
		return ""
	}
	return t.source()
}

// stageTable makes a table of all files of a location.
func (w *work) stageTable(ctx context.Context, t *stagedTable, loc location, set stagefiles.Settings) (err error) {
	if t.format, err = w.formatFor(loc, set); err != nil {
		return err
	}
	files, err := w.list(loc, set)
	if err != nil {
		return err
	}
	var staged []stagedFile
	for _, f := range files {
		list, err := w.records(ctx, t.format, f.Content)
		if err != nil {
			return err
		}
		for _, rec := range list {
			if rec.Bad != nil {
				return rec.Bad.Error
			}
		}
		staged = append(staged, stagedFile{loc.stage.Shown(f.Name), list})
	}
	return w.makeStaged(ctx, t, staged...)
}
