package snowtest

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// stage is the place of the files that a session put under one stage path, where the
// server keeps them itself.
type stage struct {
	mu    sync.Mutex
	files map[string][]byte
}

func (st *stage) ReadFile(name string) ([]byte, bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	content, ok := st.files[name]
	return content, ok
}

func (st *stage) WriteFile(name string, content []byte) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.files[name] = content
}

func stageKey(ses *session, location string) string {
	return strconv.FormatInt(ses.id, 10) + " " + upper(strings.TrimRight(location, "/"))
}

var (
	overwrite  = regexp.MustCompile(`(?i)\bOVERWRITE\s*=\s*TRUE\b`)
	noCompress = regexp.MustCompile(`(?i)\bAUTO_COMPRESS\s*=\s*FALSE\b`)
)

// put answers a PUT whose files the server keeps itself. A LOCAL_FS stage would be simpler,
// but gosnowflake takes the size of a stream that it has already read and uploads an empty
// file; to an object store it sends the stream.
func (s *Server) put(q *query, file, location, options string) *Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := stageKey(q.session, location)
	if s.stages[key] == nil {
		s.stages[key] = &stage{files: map[string][]byte{}}
	}
	t := &Transfer{Place: s.stages[key], Files: []string{file}, AutoCompress: !noCompress.MatchString(options),
		Overwrite: overwrite.MatchString(options), SourceCompression: "none", Encrypted: true}
	if strings.HasSuffix(file, ".gz") {
		t.SourceCompression = "gzip"
	}
	res := Status(KindSelect, "Upload prepared.")
	res.Transfer = t
	return res
}

// stagedBinds reads the bind values that gosnowflake uploaded as CSV files, one
// column for each placeholder, and drops the files.
func (s *Server) stagedBinds(ses *session, sql, location string) ([]Bind, *Error) {
	key := stageKey(ses, location)
	st := s.stages[key]
	if st == nil || len(st.files) == 0 {
		return nil, &Error{Code: "002003", SQLState: "02000", Message: "Stage '" + location + "' does not exist or not authorized."}
	}
	delete(s.stages, key)
	names := slices.SortedFunc(maps.Keys(st.files), func(a, b string) int {
		i, _ := strconv.Atoi(a) // gosnowflake numbers its files
		j, _ := strconv.Atoi(b)
		return cmp.Or(cmp.Compare(i, j), cmp.Compare(a, b))
	})
	binds := make([]Bind, countPlaceholders(sql)) // also of files without a row
	for i := range binds {
		binds[i] = Bind{Type: "TEXT", Array: []*string{}}
	}
	for _, name := range names {
		for _, row := range parseCSV(string(unpack(st.files[name]))) {
			for len(binds) < len(row) {
				binds = append(binds, Bind{Type: "TEXT"})
			}
			for i, value := range row {
				binds[i].Array = append(binds[i].Array, value)
			}
		}
	}
	return binds, nil
}

// unpack undoes gzip, if it was used.
func unpack(b []byte) []byte {
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return b
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		return b
	}
	return plain
}

// closingQuote is where a quoted field ends, behind its quote. A doubled quote is part
// of it.
func closingQuote(text string, from int) int {
	for i := from; i < len(text); i++ {
		switch {
		case text[i] != '"':
		case i+1 < len(text) && text[i+1] == '"':
			i++
		default:
			return i + 1
		}
	}
	return len(text)
}

// parseCSV reads CSV whose fields are optionally enclosed in double quotes. An
// empty field is NULL unless it is quoted, which encoding/csv cannot tell.
func parseCSV(text string) [][]*string {
	var rows [][]*string
	var row []*string
	for i := 0; i < len(text); {
		var field *string
		if text[i] == '"' {
			end := closingQuote(text, i+1)
			value := strings.ReplaceAll(strings.TrimSuffix(text[i+1:end], `"`), `""`, `"`)
			field, i = &value, end
		} else {
			end := len(text)
			if n := strings.IndexAny(text[i:], ",\n"); n >= 0 {
				end = i + n
			}
			if end > i {
				value := text[i:end]
				field = &value
			}
			i = end
		}
		row = append(row, field)
		if i < len(text) && text[i] == ',' {
			i++
			if i == len(text) || text[i] == '\n' {
				row = append(row, nil) // a comma before the end: one more empty field
			} else {
				continue
			}
		}
		rows, row = append(rows, row), nil
		i++
	}
	return rows
}
