package sqltext

import "testing"

func TestNamesAreFoldedAsTheCatalogHasThem(t *testing.T) {
	for name, want := range map[string]string{
		"":            "",
		"t":           "T",
		"Orders_1":    "ORDERS_1",
		`"Orders"`:    "Orders",
		`"a ""b"" c"`: `a "b" c`,
		`""`:          "",
		`"`:           `"`,
		`"a`:          `"A`,
		`a"`:          `A"`,
		`ab"c`:        `AB"C`,
		`a"b"`:        `A"B"`,
		`"a"b`:        `"A"B`,
	} {
		if got := Fold(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
