package snowtest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/snowtether/snowtether/snowtest"
)

// This file is about requests that no driver would send.

const (
	logIn   = `{"data":{"LOGIN_NAME":"tester","PASSWORD":"s3cret-Passw0rd!","SESSION_PARAMETERS":{"AUTOCOMMIT":false}}}`
	logPath = "/session/v1/login-request?roleName=r"
	sqlPath = "/queries/v1/query-request?requestId=1"
)

// FuzzServer: each request gets a reply, whatever its method, path, token and body,
// and the server closes. The first request of three logs in, the second is any, and
// the third comes on the same session after it.
func FuzzServer(f *testing.F) {
	for _, seed := range []struct{ path, auth, body string }{
		{logPath, "", logIn},
		{logPath, "", `{"data":{"LOGIN_NAME":7}}`},
		{logPath, "x", `{"data":{"TOKEN":"t","AUTHENTICATOR":"SNOWFLAKE_JWT","SESSION_PARAMETERS":{"":null,"a":{"b":[1]}}}}`},
		{sqlPath, "session", `{"sqlText":"SELECT 1"}`},
		{sqlPath, "session", `{"sqlText":"SELECT 1; INSERT INTO t VALUES (?)","parameters":{"MULTI_STATEMENT_COUNT":0},"bindings":{"1":{"type":"TEXT","value":["a",null]}}}`},
		{sqlPath, "session", `{"sqlText":"BEGIN","asyncExec":true,"describeOnly":true,"bindStage":"@x"}`},
		{sqlPath, "session", `{"sqlText":"PUT file:///tmp/a @s overwrite=true","bindings":{"x":{"value":{"a":1}},"":{"value":null}}}`},
		{sqlPath, "session", `{"sqlText":"CREATE TEMPORARY STAGE SYSTEM$BIND","parameters":null}`},
		{sqlPath, "session", `{"sqlText":"SELECT * FROM TABLE(RESULT_SCAN('x'))"}`},
		{sqlPath, "session", `{"sqlText":"ALTER SESSION SET AUTOCOMMIT = 'x', MULTI_STATEMENT_COUNT=-1"}`},
		{"/queries/v1/abort-request", "session", `{"requestId":"1"}`},
		{"/session/token-request", "master", `{"oldSessionToken":"x","requestType":"RENEW"}`},
		{"/session/token-request", "session", `[]`},
		{"/session/heartbeat", "session", ""},
		{"/session?delete=true", "session", "null"},
		{"/monitoring/queries/x", "session", ""},
		{"/queries//result", "session", ""},
		{"/telemetry/send", "", "{"},
		{"/chunks/x/0", "", ""},
		{"/stages/x", "master", "\x1f\x8b"},
		{"//%2e%2e/?%zz", `"`, "\x00"},
	} {
		for method := range methods {
			f.Add(uint8(method), seed.path, seed.auth, []byte(seed.body))
		}
	}
	f.Fuzz(func(t *testing.T, method uint8, path, auth string, body []byte) {
		srv, err := snowtest.Start(snowtest.InMemory(), snowtest.WithInlineWait(10*time.Millisecond), snowtest.WithSessionParameter("CLIENT_TELEMETRY_ENABLED", true), snowtest.WithRole("r"))
		if err != nil {
			t.Fatal(err)
		}
		client := &http.Client{Transport: srv.Config().Transporter, Timeout: time.Minute}
		send := func(method, path, token string, body []byte) (status int, text []byte) {
			req, err := http.NewRequestWithContext(t.Context(), method, "http://127.0.0.1"+path, bytes.NewReader(body))
			if err != nil || req.URL.Host != "127.0.0.1" {
				return 0, nil // cannot be sent
			}
			req.Header["Authorization"] = []string{token}
			res, err := client.Do(req)
			if err != nil {
				t.Fatalf("%s %q: %v", method, path, err)
			}
			text, err = io.ReadAll(res.Body)
			if err := res.Body.Close(); err != nil {
				t.Error(err)
			}
			if err != nil {
				t.Fatalf("%s %q: %v", method, path, err)
			}
			return res.StatusCode, text
		}
		var opened struct {
			Data struct{ Token, MasterToken string }
		}
		_, text := send("POST", logPath, "", []byte(logIn))
		if err := json.Unmarshal(text, &opened); err != nil || opened.Data.Token == "" {
			t.Fatalf("%s: %v", text, err)
		}
		token := map[string]string{"session": opened.Data.Token, "master": opened.Data.MasterToken}[auth]
		if token == "" {
			token = auth
		}
		status, text := send(methods[int(method)%len(methods)], path, fmt.Sprintf("Snowflake Token=%q", token), body)
		if len(text) > 0 && text[0] == '{' && !json.Valid(text) || status != 0 && (status < 200 || status > 599) {
			t.Errorf("%q: %d %s", path, status, text)
		}
		if status, text := send("POST", sqlPath+"0", fmt.Sprintf("Snowflake Token=%q", opened.Data.Token), []byte(`{"sqlText":"SELECT 2"}`)); status != 200 || !json.Valid(text) {
			t.Errorf("afterwards: %d %s", status, text)
		}
		_, _, _ = srv.Ledger(), srv.Stats(), srv.Check()
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
}

var methods = []string{"POST", "GET", "PUT", "DELETE"}
