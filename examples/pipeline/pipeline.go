package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"

	"github.com/jmoiron/sqlx"

	"github.com/snowtether/snowtether"
)

// This file is the pipeline itself: what a program of your own would have. It
// can be stopped at any line, by an error, by Ctrl-C or by the power cord, and
// run again. Three rules make it so:
//
//   - A staged line is known by its load ID and its line number, and nobody reads
//     it in another way: a line that was staged twice is one line. So a batch may
//     be loaded again whenever nobody knows that it arrived, even while a first
//     attempt, of a process that was killed, is still under way in Snowflake.
//   - What must not happen twice happens in one transaction with its row in the
//     ledger, pipeline_loads. The row tells whether the COMMIT was carried out.
//   - Such transactions take turns. Each begins with an UPDATE of the same row,
//     which waits for whoever changed it before, and looks into the ledger after
//     that, not before.
//
// Snowflake enforces no keys, so that no constraint could do the same.

// The names are unqualified: each session starts in the DSN's database and
// schema. A USE would hold for one session of the pool and end with it.
var tables = []string{
	// Where the files of batches wait for COPY INTO.
	`CREATE STAGE IF NOT EXISTS pipeline_files`,
	// A layer of raw lines. It is kept, so that the tables can be checked against it.
	`CREATE TABLE IF NOT EXISTS pipeline_staged (load_id VARCHAR NOT NULL, line INT NOT NULL,
		location VARCHAR NOT NULL, day DATE NOT NULL, precipitation NUMBER(8, 2) NOT NULL,
		temp_max NUMBER(8, 2) NOT NULL, temp_min NUMBER(8, 2) NOT NULL, wind NUMBER(8, 2) NOT NULL, weather VARCHAR NOT NULL)`,
	// The target: one row for each location and day, from the load that was merged last.
	`CREATE TABLE IF NOT EXISTS pipeline_weather (location VARCHAR NOT NULL, day DATE NOT NULL, precipitation NUMBER(8, 2) NOT NULL,
		temp_max NUMBER(8, 2) NOT NULL, temp_min NUMBER(8, 2) NOT NULL, wind NUMBER(8, 2) NOT NULL, weather VARCHAR NOT NULL)`,
	// Its sums: the numbers are totals, and give means when they are divided by the days.
	`CREATE TABLE IF NOT EXISTS pipeline_yearly (location VARCHAR NOT NULL, year INT NOT NULL, days INT NOT NULL, precipitation NUMBER(12, 2) NOT NULL,
		temp_max NUMBER(12, 2) NOT NULL, temp_min NUMBER(12, 2) NOT NULL, wind NUMBER(12, 2) NOT NULL)`,
	// The ledger: one row for each load that was merged, in the order of their turns.
	`CREATE TABLE IF NOT EXISTS pipeline_loads (load_id VARCHAR NOT NULL, turn INT NOT NULL, file_name VARCHAR NOT NULL,
		line_count INT NOT NULL, merged INT NOT NULL, merged_at TIMESTAMP_LTZ NOT NULL)`,
	// The row whose lock makes the merges take turns. A second one, should two runs
	// come here at the same moment, does no harm: an UPDATE locks both.
	`CREATE TABLE IF NOT EXISTS pipeline_turn (load_id VARCHAR NOT NULL)`,
	`INSERT INTO pipeline_turn SELECT 'none' FROM pipeline_turn HAVING COUNT(*) = 0`,
}

const (
	sums = `COALESCE(SUM(precipitation), 0) AS precipitation, COALESCE(SUM(temp_max), 0) AS temp_max,
		COALESCE(SUM(temp_min), 0) AS temp_min, COALESCE(SUM(wind), 0) AS wind`

	stagedTotals = `SELECT COUNT(*) AS n, ` + sums + ` FROM (SELECT DISTINCT * FROM pipeline_staged WHERE load_id = ?) AS once`

	// Of a key that a file has twice, the later line counts; without QUALIFY, MERGE
	// would refuse it. It also sees to it that a line staged twice is one.
	mergeLoad = `MERGE INTO pipeline_weather t USING (
			SELECT * FROM pipeline_staged WHERE load_id = ?
			QUALIFY ROW_NUMBER() OVER (PARTITION BY location, day ORDER BY line DESC) = 1
		) s ON t.location = s.location AND t.day = s.day
		WHEN MATCHED THEN UPDATE SET precipitation = s.precipitation, temp_max = s.temp_max, temp_min = s.temp_min, wind = s.wind, weather = s.weather
		WHEN NOT MATCHED THEN INSERT (location, day, precipitation, temp_max, temp_min, wind, weather)
			VALUES (s.location, s.day, s.precipitation, s.temp_max, s.temp_min, s.wind, s.weather)`

	insertYearly = `INSERT INTO pipeline_yearly (location, year, days, precipitation, temp_max, temp_min, wind)
		SELECT location, YEAR(day), COUNT(*), SUM(precipitation), SUM(temp_max), SUM(temp_min), SUM(wind)
		FROM pipeline_weather GROUP BY location, YEAR(day)`

	insertLedger = `INSERT INTO pipeline_loads (load_id, turn, file_name, line_count, merged, merged_at)
		SELECT :load_id, COALESCE(MAX(turn), 0) + 1, :file_name, :line_count, :merged, CURRENT_TIMESTAMP() FROM pipeline_loads`

	// One statement, and so one view of the data, also while others merge. The first
	// part replays all merges from the staged lines.
	compare = `SELECT 'lines, newest of each key' AS what, COUNT(*) AS n, ` + sums + ` FROM (
			SELECT s.* FROM pipeline_staged s JOIN pipeline_loads l ON l.load_id = s.load_id
			QUALIFY ROW_NUMBER() OVER (PARTITION BY s.location, s.day ORDER BY l.turn DESC, s.line DESC) = 1) AS newest
		UNION ALL SELECT 'pipeline_weather', COUNT(*), ` + sums + ` FROM pipeline_weather
		UNION ALL SELECT 'pipeline_yearly', COALESCE(SUM(days), 0), ` + sums + ` FROM pipeline_yearly
		ORDER BY what`
)

// attempts is how often something is tried whose outcome stays in doubt.
const attempts = 5

type pipeline struct {
	db             *sqlx.DB
	batch, workers int
	inserts        bool // stage by INSERT, not by PUT and COPY INTO
	progress       *progress
}

// An outcome is what became of a file.
type outcome struct {
	found  int  // lines that an earlier run had staged
	merged int  // keys that were inserted or updated
	before bool // by an earlier run
}

// prepare creates the tables, if they are not there. All of it may be run twice.
func (p *pipeline) prepare(ctx context.Context) error {
	for _, statement := range tables {
		err := settle(ctx, "the creation of a table", func() error {
			_, err := p.db.ExecContext(ctx, statement)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// load takes one file all the way.
func (p *pipeline) load(ctx context.Context, f file) (o outcome, err error) {
	if o.found, err = p.stage(ctx, f); err != nil {
		return o, fmt.Errorf("%s: staging: %w", f.name, err)
	}
	var staged totals
	if err := p.db.GetContext(ctx, &staged, stagedTotals, f.load); err != nil {
		return o, fmt.Errorf("%s: counting the staged lines: %w", f.name, err)
	}
	if want := f.totals(); !staged.equal(want) {
		return o, fmt.Errorf("%s: %w: the file has %v; staged are %v", f.name, errWrong, want, staged)
	}
	if o.merged, o.before, err = p.merge(ctx, f); err != nil {
		return o, fmt.Errorf("%s: merging: %w", f.name, err)
	}
	if err := p.tidy(ctx, f.load); err != nil {
		return o, fmt.Errorf("%s: removing its files: %w", f.name, err)
	}
	return o, nil
}

// merge merges a staged load into the target, brings the sums up to date and
// writes the ledger, all in one transaction and once and for all. A COMMIT in doubt
// is no matter: the transaction is tried again, and if the COMMIT was carried
// out, it finds its row in the ledger. Should the first one still be on its way,
// the second waits at the UPDATE until that has ended.
func (p *pipeline) merge(ctx context.Context, f file) (merged int, before bool, err error) {
	before = true
	err = settle(ctx, "a COMMIT", func() error {
		return snowtether.RunTx(ctx,
			func(ctx context.Context) (*sqlx.Tx, error) { return p.db.BeginTxx(ctx, nil) },
			func(tx *sqlx.Tx) error { // may run more than once
				// Our turn. What another process changed and did not commit, because it was
				// killed, holds us up for 5 minutes: then Snowflake rolls it back.
				if _, err := tx.ExecContext(ctx, "UPDATE pipeline_turn SET load_id = ?", f.load); err != nil {
					return err
				}
				// Each statement sees what was committed before it began (READ COMMITTED).
				err := tx.GetContext(ctx, &merged, "SELECT merged FROM pipeline_loads WHERE load_id = ?", f.load)
				if !errors.Is(err, sql.ErrNoRows) {
					return err // nil if the ledger has it: there is nothing left to do
				}
				before = false
				result, err := tx.ExecContext(ctx, mergeLoad, f.load)
				if err != nil {
					return err
				}
				n, err := result.RowsAffected()
				if err != nil {
					return err
				}
				merged = int(n)
				// In the same transaction: nobody sees the target without its sums.
				if _, err := tx.ExecContext(ctx, "DELETE FROM pipeline_yearly"); err != nil {
					return err
				}
				if _, err := tx.ExecContext(ctx, insertYearly); err != nil {
					return err
				}
				_, err = tx.NamedExecContext(ctx, insertLedger, map[string]any{
					"load_id": f.load, "file_name": f.name, "line_count": len(f.rows), "merged": merged,
				})
				return err
			})
	})
	return merged, before, err
}

// settle runs what may be run again, until its outcome is known. (A lost session
// is seldom an error outside of a transaction: only if new ones are lost as well.)
func settle(ctx context.Context, what string, run func() error) error {
	for attempt := 1; ; attempt++ {
		err := run()
		again := errors.Is(err, snowtether.ErrInDoubt) || errors.Is(err, snowtether.ErrSessionLost)
		if !again || ctx.Err() != nil || attempt == attempts {
			return err
		}
		slog.Info("pipeline: "+what+" did not come back; finding out what became of it", "class", snowtether.Classify(err))
	}
}

// errWrong is in the chain of the error of a check: running again does not help.
var errWrong = errors.New("the counts differ")

// check compares the tables with the staged lines of all loads that were merged.
func (p *pipeline) check(ctx context.Context) ([]totals, error) {
	var all []totals
	if err := p.db.SelectContext(ctx, &all, compare); err != nil {
		return nil, fmt.Errorf("comparing the tables: %w", err)
	}
	for _, t := range all[1:] {
		if !t.equal(all[0]) {
			return all, fmt.Errorf("%w: %s: %v; %s: %v", errWrong, all[0].What, all[0], t.What, t)
		}
	}
	return all, nil
}

// A year is a row of pipeline_yearly, with means.
type year struct {
	Location      string  `db:"LOCATION"`
	Year          int     `db:"YEAR"`
	Days          int     `db:"DAYS"`
	Precipitation float64 `db:"PRECIPITATION"`
	TempMax       float64 `db:"TEMP_MAX"`
	TempMin       float64 `db:"TEMP_MIN"`
	Wind          float64 `db:"WIND"`
}

func (p *pipeline) years(ctx context.Context) ([]year, error) {
	var years []year
	err := p.db.SelectContext(ctx, &years, `SELECT location, year, days, precipitation, temp_max / days AS temp_max,
		temp_min / days AS temp_min, wind / days AS wind FROM pipeline_yearly ORDER BY location, year`)
	return years, err
}
