package contract_test

import (
	"database/sql"
	"net/url"
	"regexp"
	"testing"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about functions that the program says are harmless.

// caseNamed are statements that call nothing but functions which are harmless, or named
// f and db.s.g; caseUnnamed call others too.
var (
	caseNamed = []string{
		"SELECT f(1)", "SELECT F (1), UPPER('x') FROM t", "SELECT db.s.g(1)", "select DB.S.G(f(n)) from t",
		"SELECT * FROM TABLE(db.s.g(1))", "WITH x AS (SELECT f(1) AS n) SELECT n FROM x", "SHOW TABLES ->> SELECT f(\"name\") FROM $1",
	}
	caseUnnamed = []string{
		"SELECT g(1)", "SELECT s.g(1)", "SELECT other.s.g(1)", "SELECT db.s.f(1)", "SELECT f(h(1))", "SELECT \"f\"(1)",
		"SELECT f!g(1)", "SELECT IDENTIFIER('f')(1)", "SELECT f(1), SYSTEM$WAIT(1)", "SELECT f(1) ->> CALL f(1)",
	}
)

// caseHarmlessPools open a pool for which f and db.s.g are harmless.
var caseHarmlessPools = map[string]func(t *testing.T, srv *snowtest.Server) *sql.DB{
	"option": func(t *testing.T, srv *snowtest.Server) *sql.DB {
		return casePool(t, srv, 1, snowtether.WithHarmlessFunctions("f", "db.s.g"))
	},
	"options add up": func(t *testing.T, srv *snowtest.Server) *sql.DB {
		return casePool(t, srv, 1, snowtether.WithHarmlessFunctions("f"), snowtether.WithHarmlessFunctions("DB.S.G"))
	},
}

// TestNamedFunctionsAreHarmless: a lost reply of a statement that calls them is run again,
// and of any other one is in doubt.
// Before: there was no way to say so.
func TestNamedFunctionsAreHarmless(t *testing.T) {
	for name, open := range caseHarmlessPools {
		for _, query := range append(caseNamed, caseUnnamed...) {
			for _, use := range caseUses {
				t.Run(name+"/"+use.name+"/"+query, func(t *testing.T) {
					inBubble(t, func(t *testing.T, srv *snowtest.Server) {
						var calls caseCalls
						calls.handle(srv, regexp.QuoteMeta(query), snowtest.Rows([]string{"N"}, []any{1}))
						db := open(t, srv)
						caseLose(srv, query)
						err := use.run(t.Context(), db, query)
						if caseContains(caseNamed, query) {
							if err != nil {
								t.Error(err)
							}
							calls.want(t, 2)
							return
						}
						caseDoubt(t, err, false)
						calls.want(t, 1)
					}, snowtest.AllowRepeats())
				})
			}
		}
	}
}

func caseContains(list []string, query string) bool {
	for _, q := range list {
		if q == query {
			return true
		}
	}
	return false
}

// TestTransactionWithNamedFunctionsIsRepeated: nothing of it lasts.
func TestTransactionWithNamedFunctionsIsRepeated(t *testing.T) {
	const query = "INSERT INTO t SELECT db.s.g(f(1))"
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := caseHarmlessPools["option"](t, srv)
		caseLose(srv, query)
		err := snowtether.RunTx(t.Context(), caseBeginner(db), func(tx *sql.Tx) error {
			_, err := tx.ExecContext(t.Context(), query)
			return err
		})
		if err != nil {
			t.Error(err)
		}
		caseSum(t, srv, query, 2, 1)
	}, snowtest.AllowRepeats())
}

// TestHarmlessFunctionsOfADSN: tetherHarmlessFunctions=f,db.s.g.
func TestHarmlessFunctionsOfADSN(t *testing.T) {
	srv := snowtest.New(t, snowtest.AllowRepeats())
	db, err := sql.Open(snowtether.DriverName, srv.DSN()+"&tetherHarmlessFunctions="+url.QueryEscape("f,db.s.g"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	db.SetMaxOpenConns(1)
	for query, harmless := range map[string]bool{"SELECT f(1), db.s.g(2)": true, "SELECT g(1)": false} {
		if err := db.PingContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		caseLose(srv, query)
		err := caseDrain(db.QueryContext(t.Context(), query))
		if harmless && err != nil {
			t.Errorf("%s: %v", query, err)
		}
		if !harmless {
			caseDoubt(t, err, false)
		}
	}
}

// TestNamesThatAreNoneAreRefused: at once, with the name in the error.
func TestNamesThatAreNoneAreRefused(t *testing.T) {
	srv := snowtest.New(t)
	for _, name := range []string{"", " ", "f(1)", "a b", "a..b", "a.b.c.d", "f;"} {
		if _, err := snowtether.NewConnector(srv.Config(), snowtether.WithHarmlessFunctions("f", name)); err == nil {
			t.Errorf("%q was taken for a name", name)
		}
	}
}
