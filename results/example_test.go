package results_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/jmoiron/sqlx"

	"github.com/snowtether/snowtether/results"
)

var (
	ctx   = context.Background()
	db    *sql.DB // sql.Open("snowtether", dsn)
	write func(arrow.RecordBatch) error
	save  func(queryID string, row int64)
	saved func() (queryID string, row int64)
)

// Each row comes once and in order, whatever happens to the session, the URLs and the network.
func ExampleRead() {
	day := time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC)
	query := results.SQL("SELECT * FROM orders WHERE ordered_on = ?", day)
	err := results.Read(ctx, db, query, func(b results.Batch) error {
		fmt.Printf("rows %d to %d of %d\n", b.First, b.First+b.NumRows(), b.Total)
		return write(b.RecordBatch) // Retain what is to be kept
	})
	if err != nil {
		log.Fatal(err)
	}
}

// A reading that has ended early, perhaps with its process, goes on elsewhere. The query is not run
// again.
func ExampleFrom() {
	fn := func(b results.Batch) error {
		defer func() { save(b.QueryID, b.First+b.NumRows()) }()
		return write(b.RecordBatch)
	}
	err := results.Read(ctx, db, results.From(saved()), fn)
	if errors.Is(err, results.ErrGone) { // after 24 hours
		err = results.Read(ctx, db, results.SQL("SELECT * FROM orders"), fn)
	}
	var ended *results.Error
	if errors.As(err, &ended) {
		save(ended.QueryID, ended.Row)
	}
}

// For database/sql, sqlx and others that take rows.
func ExampleRows() {
	rows, err := results.Rows(ctx, db, results.SQL("SELECT id, customer FROM orders"))
	if err != nil {
		log.Fatal(err)
	}
	defer rows.Close()
	var orders []struct {
		ID       int64  `db:"ID"`
		Customer string `db:"CUSTOMER"`
	}
	if err := sqlx.StructScan(rows, &orders); err != nil {
		log.Fatal(err)
	}
}

// The options with their defaults, and a line of progress.
func ExampleOnProgress() {
	progress := func(p results.Progress) {
		switch {
		case p.Again != nil:
			log.Printf("the result is fetched again: %v", p.Again)
		case p.Running:
			log.Printf("running the query … %v", p.Elapsed.Round(time.Second))
		default:
			log.Printf("%d of %d rows", p.Rows, p.Total)
		}
	}
	err := results.Read(ctx, db, results.SQL("SELECT * FROM orders"), func(b results.Batch) error { return write(b.RecordBatch) },
		results.OnProgress(progress), results.Ahead(3), results.PartTimeout(2*time.Minute))
	if err != nil {
		log.Fatal(err)
	}
}

// A TIMESTAMP(9) can be later than nanoseconds reach: OriginalTimestamps leaves it as it is, and
// Timestamp reads it, with the offset of a TIMESTAMP_TZ.
func ExampleBatch_Timestamp() {
	err := results.Read(ctx, db, results.SQL("SELECT valid_until FROM contracts"), func(b results.Batch) error {
		for row := range int(b.NumRows()) {
			if at, ok := b.Timestamp(0, row); ok {
				fmt.Println(at)
			}
		}
		return nil
	}, results.OriginalTimestamps())
	if err != nil {
		log.Fatal(err)
	}
}
