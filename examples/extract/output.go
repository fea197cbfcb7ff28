package main

import (
	"io"
	"sync"
	"time"

	"github.com/snowtether/snowtether/results"
)

// This file is where the rows of all readers come together.

// A writer writes rows in a format. It is used by one goroutine at a time.
type writer interface {
	write(*batch) error
	close() error // ends the file; the io.Writer under it stays open
}

// A format begins a file, as soon as the columns are known.
type format func(w io.Writer, columns []results.Column) (writer, error)

// formats are told by the ending of the file's name.
var formats = map[string]format{".csv": newCSV, ".parquet": newParquet}

// An output writes the rows of several readers into one file.
type output struct {
	open     format
	file     io.Writer
	progress *progress
	begun    time.Time // the statements were sent
	there    time.Time // their results were

	mu      sync.Mutex
	w       writer // nil until the columns are known
	waiting int    // for readers to say how many rows they will bring
	total   int64
	rows    int64
}

// wait says how many readers there will be.
func (o *output) wait(readers int) { o.waiting = readers }

// begin is called by each reader when its result is there. One without rows does
// not know the scales of times: it does not decide what the file looks like unless
// all are without.
func (o *output) begin(columns []results.Column, total int64) (err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waiting--
	if o.w == nil && (total > 0 || o.waiting == 0) {
		if o.w, err = o.open(o.file, columns); err != nil {
			return err
		}
	}
	o.total += total
	if o.waiting == 0 {
		o.there = time.Now()
		o.progress.start(o.total)
	}
	return nil
}

func (o *output) write(b *batch) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.w.write(b); err != nil {
		return err
	}
	o.rows += b.NumRows()
	o.progress.add(b.NumRows())
	return nil
}

// close ends the file when all readers are done.
func (o *output) close() error { return o.w.close() }
