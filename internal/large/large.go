// Package large reads the rows of gosnowflake's large results, whose parts it downloads on
// goroutines of its own. gosnowflake v2.1.0 (chunk_downloader.go) has two faults there. Its
// Next can miss that downloads have failed, and then waits for ever; and at the last row it
// closes a channel on which a download still sends where the context ends in that moment,
// which ends the program.
package large

import (
	"context"
	"database/sql/driver"
	"io"
	"sync"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/internal/program"
)

// gosnowflakes are all that gosnowflake's rows can do, but for Arrow batches.
type gosnowflakes interface {
	driver.RowsNextResultSet
	driver.RowsColumnTypeDatabaseTypeName
	driver.RowsColumnTypeLength
	driver.RowsColumnTypeNullable
	driver.RowsColumnTypePrecisionScale
	driver.RowsColumnTypeScanType
	gosnowflake.SnowflakeRows
}

// Rows are a query's rows, for a caller who waits for them until ctx ends. Those of a result
// without parts to download are returned as they are, and so are those of Arrow batches, for
// which gosnowflake looks for methods that nobody else can have, and which it downloads
// without goroutines. So is what is not gosnowflake v2's.
func Rows(ctx context.Context, from driver.Rows) driver.Rows {
	in, ok := from.(gosnowflakes)
	if !ok {
		return from
	}
	set, unseen := resultSet{}, in.GetStatus() == gosnowflake.QueryStatusInProgress
	if !unseen {
		if set, ok = setOf(from); !ok || set.done == nil && !set.more {
			return from
		}
	}
	if batchesKey == nil || ctx.Value(batchesKey) == true {
		return from
	}
	return &rows{gosnowflakes: in, ctx: ctx, set: set, unseen: unseen}
}

// rows are gosnowflake's, of which some result set has parts to download.
type rows struct {
	gosnowflakes
	ctx    context.Context
	set    resultSet
	read   int64             // rows of this result set
	unseen bool              // the result set is not known: the query is asynchronous
	failed error             // what the rows of this result set end with
	left   *program.Leftover // a Next that its caller left behind, or nil
}

// Next is gosnowflake's, but that it does not wait for a part when ctx has ended, and asks for
// no row behind the last: gosnowflake would close the channel on which its downloads send. That
// a row was the last is known where as many were read as Snowflake says there are; if they were
// fewer, only gosnowflake may say that there are no more.
func (r *rows) Next(dest []driver.Value) (err error) {
	if r.unseen {
		r.Columns() // waits for the query to be over
		r.see()
	}
	switch s := &r.set; {
	case r.failed != nil:
		return r.failed
	case s.done == nil || *s.row+1 < *s.rows:
		err = r.gosnowflakes.Next(dest)
	case *s.part+1 >= s.parts && r.read == s.total:
		return io.EOF
	default:
		err = r.begin(dest)
		r.failed = err
	}
	if err == nil {
		r.read++
	}
	return err
}

// begin reads the first row of a part, which may have to be waited for. Where it fails,
// gosnowflake has lost its place.
func (r *rows) begin(dest []driver.Value) (err error) {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	over := make(chan struct{})
	go wake(r.ctx, r.set.done, over)
	row := make([]driver.Value, len(dest)) // dest is the caller's, who may leave
	_, r.left, err = program.Leave(r.ctx, r.ctx, func(context.Context) (any, error) {
		defer close(over)
		return nil, r.gosnowflakes.Next(row)
	})
	if r.left == nil {
		copy(dest, row)
	}
	return err
}

// lookAgain is how long a download that failed unseen stays so.
const lookAgain = time.Second

// wake has gosnowflake's Next look again whether its part is there or a download has failed.
// It says so itself, but to nobody where that comes between the look and the wait.
func wake(ctx context.Context, done *sync.Cond, over <-chan struct{}) {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	ended := ctx.Done()
	for {
		select {
		case <-over:
			return
		case <-ended:
			ended = nil
		case <-tick.C:
		}
		done.Broadcast()
	}
}

// NextResultSet is gosnowflake's, but that behind rows that broke off there is none.
func (r *rows) NextResultSet() error {
	if r.failed != nil && r.failed != io.EOF {
		return r.failed
	}
	err := r.gosnowflakes.NextResultSet()
	if err == nil {
		r.failed, r.read = nil, 0
		r.see()
	}
	return err
}

// see looks at the result set that gosnowflake is at.
func (r *rows) see() {
	r.set, _ = setOf(r.gosnowflakes)
	r.unseen = false
}

// Close is gosnowflake's, once it reads no more.
func (r *rows) Close() error {
	if r.left == nil {
		return r.gosnowflakes.Close()
	}
	go func() {
		<-r.left.Over
		_ = r.gosnowflakes.Close()
	}()
	return nil
}
