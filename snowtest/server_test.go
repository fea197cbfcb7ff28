package snowtest_test

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/snowtest"
)

func TestDSNReachesTheServer(t *testing.T) {
	srv := snowtest.New(t, snowtest.WithCredentials("o'neill@corp", "p@ss:w/rd?#%&"))
	db, err := sql.Open("snowflake", srv.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var n int
	if err := db.QueryRow("SELECT 42").Scan(&n); err != nil || n != 42 {
		t.Fatalf("got %d, %v", n, err)
	}
	if got := srv.Sessions()[0].User; got != "o'neill@corp" {
		t.Errorf("logged in as %q", got)
	}
}

func TestConfigReachesTheServer(t *testing.T) {
	for _, memory := range []bool{false, true} {
		opts := []snowtest.Option{}
		if memory {
			opts = append(opts, snowtest.InMemory())
		}
		srv := snowtest.New(t, opts...)
		db := open(t, srv)
		if got := column(t, t.Context(), db, "SELECT 'it''s'"); got[0] != "it's" {
			t.Errorf("memory %v: got %q", memory, got)
		}
		if hasURL := srv.URL() != ""; hasURL == memory {
			t.Errorf("memory %v: URL is %q", memory, srv.URL())
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestConfigIsNewAtEachCall(t *testing.T) {
	srv := snowtest.New(t)
	a, b := srv.Config(), srv.Config()
	value := "x"
	a.User, a.Params["p"] = "changed", &value
	if b.User == "changed" || len(b.Params) != 0 {
		t.Errorf("a change of one Config shows in another: %v %v", b.User, b.Params)
	}
}

func TestDSNPanicsInMemory(t *testing.T) {
	srv := snowtest.New(t, snowtest.InMemory())
	defer func() {
		if text, _ := recover().(string); !strings.Contains(text, "Server.Config") {
			t.Errorf("the panic does not say what to use: %q", text)
		}
	}()
	_ = srv.DSN()
}

func TestStartTurnsPlatformDetectionOff(t *testing.T) {
	const name = "SNOWFLAKE_DISABLE_PLATFORM_DETECTION"
	t.Setenv(name, "")
	if err := os.Unsetenv(name); err != nil {
		t.Fatal(err)
	}
	snowtest.New(t)
	if got := os.Getenv(name); got != "true" {
		t.Errorf("%s is %q", name, got)
	}
	t.Setenv(name, "false")
	snowtest.New(t)
	if got := os.Getenv(name); got != "false" {
		t.Errorf("what was set is overwritten with %q", got)
	}
}

func TestStartRefusesBadOptions(t *testing.T) {
	for name, opt := range map[string]snowtest.Option{
		"WithCredentials":          snowtest.WithCredentials("", "x"),
		"WithTokenLife":            snowtest.WithTokenLife(0, time.Hour),
		"WithIdleTimeout":          snowtest.WithIdleTimeout(-1),
		"WithMaxSessionLife":       snowtest.WithMaxSessionLife(-1),
		"WithInlineWait":           snowtest.WithInlineWait(-1),
		"WithLatency":              snowtest.WithLatency(-1),
		"WithChunkRows":            snowtest.WithChunkRows(-1),
		"WithChunkLife":            snowtest.WithChunkLife(0),
		"WithDetachedTransactions": snowtest.WithDetachedTransactions(-1),
	} {
		srv, err := snowtest.Start(opt)
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v", name, err)
		}
		if srv != nil {
			_ = srv.Close()
		}
	}
}

func TestUnknownPathIs404(t *testing.T) {
	srv := snowtest.New(t)
	if got := request(t, srv, http.MethodGet, "/no/such/thing", "", nil); got.status != http.StatusNotFound {
		t.Errorf("status %d", got.status)
	}
}

func TestMalformedRequestIs400(t *testing.T) {
	srv := snowtest.New(t)
	if got := request(t, srv, http.MethodPost, "/queries/v1/query-request", "", "not an object"); got.status != http.StatusBadRequest {
		t.Errorf("status %d", got.status)
	}
}

func TestTelemetryIsAccepted(t *testing.T) {
	srv := snowtest.New(t, snowtest.WithSessionParameter("CLIENT_TELEMETRY_ENABLED", true))
	db := open(t, srv)
	column(t, t.Context(), db, "SELECT 1")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if n := srv.Stats().Requests[snowtest.RequestTelemetry]; n == 0 {
		t.Error("no telemetry came")
	}
	if got := request(t, srv, http.MethodPost, "/telemetry/send", "", nil); !got.Success {
		t.Errorf("it was answered with %+v", got) // gosnowflake would not say
	}
}

func TestLatencyIsAddedToEachReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := snowtest.New(t, snowtest.InMemory(), snowtest.WithLatency(3*time.Second))
		db := open(t, srv)
		c := conn(t, db)
		start := time.Now()
		exec(t, c, "SELECT 1")
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestDisconnectBreaksConnectionsAndNotSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := snowtest.New(t, snowtest.InMemory())
		b := block(srv, "UPDATE")
		c := conn(t, open(t, srv))
		go func() {
			<-b.began
			srv.Disconnect()
			close(b.release)
			time.Sleep(5 * time.Second)
			srv.Reconnect()
		}()
		start := time.Now()
		exec(t, c, "UPDATE t SET x = 1") // gosnowflake asks again until it gets the outcome
		if took := time.Since(start); took < 5*time.Second {
			t.Errorf("the outcome came after %v", took)
		}
		if st := srv.Stats(); st.Logins != 1 || st.Statements != 1 || st.Repeats != 1 {
			t.Errorf("stats %+v", st)
		}
	})
	srv := snowtest.New(t)
	c := conn(t, open(t, srv))
	srv.Disconnect()
	if res, err := http.Get(srv.URL()); err == nil {
		_ = res.Body.Close()
		t.Errorf("a new connection got %s", res.Status)
	}
	srv.Reconnect()
	exec(t, c, "SELECT 1")
}

func TestCloseReleasesHeldRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := snowtest.New(t, snowtest.InMemory())
		held := make(chan struct{})
		srv.FaultAlways(func(req *snowtest.Request) (snowtest.Fault, bool) {
			if req.Kind == snowtest.RequestLogin {
				if req.N == 0 {
					close(held)
				}
				return snowtest.Fault{Hold: make(chan struct{})}, true
			}
			return snowtest.Fault{}, false
		})
		db := open(t, srv, func(c *gosnowflake.Config) { c.MaxRetryCount = 1 })
		failed := make(chan error)
		go func() { failed <- db.PingContext(t.Context()) }()
		<-held
		if err := srv.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-failed; err == nil {
			t.Error("a login succeeded on a closed server")
		}
	})
}

func TestCloseCancelsRunningStatements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := snowtest.New(t, snowtest.InMemory(), snowtest.AllowOpenSessions())
		b := block(srv, "SLOW")
		db := open(t, srv, func(c *gosnowflake.Config) { c.MaxRetryCount = 1 })
		failed := make(chan error)
		go func() { _, err := db.ExecContext(t.Context(), "UPDATE slow SET x = 1"); failed <- err }()
		<-b.began
		if err := srv.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-failed; err == nil {
			t.Error("the statement succeeded")
		}
		if e := srv.Ledger()[0]; e.State != snowtest.Aborted || e.Effects != 0 {
			t.Errorf("the entry is %+v", e)
		}
	})
}

func TestCloseTwiceIsFine(t *testing.T) {
	srv := snowtest.New(t)
	for range 2 {
		if err := srv.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A goroutine that outlived Close would make synctest.Test fail as well, but
// only in memory.
func TestCloseLeavesNoGoroutine(t *testing.T) {
	srv, err := snowtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	b := block(srv, "SLOW")
	db := open(t, srv, func(c *gosnowflake.Config) { c.MaxRetryCount = 1 })
	c := conn(t, db)
	async := gosnowflake.WithAsyncMode(t.Context())
	if _, err := c.ExecContext(async, "UPDATE slow SET x = 1"); err != nil {
		t.Fatal(err)
	}
	<-b.began
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
	left := func() (left []string) {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		for _, stack := range strings.Split(string(stacks), "\n\n") {
			if strings.Contains(stack, "snowtest.(*Server)") || strings.Contains(stack, "http.(*conn).serve") {
				left = append(left, stack)
			}
		}
		return left
	}
	// What Close has seen end may need a moment to be gone.
	for end := time.Now().Add(10 * time.Second); len(left()) > 0; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("left behind:\n%s", strings.Join(left(), "\n\n"))
		}
	}
}

// slowEngine needs a second to notice that a statement was cancelled, and notes
// in which order it is closed.
type slowEngine struct {
	snowtest.Engine
	began chan struct{}

	mu    sync.Mutex
	notes []string
}

func (e *slowEngine) note(text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.notes = append(e.notes, text)
}

func (e *slowEngine) OpenSession(context.Context, snowtest.SessionConfig) (snowtest.EngineSession, error) {
	return slowSession{e}, nil
}

func (e *slowEngine) Close() error { e.note("engine"); return errors.New("engine's own") }

type slowSession struct{ *slowEngine }

func (s slowSession) Run(ctx context.Context, _ *snowtest.Statement) (*snowtest.Result, error) {
	close(s.began)
	<-ctx.Done()
	time.Sleep(time.Second)
	s.note("run")
	return nil, ctx.Err()
}

func (s slowSession) Close() error { s.note("session"); return nil }

func TestCloseWaitsForStatementsThenSessionsThenTheEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := &slowEngine{began: make(chan struct{})}
		srv, err := snowtest.Start(snowtest.InMemory(), snowtest.WithEngine(engine))
		if err != nil {
			t.Fatal(err)
		}
		db := open(t, srv, func(c *gosnowflake.Config) { c.MaxRetryCount = 1 })
		failed := make(chan error)
		go func() { _, err := db.ExecContext(t.Context(), "UPDATE t SET x = 1"); failed <- err }()
		<-engine.began
		err = srv.Close()
		if got := strings.Join(engine.notes, ", "); got != "run, session, engine" {
			t.Errorf("closed in the order %s", got)
		}
		if err == nil || !strings.Contains(err.Error(), "engine's own") {
			t.Errorf("the engine's error is lost: %v", err)
		}
		if <-failed == nil {
			t.Error("the statement succeeded")
		}
	})
}

func TestHandlePanicsWithAnotherEngine(t *testing.T) {
	srv := snowtest.New(t, snowtest.WithEngine(struct{ snowtest.Engine }{new(snowtest.Script)}))
	defer func() {
		if text, _ := recover().(string); !strings.Contains(text, "Script") {
			t.Errorf("the panic does not say why: %q", text)
		}
	}()
	srv.Handle("x", nil)
}
