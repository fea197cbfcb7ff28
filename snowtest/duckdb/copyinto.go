package duckdb

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/snowtether/snowtether/snowtest"
	"github.com/snowtether/snowtether/snowtest/internal/stagefiles"
)

// This file loads staged files: COPY INTO table.

// A load is a COPY INTO table on its way.
type load struct {
	*work
	table   object
	stage   stagefiles.Key // of the table, by which the load history knows it
	columns []column
	loc     location
	format  *stagefiles.Format
	set     stagefiles.Settings
	query   *rewriter // of COPY INTO t FROM (SELECT …), at its first word; nil without
	staged  *stagedTable
	mode    string // of validation
	match   string // by the names of columns

	outcomes []stagefiles.Outcome
	rejected []stagefiles.Rejected
}

var copySettings = wordSet("FILES PATTERN FILE_FORMAT ON_ERROR PURGE MATCH_BY_COLUMN_NAME ENFORCE_LENGTH TRUNCATECOLUMNS FORCE VALIDATION_MODE")

func (w *work) copyInto(ctx context.Context) (*snowtest.Result, error) {
	r := w.rewriter()
	r.i = 1
	if !r.accept("INTO") {
		return nil, r.unexpected(r.peek())
	}
	if r.peek().isStage() {
		return w.unload(ctx, r)
	}
	l, err := w.readLoad(ctx, r)
	if err != nil {
		return nil, err
	}
	files, err := w.list(l.loc, l.set)
	if err != nil || w.st.DescribeOnly {
		return stagefiles.Loaded(l.stage, nil), err
	}
	run := func() error {
		l.outcomes, l.rejected = nil, nil
		return w.atomically(ctx, func() error {
			for _, f := range files {
				if err := l.load(ctx, f); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if l.mode != "" {
		if err := run(); err != nil {
			return nil, err
		}
		return l.validated(ctx)
	}
	if err := w.beginImplicitly(ctx); err != nil {
		return nil, err
	}
	w.fleeting = true // it cannot be carried out again within its transaction
	if err := w.locked(ctx, run); err != nil {
		return nil, err
	}
	l.record()
	return stagefiles.Loaded(l.loc.stage, l.outcomes), nil
}

func (w *work) readLoad(ctx context.Context, r *rewriter) (*load, error) {
	l := &load{work: w, table: r.objectName()}
	var err error
	if l.columns, err = w.columnsOf(ctx, r, l.table); err == nil {
		l.stage, err = w.tableStage(l.table)
	}
	if err != nil {
		return nil, err
	}
	if r.peek().is("(") {
		l.columns = r.listed(l.columns)
	}
	l.loc = location{stage: l.stage}
	if r.accept("FROM") {
		switch t := r.peek(); {
		case t.is("("):
			l.readQuery(r)
		case t.kind == tString && !t.isStage():
			r.fail(unsupported("COPY from an external location"))
		default:
			l.loc = r.location()
		}
	}
	l.set = r.settings(copySettings)
	if err := r.end(); err != nil {
		return nil, err
	}
	if l.format, err = w.formatFor(l.loc, l.set); err != nil {
		return nil, err
	}
	l.mode, l.match = l.set.Word("VALIDATION_MODE", ""), l.set.Word("MATCH_BY_COLUMN_NAME", "NONE")
	l.staged = &stagedTable{name: `temp.main."copy$"`, format: l.format, width: max(1, len(l.columns))}
	if l.query != nil {
		_, n := l.query.stage()
		l.staged.width = max(1, n)
	}
	return l, l.check()
}

func (l *load) readQuery(r *rewriter) {
	from, depth := r.i+1, 0
	for r.err == nil {
		switch t := r.take(); {
		case t.kind == tEOF:
			r.fail(r.unexpected(t))
		case t.is("("):
			depth++
		case t.is(")"):
			depth--
		case t.isStage() && r.at(-2).word("FROM"):
			r.i--
			l.loc = r.location()
		}
		if depth == 0 {
			break
		}
	}
	if r.err == nil {
		l.query = l.session.rewriter(r.src, r.toks[from:r.i-1], l.st, l.now)
	}
}

func (l *load) check() error {
	word, _, _, known := l.set.OnError()
	switch {
	case !known:
		return compileError("001420", "22023", "invalid value [%s] for parameter 'ON_ERROR'", word)
	case l.query != nil && (l.mode != "" || word != "ABORT_STATEMENT" || l.match != "NONE"):
		return unsupported("VALIDATION_MODE, ON_ERROR or MATCH_BY_COLUMN_NAME in a COPY of a SELECT")
	case l.query == nil && l.format.Kind != "CSV" && l.match == "NONE" && !(len(l.columns) == 1 && l.columns[0].dataType == variantType):
		return compileError("002019", "0A000", "%s file format can produce one and only one column of variant, object, or array type. "+
			"Load data into a separate column using the MATCH_BY_COLUMN_NAME copy option or copy with transformation.", l.format.Kind)
	case l.match != "NONE" && l.format.Kind == "CSV" && !l.format.Is("PARSE_HEADER", false):
		return unsupported("MATCH_BY_COLUMN_NAME of CSV without PARSE_HEADER")
	case l.mode != "" && l.mode != "RETURN_ERRORS" && l.mode != "RETURN_ALL_ERRORS" && l.returnRows() < 1:
		return compileError("001420", "22023", "invalid value [%s] for parameter 'VALIDATION_MODE'", l.mode)
	}
	return nil
}

// returnRows is the n of RETURN_n_ROWS, or 0.
func (l *load) returnRows() int {
	n, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(l.mode, "RETURN_"), "_ROWS"))
	return n
}

// entry is what the load history has of a file that is loaded.
func (l *load) entry(f stagefiles.File) stagefiles.Load {
	return stagefiles.Load{Table: l.stage, From: l.loc.stage, Name: f.Name, Sum: f.Sum}
}

// record notes the files that were loaded, for when their transaction is committed, and
// purges them.
func (l *load) record() {
	for _, o := range l.outcomes {
		if o.Status != "LOAD_FAILED" {
			l.loads = append(l.loads, l.entry(o.File))
		}
		if o.Status == "LOADED" && l.set.Is("PURGE", false) {
			l.e.files.Remove(l.loc.stage, o.File)
		}
	}
	if !l.inTx {
		l.e.files.Record(l.loads)
		l.loads = nil
	}
}

// load loads one file, unless that was done, or finds out what is wrong with it.
func (l *load) load(ctx context.Context, f stagefiles.File) error {
	done := l.e.files.Loaded(l.entry(f)) || l.inTx && slices.Contains(l.loads, l.entry(f))
	if done && l.mode == "" && !l.set.Is("FORCE", false) {
		return nil
	}
	list, err := l.records(ctx, l.format, f.Content)
	if err != nil {
		return err
	}
	if l.match != "NONE" {
		names := each(l.columns, func(c column) string { return c.name })
		list = l.format.Match(list, names, l.match == "CASE_INSENSITIVE")
	}
	if err := l.makeStaged(ctx, l.staged, stagedFile{l.loc.stage.Shown(f.Name), list}); err != nil {
		return err
	}
	o := stagefiles.Outcome{File: f, Status: "LOADED", Parsed: len(list), Limit: 1}
	text := ""
	if l.query != nil {
		r := *l.query
		r.staged = l.staged
		text = r.wholeQuery()
		if err = r.end(); err == nil {
			text, err = l.converted(ctx, text, l.columns)
		}
	} else {
		text, err = l.judge(ctx, list, &o)
	}
	if err == nil && l.mode == "" && o.Status != "LOAD_FAILED" {
		insert := "INSERT INTO " + l.table.sql() + " (" + strings.Join(withRests(l.columns), ", ") + ")"
		var n int64
		n, err = exec(ctx, l.conn, insert+" "+text)
		o.Loaded = int(n)
	}
	l.outcomes = append(l.outcomes, o)
	return err
}

func (l *load) judge(ctx context.Context, list []stagefiles.Record, o *stagefiles.Outcome) (string, error) {
	values, conditions := l.conversions()
	bad, err := l.bad(ctx, list, l.loc.stage.Shown(o.File.Name), conditions)
	l.rejected = append(l.rejected, bad...)
	if err == nil && l.mode == "" {
		err = o.Judge(l.set, bad)
	}
	rows := []string{"'0'"}
	for _, b := range bad {
		rows = append(rows, "'"+strconv.Itoa(b.Row)+"'")
	}
	return "SELECT " + values + " FROM " + l.staged.name + " WHERE " + quoteIdent(rowColumn) + " NOT IN (" + strings.Join(rows, ", ") + ")", err
}

// conversions writes the values of the columns, with what their times have besides, and for
// each column the condition under which it has none.
func (l *load) conversions() (values string, conditions []string) {
	var list []string
	short := l.set.Is("TRUNCATECOLUMNS", false) || !l.set.Is("ENFORCE_LENGTH", true)
	for i, c := range l.columns {
		field := "(" + quoteIdent(position(i+1)) + ")"
		value, rest := l.conversion(c, field)
		condition := field + " IS NOT NULL AND TRY(" + value + ") IS NULL"
		if n, ok := c.length(); ok && short {
			value = fmt.Sprintf("system.main.left(%s, %d)", value, n)
		} else if ok {
			condition += fmt.Sprintf(" OR length(%s) > %d", value, n)
		}
		if !c.nullable {
			condition += " OR TRY(" + value + ") IS NULL"
		}
		list, conditions = append(list, value), append(conditions, condition)
		if c.rest && l.mode == "" {
			list = append(list, rest)
		} else if l.mode != "" {
			list[len(list)-1] += " AS " + quoteIdent(c.name)
		}
	}
	return strings.Join(list, ", "), conditions
}

func (l *load) conversion(c column, field string) (value, rest string) {
	switch {
	case c.typ.semi():
		return c.typ.cast("parse_json("+field+")", true, false), ""
	case l.format.Kind != "CSV":
		field = "(sf_text(parse_json(" + field + ")))"
	}
	if c.typ.base() == "VARCHAR" {
		return field, ""
	}
	return c.typ.cast(field, false, false), c.typ.rest(field, nil)
}

// bad finds the records of a file that cannot be loaded, in their order.
func (l *load) bad(ctx context.Context, list []stagefiles.Record, file string, conditions []string) ([]stagefiles.Rejected, error) {
	found := map[int]*stagefiles.Bad{}
	counted := l.format.Kind == "CSV" && l.match == "NONE" && l.format.Is("ERROR_ON_COLUMN_COUNT_MISMATCH", true)
	for i, rec := range list {
		if n := len(rec.Fields); rec.Bad != nil {
			found[i+1] = rec.Bad
		} else if n != len(l.columns) && counted {
			found[i+1] = &stagefiles.Bad{Char: 1, Error: sfError("100080", "22000", "Number of columns in file (%d) does not match that of the corresponding table (%d), "+
				"use file format option error_on_column_count_mismatch=false to ignore this error", n, len(l.columns))}
		}
	}
	text := "SELECT " + quoteIdent(rowColumn) + ", CASE"
	for i, c := range conditions {
		text += " WHEN " + c + " THEN " + strconv.Itoa(i)
	}
	rows, err := l.values(ctx, "SELECT * FROM ("+text+" END AS bad FROM "+l.staged.name+") WHERE bad IS NOT NULL")
	for _, row := range rows {
		n, _ := strconv.Atoi(*row[0])
		i, _ := strconv.Atoi(*row[1])
		if found[n] == nil {
			found[n] = l.reason(ctx, i, list[n-1].Fields)
		}
	}
	var bad []stagefiles.Rejected
	for _, n := range slices.Sorted(maps.Keys(found)) {
		bad = append(bad, stagefiles.Rejected{Bad: found[n], File: file, Row: n, Line: list[n-1].Line})
	}
	return bad, err
}

// reason says what is wrong with the field of a column. Another connection finds out, because
// an error would end the transaction.
func (l *load) reason(ctx context.Context, i int, fields []*string) *stagefiles.Bad {
	c := l.columns[i]
	b := &stagefiles.Bad{Error: sfError("100072", "22000", "NULL result in a non-nullable column"), Char: 1,
		Column: `"` + l.table.name + `"["` + c.name + `":` + strconv.Itoa(i+1) + `]`}
	if i >= len(fields) || fields[i] == nil {
		return b
	}
	for _, f := range fields[:i] {
		if b.Char++; f != nil {
			b.Char += len(*f)
		}
	}
	l.e.mu.Lock()
	defer l.e.mu.Unlock()
	var ignored any
	value, _ := l.conversion(c, "("+quoteString(*fields[i])+")")
	err := l.e.admin.QueryRowContext(ctx, "SELECT CAST("+value+" AS VARCHAR)").Scan(&ignored)
	if n, _ := c.length(); err == nil {
		b.Error = sfError("100078", "22000", "User character length limit (%d) exceeded by string '%s'", n, *fields[i])
	} else if sf, ok := translate(ctx, "", err).(*snowtest.Error); ok {
		b.Error = sf
	}
	return b
}

func (l *load) validated(ctx context.Context) (*snowtest.Result, error) {
	n := l.returnRows()
	switch {
	case n == 0:
		return stagefiles.Errors(l.rejected), nil
	case len(l.rejected) > 0:
		return nil, l.rejected[0].Aborted()
	case len(l.outcomes) == 0:
		return stagefiles.Loaded(l.stage, nil), nil
	}
	values, _ := l.conversions()
	columns, rows, err := query(ctx, l.conn, "SELECT "+values+" FROM "+l.staged.name+" ORDER BY CAST("+quoteIdent(rowColumn)+" AS BIGINT) LIMIT "+strconv.Itoa(n), false)
	return &snowtest.Result{Kind: snowtest.KindSelect, ReadOnly: true, Columns: columns, Rows: rows}, err
}
