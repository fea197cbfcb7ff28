package snowtest_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/snowtether/snowtether/internal/recorded"
	"github.com/snowtether/snowtether/snowtest"
)

// This file compares the server's replies with those that gosnowflake ships as recordings
// for its own tests (test_data/wiremock).

// recording is a recorded exchange's reply.
func recording(t *testing.T, file string, n int) (status int, body map[string]any) {
	t.Helper()
	text, err := recorded.Read(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Mappings []struct {
			Response struct {
				Status   int            `json:"status"`
				JSONBody map[string]any `json:"jsonBody"`
			} `json:"response"`
		} `json:"mappings"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	return list.Mappings[n].Response.Status, list.Mappings[n].Response.JSONBody
}

// lacks lists what the recorded value has and the server's does not have, or has with
// another type; null stands for any type.
func lacks(path string, recording, served any) (list []string) {
	if path == "data.parameters[0].value" {
		return nil // each parameter has a type of its own
	}
	switch r := recording.(type) {
	case nil:
	case map[string]any:
		s, ok := served.(map[string]any)
		if !ok {
			return []string{fmt.Sprintf("%s is %T, not an object", path, served)}
		}
		for key, value := range r {
			own, has := s[key]
			if !has {
				list = append(list, path+"."+key+" is missing")
			} else if own != nil {
				list = append(list, lacks(path+"."+key, value, own)...)
			}
		}
	case []any:
		s, ok := served.([]any)
		if !ok || len(r) > 0 && len(s) == 0 {
			return []string{fmt.Sprintf("%s is %T, not a list of something", path, served)}
		}
		if len(r) > 0 {
			list = append(list, lacks(path+"[0]", r[0], s[0])...)
		}
	default:
		if fmt.Sprintf("%T", recording) != fmt.Sprintf("%T", served) {
			list = append(list, fmt.Sprintf("%s is %T, recorded is %T", path, served, recording))
		}
	}
	return list
}

func TestRepliesHaveTheFieldsOfRecordedOnes(t *testing.T) {
	inMemory(t, func(t *testing.T, srv *snowtest.Server) {
		slow(srv)
		r := newRaw(t, srv)
		refused := map[string]any{"data": map[string]any{"LOGIN_NAME": srv.User(), "TOKEN": "wrong", "AUTHENTICATOR": "PROGRAMMATIC_ACCESS_TOKEN"}}
		refusal := r.send("POST", "/session/v1/login-request", refused)
		login := r.logIn("JavaScript", "", nil)
		query := func(sql, id string, async bool) rawReply {
			return r.send("POST", "/queries/v1/query-request?requestId="+id, map[string]any{"sqlText": sql, "asyncExec": async})
		}
		one := query("SELECT 1", "r1", false)
		running := query("INSERT INTO t VALUES (1)", "r2", true)
		monitor := func(a rawReply) rawReply {
			return r.send("GET", fmt.Sprint("/monitoring/queries/", a.Data["queryId"]), nil)
		}
		succeeded, goesOn := monitor(one), monitor(running)
		r.send("POST", "/queries/v1/abort-request", map[string]any{"requestId": "r2"})
		r.send("GET", fmt.Sprint("/queries/", running.Data["queryId"], "/result"), nil)
		failed := monitor(running)
		logout := r.send("POST", "/session?delete=true", nil)
		for _, c := range []struct {
			file   string
			n      int
			served rawReply
			text   bool // code and message are alike, too
		}{
			{"auth/password/successful_flow.json", 0, login, true},
			{"auth/pat/invalid_token.json", 0, refusal, true},
			{"retry/redirection_retry_workflow.json", 3, one, true},
			{"query/long_running_query.json", 0, running, true},
			{"query/query_monitoring.json", 0, succeeded, false},
			{"query/query_monitoring_running.json", 0, goesOn, true},
			{"query/query_monitoring_error.json", 0, failed, true},
			{"close_session.json", 0, logout, true},
		} {
			status, want := recording(t, c.file, c.n)
			for _, missing := range lacks("data", want["data"], any(c.served.Data)) {
				t.Errorf("%s: %s", c.file, missing)
			}
			if c.served.Status != status || c.served.Success != want["success"] {
				t.Errorf("%s: status %d, success %v", c.file, c.served.Status, c.served.Success)
			}
			text := func(v any) string { // null is no text
				s, _ := v.(string)
				return s
			}
			if c.text && (c.served.Code != text(want["code"]) || c.served.Message != text(want["message"])) {
				t.Errorf("%s: %s %q, recorded is %v %q", c.file, c.served.Code, c.served.Message, want["code"], want["message"])
			}
		}
	})
}

// The refusal of an expired session token, and its renewal, have the fields and the words of
// the exchange that Snowflake's driver for Node ships as a recording (session_token_renewal).
func TestRenewalHasTheFieldsOfARecordedOne(t *testing.T) {
	inMemory(t, func(t *testing.T, srv *snowtest.Server) {
		r := newRaw(t, srv)
		login := r.logIn("JavaScript", "", nil)
		srv.ExpireSessionTokens()
		refusal := r.run("SELECT 1", "r1")
		if refusal.Success || refusal.Code != "390112" || refusal.Message != "Your session has expired. Please login again." || refusal.Data != nil || refusal.Status != 200 {
			t.Errorf("the refusal: %+v", refusal)
		}
		r.token, _ = login.Data["masterToken"].(string)
		renewal := r.send("POST", "/session/token-request", map[string]any{"oldSessionToken": login.Data["token"], "requestType": "RENEW"})
		for name, value := range map[string]any{
			"sessionToken": "", "masterToken": "", "sessionId": 0.0, "validityInSecondsST": 0.0, "validityInSecondsMT": 0.0,
		} {
			if got := renewal.Data[name]; fmt.Sprintf("%T", got) != fmt.Sprintf("%T", value) {
				t.Errorf("%s of the renewal is %T", name, got)
			}
		}
		r.token, _ = renewal.Data["sessionToken"].(string)
		if again := r.run("SELECT 1", "r1"); !again.Success || !renewal.Success {
			t.Errorf("renewed: %+v, then %+v", renewal, again)
		}
	})
}
