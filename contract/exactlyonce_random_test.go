package contract_test

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/shim"
	"github.com/snowtether/snowtether/internal/testpool"
	"github.com/snowtether/snowtether/snowtest"
)

// Exactly once (docs/guarantees.md): over thousands of statements with random faults, and while
// every connection of a pool is in use, each statement took effect as often as its error says.

// through is the driver that a round runs on.
type through int

// open opens the pool of a round.
func (d through) open(t *testing.T, srv *snowtest.Server, opts ...snowtether.Option) (*sql.DB, func() snowtether.Stats) {
	if d == snowtetherItself {
		db, c := connect(t, srv.Config(), opts...)
		return db, c.Stats
	}
	c := gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *srv.Config())
	if d == tenLineShim {
		c = shim.Connector{Connector: c}
	}
	return sql.OpenDB(c), func() snowtether.Stats { return snowtether.Stats{} }
}

const (
	snowtetherItself through = iota
	plainGosnowflake
	tenLineShim
)

var (
	propertyFor  = flag.Duration("property", 0, "how long to run TestExactlyOnce; 0 runs 20,000 statements, 2,000 with -short")
	propertySeed = flag.Uint64("seed", 0, "the seed of TestExactlyOnce's first round; 0 takes one of its own")
)

// TestExactlyOnce is the driver's promise over a long ledger with random faults at
// every point of a statement's life: a statement that returned nil took effect
// exactly once, one that returned an error at most once, ErrInDoubt only where a
// fault made it unknowable; nobody waits past their deadline, and no session and no
// goroutine is left. A round is one pool in one bubble; its seed is in its name.
func TestExactlyOnce(t *testing.T) {
	enough := 20_000
	if testing.Short() {
		enough = 2_000
	}
	if testpool.Quick() {
		enough = 500
	}
	seed := *propertySeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	var total tally
	begun := time.Now()
	for round := uint64(0); ; round++ {
		if *propertyFor > 0 && time.Since(begun) >= *propertyFor || *propertyFor == 0 && total.statements >= enough {
			break
		}
		ok := t.Run(fmt.Sprintf("seed=%d", seed+round), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { total.add(randomRound(t, seed+round, snowtetherItself, true)) })
		})
		if !ok {
			break
		}
	}
	t.Logf("%d statements and %d transactions: %d succeeded, %d in doubt, %d failed otherwise; %d faults, %d logins, %d carried over",
		total.statements, total.transactions, total.nils, total.doubts, total.errs, total.faults, total.logins, total.resumed)
	if *propertyFor == 0 && (total.doubts == 0 || total.resumed == 0 || total.nils < total.statements/2) {
		t.Error("the faults do not reach what they should")
	}
}

type tally struct {
	statements, transactions, nils, doubts, errs, faults, doubles, losses, logins int
	resumed                                                                       int64
}

func (sum *tally) add(u tally) {
	sum.statements += u.statements
	sum.transactions += u.transactions
	sum.nils += u.nils
	sum.doubts += u.doubts
	sum.errs += u.errs
	sum.faults += u.faults
	sum.doubles += u.doubles
	sum.losses += u.losses
	sum.logins += u.logins
	sum.resumed += u.resumed
}

// randomRound runs some 600 statements of 12 workers on a pool of 6. A wide round has
// what gosnowflake and the shim are not put through: network cuts, sessions that die
// while they lie idle, heartbeats and pings, and transactions begun by statements.
func randomRound(t *testing.T, seed uint64, d through, wide bool) (sum tally) {
	srv := snowtest.New(t, snowtest.InMemory(), snowtest.WithLatency(time.Millisecond), snowtest.AllowRepeats())
	random := rand.New(rand.NewPCG(seed, 0))
	s := &storm{srv: srv, rand: random, share: 0.02 + 0.2*random.Float64(), struck: map[string]bool{}, wide: wide}
	takingTheirTime(srv, func() time.Duration {
		s.mu.Lock()
		defer s.mu.Unlock()
		if random.IntN(8) > 0 {
			return 0
		}
		return time.Duration(random.Int64N(int64(5 * time.Minute)))
	})
	kinds, opts := 10, []snowtether.Option(nil)
	if wide {
		kinds, opts = 15, []snowtether.Option{snowtether.WithHeartbeat(15 * time.Minute)}
		if random.IntN(2) == 0 {
			opts = append(opts, snowtether.WithIdlePing(every))
		}
		weather := make(chan struct{})
		go func() { s.weather(); close(weather) }()
		defer func() { <-weather }()
	}
	db, stats := d.open(t, srv, opts...)
	db.SetMaxOpenConns(6)
	db.SetMaxIdleConns(3)
	srv.FaultAlways(s.strike)

	var mu sync.Mutex
	var wg sync.WaitGroup
	var outcomes []outcome
	for worker := range 12 {
		wg.Go(func() {
			for i := range 50 {
				s.mu.Lock()
				limit := time.Minute + time.Duration(random.Int64N(int64(30*time.Minute)))
				kind, cuts := random.IntN(kinds), s.cuts
				rest := time.Duration(0)
				if wide && random.IntN(20) == 0 {
					rest = time.Duration(random.Int64N(int64(20 * time.Minute)))
				}
				s.mu.Unlock()
				sql := randomText(kind, worker, i)
				time.Sleep(rest)
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				start := time.Now()
				err := randomUse(ctx, db, kind, sql, d)
				if late := time.Since(start) - limit; late > 0 && d == snowtetherItself {
					t.Errorf("%s: kind %d waited %v past its deadline %v: %v", sql, kind, late, limit, err)
				}
				cancel()
				s.mu.Lock()
				cut := s.cuts != cuts || cuts%2 == 1
				s.mu.Unlock()
				mu.Lock()
				outcomes = append(outcomes, outcome{kind: kind, sql: sql, err: err, cut: cut})
				if kind == 0 || kind >= 10 && kind <= 12 {
					sum.transactions++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	time.Sleep(24 * time.Hour) // what was left behind ends
	if err := db.Close(); err != nil {
		t.Errorf("db.Close: %v", err)
	}
	time.Sleep(time.Hour)         // and so does a ping that was under way
	accepted := map[string]bool{} // the statement, or one that belongs to it
	for _, e := range srv.Ledger() {
		if e.State == snowtest.Running {
			t.Errorf("still running: %s", e.SQL)
		}
		accepted[belongsTo(e.SQL)] = true
	}
	sum.statements, sum.faults = len(outcomes), s.faults
	sum.logins, sum.resumed = srv.Stats().Logins, stats().Resumed
	for _, o := range outcomes {
		if d != snowtetherItself {
			sum.count(srv, o)
			continue
		}
		n := sum.check(t, srv, o)
		if errors.Is(o.err, snowtether.ErrInDoubt) && n == 0 && !accepted[o.sql] && !s.struck[o.sql] && !s.struck["COMMIT"] && !o.cut {
			t.Errorf("%s is in doubt, but nothing happened to it: %v", o.sql, o.err)
		}
	}
	return sum
}

// An outcome is what a worker heard of one statement.
type outcome struct {
	kind int // see randomUse
	sql  string
	err  error
	cut  bool // the network was cut meanwhile
}

// count adds an outcome up, and returns how often its statement took effect.
func (sum *tally) count(srv *snowtest.Server, o outcome) (n int) {
	n = srv.Effects(o.sql)
	if n > 1 {
		sum.doubles++
	}
	switch {
	case o.err == nil:
		sum.nils++
	case errors.Is(o.err, snowtether.ErrInDoubt):
		sum.doubts++
	default:
		sum.errs++
	}
	if n == 0 && o.err == nil {
		sum.losses++
	}
	return n
}

// check is count where the statement must have taken effect as often as its error says.
func (sum *tally) check(t *testing.T, srv *snowtest.Server, o outcome) (n int) {
	n = sum.count(srv, o)
	switch {
	case o.err == nil && n != 1:
		t.Errorf("%s returned nil and took effect %d times", o.sql, n)
	case n > 1:
		t.Errorf("%s returned %v and took effect %d times", o.sql, o.err, n)
	case n == 1 && o.err != nil && !errors.Is(o.err, snowtether.ErrInDoubt) && !isContextError(o.err):
		t.Errorf("%s, kind %d, took effect and returned %v, which does not say so", o.sql, o.kind, o.err)
		for _, e := range srv.Ledger() {
			if belongsTo(e.SQL) == o.sql {
				t.Logf("%s in session %d at %v: %v, in a transaction %v, effects %d, %v", e.SQL, e.SessionID, e.Accepted, e.State, e.InTx, e.Effects, e.Err)
			}
		}
	}
	return n
}

func isContextError(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// TestExactlyOnceIsNotWhatOthersDo runs the same workload through plain gosnowflake
// and through the obvious shim. It is here for docs/comparison.md, and to show
// that TestExactlyOnce would notice.
func TestExactlyOnceIsNotWhatOthersDo(t *testing.T) {
	rounds := 2
	if testpool.Quick() {
		rounds = 1
	}
	for name, d := range map[string]through{"gosnowflake": plainGosnowflake, "shim": tenLineShim, "snowtether": snowtetherItself} {
		t.Run(name, func(t *testing.T) {
			var total tally
			// The shim does it as a rule, and not in each round.
			for seed := 1; seed <= rounds || d == tenLineShim && total.doubles == 0 && seed <= 20; seed++ {
				synctest.Test(t, func(t *testing.T) { total.add(randomRound(t, uint64(seed), d, false)) })
			}
			t.Logf("%s: %d statements, %d failed or in doubt, %d ran twice, %d lost without an error",
				name, total.statements, total.errs+total.doubts, total.doubles, total.losses)
			switch {
			case d == plainGosnowflake && total.errs < total.statements/2:
				t.Error("plain gosnowflake recovers: this project is not needed any more")
			case d == tenLineShim && total.doubles == 0:
				t.Error("the shim runs nothing twice: the faults do not reach what they should")
			}
		})
	}
}

// TestSaturatedPoolSurvivesRollingExpiry: sessions keep dying while every
// connection is in use; database/sql's three tries are not enough for that.
func TestSaturatedPoolSurvivesRollingExpiry(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 8)
		stop := make(chan struct{})
		var killer, wg sync.WaitGroup
		killer.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(7 * time.Millisecond):
				}
				if open := srv.Sessions(); len(open) > 0 {
					srv.EndSessions(ways[1+i%5].End, open[i%len(open)].ID)
				}
			}
		})
		for worker := range 32 {
			wg.Go(func() {
				for i := range 70 {
					if _, err := db.ExecContext(t.Context(), "INSERT INTO t VALUES (?, ?)", worker, i); err != nil && !errors.Is(err, snowtether.ErrInDoubt) {
						t.Errorf("worker %d, statement %d: %v", worker, i, err)
					}
				}
			})
		}
		wg.Wait()
		close(stop)
		killer.Wait()
		if d := srv.Doubles(); len(d) > 0 {
			t.Errorf("took effect twice: %v", d)
		}
	}, snowtest.WithLatency(2*time.Millisecond))
}

// TestSessionsThatDieTogetherAreAskedOnceEach: those that were replaced, while others
// were still being found dead, turned suspect again each time.
func TestSessionsThatDieTogetherAreAskedOnceEach(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		const n = 16
		db := pool(t, srv, n)
		probes := 0
		srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
			if r.Kind == snowtest.RequestQuery && r.SQL == "SELECT 1" {
				probes++
			}
			return snowtest.Fault{}, false
		})
		srv.AbortSessions()
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 200 * time.Millisecond) // and so needs one connection more
				for j := range 200 {
					if _, err := db.ExecContext(t.Context(), "INSERT INTO t VALUES (?)", 1000*i+j); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if probes > n {
			t.Errorf("%d probes of %d sessions", probes, n)
		}
	}, snowtest.WithLatency(20*time.Millisecond))
}
