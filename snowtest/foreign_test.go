package snowtest_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/snowtether/snowtether/snowtest"
)

// This file is what clients in other languages ask of the server and gosnowflake does not.
// compat/node asks it with Snowflake's client for Node.

// The clients for Node and Python cancel a statement whose query ID they know by that.
func TestStatementIsAbortedByItsQueryID(t *testing.T) {
	inMemory(t, func(t *testing.T, srv *snowtest.Server) {
		slow(srv)
		var asked []string
		srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
			if r.Kind == snowtest.RequestAbort {
				asked = append(asked, r.QueryID+r.RequestID)
			}
			return snowtest.Fault{}, false
		})
		r := newRaw(t, srv)
		r.logIn("JavaScript", "", nil)
		id := fmt.Sprint(r.run("INSERT INTO t VALUES (1)", "r1").Data["queryId"])
		other := newRaw(t, srv) // another session of the user, as with SYSTEM$CANCEL_QUERY
		other.logIn("JavaScript", "", nil)
		if a := other.send("POST", "/queries/"+id+"/abort-request", nil); !a.Success {
			t.Errorf("the abort: %+v", a)
		}
		synctest.Wait()
		if a := r.send("GET", "/queries/"+id+"/result", nil); a.Code != "000604" || r.status(id) != "FAILED_WITH_ERROR" {
			t.Errorf("the statement: %+v, %s", a, r.status(id))
		}
		for _, over := range []string{id, "unknown"} {
			if a := r.send("POST", "/queries/"+over+"/abort-request", nil); a.Success || a.Code != "000605" {
				t.Errorf("the abort of what does not run: %+v", a)
			}
		}
		if got, want := fmt.Sprint(asked), fmt.Sprint([]string{id, id, "unknown"}); got != want {
			t.Errorf("the aborts are %s, want %s", got, want)
		}
	}, snowtest.WithInlineWait(0))
}

// Clients write values as text by these parameters, and Node's reads no binary value without one.
func TestSessionReportsTheOutputFormatsOfAnAccount(t *testing.T) {
	inMemory(t, func(t *testing.T, srv *snowtest.Server) {
		formats := func(data any) map[string]any {
			list := map[string]any{}
			for _, p := range data.(map[string]any)["parameters"].([]any) {
				p := p.(map[string]any)
				if name := fmt.Sprint(p["name"]); strings.HasSuffix(name, "_OUTPUT_FORMAT") {
					list[name] = p["value"]
				}
			}
			return list
		}
		_, body := recording(t, "select1.json", 0)
		want := formats(body["data"])
		r := newRaw(t, srv)
		login := r.logIn("JavaScript", "", nil)
		for name, a := range map[string]rawReply{"login": login, "statement": r.run("SELECT 1", "r1")} {
			if got := formats(any(a.Data)); fmt.Sprint(got) != fmt.Sprint(want) || len(want) != 7 {
				t.Errorf("the %s reports %v, recorded are %v", name, got, want)
			}
		}
	})
}

// In JSON an instant is one number of seconds, also before 1970: Snowflake's clients for Node
// and Python read it so. What the engine gave stays as it was, for RESULT_SCAN and for Arrow.
func TestInstantsBefore1970AreOneNumberInJSON(t *testing.T) {
	inMemory(t, func(t *testing.T, srv *snowtest.Server) {
		given := map[string]string{ // as Result.Rows has them, and as the client gets them
			"-1.900000000": "-0.100000000", "-1.5": "-0.5", "-2.001": "-1.999", "-1.000": "-1.000", "-7": "-7", "0.250": "0.250", "-1.9 1020": "-0.1 1020",
		}
		for text, want := range given {
			res := &snowtest.Result{
				Kind:    snowtest.KindSelect,
				Columns: []snowtest.Column{{Name: "T", Type: "timestamp_tz", Scale: 9}, {Name: "N", Type: "fixed", Precision: 38, Scale: 9}},
				Rows:    [][]*string{{nil, &text}, {&text, &text}},
			}
			srv.Handle("SELECT", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) { return res, nil })
			r := newRaw(t, srv)
			r.logIn("JavaScript", "", nil)
			for _, id := range []string{"r1", "r2"} {
				if got := fmt.Sprint(r.run("SELECT 1", id).Data["rowset"]); got != fmt.Sprintf("[[<nil> %s] [%s %[1]s]]", text, want) {
					t.Errorf("%s: %s", text, got)
				}
			}
		}
	})
}

// Node's client writes the PUT of a bulk array bind without a space and with half of its
// quotes, and asks for the region of a stage in Google's store.
func TestNodesClientUploadsArrayBinds(t *testing.T) {
	inMemory(t, func(t *testing.T, srv *snowtest.Server) {
		r := newRaw(t, srv)
		r.logIn("JavaScript", "", nil)
		r.run(`CREATE OR REPLACE TEMPORARY STAGE SYSTEM$BIND file_format=( type=csv field_optionally_enclosed_by='"')`, "r1")
		put := r.run("PUT file://1'@SYSTEM$BIND/batch' overwrite=true auto_compress=false source_compression=gzip", "r2")
		stage, _ := put.Data["stageInfo"].(map[string]any)
		if region, _ := stage["region"].(string); region == "" {
			t.Fatalf("the PUT: %+v", put)
		}
		req, err := http.NewRequestWithContext(t.Context(), "PUT", fmt.Sprint(stage["presignedUrl"]), strings.NewReader("1,a\n2,\n"))
		if err != nil {
			t.Fatal(err)
		}
		res, err := r.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		insert := r.send("POST", "/queries/v1/query-request?requestId=r3", map[string]any{"sqlText": "INSERT INTO t VALUES (?, ?)", "bindStage": "@SYSTEM$BIND/batch"})
		last := srv.Ledger()[len(srv.Ledger())-1]
		if got := text(last.Binds); !insert.Success || res.StatusCode != http.StatusOK || got != "TEXT=[1|2] TEXT=[a|NULL]" {
			t.Errorf("upload %d, INSERT %+v with %s", res.StatusCode, insert, got)
		}
	})
}
