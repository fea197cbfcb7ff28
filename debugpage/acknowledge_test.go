package debugpage_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/debugpage"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about the button that marks statements in doubt as seen.

// inDoubt makes a pool with a statement in doubt.
func inDoubt(t *testing.T, opts ...snowtether.Option) *snowtether.Connector {
	t.Helper()
	srv := snowtest.New(t, snowtest.AllowRepeats())
	db, c := open(t, srv.Config(), 1, opts...)
	const insert = "INSERT INTO t VALUES (1)"
	srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
		return snowtest.Fault{Run: true, Drop: true, After: func() { srv.AbortSessions() }}, r.Kind == snowtest.RequestQuery && r.SQL == insert
	})
	if _, err := db.ExecContext(t.Context(), insert); err == nil {
		t.Fatal("it succeeded")
	}
	if got := c.Snapshot().InDoubt.Count; got != 1 {
		t.Fatalf("%d statements in doubt", got)
	}
	return c
}

var until = regexp.MustCompile(`<input type="hidden" name="until" value="(\d+)">`)

// post sends the page's form.
func post(h http.Handler, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// TestSeenStatementNoLongerAsksForAPerson: not in the sentence, the title or the order of the
// pools. It stays among the events, and another pool's statements stay as they are.
func TestSeenStatementNoLongerAsksForAPerson(t *testing.T) {
	c, other := inDoubt(t, snowtether.WithPoolName("first")), inDoubt(t, snowtether.WithPoolName("second"))
	page := http.StripPrefix("/stripped", debugpage.HandlerWithAcknowledge(nil, c, other))
	_, body := get(t, page, "/stripped/")
	moments := until.FindAllStringSubmatch(body, -1)
	if len(moments) != 2 || strings.Count(body, "Mark it as seen") != 2 || strings.Index(body, ">first<") > strings.Index(body, ">second<") {
		t.Fatalf("%d buttons in\n%s", len(moments), body)
	}
	reply := post(page, "/stripped/", "until="+moments[0][1], "Sec-Fetch-Site", "same-origin")
	if reply.Code != http.StatusSeeOther || reply.Header().Get("Location") != "?" {
		t.Errorf("the button is answered with %d, %q: %s", reply.Code, reply.Header().Get("Location"), reply.Body)
	}
	if first, second := c.Snapshot().InDoubt.Count, other.Snapshot().InDoubt.Count; first != 0 || second != 1 {
		t.Errorf("%d and %d are unseen, want none of the first pool and one of the second", first, second)
	}
	_, body = get(t, page, "/stripped/")
	if strings.Index(body, ">first<") < strings.Index(body, ">second<") || !strings.Contains(body, "; nothing needs doing.") {
		t.Errorf("the pool still asks for a person:\n%s", body)
	}
	if _, body := get(t, debugpage.Handler(c), "/?format=json"); strings.Count(body, `"acknowledged": true`) != 1 || !strings.Contains(body, `"level": "ok"`) || strings.Contains(body, `"in_doubt": {`) {
		t.Errorf("the JSON is %s", body)
	}
	if again := post(page, "/stripped/", "until="+moments[0][1]); again.Code != http.StatusSeeOther {
		t.Errorf("pressed twice: %d, %s", again.Code, again.Body)
	}
}

// TestOnlyThePagesOwnButtonMarksAsSeen: no link, no other site, no other form, and nothing where
// the program has not asked for the button.
func TestOnlyThePagesOwnButtonMarksAsSeen(t *testing.T) {
	c := inDoubt(t)
	page := debugpage.HandlerWithAcknowledge(c)
	_, body := get(t, page, "/")
	moment := until.FindStringSubmatch(body)[1]
	if reply, _ := get(t, page, "/?until="+moment); reply.StatusCode != http.StatusOK {
		t.Errorf("a link is answered with %d", reply.StatusCode)
	}
	for _, tt := range []struct {
		path, body string
		header     []string
		want       int
	}{
		{"/", "until=" + moment, []string{"Sec-Fetch-Site", "cross-site"}, http.StatusForbidden},
		{"/", "until=" + moment, []string{"Sec-Fetch-Site", "same-site"}, http.StatusForbidden},
		{"/", "until=" + moment, []string{"Origin", "https://elsewhere.example"}, http.StatusForbidden},
		{"/", "until=" + moment, []string{"Origin", "null"}, http.StatusForbidden},
		{"/?until=" + moment, "", nil, http.StatusBadRequest},
		{"/", "", nil, http.StatusBadRequest},
		{"/", "until=now", nil, http.StatusBadRequest},
		{"/", "until=9999999999999999999999", nil, http.StatusBadRequest},
		{"/", "until=" + moment, []string{"Content-Type", "text/plain"}, http.StatusBadRequest},
		{"/", "until=" + moment + "&x=" + strings.Repeat("x", 5000), nil, http.StatusBadRequest},
		{"/", "until=9223372036854775807", nil, http.StatusConflict},
		{"/", "until=-1", nil, http.StatusConflict},
	} {
		if got := post(page, tt.path, tt.body, tt.header...); got.Code != tt.want || strings.Count(got.Body.String(), "\n") != 1 {
			t.Errorf("%s with %.40q and %q: %d, want %d: %s", tt.path, tt.body, tt.header, got.Code, tt.want, got.Body)
		}
	}
	if got := post(debugpage.Handler(c), "/", "until="+moment); got.Code != http.StatusMethodNotAllowed {
		t.Errorf("the page without the button: %d", got.Code)
	}
	if _, body := get(t, debugpage.Handler(c), "/"); strings.Contains(body, "<form") || strings.Contains(body, "<input") || !strings.Contains(body, "May have run: 1 statement") {
		t.Errorf("the page without the button has one, or does not list the statement:\n%s", body)
	}
	if got := c.Snapshot().InDoubt.Count; got != 1 {
		t.Errorf("%d are unseen, want 1", got)
	}
	if got := post(page, "/", "until="+moment, "Origin", "http://example.com"); got.Code != http.StatusSeeOther { // its own
		t.Errorf("a browser that sends no Sec-Fetch-Site: %d, %s", got.Code, got.Body)
	}
}

// TestPageWithTheButtonIsSealed: but for a form to its own site, and an origin in what that
// sends.
func TestPageWithTheButtonIsSealed(t *testing.T) {
	reply, _ := get(t, debugpage.PageWithForm(troubled()), "/")
	if policy := reply.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "; form-action 'self';") || !strings.Contains(policy, "frame-ancestors 'none'") || !strings.HasPrefix(policy, "default-src 'none';") {
		t.Errorf("policy is %q", policy)
	}
	if got := reply.Header.Get("Referrer-Policy") + " " + reply.Header.Get("X-Frame-Options"); got != "same-origin DENY" {
		t.Errorf("headers are %s", got)
	}
	w := httptest.NewRecorder()
	debugpage.PageWithForm().ServeHTTP(w, httptest.NewRequest(http.MethodPut, "/", nil))
	if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD, POST" {
		t.Errorf("PUT: %d, %q", w.Code, w.Header().Get("Allow"))
	}
}

// TestButtonWorksInABrowser: over http to a name, where a browser sends no Sec-Fetch-Site, and
// to this machine, where it does. Another site's form does not.
func TestButtonWorksInABrowser(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "pages.example"} {
		t.Run(host, func(t *testing.T) {
			c := inDoubt(t)
			moment := fmt.Sprint(c.Snapshot().InDoubt.Since.UnixNano())
			mux := http.NewServeMux()
			mux.HandleFunc("/debug/", func(w http.ResponseWriter, r *http.Request) {
				debugpage.HandlerWithAcknowledge(c).ServeHTTP(framed{w}, r)
			})
			mux.HandleFunc("/press", func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprint(w, `<iframe id="page" src="/debug/?format=html"></iframe><pre id="result"></pre><script>
					const page = document.getElementById("page"), seen = [];
					page.onload = () => {
						seen.push(page.contentDocument.title + " at " + page.contentWindow.location.pathname + page.contentWindow.location.search);
						if (seen.length === 1) page.contentDocument.querySelector("form button").click();
						document.getElementById("result").textContent = seen.join(", then ");
					};
				</script>`)
			})
			web := httptest.NewServer(mux)
			defer web.Close()
			site := strings.Replace(web.URL, "127.0.0.1", host, 1)
			var status atomic.Int64
			elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprintf(w, `<iframe name="page"></iframe><form method="post" target="page" action="%s/debug/"><input name="until" value="%s"></form><script>onload = () => document.forms[0].submit()</script>`, site, moment)
			}))
			defer elsewhere.Close()
			mux.HandleFunc("POST /debug/", func(w http.ResponseWriter, r *http.Request) {
				debugpage.HandlerWithAcknowledge(c).ServeHTTP(statusOf{w, &status}, r)
			})
			rules := "--host-resolver-rules=MAP pages.example 127.0.0.1"
			dump(t, elsewhere.URL, rules, "--virtual-time-budget=5000")
			if got := status.Load(); got != http.StatusForbidden || c.Snapshot().InDoubt.Count != 1 {
				t.Errorf("another site's form: %d, %d unseen", got, c.Snapshot().InDoubt.Count)
			}
			dom := dump(t, site+"/press", rules, "--virtual-time-budget=5000")
			if want := "To do · snowtether at /debug/?format=html, then In order · snowtether at /debug/"; !strings.Contains(dom, want) || c.Snapshot().InDoubt.Count != 0 {
				t.Errorf("%d unseen, and the browser saw, not %q:\n%s", c.Snapshot().InDoubt.Count, want, dom)
			}
		})
	}
}

// statusOf keeps the status of a reply, and lets a frame of any site show it.
type statusOf struct {
	http.ResponseWriter
	status *atomic.Int64
}

func (s statusOf) WriteHeader(status int) {
	s.status.Store(int64(status))
	s.Header().Del("X-Frame-Options")
	s.Header().Del("Content-Security-Policy")
	s.ResponseWriter.WriteHeader(status)
}
