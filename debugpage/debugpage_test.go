package debugpage_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/debugpage"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about the page as HTTP clients see it: forms, headers, escaping, and
// what is never on it.

func TestMain(m *testing.M) {
	// gosnowflake logs to stderr what it is about to return anyway.
	if err := gosnowflake.GetLogger().SetLogLevel("off"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// open makes a pool of n connections with a session each.
func open(t *testing.T, cfg *gosnowflake.Config, n int, opts ...snowtether.Option) (*sql.DB, *snowtether.Connector) {
	t.Helper()
	c, err := snowtether.NewConnector(cfg, append([]snowtether.Option{snowtether.WithLogger(slog.New(slog.DiscardHandler))}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(c)
	t.Cleanup(func() { _ = db.Close() })
	db.SetMaxIdleConns(max(n, 2))
	if n > 0 {
		if err := snowtether.Warm(t.Context(), db, n); err != nil {
			t.Fatal(err)
		}
	}
	return db, c
}

// get reads a page.
func get(t *testing.T, h http.Handler, target string, header ...string) (*http.Response, string) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result(), w.Body.String()
}

// troubled is a snapshot with something in each field.
func troubled() snowtether.Snapshot {
	now := time.Date(2026, time.March, 4, 3, 2, 1, 500_000_000, time.FixedZone("", 3600))
	return snowtether.Snapshot{
		Time: now, Pool: "nightly",
		Sessions: []snowtether.SessionInfo{
			{ID: 9007199254740993, State: snowtether.SessionUsed, Age: 90 * time.Minute, TokenAge: 1500 * time.Millisecond},
			{State: snowtether.SessionDead, Age: 25 * time.Hour, Idle: time.Minute},
		},
		Gate: snowtether.GateInfo{
			State: snowtether.GateSuspended, Since: now.Add(-time.Minute), Until: now.Add(time.Minute), Failures: 2, Code: 390100, Class: snowtether.ClassPermanent,
		},
		Stats: snowtether.Stats{
			Open: 1, Idle: 2, Suspect: 3, Logins: 4, LoginFailures: 5, Suspensions: 6, Reconnects: 7, Retired: 8, Renewals: 9, Lost: 10, Resumed: 11,
			InDoubt: 12, Pings: 13, PingFailures: 14, CloseTimeouts: 15, TxRepeats: 16, SetUpFailures: 17,
			ReconnectsByReason: map[string]int64{"390111": 6, "session_lost": 1}, LoginFailuresByClass: map[snowtether.Class]int64{snowtether.ClassPermanent: 5},
			MeanSessionLife: time.Hour, LastSessionLife: 2 * time.Hour, MeanTokenLife: time.Minute, LastTokenLife: 2 * time.Minute, LastReconnect: now,
		},
		Events: []snowtether.Event{
			{
				Kind: snowtether.EventInDoubt, Time: now.Add(-time.Hour), SessionID: 3, OldSessionID: 2, Code: 390111, Class: snowtether.ClassInDoubt,
				Attempt: 4, Count: 5, Duration: 250 * time.Millisecond, Age: time.Minute, QueryID: "01b2-q", RequestID: "8f-r", Operation: "exec", Error: "dial tcp secret.example",
			},
			{Kind: snowtether.EventClosed, Time: now},
			{Kind: snowtether.EventStateLost, Time: now, State: "its variables"},
			{Kind: snowtether.EventManyReconnected, Time: now, Class: snowtether.ClassSessionLost, Count: 3, Reasons: "390114 (2), 390111 (1)"},
		},
		InDoubt: snowtether.InDoubtInfo{Count: 1, Since: now.Add(-time.Hour)},
		Hour:    []snowtether.MinuteInfo{{Time: time.Date(2026, time.March, 4, 1, 30, 0, 0, time.UTC), Logins: 4, Lost: 3, InDoubt: 2, Waited: true}},
		Waiting: snowtether.WaitingInfo{Statements: 3, Unanswered: 2, Logins: 1, Oldest: 17 * time.Second, Silence: 18 * time.Second},
	}
}

// TestJSONHasTheDocumentedFields: by their names, with durations in seconds and
// times in UTC.
func TestJSONHasTheDocumentedFields(t *testing.T) {
	reply, body := get(t, debugpage.Page(troubled()), "/debug/snowtether/?format=json")
	if got := reply.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type is %q", got)
	}
	_, pools, _ := strings.Cut(body, `"pools": `)
	pools = strings.TrimSuffix(strings.TrimSpace(pools), "}")
	want := `[{
		"pool": "nightly",
		"level": "act",
		"sentence": "One statement (exec) failed at 01:02 UTC and may have run: look up query 01b2-q in QUERY_HISTORY, and run the statement again only if it failed there. The last 2 logins were refused, the last one with code 390100 (wrong user name or password): change the credentials, and restart the program unless it takes them anew for each login. With the same credentials none is sent before 02:03:01 UTC; the one session that is open can be used meanwhile.",
		"closed": false,
		"sessions": [
			{"id": 0, "state": "dead", "age_seconds": 90000, "idle_seconds": 60},
			{"id": 9007199254740993, "state": "used", "age_seconds": 5400, "idle_seconds": 0, "token_age_seconds": 1.5}
		],
		"gate": {"state": "suspended", "since": "2026-03-04T02:01:01.5Z", "until": "2026-03-04T02:03:01.5Z", "failures": 2, "code": 390100, "class": "permanent"},
		"counts": {
			"open": 1, "idle": 2, "suspect": 3, "logins": 4, "login_failures": 5, "login_failures_by_class": {"permanent": 5}, "suspensions": 6,
			"lost": 10, "reconnects": 7, "reconnects_by_reason": {"390111": 6, "session_lost": 1}, "retired": 8, "renewals": 9, "resumed": 11,
			"in_doubt": 12, "pings": 13, "ping_failures": 14, "close_timeouts": 15, "tx_repeats": 16, "set_up_failures": 17,
			"mean_session_life_seconds": 3600, "last_session_life_seconds": 7200, "mean_token_life_seconds": 60, "last_token_life_seconds": 120,
			"last_reconnect": "2026-03-04T02:02:01.5Z"
		},
		"events": [
			{
				"kind": "in_doubt", "time": "2026-03-04T01:02:01.5Z", "session_id": 3, "old_session_id": 2, "code": 390111, "class": "in_doubt",
				"attempt": 4, "count": 5, "duration_seconds": 0.25, "age_seconds": 60, "query_id": "01b2-q",
				"request_id": "8f-r", "operation": "exec", "remedy": "look up query 01b2-q in QUERY_HISTORY, and run the statement again only if it failed there"
			},
			{"kind": "closed", "time": "2026-03-04T02:02:01.5Z"},
			{"kind": "state_lost", "time": "2026-03-04T02:02:01.5Z", "lost": "its variables"},
			{"kind": "many_reconnected", "time": "2026-03-04T02:02:01.5Z", "class": "session_lost", "count": 3, "reasons": "390114 (2), 390111 (1)"}
		],
		"in_doubt": {"count": 1, "since": "2026-03-04T01:02:01.5Z"},
		"waiting": {"statements": 3, "unanswered": 2, "logins": 1, "oldest_seconds": 17, "silence_seconds": 18},
		"hour": [{"time": "2026-03-04T01:30:00Z", "logins": 4, "lost": 3, "in_doubt": 2, "waited": true}]
	}]`
	if got, want := compact(t, pools), compact(t, want); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var head struct{ Time time.Time }
	if err := json.Unmarshal([]byte(body), &head); err != nil || time.Since(head.Time) > time.Hour || head.Time.Location() != time.UTC {
		t.Errorf("time is %v, %v", head.Time, err)
	}

	documented, err := os.ReadFile("../docs/observability.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`"([a-z_]+)": `).FindAllStringSubmatch(want, -1) {
		if !strings.Contains(string(documented), "`"+m[1]+"`") && m[1] != "session_lost" && m[1] != "permanent" {
			t.Errorf("docs/observability.md does not have the field %s", m[1])
		}
	}
}

func compact(t *testing.T, text string) string {
	t.Helper()
	var out bytes.Buffer
	if err := json.Compact(&out, []byte(text)); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return out.String()
}

// TestPageHasWhatTheJSONHas: in words.
func TestPageHasWhatTheJSONHas(t *testing.T) {
	_, body := get(t, debugpage.Page(troubled()), "/")
	text := strings.Join(strings.Fields(regexp.MustCompile(`(?s)<(style|script)>.*?</(style|script)>|<[^>]*>`).ReplaceAllString(body, " ")), " ")
	for _, want := range []string{
		"To do · snowtether", "nightly", "To do. One statement (exec) failed at 01:02 UTC and may have run",
		"Gate suspended : no login with the same credentials Since (UTC) 02:01:01 No login before (UTC) 02:03:01 Failures 2 Last code 390100 Class permanent",
		"Sessions: 1 used, 1 dead", "0 dead 1d 01h 1m 00s – 9007199254740993 used 1h 30m – 1s",
		"May have run: 1 statement Time Statement, and what to do 01:02:01 code 390111, session 3, in place of 2, session age 1m 00s, took 250ms, attempt 4, attempts 5, exec, query 01b2-q, request 8f-r: look up query 01b2-q in QUERY_HISTORY, and run the statement again only if it failed there 0 more",
		"Events: the last 4, the newest first, in UTC Time Event Details 02:02:01 many_reconnected codes 390114 (2), 390111 (1), 3 sessions 02:02:01 state_lost lost: its variables 02:02:01 closed 01:02:01 in_doubt code 390111, session 3, in place of 2, session age 1m 00s, took 250ms, attempt 4, attempts 5, exec, query 01b2-q, request 8f-r",
		"Logins 4 Logins that failed 5 … permanent 5 Logins suspended 6 Sessions lost 10 Sessions replaced 7 … code 390111 6 … session_lost 1 Last replaced (UTC) 02:02:01",
		"Replaced ahead of time 8 Tokens renewed 9 Statements carried over 11 Statements in doubt 12 Pings 13 Pings not answered 14 Log-outs given up 15",
		"Session life, mean 1h 00m Session life, last 2h 00m Token life, mean 1m 00s Token life, last 2m 00s",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}

// TestTitleIsThatOfThePoolThatIsWorstOff: it is all that is seen of a tab.
func TestTitleIsThatOfThePoolThatIsWorstOff(t *testing.T) {
	act, free := troubled(), snowtether.GateInfo{State: snowtether.GateFree}
	ok, closed := snowtether.Snapshot{Gate: free}, snowtether.Snapshot{Gate: free, Closed: true}
	wait := snowtether.Snapshot{Gate: snowtether.GateInfo{State: snowtether.GateProbing}, Stats: snowtether.Stats{Logins: 1}}
	for _, tt := range []struct {
		pools []snowtether.Snapshot
		want  string
	}{
		{[]snowtether.Snapshot{closed, closed}, "Closed"}, {[]snowtether.Snapshot{ok, closed}, "In order"}, {[]snowtether.Snapshot{closed, ok}, "In order"},
		{[]snowtether.Snapshot{ok, wait, closed}, "Waiting"}, {[]snowtether.Snapshot{act, wait, ok}, "To do"}, {[]snowtether.Snapshot{wait, act}, "To do"},
	} {
		if _, body := get(t, debugpage.Page(tt.pools...), "/"); !strings.Contains(body, "<title>"+tt.want+" · snowtether</title>") {
			t.Errorf("want %s in\n%.600s", tt.want, body)
		}
	}
	if _, body := get(t, debugpage.Page(closed), "/"); strings.Contains(body, "logins are sent") {
		t.Errorf("a closed pool sends logins:\n%s", body)
	}
}

// TestFormIsWhatTheClientAsksFor: browsers get the page, programs that say so JSON.
func TestFormIsWhatTheClientAsksFor(t *testing.T) {
	for _, tt := range []struct{ target, accept, form string }{
		{"/", "", "text/html; charset=utf-8"},
		{"/", "*/*", "text/html; charset=utf-8"},
		{"/", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html; charset=utf-8"},
		{"/", "text/html, application/json", "text/html; charset=utf-8"},
		{"/", "application/json", "application/json"},
		{"/", "Application/JSON; charset=utf-8, text/plain", "application/json"},
		{"/", "application/json, text/html", "application/json"},
		{"/?format=json", "text/html", "application/json"},
		{"/?format=html", "application/json", "text/html; charset=utf-8"},
		{"/any/path?format=json", "", "application/json"},
	} {
		reply, _ := get(t, debugpage.Handler(), tt.target, "Accept", tt.accept)
		if got := reply.Header.Get("Content-Type"); got != tt.form || reply.StatusCode != http.StatusOK {
			t.Errorf("%s with Accept %q: %d, %q", tt.target, tt.accept, reply.StatusCode, got)
		}
	}
	reply, body := get(t, debugpage.Handler(), "/?format=<b>")
	if reply.StatusCode != http.StatusBadRequest || body != "format must be html or json\n" {
		t.Errorf("another format: %d, %q", reply.StatusCode, body)
	}
}

// TestPageCanOnlyBeRead: under any prefix, by GET and HEAD.
func TestPageCanOnlyBeRead(t *testing.T) {
	mux := http.NewServeMux()
	mux.Handle("/internal/debug/snowtether/", debugpage.Page(troubled()))
	mux.Handle("/stripped/", http.StripPrefix("/stripped", debugpage.Page(troubled())))
	srv := httptest.NewServer(mux)
	defer srv.Close()
	for _, path := range []string{"/internal/debug/snowtether", "/internal/debug/snowtether/", "/stripped/"} {
		var length int64
		for method, want := range map[string]int{
			http.MethodGet: 200, http.MethodPost: 405, http.MethodPut: 405, http.MethodDelete: 405, http.MethodOptions: 405,
		} {
			r, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			reply, err := srv.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(reply.Body)
			if reply.StatusCode != want || err != nil {
				t.Errorf("%s %s: %d, %v", method, path, reply.StatusCode, err)
			}
			if allow := reply.Header.Get("Allow"); want == 405 && (allow != "GET, HEAD" || strings.Contains(string(body), "nightly")) {
				t.Errorf("%s %s allows %q and says %q", method, path, allow, body)
			}
			if want == 200 {
				length = int64(len(body))
			}
		}
		reply, err := srv.Client().Head(srv.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(reply.Body); reply.StatusCode != 200 || len(body) > 0 || reply.ContentLength != length {
			t.Errorf("HEAD %s: %d, %d bytes, length %d, want %d", path, reply.StatusCode, len(body), reply.ContentLength, length)
		}
	}
}

// TestDefaultPoolNameIsSeenOnce: it is the product's, which the page has on top. The name that a
// program chose is seen, and so are the names of several pools.
func TestDefaultPoolNameIsSeenOnce(t *testing.T) {
	seen := regexp.MustCompile(`<h2 id="[^"]*" data-live>`)
	for _, tt := range []struct {
		pools []snowtether.Snapshot
		want  int
	}{
		{[]snowtether.Snapshot{{Pool: "snowtether"}}, 0},
		{[]snowtether.Snapshot{{Pool: "nightly"}}, 1},
		{[]snowtether.Snapshot{{Pool: "snowtether"}, {Pool: "nightly"}}, 2},
	} {
		if _, body := get(t, debugpage.Page(tt.pools...), "/"); len(seen.FindAllString(body, -1)) != tt.want {
			t.Errorf("of %+v want %d names of pools in\n%s", tt.pools, tt.want, body)
		}
	}
}

// TestPageIsSealed: no copy of it is kept, no other site embeds or reads it, and
// nothing in it runs but its own script.
func TestPageIsSealed(t *testing.T) {
	page := debugpage.Page(troubled())
	for _, target := range []string{"/", "/?format=json", "/?format=wrong"} {
		reply, _ := get(t, page, target)
		for name, want := range map[string]string{
			"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin", "Vary": "Accept",
		} {
			if got := reply.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", target, name, got, want)
			}
		}
	}
	reply, body := get(t, page, "/")
	hash := func(element string) string {
		m := regexp.MustCompile(`(?s)<`+element+`>(.*?)</`+element+`>`).FindAllStringSubmatch(body, -1)
		if len(m) != 1 {
			t.Fatalf("%d elements %s", len(m), element)
		}
		sum := sha256.Sum256([]byte(m[0][1]))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	want := []string{
		"default-src 'none'", "script-src " + hash("script"), "style-src " + hash("style"), "img-src data:", "connect-src 'self'",
		"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
	}
	if got := strings.Split(reply.Header.Get("Content-Security-Policy"), "; "); !slices.Equal(got, want) {
		t.Errorf("policy is %q, want %q", got, want)
	}
	for _, m := range regexp.MustCompile(`(?i)\s(?:src|href|action|style|on\w+)\s*=\s*"([^"]*)"`).FindAllStringSubmatch(body, -1) {
		if !strings.HasPrefix(m[1], "#") && !strings.HasPrefix(m[1], "?") && m[1] != "data:," {
			t.Errorf("the page has%s", m[0])
		}
	}
}

// TestNamesAreText: whatever they look like.
func TestNamesAreText(t *testing.T) {
	const hostile = `</script><img src=x onerror=alert(1)>"'{{.}}`
	s := troubled()
	s.Pool = hostile
	s.Sessions[0].State = hostile
	s.Gate.State, s.Gate.Class = hostile, hostile
	s.Stats.ReconnectsByReason = map[string]int64{hostile: 1}
	s.Stats.LoginFailuresByClass = map[snowtether.Class]int64{hostile: 1}
	s.Events[0].Kind, s.Events[1].QueryID, s.Events[1].Class = hostile, hostile, hostile
	doubt := troubled()
	doubt.Events[0].QueryID = hostile
	srv := snowtest.New(t)
	_, c := open(t, srv.Config(), 1, snowtether.WithPoolName(hostile))
	for name, h := range map[string]http.Handler{"snapshot": debugpage.Page(s, s), "sentence": debugpage.Page(doubt), "connector": debugpage.Handler(c)} {
		_, body := get(t, h, "/")
		if strings.Contains(body, "<img") || strings.Count(body, "</script>") != 1 || strings.Count(body, "&lt;img src=x onerror=alert(1)&gt;") == 0 {
			t.Errorf("%s: the page has a name as it is, or not at all:\n%s", name, body)
		}
		if _, body := get(t, h, "/?format=json"); strings.Contains(body, "<") {
			t.Errorf("%s: the JSON has a name as it is: %s", name, body)
		}
	}
}

// TestPageNamesNobody: no secret, no SQL, no user, host or account, and no words of
// an error, which may have any of them.
func TestPageNamesNobody(t *testing.T) {
	srv := snowtest.New(t)
	cfg := srv.Config()
	srv.Handle("^(USE|INSERT)", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		return nil, &snowtest.Error{Code: "002043", SQLState: "02000", Message: "no such thing: hidden_schema"}
	})
	setUpDB, setUp := open(t, cfg, 0, snowtether.WithSessionInit("USE SCHEMA hidden_schema"))
	refused := *cfg
	refused.Password = "wr0ng-Passw0rd"
	refusedDB, wrong := open(t, &refused, 0)
	for _, db := range []*sql.DB{setUpDB, refusedDB} {
		if err := db.PingContext(t.Context()); err == nil {
			t.Error("it succeeded")
		}
	}
	db, inUse := open(t, cfg, 2)
	if _, err := db.ExecContext(t.Context(), "INSERT INTO hidden_schema.t VALUES (?)", "hidden value"); err == nil {
		t.Error("it succeeded")
	}
	page := debugpage.Handler(setUp, wrong, inUse)
	secrets := []string{cfg.Account, cfg.User, cfg.Host, cfg.Password, refused.Password, "hidden_schema", "hidden value", "no such thing", "Incorrect"}
	for _, target := range []string{"/", "/?format=json"} {
		_, body := get(t, page, target)
		for _, secret := range secrets {
			if strings.Contains(body, secret) {
				t.Errorf("%q is in %s", secret, body)
			}
		}
		if !strings.Contains(body, "390100") || !strings.Contains(body, "set_up_failed") {
			t.Errorf("what happened is not in %s", body)
		}
	}
}

// TestPageWithoutConnectors: says so; nil is none.
func TestPageWithoutConnectors(t *testing.T) {
	for _, h := range []http.Handler{debugpage.Handler(), debugpage.Handler(nil, nil)} {
		if reply, body := get(t, h, "/"); reply.StatusCode != 200 || !strings.Contains(body, "has given no connector") || !strings.Contains(body, "<title>No pool ") {
			t.Errorf("%d: %s", reply.StatusCode, body)
		}
		if _, body := get(t, h, "/?format=json"); !strings.Contains(body, `"pools": []`) {
			t.Errorf("JSON: %s", body)
		}
	}
}

// TestReadingThePageDoesNothing: no login, and it waits for no connection in use.
func TestReadingThePageDoesNothing(t *testing.T) {
	srv := snowtest.New(t)
	db, c := open(t, srv.Config(), 0)
	page := debugpage.Handler(c)
	get(t, page, "/")
	db.SetMaxOpenConns(1)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	before := srv.Stats()
	if _, body := get(t, page, "/"); !strings.Contains(body, "Sessions: 1 used") {
		t.Errorf("the page is %s", body)
	}
	if after := srv.Stats(); after.Statements != before.Statements || after.Logins != 1 {
		t.Errorf("the server saw %+v, before %+v", after, before)
	}
}
