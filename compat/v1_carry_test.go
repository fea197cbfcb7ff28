package compat

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"testing"
	"time"

	v1 "github.com/snowflakedb/gosnowflake"

	"github.com/snowtether/snowtether/snowtest"
)

// This file is about statements that gosnowflake v1 was told are accepted, and whose
// sessions then ended: their outcome is v1's.

// after answers statements after a minute.
func after(srv *snowtest.Server, pattern string, res *snowtest.Result, err error) {
	srv.Handle(pattern, func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		time.Sleep(time.Minute)
		return res, err
	})
}

// TestOutcomeThatIsCarriedOverIsV1s: the rows affected are those that v1 counts where the
// session lives, and so are a query's rows and the statement's own error.
func TestOutcomeThatIsCarriedOverIsV1s(t *testing.T) {
	for name, wrap := range connectors {
		got := map[bool]string{}
		for _, lose := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/session lost %v", name, lose), func(t *testing.T) {
				bubble(t, func(t *testing.T, srv *snowtest.Server) {
					after(srv, "^UPDATE", snowtest.Count(snowtest.KindUpdate, []string{"updated", "multi-joined"}, []int64{3, 1}), nil)
					after(srv, "^CREATE", nil, nil)
					after(srv, "^SELECT n", snowtest.Rows([]string{"N"}, []any{1}, []any{2}), nil)
					after(srv, "^DELETE", nil, &snowtest.Error{Code: "000100", SQLState: "22000", Message: "Division by zero"})
					db := open(t, wrap(v1Connector(srv)))
					lost := func() {
						if lose {
							time.AfterFunc(30*time.Second, func() { srv.AbortSessions() })
						}
					}
					for _, statement := range []string{"UPDATE t SET n = 1", "CREATE TABLE u (n INT)"} {
						lost()
						res, err := db.ExecContext(t.Context(), statement)
						if err != nil {
							t.Fatal(statement, err)
						}
						n, err := res.RowsAffected()
						got[lose] += fmt.Sprintln(statement, n, err)
					}
					lost()
					var n, sum int
					rows, err := db.QueryContext(t.Context(), "SELECT n FROM numbers")
					if err != nil {
						t.Fatal(err)
					}
					for rows.Next() {
						_ = rows.Scan(&n)
						sum += n
					}
					lost()
					_, failed := db.ExecContext(t.Context(), "DELETE FROM t")
					var own *v1.SnowflakeError
					if !errors.As(failed, &own) {
						t.Fatalf("error is %v", failed)
					}
					got[lose] += fmt.Sprintln(sum, rows.Close(), own.Number, own.Message)
					for _, e := range srv.Ledger() {
						if e.SQL == "DELETE FROM t" && own.QueryID != e.QueryID {
							t.Errorf("the query ID is %q", own.QueryID)
						}
					}
				}, snowtest.WithInlineWait(10*time.Second))
			})
		}
		if got[true] != got[false] {
			t.Errorf("%s: carried over %s\nwant %s", name, got[true], got[false])
		}
	}
}

// TestRawGivesV1sConnection: the driver's own connection is none of v1's.
func TestRawGivesV1sConnection(t *testing.T) {
	bubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := open(t, v1Connector(srv))
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err = conn.ExecContext(t.Context(), insert); err != nil {
			t.Fatal(err)
		}
		all := srv.Ledger()
		err = conn.Raw(func(c any) error {
			status, err := c.(interface{ Raw() driver.Conn }).Raw().(v1.SnowflakeConnection).GetQueryStatus(t.Context(), all[len(all)-1].QueryID)
			if err == nil && status.EndTime == 0 {
				t.Error("it has not ended")
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}
