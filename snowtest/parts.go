package snowtest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
)

// formatParameter says in which format a session of gosnowflake gets the rows of its queries.
const formatParameter = "GO_QUERY_RESULT_FORMAT"

// formatParameters are the parameters of the clients that read Arrow, by the name with which
// they log in. Other clients, such as those for Node and .NET, get JSON.
var formatParameters = map[string]string{
	"Go":              formatParameter,
	"JDBC":            "JDBC_QUERY_RESULT_FORMAT",
	"ODBC":            "ODBC_QUERY_RESULT_FORMAT",
	"PythonConnector": "PYTHON_CONNECTOR_QUERY_RESULT_FORMAT",
}

const (
	formatArrow = "arrow"
	formatJSON  = "json"
)

// checkParameters refuses values of session parameters (by name in upper case) that
// the server itself has to understand.
func checkParameters(params map[string]any) error {
	value, ok := params[formatParameter]
	format := fmt.Sprint(value)
	if !ok || format == "" || strings.EqualFold(format, formatArrow) || strings.EqualFold(format, formatJSON) {
		return nil // "" after UNSET
	}
	return &Error{Code: "001006", SQLState: "22023", Message: fmt.Sprintf(
		"SQL compilation error:\ninvalid value [%s] for parameter '%s'", format, formatParameter)}
}

// parts is a result as the client gets it: the first rows stand in the reply,
// the others come in chunks.
type parts struct {
	format string
	first  []byte // JSON rows without the outer brackets, or an Arrow stream
	rows   int
	chunks []chunk
}

// size is how many bytes the rows have before compression.
func (p *parts) size() int {
	n := len(p.first)
	for _, c := range p.chunks {
		n += c.size
	}
	return n
}

// chunk is a part that the client fetches. It stands in the server's spill file.
type chunk struct {
	rows, size int // size before compression
	at         int64
	packed     int
}

// An encoder writes rows in one of the formats.
type encoder interface {
	add(rows [][]*string) error
	flush() ([]byte, error) // what was added since the last time
}

// jsonEncoder writes JSON rows without the outer brackets.
type jsonEncoder struct {
	instants []int // the columns that hold timestamps
	buf      bytes.Buffer
}

func newJSONEncoder(columns []Column) *jsonEncoder {
	e := &jsonEncoder{}
	for i, c := range columns {
		if strings.HasPrefix(c.Type, "timestamp") {
			e.instants = append(e.instants, i)
		}
	}
	return e
}

// signed writes an instant before 1970 as an account does in JSON: as one number with a sign,
// where the fraction of [Result.Rows] counts upwards. Snowflake's clients for Node and Python
// read it so. gosnowflake v2.1.0 takes the fraction for one that counts upwards, and reads
// another instant.
func signed(text string) string {
	number, zone, _ := strings.Cut(text, " ")
	sec, nsec, err := seconds(number)
	if err != nil || sec >= 0 || nsec == 0 {
		return text // what is no instant is the client's to refuse
	}
	_, fraction, _ := strings.Cut(number, ".")
	down := fmt.Sprintf("%09d", 1_000_000_000-nsec)[:len(fraction)]
	return strings.TrimSuffix(fmt.Sprintf("-%d.%s %s", -sec-1, down, zone), " ")
}

func (e *jsonEncoder) add(rows [][]*string) error {
	kept := true // the rows are the engine's, which may need them again
	for _, column := range e.instants {
		for i := range rows {
			if v := rows[i][column]; v != nil && strings.HasPrefix(*v, "-") {
				if kept {
					rows, kept = slices.Clone(rows), false
				}
				text := signed(*v)
				rows[i] = slices.Clone(rows[i])
				rows[i][column] = &text
			}
		}
	}
	text, err := json.Marshal(rows)
	if err != nil {
		return err
	}
	if e.buf.Len() > 0 {
		e.buf.WriteByte(',')
	}
	e.buf.Write(text[1 : len(text)-1])
	return nil
}

func (e *jsonEncoder) flush() ([]byte, error) {
	text := bytes.Clone(e.buf.Bytes())
	e.buf.Reset()
	return text, nil
}

// write divides a result into parts.
func (s *Server) write(q *query, res *Result) (*parts, error) {
	if len(res.Columns) == 0 && res.Kind == KindSelect {
		return nil, errors.New("a query needs a column, also when it has no rows") // gosnowflake panics without
	}
	w := &partWriter{s: s, p: &parts{format: formatJSON, first: []byte{}}, columns: len(res.Columns), room: s.partRows(0)}
	w.enc = newJSONEncoder(res.Columns)
	if s.wantsArrow(q, res.Kind) {
		if enc := newArrowEncoder(res.Columns); enc != nil {
			w.enc, w.p.format = enc, formatArrow
		}
	}
	if q.describe {
		return w.p, nil
	}
	if err := w.add(res.Rows); err != nil {
		return nil, err
	}
	if res.More != nil {
		for rows, err := range res.More {
			if err == nil {
				err = w.add(rows)
			}
			if err == nil {
				err = q.ctx.Err()
			}
			if err != nil {
				return nil, err
			}
		}
	}
	return w.p, w.flush()
}

// wantsArrow tells the format of a result. As on an account, queries are
// answered in the format of the session, and everything else (SHOW, DESCRIBE,
// CALL, counts, status rows) in JSON.
func (s *Server) wantsArrow(q *query, kind Kind) bool {
	first := append(words(q.sql, 1), "")[0]
	if kind != KindSelect || !slices.Contains([]string{"SELECT", "WITH", "VALUES", "("}, first) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name, arrow := formatParameters[q.session.client]
	if !arrow {
		return false
	}
	for _, value := range []any{q.session.params[name], s.parameters[name]} {
		if format, _ := value.(string); format != "" {
			return strings.EqualFold(format, formatArrow)
		}
	}
	return true
}

// partRows is how many rows part n holds.
func (s *Server) partRows(n int) int {
	if s.chunkRows == 0 {
		return math.MaxInt
	}
	if s.fixedChunks {
		return s.chunkRows
	}
	return s.chunkRows << min(n, 3)
}

type partWriter struct {
	s       *Server
	p       *parts
	enc     encoder
	columns int
	n       int // the part
	rows    int // in the part
	room    int // for more
	gz      *gzip.Writer
	packed  bytes.Buffer
}

func (w *partWriter) add(rows [][]*string) error {
	for _, row := range rows {
		if len(row) != w.columns {
			return fmt.Errorf("a row has %d values for %d columns", len(row), w.columns)
		}
	}
	for len(rows) > 0 {
		if w.room == 0 {
			if err := w.flush(); err != nil {
				return err
			}
		}
		n := min(w.room, len(rows))
		if err := w.enc.add(rows[:n]); err != nil {
			return err
		}
		w.rows, w.room, rows = w.rows+n, w.room-n, rows[n:]
	}
	return nil
}

// flush ends a part. There are none without rows, and a result without any has
// nothing but its columns.
func (w *partWriter) flush() error {
	if w.rows == 0 {
		return nil
	}
	text, err := w.enc.flush()
	if err != nil {
		return err
	}
	if w.n == 0 {
		w.p.first = text
	} else if err := w.spill(text); err != nil {
		return err
	}
	w.p.rows += w.rows
	w.n++
	w.rows, w.room = 0, w.s.partRows(w.n)
	return nil
}

func (w *partWriter) spill(text []byte) error {
	w.packed.Reset()
	if w.gz == nil {
		// The fastest level: the reply waits for the last chunk.
		w.gz, _ = gzip.NewWriterLevel(&w.packed, gzip.BestSpeed)
	} else {
		w.gz.Reset(&w.packed)
	}
	_, _ = w.gz.Write(text) // a bytes.Buffer takes everything
	_ = w.gz.Close()
	at, err := w.s.spill.append(w.packed.Bytes())
	w.p.chunks = append(w.p.chunks, chunk{w.rows, len(text), at, w.packed.Len()})
	return err
}

// spill is a temporary file with the chunks of all results, for as long as the
// server lives: clients fetch a chunk again when a download breaks, and other
// sessions fetch the whole result by its query ID.
type spill struct {
	mu    sync.Mutex
	file  *os.File // made for the first chunk
	named bool     // the file has to be removed
	end   int64
}

func (f *spill) append(b []byte) (at int64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		if f.file, err = os.CreateTemp("", "snowtest-chunks-*"); err != nil {
			return 0, err
		}
		// Where the system allows it, the file loses its name at once, so that
		// nothing is left of a process that is killed.
		f.named = os.Remove(f.file.Name()) != nil
	}
	at = f.end
	f.end += int64(len(b))
	_, err = f.file.WriteAt(b, at)
	return at, err
}

func (f *spill) read(c chunk) ([]byte, error) {
	f.mu.Lock()
	file := f.file
	f.mu.Unlock()
	b := make([]byte, c.packed)
	_, err := file.ReadAt(b, c.at)
	return b, err
}

// close drops the file. Nobody reads or writes any more.
func (f *spill) close() error {
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	if f.named {
		err = errors.Join(err, os.Remove(f.file.Name()))
	}
	return err
}
