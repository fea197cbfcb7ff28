package main

import (
	"context"
	"database/sql"
	_ "embed"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/snowtether/snowtether"
)

// This file is the load itself: what a program of your own would have. Nothing
// in it is about sessions, except for the statements that are in doubt.

//go:embed data/seattle-weather.csv
var weather string

// A day is one row. Its date is the key.
type day struct {
	date                                  string
	precipitation, tempMax, tempMin, wind float64
	weather                               string
}

// tableColumns are those of the table. There is no PRIMARY KEY: Snowflake would not
// enforce it, and a row that arrived twice is to be seen.
const tableColumns = "(day DATE, precipitation FLOAT, temp_max FLOAT, temp_min FLOAT, wind FLOAT, weather VARCHAR)"

// rowsPerInsert is low, so that the load lasts for some kills. Use thousands.
const rowsPerInsert = 4

// attempts is how often an INSERT is tried whose outcome stays in doubt.
const attempts = 5

// readDays reads the CSV.
func readDays(r io.Reader) ([]day, error) {
	lines := csv.NewReader(r)
	lines.FieldsPerRecord = 6
	records, err := lines.ReadAll()
	if err != nil {
		return nil, err
	}
	var days []day
	for i, record := range records[min(1, len(records)):] {
		var numbers [4]float64
		for n := range numbers {
			if numbers[n], err = strconv.ParseFloat(record[n+1], 64); err != nil {
				return nil, fmt.Errorf("row %d: %w", i+1, err)
			}
		}
		days = append(days, day{record[0], numbers[0], numbers[1], numbers[2], numbers[3], record[5]})
	}
	return days, nil
}

// load inserts the days with several workers, and returns the errors of the
// statements that failed. It goes on after an error; it stops when ctx ends.
func load(ctx context.Context, db *sql.DB, table string, days []day, workers int) []error {
	var (
		batches = make(chan []day)
		wg      sync.WaitGroup
		mu      sync.Mutex
		failed  []error
	)
	for range workers {
		wg.Go(func() {
			for batch := range batches {
				if err := insert(ctx, db, table, batch); err != nil {
					mu.Lock()
					failed = append(failed, err)
					mu.Unlock()
				}
			}
		})
	}
	for batch := range slices.Chunk(days, rowsPerInsert) {
		if ctx.Err() != nil {
			break
		}
		batches <- batch
	}
	close(batches)
	wg.Wait()
	return failed
}

// insert inserts some days with one statement.
//
// A session that ends is no matter here: the driver replaces it, and runs the
// statement again if it did not run. What no driver can know is whether a
// statement ran of which it never got a reply. That error matches ErrInDoubt, and only
// the program knows how to look for the outcome: here, by a key.
func insert(ctx context.Context, db *sql.DB, table string, days []day) error {
	const row = "(?, ?, ?, ?, ?, ?)"
	query := "INSERT INTO " + table + " VALUES " + row + strings.Repeat(", "+row, len(days)-1)
	var args []any
	for _, d := range days {
		args = append(args, d.date, d.precipitation, d.tempMax, d.tempMin, d.wind, d.weather)
	}
	for attempt := 1; ; attempt++ {
		_, err := db.ExecContext(ctx, query, args...)
		if !errors.Is(err, snowtether.ErrInDoubt) || attempt == attempts {
			return err
		}
		done, lookErr := arrived(ctx, db, table, days[0])
		if lookErr != nil {
			return errors.Join(err, lookErr)
		}
		slog.Info("quickstart: an INSERT was in doubt and has been looked up", "first_day", days[0].date, "arrived", done)
		if done {
			return nil
		}
	}
}

// arrived looks for the first row of an INSERT in doubt: the rows of one INSERT
// arrive all together or not at all. It looks more than once, because the
// statement may still be running. A few seconds are plenty for a few rows; of a
// long statement, look SessionError.QueryID up in QUERY_HISTORY instead, and do
// not run it again before it has ended.
func arrived(ctx context.Context, db *sql.DB, table string, d day) (bool, error) {
	for wait := time.Second; ; wait *= 2 {
		var n int
		err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+table+" WHERE day = ?", d.date).Scan(&n)
		if err != nil || n > 0 || wait > 4*time.Second {
			return n > 0, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// A tally compares the table with the file.
type tally struct{ file, table, missing, doubled int }

// exact reports whether each row of the file arrived once.
func (t tally) exact() bool { return t.missing == 0 && t.doubled == 0 && t.table == t.file }

// count reads the table's keys and compares them with the file's.
func count(ctx context.Context, db *sql.DB, table string, days []day) (tally, error) {
	t := tally{file: len(days)}
	rows, err := db.QueryContext(ctx, "SELECT day, COUNT(*) FROM "+table+" GROUP BY day")
	if err != nil {
		return t, err
	}
	defer rows.Close()
	times := map[string]int{}
	for rows.Next() {
		var date time.Time
		var n int
		if err := rows.Scan(&date, &n); err != nil {
			return t, err
		}
		times[date.Format(time.DateOnly)] = n
		t.table += n
		t.doubled += n - 1
	}
	for _, d := range days {
		if times[d.date] == 0 {
			t.missing++
		}
	}
	return t, rows.Err()
}
