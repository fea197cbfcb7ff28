package results

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/cenkalti/backoff/v4"
	"github.com/snowflakedb/gosnowflake/v2"
	"github.com/snowflakedb/gosnowflake/v2/arrowbatches"
)

// This file downloads the parts of a result that was fetched.

// A source is one fetch of the result.
type source struct {
	id      string
	rows    driver.Rows
	batches []*arrowbatches.ArrowBatch
	columns []Column
	zone    *time.Location
	total   int64

	cancel    context.CancelFunc // nil: not started
	downloads sync.WaitGroup
	parts     chan *part
	now       *part // from which rows are taken
}

// A part of the result.
type part struct {
	batch   *arrowbatches.ArrowBatch
	skip    int64 // rows that have been handed out before
	done    chan struct{}
	records []arrow.RecordBatch
	err     error
}

// arrowContext asks for a result in Arrow batches, with timestamps in their full range.
func arrowContext(ctx context.Context) context.Context {
	return arrowbatches.WithTimestampOption(arrowbatches.WithArrowBatches(ctx), arrowbatches.UseOriginalTimestamp)
}

// newSource looks at a result. On an error the rows are closed, unless that is ErrNotArrow.
func newSource(rows driver.Rows) (_ *source, err error) {
	defer func() {
		if err != nil && !errors.Is(err, ErrNotArrow) {
			_ = rows.Close()
		}
	}()
	result, ok := rows.(gosnowflake.SnowflakeRows)
	if !ok {
		return nil, backoff.Permanent(fmt.Errorf("the rows are a %T: they must be snowtether's or gosnowflake's", rows))
	}
	s := &source{id: result.GetQueryID(), rows: rows}
	var said *gosnowflake.SnowflakeError
	s.batches, err = arrowbatches.GetArrowBatches(result)
	switch {
	case errors.As(err, &said) && said.Number == gosnowflake.ErrNonArrowResponseInArrowBatches:
		return nil, backoff.Permanent(ErrNotArrow)
	case err != nil:
		return nil, err
	}
	if s.columns, err = columnsOf(rows, s.batches); err != nil {
		return nil, err
	}
	for _, b := range s.batches {
		s.total += int64(b.GetRowCount())
		s.zone = b.GetLocation()
	}
	return s, nil
}

// start begins to download, from this row on, so many parts ahead, each within the limit.
func (s *source) start(ctx context.Context, from int64, ahead int, limit time.Duration) {
	ctx, s.cancel = context.WithCancel(gosnowflake.WithHigherPrecision(arrowContext(ctx)))
	s.parts = make(chan *part, ahead)
	s.downloads.Go(func() {
		defer close(s.parts)
		for i, b := range s.batches {
			rows := int64(b.GetRowCount())
			if from >= rows {
				from -= rows
				if i == 0 {
					forget(b)
				}
				continue
			}
			p := &part{batch: b, skip: from, done: make(chan struct{})}
			from = 0
			select {
			case s.parts <- p:
			case <-ctx.Done():
				return
			}
			s.downloads.Go(func() {
				defer close(p.done)
				p.records, p.err = fetchPart(ctx, b, rows, limit)
			})
		}
	})
}

// next gives the next rows, in Snowflake's own forms.
func (s *source) next(ctx context.Context) (Batch, error) {
	for {
		for s.now != nil && len(s.now.records) > 0 {
			record := s.now.records[0]
			s.now.records = s.now.records[1:]
			rows, skip := record.NumRows(), s.now.skip
			if skip >= rows {
				s.now.skip -= rows
				record.Release()
				continue
			}
			if s.now.skip = 0; skip > 0 {
				rest := record.NewSlice(skip, rows)
				record.Release()
				record = rest
			}
			return Batch{RecordBatch: record, original: record, part: s.now.batch}, nil
		}
		s.now = nil
		select {
		case p, ok := <-s.parts:
			if !ok && ctx.Err() == nil {
				return Batch{}, io.EOF
			} else if !ok {
				return Batch{}, ctx.Err()
			}
			s.now = p
		case <-ctx.Done():
			return Batch{}, ctx.Err()
		}
		<-s.now.done // the download ends with the context
		if s.now.err != nil {
			return Batch{}, s.now.err
		}
	}
}

// close ends the downloads, then the rows: these must not be closed earlier.
func (s *source) close() {
	if s.cancel != nil {
		s.cancel()
		for p := range s.parts {
			<-p.done
			p.release()
		}
		s.downloads.Wait()
	} else if len(s.batches) > 0 {
		forget(s.batches[0])
	}
	if s.now != nil {
		s.now.release()
		s.now = nil
	}
	s.batches = nil
	_ = s.rows.Close()
}

// forget releases what the first part holds, if it came with the reply and is not wanted. With a
// context that has ended nothing is downloaded.
func forget(b *arrowbatches.ArrowBatch) {
	ended, cancel := context.WithCancel(gosnowflake.WithHigherPrecision(arrowContext(context.Background())))
	cancel()
	if records, err := b.WithContext(ended).Fetch(); err == nil {
		p := part{records: *records}
		p.release()
	}
}

func (p *part) release() {
	for _, record := range p.records {
		record.Release()
	}
	p.records = nil
}

// fetchPart downloads a part. A download that was cut off between two messages of the Arrow
// stream looks complete to its reader: only the number of rows tells.
func fetchPart(ctx context.Context, b *arrowbatches.ArrowBatch, want int64, limit time.Duration) (_ []arrow.RecordBatch, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("gosnowflake panicked while it read a part: %v", reason)
		}
	}()
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	records, err := b.WithContext(bounded).Fetch()
	var failed *url.Error
	switch {
	case err == nil:
	case errors.Is(err, arrow.ErrNotImplemented):
		return nil, backoff.Permanent(fmt.Errorf("gosnowflake cannot convert a column: %w", err))
	case ctx.Err() == nil && bounded.Err() != nil:
		return nil, fmt.Errorf("a part of the result did not arrive within %v", limit)
	case errors.As(err, &failed):
		return nil, failed.Err // without the URL: who has it can read the rows
	default:
		return nil, err
	}
	var got int64
	for _, record := range *records {
		got += record.NumRows()
	}
	if got != want {
		p := part{records: *records}
		p.release()
		return nil, fmt.Errorf("a part of the result has %d rows in place of %d", got, want)
	}
	return *records, nil
}
