package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/cenkalti/backoff/v4"
	"github.com/snowflakedb/gosnowflake/v2"
	"github.com/snowflakedb/gosnowflake/v2/arrowbatches"
	"golang.org/x/sync/errgroup"

	"github.com/snowtether/snowtether"
)

// This file reads results, each row once, whatever happens to the connection.
//
// What snowtether cannot do for a program is to continue rows that it is reading:
// the parts of a large result come from the cloud's object store, with URLs that
// expire after some hours, and the driver does not know what the program did with
// the rows it has. But Snowflake keeps the result itself for 24 hours. So the
// program remembers the query ID and how many rows it has written, fetches the
// result again from a new session, and skips these.

const (
	maxTries = 6 // without a row in between
	ahead    = 3 // parts that are downloaded before they are wanted
)

// readAll reads the results of the statements, side by side, into out.
func readAll(ctx context.Context, db *sql.DB, statements []string, out *output) error {
	db.SetMaxIdleConns(len(statements))
	out.wait(len(statements))
	g, ctx := errgroup.WithContext(ctx)
	for _, query := range statements {
		g.Go(func() error { return (&reader{db: db, query: query, out: out}).read(ctx) })
	}
	return g.Wait()
}

// A reader reads the result of one statement.
type reader struct {
	db    *sql.DB
	query string
	out   *output
	id    string // of the query, when its result was there
	total int64  // rows in the result
	rows  int64  // that were written
}

// read reads the result to its end. It gives up when several tries in a row have
// brought no row.
func (r *reader) read(ctx context.Context) error {
	// Soon at first: mostly it is a URL that has expired. An outage makes gosnowflake
	// try for a minute each time besides.
	pause := backoff.NewExponentialBackOff(backoff.WithInitialInterval(100*time.Millisecond), backoff.WithMultiplier(3), backoff.WithMaxElapsedTime(0))
	tries := backoff.WithMaxRetries(pause, maxTries-1)
	return backoff.RetryNotify(func() error {
		before := r.rows
		err := r.try(ctx)
		if r.rows > before {
			tries.Reset()
		}
		return err
	}, backoff.WithContext(tries, ctx), func(err error, wait time.Duration) {
		what := "extract: the result is fetched again"
		if r.id == "" {
			what = "extract: the query is sent again"
		}
		slog.Warn(what, "query_id", r.id, "rows_written", r.rows, "in", wait.Round(time.Millisecond), "reason", err)
	})
}

// try reads on from where the last try ended.
func (r *reader) try(ctx context.Context) error {
	conn, err := r.db.Conn(ctx)
	if err != nil && r.id == "" {
		return backoff.Permanent(err) // snowtether has tried for a while, and there is no result to go on with
	} else if err != nil {
		return permanentUnless(err, snowtether.ClassTransient)
	}
	defer conn.Close()
	var readErr error
	err = conn.Raw(func(c any) error {
		if readErr = r.readFrom(ctx, c.(driver.QueryerContext)); readErr != nil {
			return driver.ErrBadConn // whatever it was, the next try gets a new session
		}
		return nil
	})
	if readErr != nil {
		return readErr
	}
	return err
}

func (r *reader) readFrom(ctx context.Context, conn driver.QueryerContext) error {
	// Numbers as they are and not as float64, timestamps with their full range.
	ctx = gosnowflake.WithHigherPrecision(arrowbatches.WithTimestampOption(arrowbatches.WithArrowBatches(ctx), arrowbatches.UseOriginalTimestamp))
	asked := ctx
	if r.id != "" {
		asked = gosnowflake.WithFetchResultByID(ctx, r.id)
	}
	rows, err := conn.QueryContext(asked, r.query, nil)
	if err != nil {
		return r.refused(err)
	}
	defer rows.Close()
	result, ok := rows.(gosnowflake.SnowflakeRows)
	if !ok {
		return backoff.Permanent(fmt.Errorf("the driver's rows are a %T and not gosnowflake's", rows))
	}
	batches, err := arrowbatches.GetArrowBatches(result)
	if err != nil {
		return backoff.Permanent(fmt.Errorf("the result did not come in the Arrow format, as a query's does while the parameter GO_QUERY_RESULT_FORMAT is ARROW: %w", err))
	}
	columns, err := columnsOf(rows, batches)
	if err != nil {
		return backoff.Permanent(err)
	}
	var total int64
	for _, b := range batches {
		total += int64(b.GetRowCount())
	}
	switch {
	case r.id == "":
		if err := r.out.begin(columns, total); err != nil {
			return backoff.Permanent(err)
		}
		r.id, r.total = result.GetQueryID(), total
	case total != r.total:
		return fmt.Errorf("the result has %d rows in place of %d", total, r.total)
	}
	return r.copy(ctx, batches, columns)
}

// refused decides whether a statement that failed is sent again. The query is only
// if it did not run: one that was accepted before its session ended is snowtether's
// business, and what that cannot save is an error with the query ID.
func (r *reader) refused(err error) error {
	if errors.Is(err, driver.ErrBadConn) {
		return err // it did not run
	}
	var sf *gosnowflake.SnowflakeError
	if r.id != "" && errors.As(err, &sf) && sf.Number == gosnowflake.ErrQueryStatus && len(sf.MessageArgs) == 0 {
		// Before it fetches a result gosnowflake asks for its status, and cannot tell a
		// session that has ended from a query that nobody knows.
		return err
	}
	return permanentUnless(err, snowtether.ClassSessionLost, snowtether.ClassTransient)
}

// copy writes what has not been written yet. Parts that have are not downloaded.
func (r *reader) copy(ctx context.Context, batches []*arrowbatches.ArrowBatch, columns []column) error {
	ctx, cancel := context.WithCancel(ctx)
	var downloads sync.WaitGroup
	defer downloads.Wait() // the rows must not be closed earlier
	defer cancel()

	type part struct {
		batch   *arrowbatches.ArrowBatch
		skip    int64
		fetched chan error
		records []arrow.RecordBatch
	}
	parts := make(chan *part, ahead)
	skip := r.rows
	downloads.Go(func() {
		defer close(parts)
		for _, b := range batches {
			n := int64(b.GetRowCount())
			if skip >= n {
				skip -= n
				continue
			}
			p := &part{batch: b.WithContext(ctx), skip: skip, fetched: make(chan error, 1)}
			skip = 0
			select {
			case parts <- p:
			case <-ctx.Done():
				return
			}
			downloads.Go(func() {
				var err error
				p.records, err = fetch(p.batch, n)
				p.fetched <- err
			})
		}
	})
	for p := range parts {
		if err := <-p.fetched; err != nil {
			return err
		}
		for _, record := range p.records {
			n := record.NumRows()
			if p.skip >= n {
				p.skip -= n
				continue
			}
			rest := record.NewSlice(p.skip, n)
			p.skip = 0
			err := r.out.write(&batch{RecordBatch: rest, columns: columns, source: p.batch})
			r.rows += rest.NumRows()
			rest.Release()
			record.Release()
			if err != nil {
				return backoff.Permanent(err)
			}
		}
	}
	return ctx.Err()
}

// fetch downloads a part of the result. A download that was cut off between two
// messages of the Arrow stream looks complete to its reader: only the number of
// rows tells.
func fetch(b *arrowbatches.ArrowBatch, want int64) ([]arrow.RecordBatch, error) {
	records, err := b.Fetch()
	var failed *url.Error
	switch {
	case errors.As(err, &failed):
		return nil, failed.Err // without the URL: who has it can read the rows
	case errors.Is(err, arrow.ErrNotImplemented):
		return nil, backoff.Permanent(fmt.Errorf("gosnowflake cannot convert a column; if there is a TIME of less than microseconds, cast it to TIME(9) in the query: %w", err))
	case err != nil:
		return nil, err
	}
	var got int64
	for _, record := range *records {
		got += record.NumRows()
	}
	if got != want {
		return nil, fmt.Errorf("a part of the result has %d rows in place of %d", got, want)
	}
	return *records, nil
}

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
