package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/snowflakedb/gosnowflake/v2"
	"golang.org/x/sync/errgroup"

	"github.com/snowtether/snowtether"
)

// This file takes the lines of a file into the table of raw lines, in batches: as files, by
// PUT and COPY INTO, or by INSERT with array binds.

const (
	lineColumns = `load_id, line, location, day, precipitation, temp_max, temp_min, wind, weather`

	insertLines = `INSERT INTO pipeline_staged (` + lineColumns + `) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`

	// One file and all of it, or none: Snowflake does not load a file twice that it has
	// loaded and that has not changed. The lookup would do without that. By default COPY takes a
	// backslash outside quotes for an escape, and nothing for NULL: a text would not be the file's.
	copyLines = `COPY INTO pipeline_staged (` + lineColumns + `) FROM @pipeline_files/%s/ FILES = ('%s.gz')
		FILE_FORMAT = (TYPE = CSV FIELD_OPTIONALLY_ENCLOSED_BY = '"'
			ESCAPE_UNENCLOSED_FIELD = NONE EMPTY_FIELD_AS_NULL = FALSE NULL_IF = ())`
)

// stage loads the lines that are not staged yet. It returns how many were.
func (p *pipeline) stage(ctx context.Context, f file) (found int, err error) {
	todo, err := p.missing(ctx, f.load, f.rows)
	if err != nil {
		return 0, err
	}
	found = len(f.rows) - len(todo)
	p.progress.start(f.name, found, len(f.rows))
	defer p.progress.stop()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(p.workers)
	for batch := range slices.Chunk(todo, p.batch) {
		group.Go(func() error {
			load := p.copy
			if p.inserts {
				load = p.insert
			}
			if err := load(ctx, f.load, batch); err != nil {
				return err
			}
			p.progress.add(len(batch))
			return nil
		})
	}
	return found, group.Wait()
}

// copy stages one batch as a file: PUT takes it to Snowflake, and COPY INTO into the table.
//
// Both may end in doubt. A PUT is made again: the file has the same name and the same lines.
// After a COPY the data tells, as after an INSERT.
func (p *pipeline) copy(ctx context.Context, load string, batch []row) error {
	dir, err := os.MkdirTemp("", "pipeline-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// A file and no stream: what gosnowflake has to upload again, it reads again.
	path := filepath.Join(dir, fmt.Sprintf("%d-%d.csv", batch[0].line, batch[len(batch)-1].line))
	if err := writeLines(path, load, batch); err != nil {
		return err
	}
	err = settle(ctx, "a PUT", func() error {
		err := p.put(ctx, path, load)
		var failed *gosnowflake.SnowflakeError
		if errors.As(err, &failed) && failed.Number == gosnowflake.ErrFailedToUploadToStage {
			err = errors.Join(snowtether.ErrInDoubt, err) // as good as that: again
		}
		return err
	})
	if err != nil {
		return err
	}
	return p.untilStaged(ctx, "a COPY", load, batch, func([]row) error {
		_, err := p.db.ExecContext(ctx, fmt.Sprintf(copyLines, load, filepath.Base(path)))
		return err
	})
}

// put uploads a file. Its result has a line for each, also of those that did not arrive.
func (p *pipeline) put(ctx context.Context, path, load string) error {
	local := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(filepath.ToSlash(path))
	rows, err := p.db.QueryxContext(ctx, fmt.Sprintf("PUT 'file://%s' @pipeline_files/%s/", local, load))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		result := map[string]any{}
		if err := rows.MapScan(result); err != nil {
			return err
		}
		if status := result["status"]; status != "UPLOADED" && status != "SKIPPED" {
			return fmt.Errorf("PUT of %v: %v %v", result["source"], status, result["message"])
		}
	}
	return rows.Err()
}

// writeLines writes the rows as COPY reads them.
func writeLines(path, load string, batch []row) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	w := csv.NewWriter(f)
	for _, r := range batch {
		// The writer keeps errors for Flush.
		_ = w.Write([]string{load, strconv.Itoa(r.line), r.location, r.day, r.precipitation.String(), r.tempMax.String(), r.tempMin.String(), r.wind.String(), r.weather})
	}
	if w.Flush(); w.Error() != nil {
		return w.Error()
	}
	return f.Close()
}

// tidy removes the files of a load that is merged, those of killed runs as well.
func (p *pipeline) tidy(ctx context.Context, load string) error {
	if p.inserts {
		return nil
	}
	return settle(ctx, "a REMOVE", func() error {
		_, err := p.db.ExecContext(ctx, "REMOVE @pipeline_files/"+load+"/")
		return err
	})
}

// insert stages one batch with one statement: all of its lines arrive, or none.
//
// A session that ends is no matter here: the driver replaces it, and runs the
// statement again if it did not run. An INSERT in doubt is one of which nobody
// knows whether it ran: the data tells. It may still be running while we look,
// and arrive after we inserted its lines again. There is no need to wait for
// that, by the first of the rules above.
func (p *pipeline) insert(ctx context.Context, load string, batch []row) error {
	return p.untilStaged(ctx, "an INSERT", load, batch, func(batch []row) error {
		args, err := columns(load, batch)
		if err != nil {
			return err
		}
		_, err = p.db.ExecContext(ctx, insertLines, args...)
		return err
	})
}

// untilStaged runs what stages a batch, again only for the lines that did not arrive. Whatever it
// fails with, the data tells: another run of the same load may have staged them all, and removed
// the files since.
func (p *pipeline) untilStaged(ctx context.Context, what, load string, batch []row, run func([]row) error) error {
	return settle(ctx, what, func() error {
		err := run(batch)
		if err == nil || ctx.Err() != nil {
			return err
		}
		todo, lookErr := p.missing(ctx, load, batch)
		if lookErr != nil {
			return errors.Join(err, lookErr)
		}
		slog.Info("pipeline: looked for the lines of "+what, "lines", len(batch), "arrived", len(batch)-len(todo))
		if batch = todo; len(batch) == 0 {
			return nil
		}
		return err
	})
}

// missing returns the rows that are not staged.
func (p *pipeline) missing(ctx context.Context, load string, rows []row) ([]row, error) {
	if len(rows) == 0 {
		return nil, nil
	}
	var lines []int
	err := p.db.SelectContext(ctx, &lines, "SELECT DISTINCT line FROM pipeline_staged WHERE load_id = ? AND line BETWEEN ? AND ?",
		load, rows[0].line, rows[len(rows)-1].line)
	staged := make(map[int]bool, len(lines))
	for _, line := range lines {
		staged[line] = true
	}
	return slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return staged[r.line] }), err
}

// columns are the rows as array binds: one array for each placeholder. Numbers
// and days go as text, which Snowflake converts without rounding.
func columns(load string, rows []row) ([]any, error) {
	lines, texts := make([]int, len(rows)), make([][]string, 7)
	for i, r := range rows {
		lines[i] = r.line
		for c, value := range []string{r.location, r.day, r.precipitation.String(), r.tempMax.String(), r.tempMin.String(), r.wind.String(), r.weather} {
			texts[c] = append(texts[c], value)
		}
	}
	columns := []any{slices.Repeat([]string{load}, len(rows)), lines}
	for _, column := range texts {
		columns = append(columns, column)
	}
	for i, column := range columns {
		var err error
		if columns[i], err = gosnowflake.Array(column); err != nil {
			return nil, err
		}
	}
	return columns, nil
}
