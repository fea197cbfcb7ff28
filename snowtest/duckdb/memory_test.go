package duckdb_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/snowtether/snowtether/snowtest"
)

// heapWhileReading reads rows of a result through gosnowflake, and gives the most bytes that were in use
// at eight places on the way, each time behind a garbage collection.
func heapWhileReading(t *testing.T, rows int) (most uint64) {
	t.Helper()
	db, _ := connect(t, snowtest.WithChunkRows(5_000))
	list, err := pinned(t, db).QueryContext(t.Context(), fmt.Sprintf("SELECT n, 'a text of some length for row ' || n AS name, n * 1.5 AS half FROM (SELECT seq8() AS n FROM TABLE(GENERATOR(ROWCOUNT => %d)))", rows))
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	n := 0
	for ; list.Next(); n++ {
		if n%(rows/8) == 0 {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
		}
	}
	if list.Err() != nil || n != rows {
		t.Fatalf("%d rows, %v", n, list.Err())
	}
	return most
}

// A large result goes from DuckDB to the client chunk by chunk: neither the engine nor the server
// holds its rows. Those of the large result below take more than 50 MB in gosnowflake's form.
func TestMemoryInUseDoesNotGrowWithTheRows(t *testing.T) {
	small, large := heapWhileReading(t, 40_000), heapWhileReading(t, 400_000)
	t.Logf("%d and %d MiB in use", small>>20, large>>20)
	if large > small+16<<20 {
		t.Errorf("%d MiB in use with ten times the rows, %d MiB before", large>>20, small>>20)
	}
}
