package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file has the workload, and what the servers say has become of it.

const (
	perWorker = 6                      // statements that fall due each second, a worker
	pace      = 80 * time.Millisecond  // from one start to the next of a worker who is behind, at least
	slow      = 200 * time.Millisecond // how long every sixth statement runs
	patience  = 10 * time.Second       // of a statement's caller
	impatient = time.Second            // of a transaction's caller
)

// A fate is what the program was told of a statement.
type fate int

const (
	succeeded fate = iota
	failed
	inDoubt // it may have run: ErrInDoubt, or the caller's time was up
	fates
)

func (f fate) String() string { return [...]string{"succeeded", "failed", "in doubt"}[f] }

// An outcome is a statement that has come back to the program, at its time since
// the start.
type outcome struct {
	sql  string
	fate fate
	at   time.Duration
}

// A lane is one driver with a server of its own.
type lane struct {
	name string
	srv  *snowtest.Server
	db   *sql.DB

	counts   [fates]atomic.Int64
	mu       sync.Mutex
	outcomes []outcome
}

// newLane starts a server, opens a pool and logs the workers' sessions in.
func newLane(ctx context.Context, d through, workers int) (*lane, error) {
	srv, err := snowtest.Start(
		snowtest.WithLatency(20*time.Millisecond),    // Snowflake is never as near as loopback
		snowtest.WithInlineWait(60*time.Millisecond), // 45 s on Snowflake: slow statements are polled
	)
	if err != nil {
		return nil, err
	}
	srv.Handle("^INSERT .* SELECT", func(ctx context.Context, _ *snowtest.Statement) (*snowtest.Result, error) {
		if !sleepUntil(ctx, time.Now().Add(slow)) {
			return nil, ctx.Err()
		}
		return nil, nil // the usual answer
	})
	l := &lane{name: d.name, srv: srv}
	if l.db, err = d.open(srv.Config()); err != nil {
		return nil, errors.Join(err, srv.Close())
	}
	l.db.SetMaxOpenConns(workers)
	l.db.SetMaxIdleConns(workers) // the default of 2 would log out and in all the time
	if err := snowtether.Warm(ctx, l.db, workers); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

func (l *lane) close() error { return errors.Join(l.db.Close(), l.srv.Close()) }

// load runs the statements, each when it is due. Workers who are behind catch up,
// but not all at once. When ctx ends, the statements under way are finished and no
// further ones begun.
func (l *lane) load(ctx context.Context, begun time.Time, length time.Duration, workers int) {
	var wg sync.WaitGroup
	var last atomic.Int64
	every := time.Second / time.Duration(perWorker*workers)
	for range workers {
		wg.Go(func() {
			for free := begun; ; {
				n := int(last.Add(1))
				due := time.Duration(n) * every
				if due > length || !sleepUntil(ctx, begun.Add(due)) || !sleepUntil(ctx, free) {
					return
				}
				free = time.Now().Add(pace)
				l.run(context.WithoutCancel(ctx), begun, n)
			}
		})
	}
	wg.Wait()
}

// run runs the statement with this number, which makes its text unique. Every
// sixth is slow, every sixth a transaction of its own.
func (l *lane) run(ctx context.Context, begun time.Time, n int) {
	o := outcome{sql: fmt.Sprintf("INSERT INTO facts VALUES (%d)", n)}
	limit, use := patience, insert
	switch n % 6 {
	case 2:
		o.sql = fmt.Sprintf("INSERT INTO facts SELECT %d FROM staged", n)
	case 5:
		limit, use = impatient, transact
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := use(ctx, l.db, o.sql)
	switch {
	case err == nil:
		o.fate = succeeded
	case errors.Is(err, snowtether.ErrInDoubt) || ctx.Err() != nil:
		o.fate = inDoubt
	default:
		o.fate = failed
	}
	o.at = time.Since(begun)
	l.counts[o.fate].Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.outcomes = append(l.outcomes, o)
}

func insert(ctx context.Context, db *sql.DB, query string) error {
	_, err := db.ExecContext(ctx, query)
	return err
}

func transact(ctx context.Context, db *sql.DB, query string) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, query); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// A verdict is what became of a lane's statements. What the program was told
// comes from its outcomes, what truly happened from the server's ledger.
type verdict struct {
	name     string
	outcomes []outcome
	counts   [fates]int
	twice    []time.Duration // when statements took effect once more
	doubled  int             // statements that took effect more than once
	lost     []time.Duration // when statements that never took effect had returned nil
	hidden   int             // statements that failed, although they took effect
	logins   int
}

// judge closes the pool, because only then is a transaction that was left open
// gone for good, and waits until what still runs on the server has ended.
func (l *lane) judge(begun time.Time) (verdict, error) {
	v := verdict{name: l.name, outcomes: l.outcomes}
	closed := l.db.Close()
	isRunning := func(e snowtest.Entry) bool { return e.State == snowtest.Running }
	ledger := l.srv.Ledger()
	for slices.ContainsFunc(ledger, isRunning) {
		sleepUntil(context.Background(), time.Now().Add(slow/10))
		ledger = l.srv.Ledger()
	}
	v.logins = l.srv.Stats().Logins
	if err := errors.Join(closed, l.srv.Close()); err != nil {
		return v, fmt.Errorf("%s: %w", l.name, err)
	}
	effects := map[string]int{}
	for _, e := range ledger {
		if !strings.HasPrefix(e.SQL, "INSERT") || e.Effects == 0 {
			continue
		}
		effects[e.SQL]++
		if effects[e.SQL] > 1 {
			v.twice = append(v.twice, e.Accepted.Sub(begun))
		}
		if effects[e.SQL] == 2 {
			v.doubled++
		}
	}
	for _, o := range l.outcomes {
		v.counts[o.fate]++
		switch n := effects[o.sql]; {
		case o.fate == succeeded && n == 0:
			v.lost = append(v.lost, o.at)
		case o.fate == failed && n > 0:
			v.hidden++
		}
	}
	return v, nil
}

// exact reports whether each statement did what the program was told.
func (v verdict) exact() bool { return v.doubled == 0 && len(v.lost) == 0 && v.hidden == 0 }
