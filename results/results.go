// Package results reads the results of queries, also large ones, whole: each row once and in
// order, whatever becomes of the session, the URLs and the network while they are read.
//
// A large result comes in parts, from the cloud's object store, under URLs that expire. A driver
// cannot go on with rows that a program is already reading: it does not know what the program has
// done with them. But Snowflake keeps the result for 24 hours, under the ID of its query. [Read]
// and [Rows] count the rows that they have handed out. After an expired URL, an ended session, a
// download that was cut off or stalls, or an outage they fetch the same result again by its ID, and
// go on at the row. The query runs once.
//
//	err := results.Read(ctx, db, results.SQL("SELECT * FROM orders WHERE day = ?", day), func(b results.Batch) error {
//		return write(b.RecordBatch) // released when this returns
//	})
//
// The pool is snowtether's or gosnowflake's own. With snowtether the query itself survives its
// session as well, and waits for the end of an outage.
//
// # What it costs
//
// One connection of the pool, held while the result is read, and the memory of a few parts: see
// [Ahead]. Rows are read in gosnowflake's Arrow-batch mode, in which its own goroutines for
// downloads, and their faults, do not exist: a Next that waits for ever, a panic at the end of a
// context. Plain rows of [database/sql.DB.Query] still have them, unless the pool is snowtether's.
//
// Arrow's compute package, which gosnowflake uses in this mode, makes a program some 19 MB larger.
// Hence a package of its own: the driver does not import it.
package results

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/snowflakedb/gosnowflake/v2/arrowbatches"
)

// A Batch is some rows of the result that follow each other, as an Arrow record batch. It is
// released when the function that it was given to returns: what is to be kept longer is retained,
// or copied.
//
// A TIME is an Arrow time, and a timestamp an Arrow timestamp, in milli-, micro- or nanoseconds, as
// many digits as the column has; a TIMESTAMP_LTZ is in the TIMEZONE of the session that the query
// ran in, a TIMESTAMP_TZ is the instant, in UTC. A NUMBER is as Snowflake sends it: in the narrowest
// integer that holds the values of its part, without its scale (1.50 is 150, see Columns), or a
// decimal. So its type can differ from one batch to the next.
type Batch struct {
	arrow.RecordBatch
	QueryID string
	First   int64    // the number of its first row in the result, from 0
	Total   int64    // rows in the result
	Columns []Column // of the result, in order

	original arrow.RecordBatch // the same rows in Snowflake's own forms
	part     *arrowbatches.ArrowBatch
	zone     *time.Location
}

// Timestamp gives a value of a TIMESTAMP column exactly, whatever its unit: TIMESTAMP_NTZ in UTC,
// TIMESTAMP_LTZ in the TIMEZONE of the session that the query ran in, TIMESTAMP_TZ with its own
// offset, which a record batch has no place for. It is false for NULL, and for a column of another
// type.
func (b Batch) Timestamp(column, row int) (time.Time, bool) {
	if column < 0 || column >= len(b.Columns) || row < 0 || int64(row) >= b.NumRows() || !b.Columns[column].isTimestamp() {
		return time.Time{}, false
	}
	return timestamp(b.original, b.part, b.Columns[column], column, row, b.zone)
}

// A Column of the result.
type Column struct {
	Name             string
	Type             string // Snowflake's name of it: FIXED (all NUMBERs), REAL, TEXT, TIMESTAMP_NTZ, …
	Precision, Scale int    // of FIXED; of TIME and timestamps, Scale is the digits of their seconds
	Nullable         bool
}

// A Progress says how far the reading is.
type Progress struct {
	QueryID     string        // empty while it is not known
	Running     bool          // the query is, or a connection is waited for
	Rows, Total int64         // before the next one, and of the result; Total is -1 while it is not known
	Columns     []Column      // nil while they are not known
	Elapsed     time.Duration // since the reading began
	Fetches     int           // times that the result was fetched, the first time included
	Again       error         // why it is fetched again: set in the one report that says so
}

// An Option changes how a result is read.
type Option func(*settings) error

type settings struct {
	ahead      int
	limit      time.Duration
	original   bool
	onProgress func(Progress)
}

// Ahead sets how many parts of the result are downloaded before they are wanted, from 0 to 1000; the
// default is 3.
// With the part that is being read, parts+1 are in memory. How large a part is, Snowflake decides.
func Ahead(parts int) Option {
	return func(s *settings) error {
		if parts < 0 || parts > 1000 {
			return fmt.Errorf("Ahead(%d): parts must be from 0 to 1000", parts)
		}
		s.ahead = parts
		return nil
	}
}

// PartTimeout bounds the download of one part, to 24 hours at most; the default is 2 minutes. A part that takes longer
// is given up and fetched anew, with twice the time at each new try, at most 8 times d.
func PartTimeout(d time.Duration) Option {
	return func(s *settings) error {
		if d <= 0 || d > 24*time.Hour {
			return fmt.Errorf("PartTimeout(%v): the time must be positive, and at most 24h", d)
		}
		s.limit = d
		return nil
	}
}

// OnProgress has f told how far the reading is: at once, every second while the query runs, when
// the result is there, after each batch, and when the result is about to be fetched again. One call
// is made at a time, in the goroutine that reads. f must not wait for long, and not use the rows.
func OnProgress(f func(Progress)) Option {
	return func(s *settings) error { s.onProgress = f; return nil }
}

// OriginalTimestamps leaves times and timestamps of a [Batch] in the forms in which Snowflake sends
// them, integers and structs, for programs that take the values from [Batch.Timestamp]. A
// TIMESTAMP(9) of a year that nanoseconds do not reach (before 1678, after 2261) is an error without
// this option.
func OriginalTimestamps() Option {
	return func(s *settings) error { s.original = true; return nil }
}

// An Error is a reading that has ended before the end of its result.
type Error struct {
	QueryID string // empty: there is no result yet
	Row     int64  // the first row that was not handed out: From(QueryID, Row) goes on there
	Err     error
}

func (e *Error) Error() string {
	if e.QueryID == "" {
		return "results: " + e.Err.Error()
	}
	return fmt.Sprintf("results: query %s, at row %d: %v", e.QueryID, e.Row, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

var (
	// ErrGone is in the error when Snowflake does not have the result: it keeps a result for 24
	// hours, for the user who ran the query. The query has to be run again.
	ErrGone = errors.New("the result is gone: Snowflake keeps one for 24 hours, for the user who ran the query; run the query again")

	// ErrNotArrow is in the error of [Read] when the result came as JSON: that of SHOW, DESCRIBE or
	// CALL, or of any query of a session whose parameter GO_QUERY_RESULT_FORMAT is JSON. [Rows]
	// reads it.
	ErrNotArrow = errors.New("the result came as JSON and not as Arrow, as that of SHOW, DESCRIBE and CALL always does, and of a query where GO_QUERY_RESULT_FORMAT is JSON; results.Rows reads it")

	// ErrPoolHeld is in the error of [Read] when its function waited for the connection that Read
	// itself holds, the only one that the pool may open.
	ErrPoolHeld = errors.New("the function waits for a connection of the pool, whose only one is held while the result is read: allow it a second one (SetMaxOpenConns), or use another pool; the reading ends, and has given its connection back")
)

// Read reads the result of a query and gives fn its rows, each once and in order, one call at a
// time. fn is not called for a result without rows; [OnProgress] tells its columns all the same.
//
// Read ends when the result does, when fn returns an error, which it returns as it is, or when ctx
// ends: at once, unless fn is running. Any other error is an [Error], from which a program can go on
// later, or elsewhere. A result that is lost on its way is fetched again, six times in a row and for
// at least ten minutes without a new row; the waits between grow from 0.1 to 30 seconds.
//
// Read holds one connection of the pool. Where the pool may open only one (SetMaxOpenConns), a
// function that uses the same pool would wait for ever: then Read gives the connection back and
// ends with [ErrPoolHeld].
func Read(ctx context.Context, db *sql.DB, q Query, fn func(Batch) error, opts ...Option) error {
	if fn == nil {
		return errors.New("results: Read needs a function")
	}
	r, err := newReader(ctx, db, q, opts)
	if err != nil {
		return err
	}
	defer r.close()
	for {
		b, err := r.next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = r.standard(&b)
		}
		if err != nil {
			return r.fail(err)
		}
		if err := r.deliver(b, fn); err != nil {
			return err
		}
	}
}

// deliver gives a batch to the function, and releases it.
func (r *reader) deliver(b Batch, fn func(Batch) error) error {
	defer b.release()
	held := r.watch()
	err := func() error {
		defer held.stop()
		return fn(b)
	}()
	if held.released {
		return r.fail(errors.Join(ErrPoolHeld, err))
	}
	if err != nil {
		return err
	}
	r.delivered(b.NumRows())
	return nil
}

// release releases both forms of the rows.
func (b *Batch) release() {
	b.RecordBatch.Release()
	if b.original != b.RecordBatch {
		b.original.Release()
	}
}
