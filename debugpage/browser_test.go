package debugpage_test

import (
	"bytes"
	"database/sql"
	_ "embed"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/debugpage"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about the page in a browser. testdata/reader.html has it in a frame as
// wide as a phone, does what readers do, and writes down what does not hold; what it
// cannot do itself, it asks of /do/.

//go:embed testdata/reader.html
var reader []byte

// dump is the document that Chromium has of a URL after some of its own time.
func dump(t *testing.T, url string, flags ...string) string {
	t.Helper()
	var browser string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			browser = path
			break
		}
	}
	if browser == "" {
		t.Skip("no chromium here: the page was not looked at in a browser")
	}
	profile, err := os.MkdirTemp("", "chromium")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(profile) // not t.TempDir: a process of the browser may still write there
	args := append([]string{
		"--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-proxy-server", "--no-first-run", "--user-data-dir=" + profile,
		"--window-size=1280,900", "--virtual-time-budget=600000", "--enable-logging=stderr", "--dump-dom",
	}, append(flags, url)...)
	var out, complaints bytes.Buffer
	cmd := exec.CommandContext(t.Context(), browser, args...)
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil {
		t.Fatalf("chromium: %v\n%s", err, complaints.String())
	}
	for line := range strings.Lines(complaints.String()) {
		if strings.Contains(line, "CONSOLE") && strings.Contains(line, "Content Security Policy") {
			t.Errorf("the page breaks its own policy: %s", line)
		}
	}
	return out.String()
}

// TestPageHoldsInABrowser: what a reader meets, on a phone, in both colour schemes.
func TestPageHoldsInABrowser(t *testing.T) {
	for scheme, flag := range map[string]string{"light": "1", "dark": "0"} {
		t.Run(scheme, func(t *testing.T) {
			srv := snowtest.New(t)
			db, c := open(t, srv.Config(), 8)
			db.SetMaxIdleConns(20)
			srv.AbortSessions()
			settle(t, db, 8)
			_, named := open(t, srv.Config(), 1, snowtether.WithPoolName("<img src=x onerror='top.hacked = hacked = 1'>"+strings.Repeat("w", 55)))
			wrongPassword := srv.Config()
			wrongPassword.Password = "wr0ng-Passw0rd"
			refused, suspended := open(t, wrongPassword, 0)
			_ = refused.PingContext(t.Context())

			var mu sync.Mutex
			how, sessions, handler := "work", 8, debugpage.Handler(c, named)
			var release chan struct{}
			var count atomic.Int64
			mux := http.NewServeMux()
			mux.HandleFunc("/reader", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(reader) })
			mux.HandleFunc("/do/{what}", func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				switch what := r.PathValue("what"); what {
				case "count":
					fmt.Fprint(w, count.Load())
				case "open":
					sessions++
					if err := snowtether.Warm(r.Context(), db, sessions); err != nil {
						t.Error(err)
					}
				case "more":
					handler = debugpage.Handler(c, named, suspended)
				case "hold":
					how, release = what, make(chan struct{})
				default:
					if how == "hold" {
						close(release)
					}
					how = what
				}
			})
			mux.HandleFunc("/login", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<h1>Who are you?</h1>") })
			mux.HandleFunc("/debug/snowtether/", func(w http.ResponseWriter, r *http.Request) {
				count.Add(1)
				mu.Lock()
				how, handler, release := how, handler, release
				mu.Unlock()
				if how == "hold" {
					select {
					case <-release:
					case <-r.Context().Done():
					}
				}
				switch how {
				case "fail":
					http.Error(w, "down", http.StatusServiceUnavailable)
				case "redirect":
					http.Redirect(w, r, "/login", http.StatusFound)
				case "cut":
					panic(http.ErrAbortHandler)
				default:
					handler.ServeHTTP(framed{w}, r)
				}
			})
			web := httptest.NewServer(mux)
			defer web.Close()

			dom := dump(t, web.URL+"/reader?scheme="+scheme, "--blink-settings=preferredColorScheme="+flag)
			result := regexp.MustCompile(`(?s)<pre id="result">(.*?)</pre>`).FindStringSubmatch(dom)
			if result == nil || result[1] != "all holds" {
				t.Errorf("%s", html.UnescapeString(strings.Join(result, "")))
			}
		})
	}
}

// settle takes n connections from the pool and puts them back, twice: the pool looks
// at a session that is suspect, and one that it finds dead makes the others suspect.
func settle(t *testing.T, db *sql.DB, n int) {
	t.Helper()
	checkOut(t, db, n)
	checkOut(t, db, n)
}

func checkOut(t *testing.T, db *sql.DB, n int) {
	t.Helper()
	conns := make([]*sql.Conn, n)
	for i := range conns {
		var err error
		if conns[i], err = db.Conn(t.Context()); err == nil {
			err = conns[i].PingContext(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, conn := range conns {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
}

// framed lets the page stand in a frame of the same site. The rest of its policy
// stays.
type framed struct{ http.ResponseWriter }

func (f framed) Write(p []byte) (int, error) {
	h := f.Header()
	h.Del("X-Frame-Options")
	h.Set("Content-Security-Policy", strings.Replace(h.Get("Content-Security-Policy"), "frame-ancestors 'none'", "frame-ancestors 'self'", 1))
	return f.ResponseWriter.Write(p)
}

// TestScriptRunsUnderThePagesOwnPolicy: as it is sent.
func TestScriptRunsUnderThePagesOwnPolicy(t *testing.T) {
	web := httptest.NewServer(debugpage.Page(troubled()))
	defer web.Close()
	if dom := dump(t, web.URL); !strings.Contains(dom, `id="pause">Pause<`) || !strings.Contains(dom, "Refreshed every 5 s.") {
		t.Errorf("the page is\n%s", dom)
	}
}
