package snowtether_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
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
	"github.com/snowtether/snowtether/snowtest"
)

var (
	propertyFor  = flag.Duration("property", 0, "how long to run TestExactlyOnce; 0 runs 20,000 statements, 2,000 with -short")
	propertySeed = flag.Uint64("seed", 0, "the seed of TestExactlyOnce's first round; 0 takes one of its own")
)

// TestExactlyOnce is the driver's promise over a long ledger with random faults at
// every point of a statement's life: a statement that returned nil took effect
// exactly once, one that returned an error at most once, ErrInDoubt only where a
// fault made it unknowable; nobody waits past his deadline, and no session and no
// goroutine is left. A round is one pool in one bubble; its seed is in its name.
func TestExactlyOnce(t *testing.T) {
	enough := 20_000
	if testing.Short() {
		enough = 2_000
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
			synctest.Test(t, func(t *testing.T) { total.add(randomRound(t, seed+round, snowtetherItself)) })
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

// TestExactlyOnceIsNotWhatOthersDo runs the same workload through plain gosnowflake
// and through the obvious shim. It is here for the table in the README, and to show
// that TestExactlyOnce would notice.
func TestExactlyOnceIsNotWhatOthersDo(t *testing.T) {
	for name, d := range map[string]through{"gosnowflake": plainGosnowflake, "shim": tenLineShim, "snowtether": snowtetherItself} {
		t.Run(name, func(t *testing.T) {
			var total tally
			for seed := uint64(1); seed <= 2; seed++ {
				synctest.Test(t, func(t *testing.T) { total.add(randomRound(t, seed, d)) })
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

// A shim is the obvious one: 390114 and its like become driver.ErrBadConn, so that
// database/sql dials again and runs the statement a second time.
type shim struct{ driver.Connector }

func (s shim) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := s.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return shimConn{c.(gosnowflakeConn)}, nil
}

type gosnowflakeConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ExecerContext
	driver.QueryerContext
	driver.NamedValueChecker
}

type shimConn struct{ gosnowflakeConn }

func (c shimConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	res, err := c.gosnowflakeConn.ExecContext(ctx, query, args)
	return res, badConn(err)
}

func (c shimConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := c.gosnowflakeConn.QueryContext(ctx, query, args)
	return rows, badConn(err)
}

func badConn(err error) error {
	if n := number(err); n == 390114 || n == 390111 || n == 390104 {
		return driver.ErrBadConn
	}
	return err
}

type tally struct {
	statements, transactions, nils, doubts, errs, faults, doubles, losses, logins int
	resumed                                                                       int64
}

func (t *tally) add(u tally) {
	t.statements += u.statements
	t.transactions += u.transactions
	t.nils += u.nils
	t.doubts += u.doubts
	t.errs += u.errs
	t.faults += u.faults
	t.doubles += u.doubles
	t.losses += u.losses
	t.logins += u.logins
	t.resumed += u.resumed
}

// A storm answers a share of the requests with random faults.
type storm struct {
	srv *snowtest.Server

	mu     sync.Mutex
	rand   *rand.Rand
	share  float64
	over   bool
	struck map[string]bool // the statements whose requests were struck
	faults int
}

func (s *storm) strike(r *snowtest.Request) (snowtest.Fault, bool) {
	s.srv.KeepControl()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over || s.rand.Float64() >= s.share || r.Kind == snowtest.RequestLogout {
		return snowtest.Fault{}, false
	}
	s.faults++
	if r.SQL != "" {
		s.struck[r.SQL] = true
	}
	f := snowtest.Fault{Run: s.rand.IntN(2) == 0}
	switch s.rand.IntN(9) {
	case 0, 1:
		f.Drop = true
	case 2:
		f.Status = []int{500, 502, 503, 504, 429}[s.rand.IntN(5)]
	case 3:
		f.Body = []string{"", "<html>", `{"data":{"queryId":`, `{"success":true,"code":"x"}`}[s.rand.IntN(4)]
		f.Run = f.Run || f.Body == ""
	case 4:
		f.Delay = time.Duration(s.rand.Int64N(int64(90 * time.Second)))
	default:
		// The sessions end before or after the request is carried out; then the reply
		// may be lost as well.
		end, all := s.end(), s.rand.IntN(4) == 0
		if id := r.SessionID; all {
			f.After = end()
		} else {
			f.After = end(id)
		}
		if !f.Run {
			f.After()
			f.After = nil
			return f, false // now it meets what it meets
		}
		f.Drop = s.rand.IntN(2) == 0
	}
	return f, true
}

// end is a random way to end sessions.
func (s *storm) end() func(ids ...int64) func() {
	way := ways[s.rand.IntN(len(ways))]
	return func(ids ...int64) func() {
		return func() {
			if way.logins == 0 {
				s.srv.ExpireSessionTokens(ids...)
			} else {
				s.srv.EndSessions(way.end, ids...)
			}
		}
	}
}

// through is the driver that a round runs on.
type through int

const (
	snowtetherItself through = iota
	plainGosnowflake
	tenLineShim
)

// open opens the pool of a round.
func (d through) open(t *testing.T, srv *snowtest.Server) (*sql.DB, func() snowtether.Stats) {
	if d == snowtetherItself {
		db, c := connect(t, srv.Config())
		return db, c.Stats
	}
	c := gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *srv.Config())
	if d == tenLineShim {
		c = shim{c}
	}
	return sql.OpenDB(c), func() snowtether.Stats { return snowtether.Stats{} }
}

// randomRound runs some 600 statements of 12 workers on a pool of 6.
func randomRound(t *testing.T, seed uint64, d through) (sum tally) {
	srv := snowtest.New(t, snowtest.InMemory(), snowtest.WithLatency(time.Millisecond), snowtest.AllowRepeats())
	random := rand.New(rand.NewPCG(seed, 0))
	s := &storm{srv: srv, rand: random, share: 0.02 + 0.2*random.Float64(), struck: map[string]bool{}}
	srv.Handle("^INSERT", func(ctx context.Context, st *snowtest.Statement) (*snowtest.Result, error) {
		s.mu.Lock()
		slow := time.Duration(0)
		if random.IntN(8) == 0 {
			slow = time.Duration(random.Int64N(int64(5 * time.Minute)))
		}
		s.mu.Unlock()
		select {
		case <-time.After(slow):
			return counted(snowtest.KindInsert, "inserted", 1), nil
		case <-ctx.Done():
			return nil, &snowtest.Error{Code: "000604", SQLState: "57014", Message: "SQL execution canceled"}
		}
	})
	db, stats := d.open(t, srv)
	db.SetMaxOpenConns(6)
	db.SetMaxIdleConns(3)
	srv.Control(s.strike)

	var mu sync.Mutex
	var wg sync.WaitGroup
	type outcome struct {
		sql string
		err error
	}
	var outcomes []outcome
	for worker := range 12 {
		wg.Go(func() {
			for i := range 50 {
				sql := fmt.Sprintf("INSERT INTO t VALUES (%d, %d)", worker, i)
				s.mu.Lock()
				limit := time.Minute + time.Duration(random.Int64N(int64(30*time.Minute)))
				kind := random.IntN(10)
				s.mu.Unlock()
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				start := time.Now()
				err := randomUse(ctx, db, kind, sql, d)
				if late := time.Since(start) - limit; late > 0 && d == snowtetherItself {
					t.Errorf("%s: waited %v past its deadline", sql, late)
				}
				cancel()
				mu.Lock()
				outcomes = append(outcomes, outcome{sql, err})
				if kind == 0 {
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
	for _, e := range srv.Ledger() {
		if e.State == snowtest.Running {
			t.Errorf("still running: %s", e.SQL)
		}
	}
	sum.statements, sum.faults = len(outcomes), s.faults
	sum.logins, sum.resumed = srv.Stats().Logins, stats().Resumed
	for _, o := range outcomes {
		n := srv.Effects(o.sql)
		if n > 1 {
			sum.doubles++
		}
		if n == 0 && o.err == nil {
			sum.losses++
		}
		if d != snowtetherItself {
			if o.err == nil {
				sum.nils++
			} else {
				sum.errs++
			}
			continue
		}
		switch {
		case o.err == nil:
			sum.nils++
			if n != 1 {
				t.Errorf("%s returned nil and took effect %d times", o.sql, n)
			}
		case n > 1:
			t.Errorf("%s returned %v and took effect %d times", o.sql, o.err, n)
		case errors.Is(o.err, snowtether.ErrInDoubt):
			sum.doubts++
			if n == 0 && srv.Accepted(o.sql) == 0 && !s.struck[o.sql] && !s.struck["COMMIT"] {
				t.Errorf("%s is in doubt, but nothing happened to it: %v", o.sql, o.err)
			}
		default:
			sum.errs++
			if n == 1 && !isContextError(o.err) {
				t.Errorf("%s took effect and returned %v, which does not say so", o.sql, o.err)
			}
		}
	}
	return sum
}

func isContextError(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// randomUse runs the statement in one of the ways in which programs do.
func randomUse(ctx context.Context, db *sql.DB, kind int, query string, d through) error {
	switch kind {
	case 0:
		if d != snowtetherItself {
			// Without the context: database/sql's roll-back would wait for a mutex while
			// gosnowflake cancels, and time in the bubble stands still for that.
			tx, err := db.BeginTx(context.WithoutCancel(ctx), nil)
			if err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, query); err != nil {
				return errors.Join(err, tx.Rollback())
			}
			return tx.Commit()
		}
		return snowtether.RunTx(ctx, begin(db), func(tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, query)
			return err
		})
	case 1:
		// Pinned, because sql.Stmt.Close waits for a mutex that another statement on
		// the same connection holds, and time in the bubble stands still for that.
		conn, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		stmt, err := conn.PrepareContext(ctx, query)
		if err != nil {
			return errors.Join(err, conn.Close())
		}
		_, err = stmt.ExecContext(ctx)
		return errors.Join(err, stmt.Close(), conn.Close())
	case 2:
		conn, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		_, err = conn.ExecContext(ctx, query)
		return errors.Join(err, conn.Close())
	case 3:
		rows, err := db.QueryContext(ctx, query)
		if err != nil {
			return err
		}
		for rows.Next() {
		}
		return errors.Join(rows.Err(), rows.Close())
	}
	_, err := db.ExecContext(ctx, query)
	return err
}
