package bulk

import (
	"database/sql/driver"
	"errors"
	"testing"

	"github.com/snowflakedb/gosnowflake/v2"
)

func array(t *testing.T, values any) driver.NamedValue {
	t.Helper()
	made, err := gosnowflake.Array(values)
	if err != nil {
		t.Fatal(err)
	}
	return driver.NamedValue{Value: made}
}

// TestArraysAreReadOrRefused: what gosnowflake would drop or send out of step is named before
// anything is sent; values that are no arrays are nobody's business here.
func TestArraysAreReadOrRefused(t *testing.T) {
	ints := array(t, []int{1, 2, 3})
	for name, tt := range map[string]struct {
		args []driver.NamedValue
		want Bound
		bad  bool
	}{
		"nothing":           {},
		"a value":           {args: []driver.NamedValue{{Value: int64(1)}}},
		"a value and array": {args: []driver.NamedValue{ints, {Value: "x"}}},
		"one array":         {args: []driver.NamedValue{ints}, want: Bound{Arrays: true, Rows: 3}},
		"NULLs alone":       {args: []driver.NamedValue{array(t, []any{nil, "a", nil})}, want: Bound{Arrays: true, Rows: 3, Nulls: 2}},
		"two arrays":        {args: []driver.NamedValue{ints, array(t, []string{"a", "b", "c"})}, want: Bound{Arrays: true, Rows: 3}},
		"of two lengths":    {args: []driver.NamedValue{ints, array(t, []string{"a"})}, bad: true},
		"of a struct":       {args: []driver.NamedValue{array(t, []any{1, struct{}{}})}, bad: true},
	} {
		if got, err := Of(tt.args); got != tt.want || (err != nil) != tt.bad {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, tt.want)
		}
	}
}

type counted struct {
	driver.Result
	rows int64
	err  error
}

func (c counted) RowsAffected() (int64, error) { return c.rows, c.err }

// TestRowsThatAreMissingAreAnError: unless they may be NULLs that an account does not count,
// or nothing was counted.
func TestRowsThatAreMissingAreAnError(t *testing.T) {
	for _, tt := range []struct {
		bound     Bound
		out       any
		uncounted int
		short     bool
	}{
		{Bound{}, counted{rows: 2}, 0, false},
		{Bound{Rows: 3}, nil, 0, false},
		{Bound{Rows: 3}, counted{rows: 3}, 0, false},
		{Bound{Rows: 3}, counted{err: errors.New("no count")}, 0, false},
		{Bound{Rows: 3}, counted{rows: 2}, 0, true},
		{Bound{Rows: 3, Nulls: 1}, counted{rows: 2}, 0, true},
		{Bound{Rows: 3, Nulls: 1, Staged: true}, counted{rows: 2}, 1, false},
		{Bound{Rows: 3, Nulls: 2, Staged: true}, counted{rows: 2}, 0, true},
	} {
		if uncounted, err := tt.bound.Compare(tt.out); uncounted != tt.uncounted || IsShort(err) != tt.short || err != nil && !tt.short {
			t.Errorf("%+v, %+v: %d, %v", tt.bound, tt.out, uncounted, err)
		}
	}
}
