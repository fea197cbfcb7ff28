package contract_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"
	"golang.org/x/oauth2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/recorded"
)

// This file plays the exchanges that gosnowflake ships as recordings for its own tests
// (test_data/wiremock) against the driver, over a real listener. Their delays are left out.

// mapping is one recorded exchange, in WireMock's format, as far as the recordings that
// are played need it.
type mapping struct {
	ScenarioName          string
	RequiredScenarioState string
	NewScenarioState      string
	Request               struct {
		Method          string
		URL             string `json:"url"`
		URLPath         string `json:"urlPath"`
		URLPattern      string `json:"urlPattern"`
		URLPathPattern  string `json:"urlPathPattern"`
		Headers         map[string]recordedMatch
		QueryParameters map[string]recordedMatch
		BodyPatterns    []struct {
			EqualToJSON any `json:"equalToJson"`
		}
	}
	Response struct {
		Status   int
		Headers  map[string]string
		JSONBody json.RawMessage `json:"jsonBody"`
		Body     string
	}
}

func (m *mapping) fits(r *http.Request, body any) bool {
	q := &m.Request
	if q.Method != "" && q.Method != r.Method || !fitsText(q.URLPathPattern, r.URL.Path) || !fitsText(q.URLPattern, r.URL.RequestURI()) ||
		q.URLPath != "" && q.URLPath != r.URL.Path || q.URL != "" && q.URL != r.URL.RequestURI() {
		return false
	}
	for name, match := range q.Headers {
		if !match.fits(r.Header.Get(name)) {
			return false
		}
	}
	for name, match := range q.QueryParameters {
		if !match.fits(r.URL.Query().Get(name)) {
			return false
		}
	}
	for _, pattern := range q.BodyPatterns {
		if pattern.EqualToJSON != nil && !holdsPattern(body, pattern.EqualToJSON) {
			return false
		}
	}
	return true
}

type recordedMatch struct{ EqualTo, Matches, Contains string }

func (m recordedMatch) fits(value string) bool {
	return (m.EqualTo == "" || value == m.EqualTo) && strings.Contains(value, m.Contains) && fitsText(m.Matches, value)
}

// fitsText matches the whole of a text; no pattern matches any.
func fitsText(pattern, text string) bool {
	return pattern == "" || regexp.MustCompile("^(?:"+pattern+")$").MatchString(text)
}

// holdsPattern reports whether a value has all that the pattern has.
func holdsPattern(value, pattern any) bool {
	want, ok := pattern.(map[string]any)
	if !ok {
		return fmt.Sprint(value) == fmt.Sprint(pattern)
	}
	have, ok := value.(map[string]any)
	for key, w := range want {
		if v, has := have[key]; !ok || !has || !holdsPattern(v, w) {
			return false
		}
	}
	return true
}

// player answers requests from recordings.
type player struct {
	mu    sync.Mutex
	list  []mapping
	state map[string]string
	seen  []string // what was asked
}

func (p *player) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, r.Method+" "+r.URL.Path)
	var body any
	_ = json.NewDecoder(r.Body).Decode(&body) // what has none matches no pattern of one
	for i := len(p.list) - 1; i >= 0; i-- {   // the latest first, as WireMock does
		m := &p.list[i]
		state := p.state[m.ScenarioName]
		if state == "" {
			state = "Started"
		}
		if m.RequiredScenarioState != "" && m.RequiredScenarioState != state || !m.fits(r, body) {
			continue
		}
		if m.NewScenarioState != "" {
			p.state[m.ScenarioName] = m.NewScenarioState
		}
		for name, value := range m.Response.Headers {
			if name != "transfer-encoding" {
				w.Header().Set(name, value)
			}
		}
		if m.Response.Status != 0 {
			w.WriteHeader(m.Response.Status)
		}
		_, _ = w.Write(append(m.Response.JSONBody, m.Response.Body...)) // a client that has gone needs none
		return
	}
	http.NotFound(w, r)
}

func (p *player) asked(path string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.seen {
		if strings.HasSuffix(s, path) {
			n++
		}
	}
	return n
}

// playRecordings starts a server that plays these files. What none of them answers it
// answers with 404.
func playRecordings(t *testing.T, files ...string) (*player, *gosnowflake.Config) {
	t.Helper()
	p := &player{state: map[string]string{}}
	for _, file := range files {
		text, err := recorded.Read(t.Context(), file)
		if err != nil {
			t.Fatal(err)
		}
		var read struct{ Mappings []mapping }
		if err := json.Unmarshal(text, &read); err != nil || len(read.Mappings) == 0 {
			t.Fatalf("%s: %d exchanges, %v", file, len(read.Mappings), err)
		}
		p.list = append(p.list, read.Mappings...)
	}
	srv := httptest.NewServer(p)
	t.Cleanup(srv.Close)
	at, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(at.Port())
	if err != nil {
		t.Fatal(err)
	}
	return p, &gosnowflake.Config{
		Account: "testAccount", User: "testUser", Password: "testPassword", Host: at.Hostname(), Port: port, Protocol: "http",
		Params: map[string]*string{},
	}
}

func recordedPool(t *testing.T, cfg *gosnowflake.Config, opts ...snowtether.Option) *sql.DB {
	t.Helper()
	c, err := snowtether.NewConnector(cfg, append([]snowtether.Option{logTo(t.Output()), snowtether.WithConnectBudget(2 * time.Second)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(c)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

const (
	loginPath = "/session/v1/login-request"
	queryPath = "/queries/v1/query-request"
)

// TestRecordedLoginAndQueryWork: also where a query is redirected and repeated.
func TestRecordedLoginAndQueryWork(t *testing.T) {
	for _, files := range [][]string{
		{"auth/password/successful_flow.json", "select1.json", "close_session.json"},
		{"retry/redirection_retry_workflow.json", "close_session.json"},
	} {
		t.Run(files[0], func(t *testing.T) {
			p, cfg := playRecordings(t, files...)
			db := recordedPool(t, cfg)
			var one int
			if err := db.QueryRowContext(t.Context(), "SELECT 1").Scan(&one); err != nil || one != 1 {
				t.Errorf("%d, %v", one, err)
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
			if p.asked(loginPath) != 1 || p.asked("/session") != 1 {
				t.Errorf("asked for %v", p.seen)
			}
		})
	}
}

// TestRecordedRefusalsAreSentOnce: whatever their code and shape, and told as they are.
func TestRecordedRefusalsAreSentOnce(t *testing.T) {
	for file, want := range map[string]struct {
		code   int
		change func(*gosnowflake.Config)
	}{
		"auth/password/invalid_password.json": {390100, func(cfg *gosnowflake.Config) { cfg.Password = "INVALID_PASSWORD" }},
		"auth/password/invalid_user.json":     {390422, func(cfg *gosnowflake.Config) { cfg.User = "bogus" }},
		"auth/pat/invalid_token.json": {394400, func(cfg *gosnowflake.Config) {
			cfg.Authenticator, cfg.Password, cfg.Token = gosnowflake.AuthTypePat, "", "some PAT"
		}},
	} {
		t.Run(file, func(t *testing.T) {
			p, cfg := playRecordings(t, file)
			want.change(cfg)
			db := recordedPool(t, cfg)
			err := db.PingContext(t.Context())
			var own *gosnowflake.SnowflakeError
			if !errors.As(err, &own) || own.Number != want.code {
				t.Errorf("the first: %v", err)
			}
			if err := db.PingContext(t.Context()); !errors.Is(err, snowtether.ErrLoginSuspended) {
				t.Errorf("the second: %v", err)
			}
			if n := p.asked(loginPath); n != 1 {
				t.Errorf("%d logins", n)
			}
		})
	}
}

// twoTokens is a token source that gives out one after the other.
type twoTokens []string

func (c *twoTokens) Token() (*oauth2.Token, error) {
	token := (*c)[0]
	*c = (*c)[1:]
	return &oauth2.Token{AccessToken: token, Expiry: time.Now().Add(30 * time.Second)}, nil
}

// TestRecordedFreshTokenIsUsed: the token source is asked again for the second session.
func TestRecordedFreshTokenIsUsed(t *testing.T) {
	p, cfg := playRecordings(t, "auth/pat/reading_fresh_token.json", "select1.json", "close_session.json")
	cfg.Authenticator, cfg.Password = gosnowflake.AuthTypePat, ""
	db := recordedPool(t, cfg, snowtether.WithTokenSource(&twoTokens{"some PAT", "some PAT 2"}))
	for range 2 {
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
	}
	if n := p.asked(loginPath); n != 2 {
		t.Errorf("%d logins", n)
	}
}

// TestRecordedAsynchronousQueryIsAccepted: its ID is known at once, and nothing is sent again.
func TestRecordedAsynchronousQueryIsAccepted(t *testing.T) {
	p, cfg := playRecordings(t, "auth/password/successful_flow.json", "query/long_running_query.json", "close_session.json")
	db := recordedPool(t, cfg)
	ids := make(chan string, 1)
	ctx, cancel := context.WithCancel(gosnowflake.WithQueryIDChan(gosnowflake.WithAsyncMode(t.Context()), ids))
	defer cancel()
	if _, err := db.ExecContext(ctx, "CALL SYSTEM$WAIT(120)"); err != nil {
		t.Fatal(err)
	}
	if id := <-ids; id != "01bfd516-0009-ae23-0000-4c390101d1aa" {
		t.Errorf("the ID is %s", id)
	}
	if n := p.asked(queryPath); n != 1 {
		t.Errorf("%d requests", n)
	}
}

// TestRecordedResultsAreFetchedByTheirID: and a status that cannot be read is bounded.
func TestRecordedResultsAreFetchedByTheirID(t *testing.T) {
	const id = "01bfd516-0009-ae23-0000-4c390101d1aa"
	for status, ends := range map[string]string{"": "1 5050 2 5100 ", "_error": "failed", "_malformed": "failed"} {
		t.Run(status, func(t *testing.T) {
			_, cfg := playRecordings(t, "auth/password/successful_flow.json", "query/query_execution.json",
				"query/query_monitoring"+status+".json", "close_session.json")
			db := recordedPool(t, cfg)
			got := ""
			rows, err := db.QueryContext(gosnowflake.WithFetchResultByID(t.Context(), id), "")
			if err == nil {
				for rows.Next() {
					var a, b string
					if err := rows.Scan(&a, &b); err != nil {
						t.Fatal(err)
					}
					got += a + " " + b + " "
				}
				err = errors.Join(rows.Err(), rows.Close())
			}
			if err != nil {
				got = "failed"
			}
			if got != ends {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}
