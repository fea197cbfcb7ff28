package snowtest

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"io"
	"maps"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const uploadPath = "/stages/"

// stage holds the files that a session put under one stage path.
type stage struct{ files map[string][]byte }

// upload says where the file that is PUT to a presigned URL belongs.
type upload struct{ stage, name string }

func stageKey(ses *session, location string) string {
	return strconv.FormatInt(ses.id, 10) + " " + upper(strings.TrimRight(location, "/"))
}

var (
	overwrite  = regexp.MustCompile(`(?i)\bOVERWRITE\s*=\s*TRUE\b`)
	noCompress = regexp.MustCompile(`(?i)\bAUTO_COMPRESS\s*=\s*FALSE\b`)
)

// put answers a PUT with a presigned URL of the server's own, as an account on
// Google's cloud does. A LOCAL_FS stage would be simpler, but gosnowflake takes
// the size of a stream that it has already read and uploads an empty file; this
// way it sends the stream.
func (s *Server) put(q *query, file, location, options string) *Result {
	q.transfer = func(base string) map[string]any {
		name := path.Base(file)
		target := uploadPath + randomHex(16) + "/" + name
		s.mu.Lock()
		s.uploads[target] = upload{stageKey(q.session, location), name}
		s.mu.Unlock()
		compression := "none"
		if strings.HasSuffix(name, ".gz") {
			compression = "gzip"
		}
		return map[string]any{
			"command":           "UPLOAD",
			"operation":         "Node",
			"src_locations":     []string{file},
			"parallel":          4,
			"autoCompress":      !noCompress.MatchString(options),
			"overwrite":         overwrite.MatchString(options),
			"sourceCompression": compression,
			"stageInfo": map[string]any{
				"locationType":          "GCS",
				"location":              "snowtest/" + strings.TrimPrefix(location, "@"),
				"isClientSideEncrypted": false,
				"presignedUrl":          base + target,
				"creds":                 map[string]any{},
			},
		}
	}
	return Status(KindSelect, "Upload prepared.")
}

// store answers the PUT of a file to its presigned URL.
func (s *Server) store(target string, body []byte) *reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, ok := s.uploads[target]
	if !ok {
		return &reply{status: http.StatusForbidden}
	}
	if s.stages[u.stage] == nil {
		s.stages[u.stage] = &stage{files: map[string][]byte{}}
	}
	s.stages[u.stage].files[u.name] = body
	return &reply{}
}

// stagedBinds reads the bind values that gosnowflake uploaded as CSV files, one
// column for each placeholder, and drops the files.
func (s *Server) stagedBinds(ses *session, sql, location string) ([]Bind, *Error) {
	key := stageKey(ses, location)
	st := s.stages[key]
	if st == nil {
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
