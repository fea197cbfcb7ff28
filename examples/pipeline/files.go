package main

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/shopspring/decimal"
)

// This file reads the CSV files. Each is read whole and checked before anything
// is written: a bad line is found while nothing is half done. Files that do not
// fit into memory are better put as they are, and checked by VALIDATION_MODE.

//go:embed testdata/weather.csv
var sample []byte

var header = []string{"location", "date", "precipitation", "temp_max", "temp_min", "wind", "weather"}

// A file is one load.
type file struct {
	name string
	load string // its load ID
	rows []row
}

// A row is one line of a file. Its key is the location and the day.
type row struct {
	line                                  int // in the file; 1 is the header
	location, day                         string
	precipitation, tempMax, tempMin, wind decimal.Decimal
	weather                               string
}

// readFiles reads these files, or the sample if there are none.
func readFiles(paths []string) ([]file, error) {
	if len(paths) == 0 {
		f, err := parseFile("weather.csv", sample)
		return []file{f}, err
	}
	var files []file
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err // it names the path
		}
		f, err := parseFile(filepath.Base(path), data)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

func parseFile(name string, data []byte) (file, error) {
	// The load ID is made of the content: whoever starts again, with the same file
	// under whatever name, goes on with the same load, and a file that was changed
	// is another one.
	f := file{name: name, load: fmt.Sprintf("%x", sha256.Sum256(data))[:32]}
	if !utf8.Valid(data) {
		return f, fmt.Errorf("%s: it is not UTF-8", name) // JSON would replace what is not
	}
	lines := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(data, []byte("\ufeff"))))
	lines.FieldsPerRecord = len(header)
	for {
		fields, err := lines.Read()
		switch {
		case errors.Is(err, io.EOF) && f.rows == nil:
			return f, fmt.Errorf("%s: there is no line in it; the first line must be %q", name, header)
		case errors.Is(err, io.EOF):
			return f, nil
		case err != nil:
			return f, fmt.Errorf("%s: %w", name, err)
		}
		line, _ := lines.FieldPos(0)
		if f.rows == nil {
			if !slices.Equal(fields, header) {
				return f, fmt.Errorf("%s: the first line is %q; it must be %q", name, fields, header)
			}
			f.rows = []row{}
			continue
		}
		r, err := parseRow(fields)
		if err != nil {
			return f, fmt.Errorf("%s: line %d: %w", name, line, err)
		}
		r.line = line
		f.rows = append(f.rows, r)
	}
}

// number is what NUMBER(8, 2) holds exactly: Snowflake would round the rest.
var number = regexp.MustCompile(`^-?\d{1,6}(\.\d{1,2})?$`)

func parseRow(fields []string) (row, error) {
	r := row{location: fields[0], day: fields[1], weather: fields[6]}
	if r.location == "" {
		return r, errors.New("there is no location")
	}
	if _, err := time.Parse(time.DateOnly, r.day); err != nil {
		return r, fmt.Errorf("date %q; it must be a day such as 2012-01-31", r.day)
	}
	for i, to := range []*decimal.Decimal{&r.precipitation, &r.tempMax, &r.tempMin, &r.wind} {
		text := fields[i+2]
		if !number.MatchString(text) {
			return r, fmt.Errorf("%s %q; it must be a number with at most 6 digits and 2 decimals, such as -3.25", header[i+2], text)
		}
		*to = decimal.RequireFromString(text)
	}
	return r, nil
}

// Totals are what the file, the staged lines and the tables are compared by.
// Decimals, not floats: their sums are exact, in whatever order they are added.
//
// Snowflake answers with upper-case column names, and sqlx matches them to these.
type totals struct {
	What          string          `db:"WHAT"`
	Rows          int             `db:"N"`
	Precipitation decimal.Decimal `db:"PRECIPITATION"`
	TempMax       decimal.Decimal `db:"TEMP_MAX"`
	TempMin       decimal.Decimal `db:"TEMP_MIN"`
	Wind          decimal.Decimal `db:"WIND"`
}

func (t totals) equal(u totals) bool {
	return t.Rows == u.Rows && t.Precipitation.Equal(u.Precipitation) && t.TempMax.Equal(u.TempMax) &&
		t.TempMin.Equal(u.TempMin) && t.Wind.Equal(u.Wind)
}

func (t totals) String() string {
	return fmt.Sprintf("%d rows, precipitation %v, temp_max %v, temp_min %v, wind %v", t.Rows, t.Precipitation, t.TempMax, t.TempMin, t.Wind)
}

func (f file) totals() totals {
	t := totals{What: f.name, Rows: len(f.rows)}
	for _, r := range f.rows {
		t.Precipitation = t.Precipitation.Add(r.precipitation)
		t.TempMax = t.TempMax.Add(r.tempMax)
		t.TempMin = t.TempMin.Add(r.tempMin)
		t.Wind = t.Wind.Add(r.wind)
	}
	return t
}
