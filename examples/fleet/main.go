// Fleet shows what a LoginGuard does for many processes whose credential was changed, or
// whose sessions all end in the same moment: it starts them, and counts their logins.
//
//	go run ./examples/fleet
//	go run ./examples/fleet -processes 40 -redis 127.0.0.1:6379
//
// It needs no account: Snowflake is played by a test server in this process. The processes
// share their guard, in guard.go, over Redis. Without -redis, a redis-server of its own is
// started for that and stopped in the end; it has to be installed.
//
// The key of the guard's fingerprints comes from FLEET_KEY, as in a program of your own
// it would come from where the credentials come from; without it, there is one for this run.
//
// The exit status is 0 if the guard kept what it promises, 1 if not or after another error,
// 2 for wrong flags and 130 after Ctrl-C.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/snowtest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait for the clean-up
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// A plan is one run.
type plan struct {
	processes int
	rate      int
	redis     string
	key       string
}

// longest bounds a run.
const longest = time.Minute

// run is main, for the tests as well. It returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	quiet()
	if len(args) == 1 && args[0] == memberArg {
		return beMember(ctx, os.Stdin, stdout, stderr)
	}
	p, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "fleet:", err)
		return 2
	}
	bounded, cancel := context.WithTimeoutCause(ctx, longest, fmt.Errorf("not over after %v", longest))
	defer cancel()
	err = p.show(bounded, stdout)
	switch {
	case err != nil && ctx.Err() != nil:
		fmt.Fprintln(stderr, "fleet: interrupted")
		return 130
	case err != nil && bounded.Err() != nil:
		fmt.Fprintln(stderr, "fleet:", context.Cause(bounded))
		return 1
	case err != nil:
		fmt.Fprintln(stderr, "fleet:", err)
		return 1
	}
	return 0
}

// quiet keeps two libraries from logging each error that they return as well.
func quiet() {
	_ = gosnowflake.GetLogger().SetLogLevel("off")
	redis.SetLogger(silence{})
}

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

func parse(args []string, stderr io.Writer) (p plan, err error) {
	flags := flag.NewFlagSet("fleet", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // a wrong flag gets one line, not the usage
	flags.IntVar(&p.processes, "processes", 20, fmt.Sprintf("`n` processes, each with a pool of %d", poolSize))
	flags.IntVar(&p.rate, "rate", 50, "`n` logins a second for all of them")
	flags.StringVar(&p.redis, "redis", start, "the `address` of a Redis, or \"start\" for one of its own")
	p.key = cmp.Or(os.Getenv("FLEET_KEY"), rand.Text()+rand.Text())
	err = flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stderr, "Starts processes that share a login guard over Redis, and counts their logins.\n"+
			"It needs no account. FLEET_KEY is the key of the guard's fingerprints.\n\n"+
			"usage: go run ./examples/fleet [flags]\n")
		flags.SetOutput(stderr)
		flags.PrintDefaults()
	case err != nil:
		err = fmt.Errorf("%w; -h lists the flags", err)
	case flags.NArg() > 0:
		err = errors.New("there are no arguments, only flags")
	case p.processes < 1 || p.processes > 100:
		err = errors.New("-processes must be from 1 to 100")
	case p.rate < 1 || p.rate > 1000:
		err = errors.New("-rate must be from 1 to 1000")
	default:
		if _, err = NewGuard(nil, []byte(p.key), p.rate, cooldown); err != nil {
			err = fmt.Errorf("FLEET_KEY: %w; for example that of: openssl rand -hex 32", err)
		}
	}
	return p, err
}

// show runs the fleet without a guard and with it.
func (p plan) show(ctx context.Context, stdout io.Writer) (err error) {
	if p.redis == start {
		address, stop, err := startRedis(ctx)
		if err != nil {
			return err
		}
		defer stop()
		p.redis = address
	} else if err := ping(ctx, p.redis); err != nil {
		return err
	}
	srv, err := snowtest.Start()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, srv.Close()) }()
	logins := watch(srv)

	fmt.Fprintf(stdout, "%d processes, each with a pool of %d; the guard lets %d logins a second through\n", p.processes, poolSize, p.rate)
	for _, guarded := range []bool{false, true} {
		refused, err := p.wrongPassword(ctx, srv, guarded)
		if err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%-16s a wrong password was refused %d times\n", label(guarded), refused)
		if guarded && refused != 1 {
			return fmt.Errorf("with the guard, %d logins were refused in place of one", refused)
		}
	}
	for _, guarded := range []bool{false, true} {
		took, err := p.sessionsEnd(ctx, srv, guarded, logins)
		if err != nil {
			return err
		}
		n, most := logins.count()
		fmt.Fprintf(stdout, "%-16s all sessions ended: all served after %.1f s, %d logins, at most %d in any second\n", label(guarded), took.Seconds(), n, most)
		if guarded && most > 2*p.rate { // some are late, for want of a processor
			return fmt.Errorf("with the guard, there were %d logins in one second", most)
		}
	}
	return nil
}

func label(guarded bool) string {
	if guarded {
		return "with the guard:"
	}
	return "without a guard:"
}

// wrongPassword lets the fleet log in with a wrong password, and says how often the server
// refused it.
func (p plan) wrongPassword(ctx context.Context, srv *snowtest.Server, guarded bool) (refused int, err error) {
	before := srv.Stats().LoginFailures
	f, err := p.launch(ctx, srv.DSN(), "last month's", guarded)
	if err != nil {
		return 0, err
	}
	said, err := f.use()
	if err = errors.Join(err, f.end()); err != nil {
		return 0, err
	}
	for _, s := range said {
		if s == saidServed {
			return 0, errors.New("a process logged in with a wrong password")
		}
	}
	return srv.Stats().LoginFailures - before, nil
}

// sessionsEnd ends all sessions of the fleet at once, and says how long it took until every
// caller was served.
func (p plan) sessionsEnd(ctx context.Context, srv *snowtest.Server, guarded bool, logins *arrivals) (took time.Duration, err error) {
	f, err := p.launch(ctx, srv.DSN(), srv.Password(), guarded)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.end()) }()
	for range 2 { // the first time they open their sessions
		srv.AbortSessions()
		logins.reset()
		begun := time.Now()
		said, err := f.use()
		if err != nil {
			return 0, err
		}
		for _, s := range said {
			if s != saidServed {
				return 0, fmt.Errorf("a process said: %s", s)
			}
		}
		took = time.Since(begun)
	}
	return took, nil
}

// Arrivals are the times of the logins at the server.
type arrivals struct {
	mu sync.Mutex
	at []time.Time
}

// watch notes when each login arrives. Each takes a while, as with an account.
func watch(srv *snowtest.Server) *arrivals {
	a := &arrivals{}
	srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
		if r.Kind != snowtest.RequestLogin {
			return snowtest.Fault{}, false
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.at = append(a.at, time.Now())
		return snowtest.Fault{Delay: 100 * time.Millisecond}, true
	})
	return a
}

func (a *arrivals) reset() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at = nil
}

// count says how many there were, and the greatest number in any second.
func (a *arrivals) count() (n, most int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	first := 0
	for i, at := range a.at {
		for at.Sub(a.at[first]) >= time.Second {
			first++
		}
		most = max(most, i-first+1)
	}
	return len(a.at), most
}
