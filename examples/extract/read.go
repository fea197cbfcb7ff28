package main

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"github.com/snowtether/snowtether/results"
)

// This file reads results, each row once, whatever happens to the connection: package results does.

// readAll reads the results of the statements, side by side, into out.
func readAll(ctx context.Context, db *sql.DB, statements []string, out *output) error {
	db.SetMaxIdleConns(len(statements))
	out.wait(len(statements))
	g, ctx := errgroup.WithContext(ctx)
	for _, query := range statements {
		g.Go(func() error { return read(ctx, db, query, out) })
	}
	return g.Wait()
}

// read reads the result of one statement.
func read(ctx context.Context, db *sql.DB, query string, out *output) error {
	var begun bool
	var failed error // to begin
	progress := func(p results.Progress) {
		switch {
		case p.Running && p.Again == nil:
			out.progress.running(p.Elapsed)
		case p.Again != nil:
			slog.Warn("extract: the result is fetched again", "query_id", p.QueryID, "rows_written", p.Rows, "reason", p.Again)
		case !begun:
			begun = true
			failed = out.begin(p.Columns, p.Total)
		}
	}
	write := func(b results.Batch) error {
		if failed != nil {
			return failed
		}
		return out.write(&batch{b})
	}
	// Timestamps in their full range, and with their offsets: each format makes its own of them.
	err := results.Read(ctx, db, results.SQL(query), write, results.OnProgress(progress), results.OriginalTimestamps())
	if err == nil || errors.Is(err, failed) {
		return failed
	}
	return err
}
