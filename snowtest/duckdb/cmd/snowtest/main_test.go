package main

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	_ "github.com/snowtether/snowtether"
)

// This file runs the command as it is run, and talks to it as programs and people do.

func TestMain(m *testing.M) {
	_ = gosnowflake.GetLogger().SetLogLevel("off")
	slog.SetDefault(slog.New(slog.DiscardHandler))
	if dsn := os.Getenv("SNOWTEST_DSN"); dsn != "" {
		os.Exit(client(dsn))
	}
	os.Exit(m.Run())
}

// client is a program of its own, which knows no more than its DSN and its environment.
func client(dsn string) int {
	db, err := sql.Open("snowflake", dsn)
	if err == nil {
		err = errors.Join(db.Ping(), db.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// A server is the command, running.
type server struct {
	t                   *testing.T
	dsn, trust, control string
	stop                context.CancelFunc
	ended               chan int
	said                chan string
}

func start(t *testing.T, args ...string) *server {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &server{t: t, stop: cancel, ended: make(chan int, 1), said: make(chan string, 10)}
	out, in := io.Pipe()
	var stderr strings.Builder
	go func() {
		s.ended <- run(ctx, args, in, &stderr)
		_ = in.Close()
	}()
	go func() {
		defer close(s.said)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			s.said <- lines.Text()
		}
	}()
	t.Cleanup(func() {
		cancel()
		for line := range s.said {
			if line != "stopped" {
				t.Errorf("it said %q in the end", line)
			}
		}
		if status := <-s.ended; status != 0 || stderr.Len() > 0 {
			t.Errorf("it ended with status %d and said %q", status, stderr.String())
		}
	})
	for line := range s.said {
		name, value, _ := strings.Cut(line, ":")
		value, _, _ = strings.Cut(strings.TrimSpace(value), " ")
		switch name {
		case "DSN":
			s.dsn = value
		case "trust":
			s.trust = strings.TrimPrefix(value, "SSL_CERT_FILE=")
		case "control":
			s.control = value
			return s
		}
	}
	t.Fatalf("it ended with %q", stderr.String())
	return nil
}

// do sends a request to the control interface, such as "POST /abort".
func (s *server) do(what string) (status int, body string) {
	s.t.Helper()
	method, path, _ := strings.Cut(what, " ")
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.control+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(text))
}

// tell is do for what has to succeed.
func (s *server) tell(what string) string {
	s.t.Helper()
	status, body := s.do(what)
	if status != http.StatusOK {
		s.t.Fatalf("%s: %d %s", what, status, body)
	}
	return body
}

func (s *server) open(driver string) *sql.DB {
	s.t.Helper()
	db, err := sql.Open(driver, s.dsn)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = db.Close() })
	return db
}

func (s *server) exec(db *sql.DB, query string, args ...any) {
	s.t.Helper()
	if _, err := db.ExecContext(s.t.Context(), query, args...); err != nil {
		s.t.Errorf("%s: %v", query, err)
	}
}

// effects counts how often a statement took lasting effect, by the ledger.
func (s *server) effects(query string) (n int) {
	s.t.Helper()
	var list []entry
	if err := json.Unmarshal([]byte(s.tell("GET /ledger")), &list); err != nil {
		s.t.Fatal(err)
	}
	for _, e := range list {
		if e.SQL == query {
			n += e.Effects
		}
	}
	return n
}

// A program that knows only the DSN has real SQL, and meets what is asked for at the control
// interface: through gosnowflake it fails, through snowtether it goes on.
func TestAProgramMeetsWhatIsAskedFor(t *testing.T) {
	s := start(t)
	plain, db := s.open("snowflake"), s.open("snowtether")
	s.exec(db, "CREATE TABLE t (n INT)")
	s.exec(plain, "INSERT INTO t VALUES (?)", 1)

	if says := s.tell("POST /abort"); !strings.HasSuffix(says, "2 sessions were ended") {
		t.Errorf("abort: %s", says)
	}
	if err := plain.PingContext(t.Context()); err == nil {
		t.Error("gosnowflake's session was not ended")
	}
	s.exec(db, "INSERT INTO t VALUES (2)")
	s.tell("POST /expire")
	s.exec(db, "INSERT INTO t VALUES (3)")
	s.tell("POST /expire?tokens=session")
	s.exec(db, "INSERT INTO t VALUES (4)")
	s.tell("POST /advance?by=5h")
	s.exec(db, "INSERT INTO t VALUES (5)")

	var n, sum int
	if err := db.QueryRowContext(t.Context(), "SELECT COUNT(*), SUM(n) FROM t").Scan(&n, &sum); err != nil || n != 5 || sum != 15 {
		t.Errorf("%d rows, sum %d, %v", n, sum, err)
	}
	for query, want := range map[string]int{"INSERT INTO t VALUES (?)": 1, "INSERT INTO t VALUES (5)": 1} {
		if got := s.effects(query); got != want {
			t.Errorf("%s took effect %d times, want %d", query, got, want)
		}
	}
	var stats struct {
		Logins   int
		Requests map[string]int
	}
	if err := json.Unmarshal([]byte(s.tell("GET /stats")), &stats); err != nil || stats.Logins < 4 || stats.Requests["query"] == 0 {
		t.Errorf("stats %+v, %v", stats, err)
	}
	if sessions := s.tell("GET /sessions"); !strings.Contains(sessions, `"ID"`) {
		t.Errorf("sessions %s", sessions)
	}
}

// A reply that is lost with its session leaves the statement in doubt, and the ledger says that
// it ran; a statement that is lost itself did not run.
func TestALostReplyIsInTheLedger(t *testing.T) {
	s := start(t)
	db := s.open("snowtether")
	s.exec(db, "CREATE TABLE t (n INT)")
	s.tell("POST /lose?abort=true")
	if _, err := db.ExecContext(t.Context(), "INSERT INTO t VALUES (1)"); err == nil {
		t.Error("the reply was not lost")
	}
	s.tell("POST /lose?ran=false&abort=true")
	if _, err := db.ExecContext(t.Context(), "INSERT INTO t VALUES (2)"); err == nil {
		t.Error("the statement was not lost")
	}
	s.tell("POST /lose") // gosnowflake asks again, with the same request ID
	s.exec(db, "INSERT INTO t VALUES (3)")
	for query, want := range map[string]int{"INSERT INTO t VALUES (1)": 1, "INSERT INTO t VALUES (2)": 0, "INSERT INTO t VALUES (3)": 1} {
		if got := s.effects(query); got != want {
			t.Errorf("%s took effect %d times, want %d", query, got, want)
		}
	}
}

func TestTheNetworkIsCutAndRestored(t *testing.T) {
	s := start(t)
	reached := func() bool {
		_, address, _ := strings.Cut(s.dsn, "@")
		host, _, _ := strings.Cut(address, "/")
		resp, err := http.Get("http://" + host)
		if err == nil {
			_ = resp.Body.Close()
		}
		return err == nil
	}
	if !reached() {
		t.Fatal("it cannot be reached")
	}
	s.tell("POST /outage")
	if reached() {
		t.Error("the network is not cut")
	}
	s.tell("POST /restore")
	if !reached() {
		t.Error("the network is not there again")
	}
	s.tell("POST /outage?for=1h")
	s.tell("POST /outage?for=1ms")
	for !reached() && t.Context().Err() == nil {
		// it is over by itself
	}
	s.exec(s.open("snowtether"), "SELECT 1")
}

// Over TLS, a program that trusts the file that is named reaches the server.
func TestTheCertificateIsInTheFileThatIsNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "certificate.pem")
	for _, s := range []*server{start(t, "-tls", "-certificate", file), start(t, "-tls")} {
		text, err := os.ReadFile(s.trust)
		if err != nil {
			t.Fatal(err)
		}
		if block, _ := pem.Decode(text); block == nil || block.Type != "CERTIFICATE" {
			t.Errorf("%s has no certificate", s.trust)
		}
		if !strings.Contains(s.dsn, "protocol=https") || strings.Contains(s.dsn, "tlsConfigName") {
			t.Errorf("the DSN is %s", s.dsn)
		}
		if runtime.GOOS == "linux" { // elsewhere Go asks the system
			program := exec.CommandContext(t.Context(), os.Args[0])
			program.Env = append(os.Environ(), "SNOWTEST_DSN="+s.dsn, "SSL_CERT_FILE="+s.trust)
			if out, err := program.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		}
		s.stop()
		s.ended <- <-s.ended
		if _, err := os.Stat(s.trust); (err == nil) != (s.trust == file) {
			t.Errorf("%s, in the end: %v", s.trust, err)
		}
	}
}

func TestSettingsAreTheFlags(t *testing.T) {
	s := start(t, "-user", "a@b", "-password", "p:w/?", "-token-life", "1ms", "-master-life", "1h")
	db := s.open("snowtether")
	s.exec(db, "SELECT 1")
	s.exec(db, "SELECT 2") // the token of the first has expired, as a rule
	if !strings.HasPrefix(s.dsn, "a%40b:p%3Aw%2F%3F@127.0.0.1:") {
		t.Errorf("the DSN is %s", s.dsn)
	}
}

func TestBadRequestsAreOneLineThatSaysWhatIsRight(t *testing.T) {
	s := start(t)
	for what, want := range map[string]string{
		"POST /expire?tokens=all":    "session or master",
		"POST /expire?token=session": `no parameter "token"; it has tokens`,
		"POST /abort?x=1":            "/abort has no parameters",
		"POST /lose?ran=perhaps":     "true or false",
		"POST /lose?abort=perhaps":   "true or false",
		"POST /outage?for=ever":      "a duration such as",
		"POST /outage?for=-1s":       "a duration such as",
		"POST /advance":              "a duration such as",
		"POST /advance?by=0":         "a duration such as",
	} {
		if status, body := s.do(what); status != http.StatusBadRequest || !strings.Contains(body, want) || strings.Contains(body, "\n") {
			t.Errorf("%s: %d %q, want %q", what, status, body, want)
		}
	}
	for what, want := range map[string]int{"GET /abort": http.StatusMethodNotAllowed, "POST /ledger": http.StatusMethodNotAllowed, "GET /else": http.StatusNotFound} {
		if status, _ := s.do(what); status != want {
			t.Errorf("%s: %d, want %d", what, status, want)
		}
	}
	if got := s.tell("GET /"); got != strings.TrimSpace(help) {
		t.Errorf("GET / says %q", got)
	}
}

func TestBadFlagsAreOneLine(t *testing.T) {
	busy := start(t)
	_, address, _ := strings.Cut(busy.control, "://")
	_, port, _ := strings.Cut(address, ":")
	for args, want := range map[string]struct {
		status int
		says   string
	}{
		"-prot 1":                  {2, "-h lists the flags"},
		"-port x":                  {2, "-port"},
		"-port 65536":              {2, "from 1 to 65535"},
		"-control -1":              {2, "from 1 to 65535"},
		"-port 4001 -control 4001": {2, "must differ"},
		"-user=":                   {2, "must not be empty"},
		"-password=":               {2, "must not be empty"},
		"-token-life 0":            {2, "more than 0"},
		"-token-life 1":            {2, "-token-life"},
		"-certificate f":           {2, "needs -tls"},
		"-tls -certificate /no/f":  {1, "/no/f"},
		"start":                    {2, "no arguments"},
		"-port " + port:            {1, "in use"},
		"-control " + port:         {1, "in use"},
	} {
		var stdout, stderr strings.Builder
		status := run(t.Context(), strings.Fields(args), &stdout, &stderr)
		if says := stderr.String(); status != want.status || !strings.HasPrefix(says, "snowtest: ") || !strings.Contains(says, want.says) || strings.Count(says, "\n") != 1 {
			t.Errorf("%s: status %d, %q", args, status, says)
		}
		if stdout.Len() > 0 {
			t.Errorf("%s: it prints %q", args, stdout.String())
		}
	}
	var stderr strings.Builder
	if status := run(t.Context(), []string{"-h"}, io.Discard, &stderr); status != 0 || !strings.Contains(stderr.String(), "-token-life") || !strings.Contains(stderr.String(), "POST /abort") {
		t.Errorf("-h: %d, %s", status, stderr.String())
	}
}

// Ctrl-C ends it at once, whatever its clients are doing.
func TestItEndsAtOnce(t *testing.T) {
	s := start(t)
	db := s.open("snowflake")
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	s.stop()
	select {
	case status := <-s.ended:
		s.ended <- status
	case <-time.After(20 * time.Second):
		t.Fatal("it does not end")
	}
	if _, err := http.Get(s.control); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("the control interface is still there: %v", err)
	}
}
