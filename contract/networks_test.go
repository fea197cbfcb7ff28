//go:build linux

package contract_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// Network cuts (docs/guarantees.md): what holds in virtual time holds through the kernel's TCP
// and TLS too, where packets are lost, delayed, overtaken and forgotten. Each network is a
// process of its own, in network namespaces of its own, and they run side by side.

var networksAll = flag.Bool("networks", false, "TestRealNetworksLoseNothingAndRepeatNothing goes through all its networks, for some minutes, and not only for some seconds through one")

// tellTo names, in the process that is in the namespace, the file for its figures.
const tellTo = "SNOWTETHER_TEST_NETWORK"

// possible is the part of the test that makes a tunnel and nothing else.
const possible = "a tunnel can be made"

// A network is what a pool's workers go through. They rest in a spell that says so.
type network struct {
	name   string
	spells []spell
	ends   time.Duration // a session each time that so long has passed. 0: none
	brief  bool          // it has to be over in seconds
}

type spell struct {
	weather
	lasts time.Duration
	rest  bool
}

var (
	far    = weather{delay: 200 * time.Millisecond, jitter: 100 * time.Millisecond, loss: 0.05}
	nat    = weather{forgets: 4 * time.Minute}
	denies = weather{forgets: 4 * time.Minute, refuses: true}

	networks = []network{
		{"delay and loss, briefly", []spell{{far, 10 * time.Second, false}}, 3 * time.Second, true},
		{"200 ± 100 ms, 5 % lost", []spell{{far, 3 * time.Minute, false}}, 5 * time.Second, false},
		{"100 ms, a quarter at once", []spell{{weather{delay: 100 * time.Millisecond, atOnce: 0.25}, 3 * time.Minute, false}}, 5 * time.Second, false},
		{"30 % lost", []spell{{weather{delay: 20 * time.Millisecond, loss: 0.3}, 3 * time.Minute, false}}, 5 * time.Second, false},
		{"connections reset", []spell{{weather{delay: 20 * time.Millisecond, resets: 0.02}, 3 * time.Minute, false}}, 5 * time.Second, false},
		{"cut for 3 min", []spell{{weather{}, 20 * time.Second, false}, {weather{cut: true}, 3 * time.Minute, false}, {weather{}, 150 * time.Second, false}}, 0, false},
		{"cut for 3 min, sessions end", []spell{{weather{}, 20 * time.Second, false}, {weather{cut: true}, 3 * time.Minute, false}, {weather{}, 150 * time.Second, false}}, 5 * time.Second, false},
		{"NAT forgets and drops", []spell{{nat, 20 * time.Second, false}, {nat, 4*time.Minute + 20*time.Second, true}, {nat, time.Minute, false}}, 0, false},
		{"NAT forgets and resets", []spell{{denies, 20 * time.Second, false}, {denies, 4*time.Minute + 20*time.Second, true}, {denies, time.Minute, false}}, 0, false},
	}
)

// figures are what came of a network.
type figures struct {
	Statements, Succeeded int
	Doubts                int
	Deadlines             int // that ended while a statement or a read waited
	Errors                int // of statements and reads, other than these
	Reads                 int
	Twice, Lost           int
	Logins, Ended         int
	Packets, PacketsLost  int
	Late                  time.Duration // the longest that a caller waited past their deadline
	Patient               time.Duration // the longest that one without a deadline waited
	Slowest               string        // whose wait that was
	Back                  time.Duration // until all connections worked again when all was over
}

// TestRealNetworksLoseNothingAndRepeatNothing: a statement that returned nil took effect once,
// one in doubt or whose context ended at most once, any other not at all; nobody waits past
// their deadline; and the pool works again afterwards.
func TestRealNetworksLoseNothingAndRepeatNothing(t *testing.T) {
	if file := os.Getenv(tellTo); file != "" {
		t.Run(possible, func(t *testing.T) {
			if _, err := newTunnel(func() error { return nil }); err != nil {
				t.Error(err, os.WriteFile(file, []byte(err.Error()), 0o600))
			}
		})
		for _, n := range networks {
			t.Run(n.name, func(t *testing.T) { n.run(t, file) })
		}
		return
	}
	if testing.Short() && !*networksAll {
		t.Skip("it takes real time: without -short, or with -networks")
	}
	if why := noNetworks(t); why != "" {
		t.Skip(why)
	}
	type running struct {
		network
		*exec.Cmd
		file string
	}
	var all []running
	for i, n := range networks {
		if n.brief == *networksAll {
			continue
		}
		file := fmt.Sprintf("%s/%d", t.TempDir(), i)
		cmd, err := inNamespaces("^"+t.Name()+"$/^"+pattern(n.name)+"$", file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, running{n, cmd, file})
	}
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 1, ' ', tabwriter.Debug)
	fmt.Fprintln(w, "| network\t packets\t lost\t statements\t succeeded\t in doubt\t deadlines ended\t other errors\t twice\t lost\t reads\t logins\t sessions ended\t past a deadline\t longest without one\t works again after\t")
	fmt.Fprintln(w, "|---\t---\t---\t---\t---\t---\t---\t---\t---\t---\t---\t---\t---\t---\t---\t---\t")
	for _, r := range all {
		t.Run(r.name, func(t *testing.T) {
			if err := r.Wait(); err != nil {
				t.Errorf("%v", err)
			}
			if t.Failed() || testing.Verbose() {
				t.Logf("%s", r.Stdout)
			}
			var f figures
			text, err := os.ReadFile(r.file)
			if err == nil {
				err = json.Unmarshal(text, &f)
			}
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(w, "| %s\t %d\t %d\t %d\t %d\t %d\t %d\t %d\t %d\t %d\t %d\t %d\t %d\t %v\t %v\t %v\t\n", r.name, f.Packets, f.PacketsLost, f.Statements, f.Succeeded, f.Doubts, f.Deadlines, f.Errors,
				f.Twice, f.Lost, f.Reads, f.Logins, f.Ended, f.Late.Round(time.Millisecond), f.Patient.Round(time.Second), f.Back.Round(10*time.Millisecond))
		})
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Logf("each in network namespaces of its own:\n%s", table.String())
}

// inNamespaces runs a test in a process in fresh user and network namespaces.
func inNamespaces(test, file string) (*exec.Cmd, error) {
	cmd := exec.Command(os.Args[0], "-test.run", test, "-test.v", "-test.timeout", "15m")
	cmd.Env = append(os.Environ(), tellTo+"="+file)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	return cmd, cmd.Start()
}

// noNetworks says why there can be no network here, if so.
func noNetworks(t *testing.T) string {
	file := t.TempDir() + "/why"
	cmd, err := inNamespaces("^"+t.Name()+"$/^"+pattern(possible)+"$", file)
	if err == nil {
		err = cmd.Wait()
	}
	if err == nil {
		return ""
	}
	why, _ := os.ReadFile(file)
	return fmt.Sprintf("no network namespace or no TUN device: %v %s", err, why)
}

// run is the network, in its own process and namespaces.
func (n network) run(t *testing.T, file string) {
	var srv *snowtest.Server
	tun, err := newTunnel(func() error {
		srv = snowtest.New(t, snowtest.WithTLS(), snowtest.AllowOpenSessions(), snowtest.WithInlineWait(3*time.Second))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	takingTheirTime(srv, func() time.Duration {
		if rand.IntN(8) > 0 {
			return 0
		}
		return rand.N(10 * time.Second)
	})
	const connections = 8
	db := pool(t, srv, connections)

	var ended atomic.Int64
	over := make(chan struct{})
	var timeline, wg sync.WaitGroup
	if n.ends > 0 {
		timeline.Go(func() {
			for {
				select {
				case <-over:
					return
				case <-time.After(n.ends):
				}
				if open := srv.Sessions(); len(open) > 0 {
					srv.EndSessions(ways[rand.IntN(len(ways))].End, open[rand.IntN(len(open))].ID)
					ended.Add(1)
				}
			}
		})
	}
	var f figures
	var sum tally
	var mu sync.Mutex
	var outcomes []outcome
	begun := time.Now()
	for worker := range 12 {
		wg.Go(func() {
			for i := 0; ; i++ {
				rest, ok := n.restAt(time.Since(begun))
				if !ok {
					return
				}
				o, at, limit := outcome{kind: rand.IntN(18)}, time.Now(), time.Duration(0)
				o.sql = randomText(o.kind, worker, i)
				ctx := t.Context()
				switch rand.IntN(3) {
				case 0:
					limit = time.Second + rand.N(9*time.Second)
				case 1:
					limit = 30*time.Second + rand.N(time.Minute)
				}
				var cancel context.CancelFunc = func() {}
				switch {
				case rest > 0 && worker%3 == 0:
					o.kind = overRest
					if limit > 0 {
						limit += rest
					}
				case rest > 0:
					time.Sleep(rest)
					if at = time.Now(); worker%3 == 1 {
						o.kind, limit = aRead, 0 // what may run twice is sent unasked
					}
				}
				if limit > 0 {
					ctx, cancel = context.WithTimeout(ctx, limit)
				}
				switch {
				case o.kind == overRest:
					o.err = restingTransaction(ctx, db, o.sql, at.Add(rest))
				case o.kind >= aRead:
					o.err = readsRight(ctx, db, i)
				default:
					o.err = randomUse(ctx, db, o.kind, o.sql, snowtetherItself)
				}
				cancel()
				took := time.Since(at)
				mu.Lock()
				if limit == 0 {
					if took > f.Patient {
						f.Patient, f.Slowest = took, fmt.Sprintf("%v after %v: kind %d, %v", took, at.Sub(begun), o.kind, o.err)
					}
				} else {
					f.Late = max(f.Late, took-limit)
				}
				outcomes = append(outcomes, o)
				mu.Unlock()
				time.Sleep(rand.N(300 * time.Millisecond))
			}
		})
	}
	for _, s := range n.spells {
		tun.is(s.weather)
		time.Sleep(s.lasts)
	}
	last := n.spells[len(n.spells)-1].weather
	tun.is(weather{forgets: last.forgets, refuses: last.refuses}) // what is forgotten stays so
	close(over)
	timeline.Wait()
	settled := time.Now()
	wg.Wait()

	everyone(t, db, connections, 2)
	f.Back = time.Since(settled)
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	untilQuiet(srv)
	for _, o := range outcomes {
		switch read := o.kind >= aRead && o.kind != overRest; {
		case !read:
			sum.check(t, srv, o)
			f.Statements++
		case errors.Is(o.err, snowtether.ErrInDoubt):
			t.Errorf("a read is in doubt: %v", o.err)
		default:
			f.Reads++
		}
		switch {
		case o.err == nil || errors.Is(o.err, snowtether.ErrInDoubt):
		case isContextError(o.err):
			f.Deadlines++
		default:
			f.Errors++
			t.Logf("%s: %v", o.sql, o.err)
		}
	}
	f.Succeeded, f.Doubts, f.Twice, f.Lost = sum.nils, sum.doubts, sum.doubles, sum.losses
	f.Logins, f.Ended = srv.Stats().Logins, int(ended.Load())
	tun.mu.Lock()
	f.Packets, f.PacketsLost = tun.carried, tun.lost
	tun.mu.Unlock()
	if f.Late > scheduling {
		t.Errorf("a caller waited %v past their deadline", f.Late)
	}
	if f.Succeeded == 0 || f.PacketsLost == 0 && n.spells[0].atOnce == 0 {
		t.Errorf("the network does not do what it should: %+v", f)
	}
	text, err := json.Marshal(f)
	t.Logf("%s", text)
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		t.Error(err)
	}
}

// scheduling is how late a goroutine may run on a machine that has much else to do.
const scheduling = 2 * time.Second

// restAt is for how long a worker rests now, and whether there is any work left.
func (n network) restAt(now time.Duration) (rest time.Duration, ok bool) {
	for _, s := range n.spells {
		if now < s.lasts {
			if s.rest {
				return s.lasts - now, true
			}
			return 0, true
		}
		now -= s.lasts
	}
	return 0, false
}

// Kinds of use, beside those of randomUse.
const (
	aRead    = 15  // and above
	overRest = 100 // a transaction that is open while its worker rests
)

func restingTransaction(ctx context.Context, db *sql.DB, query string, until time.Time) error {
	return snowtether.RunTx(ctx, begin(db), func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, query); err != nil {
			return err
		}
		time.Sleep(time.Until(until))
		_, err := tx.ExecContext(ctx, "DELETE FROM u -- "+query)
		return err
	})
}

func readsRight(ctx context.Context, db *sql.DB, n int) error {
	var got int
	if err := db.QueryRowContext(ctx, fmt.Sprintf("SELECT %d", n)).Scan(&got); err != nil {
		return err
	}
	if got != n {
		return fmt.Errorf("read %d, want %d", got, n)
	}
	return nil
}

// untilQuiet waits until the server carries nothing out, and has heard nothing for 10 s.
func untilQuiet(srv *snowtest.Server) {
	heard, since := -1, time.Now()
	for time.Since(since) < 10*time.Second {
		time.Sleep(100 * time.Millisecond)
		n := 0
		for _, requests := range srv.Stats().Requests {
			n += requests
		}
		for _, e := range srv.Ledger() {
			if e.State == snowtest.Running {
				n = -1
			}
		}
		if n != heard || n < 0 {
			heard, since = n, time.Now()
		}
	}
}

// pattern is a subtest's name as -run takes it.
func pattern(name string) string { return strings.ReplaceAll(name, " ", "_") }
