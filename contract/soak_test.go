package contract_test

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"text/tabwriter"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"
	"golang.org/x/oauth2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/testpool"
	"github.com/snowtether/snowtether/snowtest"
)

// Keep-alive (docs/guarantees.md): three days of a pool's life in virtual time: every kind of
// workload under every kind of session policy, with what happens in three days.

var soakAll = flag.Bool("soak", false, "TestThreeDays runs all its combinations, for the table of docs/soak.md, and not only a share")

// A policy is what ends sessions by the clock. Master tokens live for 4 h under
// each.
type policy struct {
	name string
	opts []snowtest.Option
}

var policies = []policy{
	{"none", nil},
	{"15 min idle", []snowtest.Option{snowtest.WithIdleTimeout(15 * time.Minute)}},
	{"5 min idle", []snowtest.Option{snowtest.WithIdleTimeout(5 * time.Minute)}},
	{"12 h life", []snowtest.Option{snowtest.WithMaxSessionLife(12 * time.Hour)}},
}

// keepers are what keeps sessions alive. A heartbeat each 15 minutes is the most
// that Snowflake allows.
var keepers = []struct {
	name string
	opts []snowtether.Option
}{
	{"heartbeat", []snowtether.Option{snowtether.WithHeartbeat(15 * time.Minute)}},
	{"idle ping", []snowtether.Option{snowtether.WithKeepAlive(false), snowtether.WithIdlePing(4 * time.Minute)}},
	{"neither", []snowtether.Option{snowtether.WithKeepAlive(false)}},
}

// workloads say when all connections carry out a statement at the same time.
var workloads = []struct {
	name  string
	every time.Duration
	at    time.Duration // from midnight
}{
	{"dense", 3 * time.Minute, 0},
	{"hourly", time.Hour, 20 * time.Minute},
	{"nightly", 24 * time.Hour, 21 * time.Hour},
}

// TestThreeDays: 72 hours by the wall clock, of which the machine sleeps eight each
// night; every morning an administrator aborts all sessions, at noon half of them;
// the network is cut for 20 minutes; logins are out for 10 minutes, with sessions
// aborted at their beginning; and on the second day the credential is rotated. No
// statement fails, none runs twice, no login is sent but for a session that the
// server had ended, and nothing is left.
func TestThreeDays(t *testing.T) {
	var mu sync.Mutex
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 1, ' ', tabwriter.Debug)
	fmt.Fprintln(w, "| pool\t workload\t policy\t kept by\t statements\t failed\t logins\t ended\t pings\t longest wait\t after a cut or outage\t")
	fmt.Fprintln(w, "|---\t---\t---\t---\t---\t---\t---\t---\t---\t---\t---\t")
	shared := 8
	if testpool.Quick() {
		shared = 1
	}
	t.Run("of", func(t *testing.T) {
		for _, n := range []int{1, 8, 64} {
			for _, load := range workloads {
				for _, pol := range policies {
					for _, keep := range keepers {
						// The dense ones take minutes under the race detector: without -short, then.
						share := n == 1 && !testing.Short() || n == shared && load.name == "hourly" && pol.name == "5 min idle"
						if !share && !*soakAll {
							continue
						}
						name := fmt.Sprintf("%d, %s, %s, %s", n, load.name, pol.name, keep.name)
						var s soak
						t.Run(name, func(t *testing.T) {
							inBubble(t, func(t *testing.T, srv *snowtest.Server) {
								s = soak{srv: srv, n: n, every: load.every, at: load.at}
								s.run(t, keep.opts)
							}, append(pol.opts, snowtest.WithLatency(50*time.Millisecond), snowtest.WithToken(func(token string) error { return s.check(token) }))...)
						})
						mu.Lock()
						fmt.Fprintf(w, "| %d\t %s\t %s\t %s\t %d\t %d\t %d\t %d\t %d\t %v\t %v\t\n", n, load.name, pol.name, keep.name,
							s.statements, s.failed, s.logins, s.ended, s.pings, s.longest.Round(time.Millisecond), s.late.Round(time.Millisecond))
						mu.Unlock()
					}
				}
			}
		}
	})
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Logf("72 hours each, in virtual time:\n%s", table.String())
}

// A soak is one pool's three days.
type soak struct {
	srv   *snowtest.Server
	n     int
	every time.Duration
	at    time.Duration

	wall     wall
	midnight time.Time

	mu         sync.Mutex
	token      string // that the server accepts
	known      string // to the source
	closed     bool   // the network is cut, or logins are out
	opened     time.Time
	statements int
	failed     int
	longest    time.Duration // that a caller waited who met no cut and no outage
	late       time.Duration // that one who met one waited after its end

	logins, ended int
	pings         int64
}

// check is the server's look at a token.
func (s *soak) check(token string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if token != s.token {
		return &snowtest.Error{Code: "390303", Message: "Invalid OAuth access token."}
	}
	return nil
}

// Token is what a source remembers that does not know of the rotation yet.
func (s *soak) Token() (*oauth2.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &oauth2.Token{AccessToken: s.known}, nil
}

// Refresh is the same source, asked not to remember.
func (s *soak) Refresh(context.Context) (*oauth2.Token, error) {
	s.mu.Lock()
	s.known = s.token
	s.mu.Unlock()
	return s.Token()
}

// today is the time of the wall clock since the first midnight.
func (s *soak) today() time.Duration { return s.wall.now().Sub(s.midnight.Round(0)) }

func (s *soak) run(t *testing.T, opts []snowtether.Option) {
	s.midnight = time.Now()
	s.token, s.known = "first", "first"
	cfg := s.srv.Config()
	cfg.Authenticator, cfg.Password = gosnowflake.AuthTypeOAuth, ""
	// A session that the keeper opened for a connection which a caller took at that moment
	// is closed unused, and that caller logs in too. One that lives may be given up as well,
	// because a question about it was not answered; neither is the rule.
	var unused atomic.Int64
	var story []string
	hook := func(e snowtether.Event) {
		s.mu.Lock()
		story = append(story, fmt.Sprintf("%v %s %d %v %s", s.wall.now().Sub(s.midnight.Round(0)), e.Kind, e.SessionID, e.Age, e.Error))
		s.mu.Unlock()
		if e.Kind == snowtether.EventClosed && e.Age < time.Second {
			unused.Add(1)
		}
	}
	db, c := connect(t, cfg, append(opts, snowtether.WithTokenSource(s), testpool.WithClock(s.wall.now), snowtether.WithEventHook(hook))...)
	db.SetMaxOpenConns(s.n)
	db.SetMaxIdleConns(s.n)
	if err := snowtether.Warm(t.Context(), db, s.n); err != nil {
		t.Fatal(err)
	}

	var wg sync.WaitGroup
	wg.Go(func() { s.happen() })
	for worker := range s.n {
		wg.Go(func() {
			for when := s.at; when < 72*time.Hour; when += s.every {
				if wait := when - s.today(); wait > 0 {
					time.Sleep(wait)
				} else if wait < -s.every {
					continue // the machine slept, or the statement before this one waited
				}
				s.statement(t, func(ctx context.Context) error {
					_, err := db.ExecContext(ctx, fmt.Sprintf("INSERT INTO t VALUES (%d, %d)", worker, when))
					return err
				})
			}
		})
	}
	wg.Wait()
	synctest.Wait()

	st := s.srv.Stats()
	s.logins, s.ended, s.pings = st.Logins, st.SessionsEnded-st.Logouts, c.Stats().Pings
	switch {
	case s.failed > 0:
		t.Errorf("%d of %d statements failed", s.failed, s.statements)
	case s.statements < 3*s.n:
		t.Errorf("only %d statements", s.statements)
	case s.logins > s.n+s.ended+int(unused.Load())+s.n:
		t.Errorf("%d logins, but only %d sessions ended, and %d were closed unused:\n%s", s.logins, s.ended, unused.Load(), strings.Join(story, "\n"))
	case int(unused.Load()) > s.n:
		t.Errorf("%d sessions were closed unused", unused.Load())
	case s.longest > 2*time.Second || s.late > 25*time.Second: // the back-off's longest step is 24 s
		t.Errorf("a caller waited %v, one who met a cut or an outage %v after its end", s.longest, s.late)
	case len(s.srv.Doubles()) > 0:
		t.Errorf("ran twice: %v", s.srv.Doubles())
	}
	if got := len(s.srv.Ledger()); got != s.statements {
		t.Errorf("%d statements were sent and %d accepted", s.statements, got)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if left := len(s.srv.Sessions()); left > 0 {
		t.Errorf("%d sessions are left", left)
	}
}

// statement carries a statement out and takes its time. Its caller has half an hour.
func (s *soak) statement(t *testing.T, run func(context.Context) error) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	s.mu.Lock()
	met := s.closed
	s.mu.Unlock()
	begun := time.Now()
	err := run(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.statements++
	if err != nil {
		if s.failed++; s.failed < 5 {
			t.Errorf("%v, after %v: %v", s.today(), time.Since(begun), err)
		}
		return
	}
	if met || s.opened.After(begun) {
		s.late = max(s.late, time.Since(s.opened))
	} else {
		s.longest = max(s.longest, time.Since(begun))
	}
}

// happen is what happens in three days.
func (s *soak) happen() {
	for day := range 3 {
		for _, event := range []struct {
			at time.Duration
			do func()
		}{
			{8 * time.Hour, func() { s.srv.AbortSessions() }},
			{12 * time.Hour, func() {
				for i, session := range s.srv.Sessions() {
					if i%2 == 0 {
						s.srv.AbortSessions(session.ID)
					}
				}
			}},
			{14 * time.Hour, func() { s.without(20*time.Minute, s.srv.Disconnect, s.srv.Reconnect) }},
			{17 * time.Hour, func() {
				s.srv.AbortSessions()
				s.without(10*time.Minute, func() { outage(s.srv, 10*time.Minute, unavailable) }, func() {})
			}},
			{19 * time.Hour, func() {
				if day == 1 {
					s.mu.Lock()
					s.token = "second"
					s.mu.Unlock()
					s.srv.AbortSessions()
				}
			}},
			{22*time.Hour - 90*time.Second, func() { // the lid is closed
				s.srv.Advance(8 * time.Hour)
				s.wall.jump(8 * time.Hour)
			}},
		} {
			// At no full minute, so that no statement is under way.
			time.Sleep(time.Duration(day)*24*time.Hour + event.at + 90*time.Second - s.today())
			event.do()
		}
	}
}

// without has the pool go without the network, or without logins.
func (s *soak) without(d time.Duration, begin, end func()) {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	begin()
	time.Sleep(d)
	s.mu.Lock()
	s.closed, s.opened = false, time.Now()
	s.mu.Unlock()
	end()
}
