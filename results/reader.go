package results

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/large"
)

// This file reads on: it knows which row is next, and gets the result again when it is lost.

// The result is given up after so many tries that brought no row, and not before so much time.
const (
	maxTries    = 6
	minPatience = 10 * time.Minute
)

// A reader reads one result. It is used by one goroutine at a time.
type reader struct {
	ctx    context.Context // of the caller, until the reader is closed
	cancel context.CancelFunc
	db     *sql.DB
	q      Query
	settings

	conn  *sql.Conn   // nil: one is to be taken from the pool
	src   *source     // nil: the result is to be fetched
	json  driver.Rows // of a result that came as JSON
	id    string      // of the query; empty: it is to be run
	first *source     // the first fetch, for its columns and its zone
	row   int64       // the next one
	total int64       // -1: not known

	tries   int  // without a row
	stale   bool // the connection did not give the result: whatever it was, the next try gets another
	unknown bool // the server said nothing about the query when it was asked last
	since   time.Time
	pause   *backoff.ExponentialBackOff
	begun   time.Time
	fetches int
}

func newReader(ctx context.Context, db *sql.DB, q Query, opts []Option) (*reader, error) {
	r := &reader{db: db, q: q, id: q.id, row: q.row, total: -1, begun: time.Now(), since: time.Now()}
	r.settings = settings{ahead: 3, limit: 2 * time.Minute}
	err := q.check()
	switch {
	case ctx == nil:
		err = errors.New("the context is nil")
	case db == nil:
		err = errors.New("the pool is nil")
	}
	for i, opt := range opts {
		switch {
		case err != nil:
		case opt == nil:
			err = fmt.Errorf("option %d is nil", i+1)
		default:
			err = opt(&r.settings)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("results: %w", err)
	}
	r.ctx, r.cancel = context.WithCancel(ctx)
	// Soon at first: mostly it is a URL that has expired.
	r.pause = backoff.NewExponentialBackOff(backoff.WithInitialInterval(100*time.Millisecond), backoff.WithMultiplier(3),
		backoff.WithMaxInterval(30*time.Second), backoff.WithMaxElapsedTime(0))
	return r, nil
}

// next gives the next rows. The error is io.EOF after the last.
func (r *reader) next() (Batch, error) {
	for {
		b, err := r.try()
		switch {
		case err == nil || err == io.EOF:
			return b, err
		case r.ctx.Err() != nil:
			return Batch{}, r.ctx.Err()
		}
		var final *backoff.PermanentError
		if errors.As(err, &final) {
			return Batch{}, final.Err
		}
		if err := r.again(err); err != nil {
			return Batch{}, err
		}
	}
}

// try takes the next rows from the result that is there, and fetches it if none is.
func (r *reader) try() (Batch, error) {
	if err := r.ctx.Err(); err != nil {
		return Batch{}, err
	}
	if r.src == nil {
		if err := r.open(); err != nil {
			r.stale = true
			return Batch{}, err
		}
	}
	b, err := r.src.next(r.ctx)
	switch {
	case err == io.EOF && r.row == r.total:
		return b, err
	case err == io.EOF:
		err = fmt.Errorf("the result ends after %d of %d rows", r.row, r.total)
	case err == nil:
		b.QueryID, b.First, b.Total, b.Columns, b.zone = r.id, r.row, r.total, r.first.columns, r.first.zone
		return b, nil
	}
	r.src.close()
	r.src = nil // the session may be well: what has expired are URLs
	return Batch{}, err
}

// delivered takes note that rows have been handed out.
func (r *reader) delivered(rows int64) {
	r.row += rows
	r.tries, r.since = 0, time.Now()
	r.pause.Reset()
	r.report(nil)
}

// again waits before the next try, or says why there is none.
func (r *reader) again(cause error) error {
	r.tries++
	if r.tries >= maxTries && time.Since(r.since) >= minPatience {
		return fmt.Errorf("given up after %d tries without a row: %w", r.tries, cause)
	}
	if r.stale {
		r.discard()
		r.stale = false
	}
	r.report(cause)
	timer := time.NewTimer(r.pause.NextBackOff())
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
}

// open gets the result: it runs the query, or fetches what that has answered.
func (r *reader) open() error {
	var fetched *source
	err := r.waiting(func() (err error) {
		fetched, err = r.fetch()
		return err
	})
	if err != nil {
		return err
	}
	r.fetches++
	switch {
	case r.first == nil:
		r.id, r.first, r.total = fetched.id, fetched, fetched.total
	case fetched.total != r.total:
		fetched.close()
		return fmt.Errorf("the result has %d rows in place of %d", fetched.total, r.total)
	}
	if r.row > r.total {
		fetched.close()
		return backoff.Permanent(fmt.Errorf("the result has %d rows only", r.total))
	}
	r.src = fetched
	r.src.start(r.ctx, r.row, r.ahead, r.limit<<min(r.tries, 3))
	r.report(nil)
	return nil
}

// fetch takes a connection, asks for the result, and looks at what it is.
func (r *reader) fetch() (*source, error) {
	if r.conn == nil {
		conn, err := r.db.Conn(r.ctx)
		if err != nil && r.id == "" {
			return nil, backoff.Permanent(err) // snowtether has tried for a while, and there is no result to go on with
		} else if err != nil {
			return nil, permanentUnless(err, snowtether.ClassTransient, snowtether.ClassSessionLost)
		}
		r.conn = conn
	}
	rows, err := r.ask()
	if err != nil {
		return nil, r.refused(err)
	}
	if len(rows.Columns()) == 0 {
		return nil, errors.Join(errors.New("the server has no result yet"), rows.Close())
	}
	src, err := newSource(rows)
	if errors.Is(err, ErrNotArrow) {
		r.json = large.Rows(r.ctx, rows) // its parts are downloaded on goroutines of gosnowflake's
	}
	return src, err
}

// noStatement stands where a fetch has a text, which gosnowflake does not send. Sent all the same, by
// what drops the context with the ID in it, it is no statement, and the query does not run again.
const noStatement = "results fetches a result by its ID"

// ask sends the query, or asks for its result.
func (r *reader) ask() (rows driver.Rows, _ error) {
	asked, q := arrowContext(r.ctx), r.q
	if r.id != "" {
		asked, q = gosnowflake.WithFetchResultByID(asked, r.id), Query{text: noStatement}
	}
	var failed error
	err := r.conn.Raw(func(c any) error {
		conn, ok := c.(driver.QueryerContext)
		if !ok {
			failed = backoff.Permanent(fmt.Errorf("the pool's connections are a %T: they must be snowtether's or gosnowflake's", c))
			return nil
		}
		args, err := q.named(c)
		if err != nil {
			failed = backoff.Permanent(err)
			return nil
		}
		rows, failed = conn.QueryContext(asked, q.text, args)
		return nil
	})
	return rows, cmp.Or(failed, err)
}

// refused decides whether what failed is asked again. The query is only if it did not run: one
// that was accepted before its session ended is snowtether's business, and what that cannot save
// is an error with the query ID.
func (r *reader) refused(err error) error {
	var final *backoff.PermanentError
	if errors.As(err, &final) || errors.Is(err, driver.ErrBadConn) {
		return err // in the second case it did not run
	}
	if r.id == "" {
		return backoff.Permanent(err)
	}
	var said *gosnowflake.SnowflakeError
	if errors.As(err, &said) {
		switch {
		case said.Number == gosnowflake.ErrQueryStatus && len(said.MessageArgs) == 0:
			// Before it fetches a result gosnowflake asks for its status, and cannot tell a session
			// that has ended from a query that nobody knows. On a second session it is the query.
			if r.tries > 0 && r.unknown {
				return backoff.Permanent(fmt.Errorf("%w: %w", ErrGone, err))
			}
			r.unknown = true
			return err
		case said.Number == codeNoResult || said.Number == codeNoStatement:
			return backoff.Permanent(fmt.Errorf("%w: %w", ErrGone, err))
		}
	}
	r.unknown = false
	return permanentUnless(err, snowtether.ClassSessionLost, snowtether.ClassTransient)
}

// Snowflake's numbers for a result, and a statement, that it does not have.
const (
	codeNoResult    = 612
	codeNoStatement = 709
)

// permanentUnless makes an error final, unless trying again may help.
func permanentUnless(err error, again ...snowtether.Class) error {
	class := snowtether.Classify(err)
	for _, c := range again {
		if c == class {
			return err
		}
	}
	return backoff.Permanent(err)
}

// waiting does what may take long, and says every second that it does.
func (r *reader) waiting(do func() error) error {
	if r.onProgress == nil {
		return do()
	}
	done := make(chan error, 1)
	go func() { done <- do() }()
	over := false
	defer func() {
		if !over { // the program's function has panicked
			r.cancel()
			<-done
		}
	}()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		r.report(nil)
		select {
		case err := <-done:
			over = true
			return err
		case <-tick.C:
		}
	}
}

// report tells the program how far the reading is.
func (r *reader) report(cause error) {
	if r.onProgress == nil {
		return
	}
	p := Progress{QueryID: r.id, Running: r.first == nil, Rows: r.row, Total: r.total, Fetches: r.fetches, Again: cause}
	p.Elapsed = time.Since(r.begun)
	if r.first != nil {
		p.Columns = r.first.columns
	}
	r.onProgress(p)
}

// fail is the error that a reading ends with.
func (r *reader) fail(err error) error { return &Error{QueryID: r.id, Row: r.row, Err: err} }

// discard gives the connection up: nobody gets it any more.
func (r *reader) discard() {
	if r.conn != nil {
		_ = r.conn.Raw(func(any) error { return driver.ErrBadConn })
		_ = r.conn.Close()
		r.conn = nil
	}
}

// close ends what is on its way, and gives the connection back.
func (r *reader) close() {
	r.cancel()
	if r.src != nil {
		r.src.close()
		r.src = nil
	}
	if r.json != nil {
		_ = r.json.Close()
		r.json = nil
	}
	if r.conn != nil {
		_ = r.conn.Close()
		r.conn = nil
	}
}
