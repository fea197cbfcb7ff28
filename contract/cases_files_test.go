package contract_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about PUT, of which gosnowflake does most after the server's answer.

// TestPutSaysWhichFilesArrivedOrThatItDoesNotKnow: whichever of its requests meets the end of
// the session or a fault, and whatever had been uploaded before.
func TestPutSaysWhichFilesArrivedOrThatItDoesNotKnow(t *testing.T) {
	const files = 3
	dir := t.TempDir()
	for i := range files {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%d.csv", i)), []byte("1,2\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	faults := map[string]snowtest.Fault{"": {}, "403": {Status: 403}, "503": {Status: 503}, "lost before": {Drop: true}, "lost after": {Run: true, Drop: true}}
	for at := range 2*files + 2 {
		for name, fault := range faults {
			for _, dies := range []bool{false, true} {
				t.Run(fmt.Sprintf("request %d/%s/dies %v", at, name, dies), func(t *testing.T) {
					inBubble(t, func(t *testing.T, srv *snowtest.Server) {
						db := casePool(t, srv, 1)
						n, arrived := 0, 0
						srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
							upload := r.Kind == snowtest.RequestOther && r.HTTP.Method == http.MethodPut
							if !upload && r.Kind != snowtest.RequestQuery {
								return snowtest.Fault{}, false
							}
							f := snowtest.Fault{}
							if n++; n == at+1 {
								if f = fault; dies {
									srv.AbortSessions()
								}
							}
							if upload && (f.Run || !f.Drop && f.Status == 0) {
								arrived++
							}
							return f, true
						})
						listed, err := casePut(t, db, "PUT 'file://"+dir+"/*.csv' @~/x PARALLEL=1 OVERWRITE=TRUE")
						switch {
						case err == nil && listed != files:
							t.Errorf("%d of %d files are listed as uploaded, and no error", listed, files)
						case err != nil && arrived > 0 && !errors.Is(err, snowtether.ErrInDoubt):
							t.Errorf("%d files arrived, and the error is %v", arrived, err)
						}
					}, snowtest.AllowRepeats())
				})
			}
		}
	}
}

// casePut carries a PUT out and counts the files that its result lists as uploaded.
func casePut(t *testing.T, db caseDB, query string) (uploaded int, _ error) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		return 0, err
	}
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		values, dest := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			dest[i] = &values[i]
		}
		if err := rows.Scan(dest...); err != nil {
			t.Fatal(err)
		}
		for i, column := range columns {
			if column == "status" && fmt.Sprint(values[i]) == "UPLOADED" {
				uploaded++
			}
		}
	}
	return uploaded, errors.Join(rows.Err(), rows.Close())
}
