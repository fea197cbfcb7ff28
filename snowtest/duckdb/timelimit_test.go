package duckdb_test

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestGeneratorTakesItsTimeLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t)
		c.run("CREATE TABLE t (m VARCHAR, n INT)")
		for _, test := range []struct {
			sql  string
			took time.Duration
		}{
			{"INSERT INTO t SELECT 'a', COUNT(*) FROM TABLE(GENERATOR(TIMELIMIT => 20))", 20 * time.Second},
			{"SELECT COUNT(*) FROM TABLE(GENERATOR(ROWCOUNT => 3, TIMELIMIT => 5))", 5 * time.Second},
		} {
			begun := time.Now()
			c.run(test.sql)
			if took := time.Since(begun); took != test.took {
				t.Errorf("%s took %v", test.sql, took)
			}
		}
		c.want("SELECT COUNT(*) FROM t", "1")
		c.wantCode("SELECT COUNT(*) FROM TABLE(GENERATOR(TIMELIMIT => -1))", "000002/0A000")
	})
}
