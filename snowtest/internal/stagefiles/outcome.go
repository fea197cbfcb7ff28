package stagefiles

import (
	"fmt"
	"strings"

	"github.com/snowtether/snowtether/snowtest"
)

// This file is what COPY says of files: those that were loaded, and those that were made.

// An Outcome is what became of a file that COPY met.
type Outcome struct {
	File                          File
	Status                        string
	Parsed, Loaded, Limit, Errors int
	First                         *Rejected
}

// Rejected is a record that is not loaded. Rows and lines are counted from 1.
type Rejected struct {
	*Bad
	File      string
	Row, Line int
}

// Shown is the name of a file in results: that of a named stage begins with the stage's.
func (k Key) Shown(file string) string {
	if k.Always() {
		return file
	}
	return strings.ToLower(k[2][strings.LastIndexByte(k[2], '.')+1:]) + "/" + file
}

// Judge says, by ON_ERROR, what becomes of a file with these records that cannot be loaded.
func (o *Outcome) Judge(set Settings, bad []Rejected) error {
	word, count, percent, _ := set.OnError()
	switch {
	case len(bad) > 0 && word == "ABORT_STATEMENT":
		return bad[0].Aborted()
	case word == "CONTINUE":
		o.Limit = o.Parsed
	case count > 0:
		o.Limit = count
	case percent > 0:
		o.Limit = max(1, o.Parsed*percent/100)
	}
	if o.Errors = len(bad); o.Errors > 0 {
		o.First, o.Status = &bad[0], "PARTIALLY_LOADED"
		tooMany := word != "CONTINUE" && o.Errors >= o.Limit
		if percent > 0 {
			tooMany = o.Errors*100 > percent*o.Parsed // "exceeds" it, where a number is reached
		}
		if tooMany || o.Errors == o.Parsed {
			o.Status = "LOAD_FAILED"
		}
	}
	return nil
}

// Aborted is the error of a COPY that ends at the record.
func (b Rejected) Aborted() error {
	where := fmt.Sprintf("\n  File '%s', line %d, character %d\n  Row %d", b.File, b.Line, b.Char, b.Row)
	if b.Column != "" {
		where += ", column " + b.Column
	}
	return failure(b.Code, b.SQLState, "%s%s\n  If you would like to continue loading when an error is encountered, use other values such as "+
		"'SKIP_FILE' or 'CONTINUE' for the ON_ERROR option. For more information on loading options, please run 'info loading_data' in a SQL client.", b.Message, where)
}

// Loaded is the result of COPY INTO a table.
func Loaded(stage Key, outcomes []Outcome) *snowtest.Result {
	if len(outcomes) == 0 {
		return snowtest.Status(snowtest.KindCopy, "Copy executed with 0 files processed.")
	}
	var rows [][]any
	for _, o := range outcomes {
		row := []any{stage.Shown(o.File.Name), o.Status, o.Parsed, o.Loaded, o.Limit, o.Errors, nil, nil, nil, nil}
		if b := o.First; b != nil {
			copy(row[6:], []any{b.Message, b.Line, b.Char, b.Column})
		}
		rows = append(rows, row)
	}
	res := snowtest.Rows([]string{"file", "status", "rows_parsed", "rows_loaded", "error_limit", "errors_seen",
		"first_error", "first_error_line", "first_error_character", "first_error_column_name"}, rows...)
	res.Kind = snowtest.KindCopy
	return res
}

// Errors is the result of VALIDATION_MODE = RETURN_ERRORS.
func Errors(list []Rejected) *snowtest.Result {
	var rows [][]any
	for _, b := range list {
		rows = append(rows, []any{b.Message, b.File, b.Line, b.Char, "parsing", strings.TrimLeft(b.Code, "0"), b.SQLState, b.Column, b.Row})
	}
	return reading(snowtest.Rows([]string{"ERROR", "FILE", "LINE", "CHARACTER", "CATEGORY", "CODE", "SQL_STATE", "COLUMN_NAME", "ROW_NUMBER"}, rows...))
}

func reading(res *snowtest.Result) *snowtest.Result {
	res.ReadOnly = true
	return res
}

// Listed is the result of LIST.
func Listed(stage Key, files []File) *snowtest.Result {
	var rows [][]any
	for _, f := range files {
		rows = append(rows, []any{stage.Shown(f.Name), len(f.Content), f.Sum, f.Modified.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")})
	}
	return reading(snowtest.Rows([]string{"name", "size", "md5", "last_modified"}, rows...))
}

// Remove removes files, and gives the result of REMOVE.
func (s *Store) Remove(stage Key, files ...File) *snowtest.Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	var rows [][]any
	for _, f := range files {
		if st := s.find(stage); st != nil {
			delete(st.files, f.Name)
		}
		rows = append(rows, []any{stage.Shown(f.Name), "removed"})
	}
	res := snowtest.Rows([]string{"name", "result"}, rows...)
	res.ReadOnly, res.OutsideTransaction = len(rows) == 0, true
	return res
}

// Keep puts the files of an unload into a stage, under names that begin as the path says, and
// gives the result of COPY INTO the stage.
func (s *Store) Keep(stage Key, path string, f *Format, set Settings, files []Unloaded) (*snowtest.Result, error) {
	single, place := set.Is("SINGLE", false), Place{Store: s, Stage: stage}
	end := map[string]string{"CSV": ".csv", "PARQUET": ".snappy.parquet"}[f.Kind]
	if f.Packed() {
		end += ".gz"
	}
	if v := f.Text("FILE_EXTENSION"); v != "" {
		end = "." + strings.TrimPrefix(v, ".")
	}
	if path == "" || strings.HasSuffix(path, "/") {
		path += "data"
	}
	var rows [][]any
	sums := []int64{0, 0, 0}
	for i, file := range files {
		name := fmt.Sprintf("%s_0_%d_0%s", path, i, end)
		if single {
			name = path
		}
		_, found := place.ReadFile(name)
		switch limit := set.Number("MAX_FILE_SIZE", DefaultFileSize); {
		case single && file.Size > limit:
			return nil, failure("100181", "22000", "Max file size (%d) exceeded for unload single file mode. Please increase MAX_FILE_SIZE or set SINGLE = FALSE.", limit)
		case found && !set.Is("OVERWRITE", false):
			return nil, failure("001030", "22000", "SQL compilation error:\nFiles already existing at the unload destination: %s. Use overwrite option to force unloading.", stage.Shown(path))
		}
		rows = append(rows, []any{name, len(file.Content), file.Rows})
		for n, v := range []int{file.Rows, file.Size, len(file.Content)} {
			sums[n] += int64(v)
		}
	}
	for i, file := range files {
		place.WriteFile(rows[i][0].(string), file.Content)
	}
	res := snowtest.Count(snowtest.KindUnload, []string{"rows_unloaded", "input_bytes", "output_bytes"}, sums)
	if set.Is("DETAILED_OUTPUT", false) {
		res = snowtest.Rows([]string{"FILE_NAME", "FILE_SIZE", "ROW_COUNT"}, rows...)
	}
	res.Kind, res.OutsideTransaction = snowtest.KindUnload, true
	return res, nil
}

// DefaultFileSize is MAX_FILE_SIZE where a COPY does not say it.
const DefaultFileSize = 16777216
