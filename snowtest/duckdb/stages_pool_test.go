package duckdb_test

import (
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
	"github.com/snowtether/snowtether/snowtest/duckdb"
)

// TestPutSurvivesItsSession: at whichever of its requests the session ends, and whether the
// request was carried out or not, the files are there in the end, each under its name and
// whole, by the first PUT or, where that was in doubt or failed, by another.
func TestPutSurvivesItsSession(t *testing.T) {
	dir := folder(t, "f0.csv", "0,zero\n", "f1.csv", "1,one\n", "f2.csv", "2,two\n")
	for at := range 7 { // the PUT, one for the URL of each file, three uploads
		for name, fault := range map[string]snowtest.Fault{"": {}, "lost before": {Drop: true}, "lost after": {Run: true, Drop: true}} {
			t.Run(fmt.Sprintf("request %d/%s", at, name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					e, err := duckdb.New()
					if err != nil {
						t.Fatal(err)
					}
					srv := snowtest.New(t, snowtest.InMemory(), snowtest.WithEngine(e), snowtest.AllowRepeats(), snowtest.AllowOpenSessions())
					connector, err := snowtether.NewConnector(srv.Config())
					if err != nil {
						t.Fatal(err)
					}
					db := sql.OpenDB(connector)
					defer db.Close()
					db.SetMaxOpenConns(1)
					mustExec(t, db, "CREATE TABLE t (a INT, b VARCHAR)")
					n := 0
					srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
						if r.Kind != snowtest.RequestQuery && (r.Kind != snowtest.RequestOther || r.HTTP.Method != http.MethodPut) {
							return snowtest.Fault{}, false
						}
						if n++; n <= at {
							return snowtest.Fault{}, false
						}
						srv.AbortSessions()
						return fault, true
					})
					for try := 0; ; try++ {
						_, err := db.ExecContext(t.Context(), "PUT 'file://"+dir+"/*.csv' @%t PARALLEL = 1 OVERWRITE = TRUE")
						if err == nil {
							break
						}
						var failed *gosnowflake.SnowflakeError // of the upload, before any file arrived
						if try == 3 || !errors.Is(err, snowtether.ErrInDoubt) && !(errors.As(err, &failed) && failed.Number == gosnowflake.ErrFailedToUploadToStage) {
							t.Fatal(err)
						}
					}
					if n := changed(t, db, "INSERT INTO t SELECT $1, $2 FROM @%t"); n != 3 {
						t.Errorf("%d rows arrived", n)
					}
					wantTable(t, db, "SELECT * FROM t ORDER BY a", "0|zero;1|one;2|two")
				})
			})
		}
	}
}
