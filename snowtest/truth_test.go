package snowtest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowtether/snowtether/snowtest"
)

// This file is what is known of accounts and was not so in an earlier server: requests are
// sent by hand here, because gosnowflake shows neither statuses nor the shape of replies.

// raw sends requests to a server in memory with the token of a session that it logged in.
type raw struct {
	t      *testing.T
	srv    *snowtest.Server
	client http.Client
	token  string
}

type rawReply struct {
	Status  int
	Success bool
	Code    string
	Message string
	Data    map[string]any
}

func newRaw(t *testing.T, srv *snowtest.Server) *raw {
	return &raw{t: t, srv: srv, client: http.Client{Transport: srv.Config().Transporter}}
}

func (r *raw) send(method, path string, body any) rawReply {
	r.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		r.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(r.t.Context(), method, "http://127.0.0.1"+path, strings.NewReader(string(text)))
	if err != nil {
		r.t.Fatal(err)
	}
	if r.token != "" {
		req.Header.Set("Authorization", fmt.Sprintf("Snowflake Token=%q", r.token))
	}
	res, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err = io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	a := rawReply{Status: res.StatusCode}
	if err := json.Unmarshal(text, &a); err != nil {
		r.t.Fatalf("%s: %v", text, err)
	}
	return a
}

// logIn logs a client in; query holds the names, such as roleName=R.
func (r *raw) logIn(client, query string, params map[string]any) rawReply {
	r.t.Helper()
	a := r.send("POST", "/session/v1/login-request?"+query, map[string]any{"data": map[string]any{
		"LOGIN_NAME": r.srv.User(), "PASSWORD": r.srv.Password(), "CLIENT_APP_ID": client, "SESSION_PARAMETERS": params,
	}})
	r.token, _ = a.Data["token"].(string)
	return a
}

func (r *raw) run(sql, requestID string) rawReply {
	r.t.Helper()
	return r.send("POST", "/queries/v1/query-request?requestId="+requestID, map[string]any{"sqlText": sql})
}

func (r *raw) status(queryID string) string {
	r.t.Helper()
	a := r.send("GET", "/monitoring/queries/"+queryID, nil)
	return fmt.Sprint(a.Data["queries"].([]any)[0].(map[string]any)["status"])
}

// inMemory runs fn with a server in a bubble.
func inMemory(t *testing.T, fn func(t *testing.T, srv *snowtest.Server), opts ...snowtest.Option) {
	synctest.Test(t, func(t *testing.T) {
		fn(t, snowtest.New(t, append(opts, snowtest.InMemory(), snowtest.AllowOpenSessions())...))
	})
}

func TestRefusedLoginHasTheShapeOfAnAccounts(t *testing.T) {
	inMemory(t, func(t *testing.T, srv *snowtest.Server) {
		for authenticator, method := range map[string]string{"": "USERNAME_PASSWORD", "SNOWFLAKE": "USERNAME_PASSWORD", "PROGRAMMATIC_ACCESS_TOKEN": "PAT"} {
			a := newRaw(t, srv).send("POST", "/session/v1/login-request", map[string]any{"data": map[string]any{
				"LOGIN_NAME": srv.User(), "PASSWORD": "wrong", "AUTHENTICATOR": authenticator,
			}})
			_, state := a.Data["sqlState"]
			if a.Success || a.Code != "390100" || a.Data["nextAction"] != "RETRY_LOGIN" || a.Data["authnMethod"] != method || a.Data["signInOptions"] == nil || state {
				t.Errorf("%q: %+v", authenticator, a)
			}
		}
	})
}

func TestLoginNamesWhatExists(t *testing.T) {
	tests := []struct{ query, code, message string }{
		{"databaseName=TESTDB&schemaName=PUBLIC&warehouse=TESTWH&roleName=SYSADMIN", "", ""},
		{"databaseName=testdb&schemaName=public&warehouse=testwh&roleName=public", "", ""},
		{"databaseName=MINE&schemaName=RAW&warehouse=BIG&roleName=LOADER", "", ""},
		{"databaseName=MINE", "", ""},
		{"", "", ""},
		{"databaseName=%22TESTDB%22&schemaName=%22PUBLIC%22&warehouse=%22my-wh%22&roleName=%22SYSADMIN%22", "", ""},
		{"roleName=USERADMIN", "", ""},
		{"databaseName=%22testdb%22", "390201", "database"},
		{"databaseName=TESTDB.PUBLIC", "390201", "database"},
		{"schemaName=PUBLIC", "390201", "schema"},
		{"databaseName=NONE", "390201", "database"},
		{"databaseName=TESTDB&schemaName=RAW", "390201", "schema"},
		{"warehouse=NONE", "390201", "warehouse"},
		{"roleName=NONE", "390189", "NONE"},
	}
	inMemory(t, func(t *testing.T, srv *snowtest.Server) {
		for _, test := range tests {
			a := newRaw(t, srv).logIn("Go", test.query, map[string]any{"CLIENT_VALIDATE_DEFAULT_PARAMETERS": true})
			if a.Success != (test.code == "") || a.Code != test.code || !strings.Contains(a.Message, test.message) {
				t.Errorf("%s: %+v", test.query, a)
			}
		}
		a := newRaw(t, srv).logIn("Go", "databaseName=NONE&schemaName=NONE&warehouse=NONE", nil)
		if info, _ := a.Data["sessionInfo"].(map[string]any); !a.Success || info["databaseName"] != "" || info["schemaName"] != "" || info["warehouseName"] != "" {
			t.Errorf("unchecked: %+v", a)
		}
	}, snowtest.WithDatabase("mine", "raw"), snowtest.WithWarehouse("big", `"my-wh"`), snowtest.WithRole("loader"))
}

func TestRequestWithoutATokenIsUnauthorized(t *testing.T) {
	inMemory(t, func(t *testing.T, srv *snowtest.Server) {
		r := newRaw(t, srv)
		if a := r.run("SELECT 1", "r1"); a.Status != http.StatusUnauthorized || a.Code != "390101" {
			t.Errorf("no token: %+v", a)
		}
		r.token = "garbage"
		if a := r.run("SELECT 1", "r1"); a.Status != http.StatusUnauthorized || a.Code != "390104" {
			t.Errorf("garbage: %+v", a)
		}
	})
}

// The first result, whatever the text, in one session and for as long as is remembered.
func TestRepeatedRequestIDIsAnsweredOnce(t *testing.T) {
	const insert = "INSERT INTO t VALUES (1)"
	tests := []struct {
		name string
		opts []snowtest.Option
		wait time.Duration
		text string
		same bool
	}{
		{"the same", nil, 0, insert, true},
		{"much later", nil, 3 * time.Hour, insert, true},
		{"with another text", nil, 0, "INSERT INTO t VALUES (2)", true},
		{"with another text, compared", []snowtest.Option{snowtest.WithRequestTexts()}, 0, "INSERT INTO t VALUES (2)", false},
		{"compared", []snowtest.Option{snowtest.WithRequestTexts()}, 0, insert, true},
		{"remembered", []snowtest.Option{snowtest.WithRequestMemory(time.Hour)}, time.Hour - time.Second, insert, true},
		{"forgotten", []snowtest.Option{snowtest.WithRequestMemory(time.Hour)}, time.Hour, insert, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inMemory(t, func(t *testing.T, srv *snowtest.Server) {
				r := newRaw(t, srv)
				r.logIn("Go", "", nil)
				first := r.run(insert, "r1")
				time.Sleep(test.wait)
				second := r.run(test.text, "r1")
				if same := first.Data["queryId"] == second.Data["queryId"]; same != test.same || len(srv.Ledger()) == 1 != test.same {
					t.Errorf("%+v, then %+v", first, second)
				}
				r.logIn("Go", "", nil)
				if a := r.run(insert, "r1"); a.Data["queryId"] == first.Data["queryId"] {
					t.Error("another session's request was taken for a repetition")
				}
			}, append(test.opts, snowtest.AllowRepeats(), snowtest.WithTokenLife(24*time.Hour, 24*time.Hour))...)
		})
	}
}

// slow makes an INSERT last until it is cancelled, or for an hour.
func slow(srv *snowtest.Server) {
	srv.Handle("INSERT", func(ctx context.Context, _ *snowtest.Statement) (*snowtest.Result, error) {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Hour):
			return nil, nil
		}
	})
}

func TestEndOfASessionCancelsWhatRunsIfToldSo(t *testing.T) {
	ends := map[string]func(srv *snowtest.Server){
		"aborted": func(srv *snowtest.Server) { srv.AbortSessions() },
		"401":     func(srv *snowtest.Server) { srv.EndSessions(snowtest.Refusal{Status: 401}) },
		"policy":  func(srv *snowtest.Server) { srv.Advance(2 * time.Hour) },
		"expired": func(srv *snowtest.Server) { srv.ExpireMasterTokens() },
	}
	for name, end := range ends {
		for _, cancel := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, cancel %v", name, cancel), func(t *testing.T) {
				opts := []snowtest.Option{snowtest.WithInlineWait(0), snowtest.WithMaxSessionLife(2 * time.Hour), snowtest.WithTokenLife(24*time.Hour, 24*time.Hour)}
				if cancel {
					opts = append(opts, snowtest.WithCancelOnEnd())
				}
				inMemory(t, func(t *testing.T, srv *snowtest.Server) {
					slow(srv)
					r := newRaw(t, srv)
					r.logIn("Go", "", nil)
					r.run("INSERT INTO t VALUES (1)", "r1")
					end(srv)
					synctest.Wait()
					if state := srv.Ledger()[0].State; (state == snowtest.Aborted) != (cancel && name != "expired") {
						t.Errorf("the statement is %s", state)
					}
				}, opts...)
			})
		}
	}
}

func TestDisabledUserIsOutAtOnce(t *testing.T) {
	inMemory(t, func(t *testing.T, srv *snowtest.Server) {
		slow(srv)
		r := newRaw(t, srv)
		r.logIn("Go", "", nil)
		r.run("INSERT INTO t VALUES (1)", "r1")
		srv.DisableUser()
		synctest.Wait()
		if state := srv.Ledger()[0].State; state != snowtest.Aborted {
			t.Errorf("the statement is %s", state)
		}
		if a := r.run("SELECT 1", "r2"); a.Code != "390111" {
			t.Errorf("the session: %+v", a)
		}
		if a := r.logIn("Go", "", nil); a.Success || a.Code == "390101" || !strings.HasPrefix(a.Message, "User access disabled") {
			t.Errorf("the login: %+v", a)
		}
		srv.EnableUser()
		if a := r.logIn("Go", "", nil); !a.Success {
			t.Errorf("enabled again: %+v", a)
		}
	}, snowtest.WithInlineWait(0))
}

func TestMonitorHasTheWordsOfAnAccount(t *testing.T) {
	inMemory(t, func(t *testing.T, srv *snowtest.Server) {
		stuck := make(chan struct{})
		srv.Handle("INSERT", func(ctx context.Context, _ *snowtest.Statement) (*snowtest.Result, error) {
			<-ctx.Done()
			<-stuck
			return nil, ctx.Err()
		})
		r := newRaw(t, srv)
		r.logIn("Go", "", nil)
		id := fmt.Sprint(r.run("INSERT INTO t VALUES (1)", "r1").Data["queryId"])
		want := func(word string) {
			t.Helper()
			if got := r.status(id); got != word {
				t.Errorf("the status is %s, want %s", got, word)
			}
		}
		want("RUNNING")
		for _, word := range []string{"RESTARTED", "DISCONNECTED", "QUEUED", "RESUMING_WAREHOUSE", "NO_DATA"} {
			srv.SetStatus(id, word)
			want(word)
		}
		srv.SetStatus(id, "")
		srv.SetStatus("unknown", "RESTARTED")
		r.send("POST", "/queries/v1/abort-request", map[string]any{"requestId": "r1"})
		want("ABORTING")
		close(stuck)
		synctest.Wait()
		want("FAILED_WITH_ERROR")
		other := newRaw(t, srv)
		other.logIn("Go", "", nil)
		r.run("BEGIN", "r2")
		r.run("UPDATE t SET x = 1", "r3")
		time.Sleep(time.Second)
		id = fmt.Sprint(other.run("UPDATE t SET x = 2", "r4").Data["queryId"])
		time.Sleep(time.Second)
		want("BLOCKED")
		r.run("ROLLBACK", "r5")
		time.Sleep(time.Second)
		want("SUCCESS")
	}, snowtest.WithInlineWait(0), snowtest.WithDetachedTransactions(time.Hour))
}

// gosnowflake and the clients of Java, C and Python read Arrow; others get JSON.
func TestRowsComeInTheFormatThatTheClientReads(t *testing.T) {
	inMemory(t, func(t *testing.T, srv *snowtest.Server) {
		for _, test := range []struct {
			client string
			params map[string]any
			want   string
		}{
			{"Go", nil, "arrow"},
			{"Go", map[string]any{"GO_QUERY_RESULT_FORMAT": "JSON"}, "json"},
			{"PythonConnector", nil, "arrow"},
			{"PythonConnector", map[string]any{"PYTHON_CONNECTOR_QUERY_RESULT_FORMAT": "JSON"}, "json"},
			{"JavaScript", nil, "json"},
			{"", nil, "json"},
		} {
			r := newRaw(t, srv)
			r.logIn(test.client, "", test.params)
			if got := r.run("SELECT 1", "r1").Data["queryResultFormat"]; got != test.want {
				t.Errorf("%q with %v: %v", test.client, test.params, got)
			}
		}
	})
}

func TestReplyToAStatementHasItsTypeAndContext(t *testing.T) {
	inMemory(t, func(t *testing.T, srv *snowtest.Server) {
		r := newRaw(t, srv)
		r.logIn("Go", "", nil)
		for sql, want := range map[string]float64{
			"SELECT 1": 0x1000, "SHOW TABLES": 0x4400, "DESC TABLE t": 0x4500, "ALTER SESSION SET QUERY_TAG = 'x'": 0x4100,
			"USE SCHEMA s": 0x4302, "USE ROLE r": 0x4300, "SET x = 1": 0x4000, "COPY INTO t FROM @s": 0x3600, "COPY INTO @s FROM t": 0x3700,
			"INSERT INTO t VALUES (1)": 0x3100, "CREATE TABLE t (x INT)": 0x6000, "BEGIN": 0x5000,
		} {
			a := r.run(sql, fmt.Sprint(want))
			entries, _ := a.Data["queryContext"].(map[string]any)
			if a.Data["statementTypeId"] != want || len(entries) != 1 {
				t.Errorf("%s: type %v, context %v", sql, a.Data["statementTypeId"], a.Data["queryContext"])
			}
		}
	})
}

// A transaction that the engine ends is over for the ledger too, whatever the statement's text.
func TestTransactionsAreWhatTheEngineSays(t *testing.T) {
	srv := snowtest.New(t, snowtest.InMemory())
	srv.Handle("CALL commits", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		res := snowtest.Rows([]string{"P"}, []any{1})
		res.Transaction = snowtest.Committed
		return res, nil
	})
	c := conn(t, open(t, srv))
	exec(t, c, "BEGIN")
	exec(t, c, "INSERT INTO t VALUES (1)")
	exec(t, c, "CALL commits()")
	exec(t, c, "ROLLBACK")
	if n := srv.Effects("INSERT INTO t VALUES (1)"); n != 1 {
		t.Errorf("the INSERT took effect %d times", n)
	}
}
