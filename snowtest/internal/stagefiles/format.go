package stagefiles

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/snowtether/snowtether/snowtest"
)

// A Format is what a file's bytes mean.
type Format struct {
	Settings
	Kind                                     string // CSV, JSON or PARQUET
	field, record, enclosed, escape, escape2 string // escape2: of fields that are not enclosed
	nullIf                                   []string
}

func failure(code, state, format string, args ...any) *snowtest.Error {
	return &snowtest.Error{Code: code, SQLState: state, Message: fmt.Sprintf(format, args...)}
}

func refused(format string, args ...any) *snowtest.Error {
	return failure("000002", "0A000", "Unsupported feature '%s'.", fmt.Sprintf(format, args...))
}

func words(list string) map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.Fields(list) {
		set[w] = true
	}
	return set
}

var formatSettings = map[string]map[string]bool{
	"CSV": words(`TYPE COMPRESSION COMMENT RECORD_DELIMITER FIELD_DELIMITER FILE_EXTENSION PARSE_HEADER SKIP_HEADER SKIP_BLANK_LINES
		DATE_FORMAT TIME_FORMAT TIMESTAMP_FORMAT BINARY_FORMAT ESCAPE ESCAPE_UNENCLOSED_FIELD TRIM_SPACE FIELD_OPTIONALLY_ENCLOSED_BY
		NULL_IF ERROR_ON_COLUMN_COUNT_MISMATCH EMPTY_FIELD_AS_NULL SKIP_BYTE_ORDER_MARK ENCODING`),
	"JSON":    words("TYPE COMPRESSION COMMENT FILE_EXTENSION STRIP_OUTER_ARRAY STRIP_NULL_VALUES SKIP_BYTE_ORDER_MARK"),
	"PARQUET": words("TYPE COMPRESSION COMMENT SNAPPY_COMPRESSION USE_LOGICAL_TYPE"),
}

// standing are the only values that these options can have here.
var standing = map[string]string{"DATE_FORMAT": "AUTO", "TIME_FORMAT": "AUTO", "TIMESTAMP_FORMAT": "AUTO", "BINARY_FORMAT": "HEX",
	"ENCODING": "UTF8", "STRIP_NULL_VALUES": "FALSE", "SKIP_BYTE_ORDER_MARK": "TRUE"}

// NewFormat reads the options of a format. What it does not know, or cannot do, is an error.
func NewFormat(set Settings) (*Format, error) {
	f := &Format{Settings: set, Kind: set.Word("TYPE", "CSV")}
	known := formatSettings[f.Kind]
	if known == nil {
		return nil, refused("file format %s", f.Kind)
	}
	for name, v := range set {
		want, fixed := standing[name]
		switch {
		case !known[name] && name != "CREATED":
			return nil, failure("001420", "22023", "SQL compilation error:\ninvalid parameter '%s'", name)
		case fixed && strings.ReplaceAll(strings.ToUpper(v.Text), "-", "") != want:
			return nil, refused("%s = %s", name, v.Text)
		}
	}
	if c := set.Word("COMPRESSION", "AUTO"); !slices.Contains([]string{"AUTO", "NONE", "GZIP"}, c) && !(f.Kind == "PARQUET" && c == "SNAPPY") {
		return nil, refused("COMPRESSION = %s", c)
	}
	f.field, f.record = set.mark("FIELD_DELIMITER", ","), set.mark("RECORD_DELIMITER", "\n")
	f.enclosed, f.escape = set.mark("FIELD_OPTIONALLY_ENCLOSED_BY", ""), set.mark("ESCAPE", "")
	f.escape2 = set.mark("ESCAPE_UNENCLOSED_FIELD", `\`)
	if v, ok := set["NULL_IF"]; !ok {
		f.nullIf = []string{`\N`}
	} else if f.nullIf = v.List; v.List == nil {
		f.nullIf = []string{v.Text}
	}
	return f, nil
}

// Plain undoes the compression of a file.
func (f *Format) Plain(content []byte) ([]byte, error) {
	c := f.Word("COMPRESSION", "AUTO")
	if f.Kind == "PARQUET" || c == "NONE" || c == "AUTO" && !bytes.HasPrefix(content, []byte("\x1f\x8b")) {
		return content, nil
	}
	z, err := gzip.NewReader(bytes.NewReader(content))
	if err == nil {
		content, err = io.ReadAll(z)
	}
	if err != nil {
		return nil, failure("100083", "22000", "Error decompressing the file: %v", err)
	}
	return content, nil
}

// A Record is a line of a CSV file, or a document.
type Record struct {
	Fields []*string
	Line   int // the first is 1
	Bad    *Bad
}

// A Bad is why a record is not loaded.
type Bad struct {
	*snowtest.Error
	Char   int
	Column string
}

// Documents are the records of a JSON file.
func (f *Format) Documents(content []byte) (list []Record) {
	content = bytes.TrimPrefix(content, []byte("\ufeff"))
	dec := json.NewDecoder(bytes.NewReader(content))
	for {
		var doc json.RawMessage
		err := dec.Decode(&doc)
		line := 1 + bytes.Count(content[:dec.InputOffset()], []byte("\n"))
		docs := []json.RawMessage{doc}
		switch {
		case errors.Is(err, io.EOF):
			return list
		case err != nil:
			return append(list, Record{Line: line, Fields: []*string{nil}, Bad: &Bad{failure("100069", "22P02", "Error parsing JSON: %v", err), int(dec.InputOffset()), ""}})
		case f.Is("STRIP_OUTER_ARRAY", false) && doc[0] == '[':
			err = json.Unmarshal(doc, &docs)
		}
		for _, d := range docs {
			var b bytes.Buffer
			err = errors.Join(err, json.Compact(&b, d))
			text := b.String()
			list = append(list, Record{[]*string{&text}, line, nil})
		}
	}
}

// A csvReader goes over a CSV file.
type csvReader struct {
	*Format
	text string
	pos  int
}

// Lines are the records of a CSV file behind its header, whose lines end where lines end, whatever
// is in them.
func (f *Format) Lines(text string) (list []Record) {
	c, line := &csvReader{f, strings.TrimPrefix(text, "\ufeff"), 0}, 1
	for ; line <= f.Number("SKIP_HEADER", 0); line++ {
		end := strings.IndexByte(c.text[c.pos:], '\n')
		if end < 0 {
			return nil
		}
		c.pos += end + 1
	}
	for c.pos < len(c.text) {
		start, rec := c.pos, Record{Line: line}
		for more := true; more; more = c.acceptField() {
			field, bad := c.next(c.pos - start)
			rec.Fields = append(rec.Fields, field)
			if bad != nil && rec.Bad == nil {
				rec.Bad = bad
			}
		}
		blank := c.pos == start
		c.pos += max(c.recordEnd(), 0)
		line += strings.Count(c.text[start:c.pos], "\n")
		if !blank || !f.Is("SKIP_BLANK_LINES", false) {
			list = append(list, rec)
		}
	}
	return list
}

func (c *csvReader) acceptField() bool {
	ok := c.field != "" && strings.HasPrefix(c.text[c.pos:], c.field)
	if ok {
		c.pos += len(c.field)
	}
	return ok
}

// recordEnd is how long the delimiter is that ends a record here; -1 if none does.
func (c *csvReader) recordEnd() int {
	rest := c.text[c.pos:]
	switch {
	case rest == "":
		return 0
	case c.record == "\n" && strings.HasPrefix(rest, "\r\n"):
		return 2
	case c.record == "\n" && rest[0] == '\r':
		return 1
	case c.record != "" && strings.HasPrefix(rest, c.record):
		return len(c.record)
	}
	return -1
}

func (c *csvReader) ends() bool {
	return c.recordEnd() >= 0 || c.field != "" && strings.HasPrefix(c.text[c.pos:], c.field)
}

// next reads a field, which begins at this character of its record.
func (c *csvReader) next(char int) (*string, *Bad) {
	trim := c.Is("TRIM_SPACE", false)
	for trim && c.pos < len(c.text) && c.text[c.pos] == ' ' {
		c.pos++
	}
	if c.enclosed != "" && strings.HasPrefix(c.text[c.pos:], c.enclosed) {
		return c.quoted(char, trim)
	}
	start := c.pos
	for !c.ends() {
		if c.escape2 != "" && strings.HasPrefix(c.text[c.pos:], c.escape2) && c.pos+1 < len(c.text) {
			c.pos++
		}
		c.pos++
	}
	value := c.text[start:c.pos]
	if trim {
		value = strings.TrimRight(value, " ")
	}
	if slices.Contains(c.nullIf, value) || value == "" && c.Is("EMPTY_FIELD_AS_NULL", true) {
		return nil, nil
	}
	if c.escape2 != "" {
		value = unescaped(value, c.escape2)
	}
	return &value, nil
}

// quoted reads a field that is enclosed.
func (c *csvReader) quoted(char int, trim bool) (*string, *Bad) {
	var b strings.Builder
	q := c.enclosed
	for c.pos += len(q); c.pos < len(c.text); c.pos++ {
		rest := c.text[c.pos:]
		switch {
		case c.escape != "" && c.escape != q && strings.HasPrefix(rest, c.escape) && len(rest) > 1:
			b.WriteString(unescaped(rest[:2], c.escape))
			c.pos++
		case strings.HasPrefix(rest, q+q):
			b.WriteString(q)
			c.pos++
		case strings.HasPrefix(rest, q):
			c.pos += len(q)
			for trim && c.pos < len(c.text) && c.text[c.pos] == ' ' {
				c.pos++
			}
			value, at := b.String(), c.pos
			for !c.ends() {
				c.pos++
			}
			if c.pos > at {
				return nil, &Bad{failure("100016", "22000", "Found character '%c' instead of field delimiter '%s'", c.text[at], c.field), char + 1, ""}
			}
			if slices.Contains(c.nullIf, value) {
				return nil, nil
			}
			return &value, nil
		default:
			b.WriteByte(rest[0])
		}
	}
	return nil, &Bad{failure("100066", "22000", "End of file reached while expecting the field to be closed with '%s'", q), char + 1, ""}
}

// fieldText writes a field of an unload.
func (f *Format) fieldText(v *string, isText bool) string {
	switch {
	case v == nil && len(f.nullIf) > 0:
		return f.nullIf[0]
	case v == nil:
		return ""
	case f.enclosed != "" && (isText || strings.Contains(*v, f.field)):
		return f.enclosed + strings.ReplaceAll(*v, f.enclosed, f.enclosed+f.enclosed) + f.enclosed
	case f.escape2 != "" && f.enclosed == "":
		replace := []string{f.escape2, f.escape2 + f.escape2, f.record, f.escape2 + f.record}
		if f.field != "" {
			replace = append(replace, f.field, f.escape2+f.field)
		}
		return strings.NewReplacer(replace...).Replace(*v)
	}
	return *v
}

// Match puts the fields of each record where the columns of the same name are: those of a
// document, and those under the header of a CSV file with PARSE_HEADER, which is dropped.
func (f *Format) Match(list []Record, columns []string, insensitive bool) []Record {
	same := func(a, b string) bool { return a == b || insensitive && strings.EqualFold(a, b) }
	var header []*string
	if f.Kind == "CSV" && len(list) > 0 {
		header, list = list[0].Fields, list[1:]
	}
	for i, rec := range list {
		doc := map[string]json.RawMessage{}
		if header == nil && rec.Bad == nil {
			_ = json.Unmarshal([]byte(*rec.Fields[0]), &doc) // a document that is no object has no columns
		}
		fields := make([]*string, len(columns))
		for c, column := range columns {
			for n, name := range header {
				if name != nil && same(*name, column) && n < len(rec.Fields) {
					fields[c] = rec.Fields[n]
				}
			}
			for name, value := range doc {
				if text := string(value); same(name, column) && text != "null" {
					fields[c] = &text
				}
			}
		}
		list[i].Fields = fields
	}
	return list
}

// An Unloaded is a file that an unload makes.
type Unloaded struct {
	Content []byte
	Rows    int
	Size    int // before compression
}

// Unload writes rows as CSV files. Each begins with the header, if there is one, and takes
// rows up to the limit in bytes; 0 is none. Text says which columns are enclosed.
func (f *Format) Unload(header []*string, rows [][]*string, text []bool, limit int) []Unloaded {
	line := func(row []*string) string {
		fields := make([]string, len(row))
		for i, v := range row {
			fields[i] = f.fieldText(v, text[i])
		}
		return strings.Join(fields, f.field) + f.record
	}
	var files []Unloaded
	for at := 0; at < len(rows); {
		var b bytes.Buffer
		if header != nil {
			b.WriteString(line(header))
		}
		n := 0
		for ; at < len(rows) && (n == 0 || limit == 0 || b.Len() < limit); at, n = at+1, n+1 {
			b.WriteString(line(rows[at]))
		}
		files = append(files, Unloaded{f.pack(b.Bytes()), n, b.Len()})
	}
	return files
}

// Packed reports whether the files of an unload are compressed with gzip.
func (f *Format) Packed() bool { return f.Kind == "CSV" && f.Word("COMPRESSION", "AUTO") != "NONE" }

func (f *Format) pack(content []byte) []byte {
	if !f.Packed() {
		return content
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(content) // a buffer takes everything
	_ = z.Close()
	return merged(b.Bytes())
}

// merged makes the first block of a file the last, if it is the only one with content, as zlib
// writes it: Go's gzip ends each file with an empty block of 5 bytes, and the sizes that GET and
// LIST show are those of an account's files.
func merged(packed []byte) []byte {
	const head, tail = 10, 8 // of gzip, around the blocks
	blocks, sum := packed[head:len(packed)-tail], packed[len(packed)-tail:]
	short := slices.Clone(blocks)
	short[0] |= 1 // the last block
	rest := bytes.NewReader(short)
	n, err := io.Copy(io.Discard, flate.NewReader(rest))
	if err != nil || uint32(n) != binary.LittleEndian.Uint32(sum[4:]) {
		return packed
	}
	return slices.Concat(packed[:head], short[:len(short)-rest.Len()], sum)
}
