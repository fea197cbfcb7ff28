package main

import (
	"testing"
	"time"
)

// What the program was told is compared with the ledger, statement by statement.
func TestVerdictIsWhatTheLedgerSays(t *testing.T) {
	begun := time.Now()
	l, err := newLane(t.Context(), drivers[0], 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, query := range []string{
		"INSERT INTO facts VALUES (1)",
		"INSERT INTO facts VALUES (2)", "INSERT INTO facts VALUES (2)", "INSERT INTO facts VALUES (2)",
		"INSERT INTO facts VALUES (4)",
		"INSERT INTO facts VALUES (5)",
		"BEGIN", "INSERT INTO facts VALUES (6)", // never committed
	} {
		if _, err := l.db.ExecContext(t.Context(), query); err != nil {
			t.Fatal(err)
		}
	}
	l.outcomes = []outcome{
		{"INSERT INTO facts VALUES (1)", succeeded, 0},
		{"INSERT INTO facts VALUES (2)", succeeded, 0},
		{"INSERT INTO facts VALUES (3)", succeeded, 3 * time.Second},
		{"INSERT INTO facts VALUES (4)", failed, 0},
		{"INSERT INTO facts VALUES (5)", inDoubt, 0},
		{"INSERT INTO facts VALUES (6)", succeeded, 6 * time.Second},
		{"INSERT INTO facts VALUES (7)", failed, 0},
	}
	v, err := l.judge(begun)
	if err != nil {
		t.Fatal(err)
	}
	if v.counts != [fates]int{4, 2, 1} || v.doubled != 1 || len(v.twice) != 2 || v.hidden != 1 || v.logins != 1 {
		t.Errorf("counts %v, doubled %d (%d times), hidden %d, logins %d", v.counts, v.doubled, len(v.twice), v.hidden, v.logins)
	}
	if len(v.lost) != 2 || v.lost[0] != 3*time.Second || v.lost[1] != 6*time.Second {
		t.Errorf("lost: %v", v.lost)
	}
	for name, v := range map[string]verdict{"doubled": {doubled: 1}, "lost": {lost: v.lost}, "hidden": {hidden: 1}} {
		if v.exact() {
			t.Errorf("%s: exact", name)
		}
	}
	if !(verdict{counts: [fates]int{1, 1, 1}}).exact() {
		t.Error("errors that tell the truth are not exact")
	}
}
