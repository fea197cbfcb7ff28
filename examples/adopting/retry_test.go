package adopting_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about work-arounds that programs have and should lose.

// retry is such a loop.
func retry(ctx context.Context, db *sql.DB, query string) (err error) {
	for range 3 {
		if _, err = db.ExecContext(ctx, query); err == nil {
			return nil
		}
	}
	return err
}

// reopen is the same with plain gosnowflake, which needs a new pool to recover.
func reopen(ctx context.Context, cfg *gosnowflake.Config, query string) (err error) {
	for range 3 {
		db := sql.OpenDB(gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *cfg))
		_, err = db.ExecContext(ctx, query)
		_ = db.Close()
		if err == nil {
			return nil
		}
	}
	return err
}

// TestRetryLoopRunsAcceptedStatementsTwice: the loop does, whatever is below it, and
// snowtether alone does not.
func TestRetryLoopRunsAcceptedStatementsTwice(t *testing.T) {
	for name, tt := range map[string]struct {
		run     func(t *testing.T, srv *snowtest.Server) error
		effects int
		doubt   bool
	}{
		"gosnowflake, with a loop": {func(t *testing.T, srv *snowtest.Server) error {
			return reopen(t.Context(), srv.Config(), insert)
		}, 2, false},
		"snowtether, with a loop": {func(t *testing.T, srv *snowtest.Server) error {
			return retry(t.Context(), openConfig(t, srv), insert)
		}, 2, false},
		"snowtether": {func(t *testing.T, srv *snowtest.Server) error {
			_, err := openConfig(t, srv).ExecContext(t.Context(), insert)
			return err
		}, 1, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			srv := snowtest.New(t, snowtest.InMemory(), snowtest.AllowRepeats())
			once(srv, insert, snowtest.Fault{Run: true, After: func() { srv.AbortSessions() }, Status: 503})
			err := tt.run(t, srv)
			if n := srv.Effects(insert); n != tt.effects || errors.Is(err, snowtether.ErrInDoubt) != tt.doubt {
				t.Errorf("%s: took effect %d times, error %v", name, n, err)
			}
		})
	}
}

// TestLimitsOfTheConnectionsLifeCostLogins: a working day of a pool of which 4
// connections are used at the same time, every 7 minutes. The figures are lower
// bounds: it depends on database/sql's clean-up how many there are.
func TestLimitsOfTheConnectionsLifeCostLogins(t *testing.T) {
	for name, tt := range map[string]struct {
		limit   func(*sql.DB)
		atLeast int
	}{
		"none":                          {func(*sql.DB) {}, 4},
		"SetConnMaxLifetime(30m)":       {func(db *sql.DB) { db.SetConnMaxLifetime(30 * time.Minute) }, 50},
		"SetConnMaxIdleTime(5m)":        {func(db *sql.DB) { db.SetConnMaxIdleTime(5 * time.Minute) }, 200},
		"SetMaxIdleConns, default of 2": {func(db *sql.DB) { db.SetMaxIdleConns(2) }, 100},
	} {
		synctest.Test(t, func(t *testing.T) {
			srv := snowtest.New(t, snowtest.InMemory())
			db := openConfig(t, srv)
			db.SetMaxIdleConns(4)
			tt.limit(db)
			for end := time.Now().Add(8 * time.Hour); time.Now().Before(end); time.Sleep(7 * time.Minute) {
				if err := snowtether.Warm(t.Context(), db, 4); err != nil {
					t.Fatal(err)
				}
			}
			n := srv.Stats().Logins
			t.Logf("%s: %d logins", name, n)
			if n < tt.atLeast || name == "none" && n != 4 {
				t.Errorf("%s: %d logins, expected at least %d", name, n, tt.atLeast)
			}
		})
	}
}

func transfer(ctx context.Context, db *sql.DB, from, to, amount int) error {
	const add = "UPDATE accounts SET balance = balance + ? WHERE id = ?"
	return snowtether.RunTx(ctx,
		func(ctx context.Context) (*sql.Tx, error) { return db.BeginTx(ctx, nil) },
		func(tx *sql.Tx) error { // may run more than once
			if _, err := tx.ExecContext(ctx, add, -amount, from); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, add, amount, to)
			return err
		})
}

func TestTransferSurvivesALostSession(t *testing.T) {
	const add = "UPDATE accounts SET balance = balance + ? WHERE id = ?"
	srv := snowtest.New(t, snowtest.AllowRepeats())
	db := open(t, "snowtether", srv)
	seen := 0
	srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
		if r.SQL == add {
			seen++
		}
		if seen < 2 {
			return snowtest.Fault{}, false
		}
		srv.AbortSessions() // before the second statement of the first attempt
		return snowtest.Fault{}, true
	})
	if err := transfer(t.Context(), db, 1, 2, 100); err != nil || srv.Effects(add) != 2 {
		t.Errorf("%d effects, %v", srv.Effects(add), err)
	}
}

// persist runs a statement again while Snowflake cannot be reached. Only then is it certain
// that nothing of the failed one lasts.
func persist(ctx context.Context, db *sql.DB, query string, args ...any) error {
	for {
		_, err := db.ExecContext(ctx, query, args...)
		var failed *snowtether.SessionError
		if !errors.As(err, &failed) || snowtether.Classify(err) != snowtether.ClassTransient {
			return err // nil, ErrInDoubt, Snowflake's own answer …
		}
		select {
		case <-time.After(time.Minute):
		case <-ctx.Done():
			return err
		}
	}
}

// TestLoopThatAsksForTheClassRunsNothingTwice: it outlasts an outage of twenty minutes, and
// leaves to its caller a statement whose reply was lost.
func TestLoopThatAsksForTheClassRunsNothingTwice(t *testing.T) {
	for name, tt := range map[string]struct {
		strike func(srv *snowtest.Server)
		doubt  bool
	}{
		"outage": {func(srv *snowtest.Server) {
			srv.Disconnect()
			synctest.Wait() // nothing is written to a connection that was open before
			time.AfterFunc(20*time.Minute, srv.Reconnect)
		}, false},
		"reply lost": {func(srv *snowtest.Server) {
			once(srv, insert, snowtest.Fault{Run: true, After: func() { srv.AbortSessions() }, Status: 503})
		}, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			srv := snowtest.New(t, snowtest.InMemory())
			db := openConfig(t, srv)
			if err := db.PingContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			tt.strike(srv)
			err := persist(t.Context(), db, insert)
			if n := srv.Effects(insert); n != 1 || errors.Is(err, snowtether.ErrInDoubt) != tt.doubt || err != nil && !tt.doubt {
				t.Errorf("%s: took effect %d times, error %v", name, n, err)
			}
		})
	}
}

// outcome asks what became of a statement, whose query ID must not be empty: nil is success. An
// error with the number gosnowflake.ErrQueryIsRunning says to ask again later; after any
// other, look at the data.
func outcome(ctx context.Context, db *sql.DB, queryID string) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Raw(func(dc any) error {
		_, err := dc.(gosnowflake.SnowflakeConnection).GetQueryStatus(ctx, queryID)
		return err
	})
}

// slowly makes the server take its time for the INSERT, so that it is still running
// when its session ends.
func slowly(srv *snowtest.Server) {
	srv.Handle("INSERT", func(ctx context.Context, _ *snowtest.Statement) (*snowtest.Result, error) {
		select {
		case <-time.After(time.Minute):
		case <-ctx.Done():
		}
		return nil, ctx.Err()
	})
	once(srv, insert, snowtest.Fault{Run: true, After: func() { srv.AbortSessions() }})
}

func TestDoubtWithAQueryIDIsSettledByIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := snowtest.New(t, snowtest.InMemory(), snowtest.WithInlineWait(0))
		slowly(srv)
		c, err := snowtether.NewConnector(srv.Config(), snowtether.WithResume(false))
		if err != nil {
			t.Fatal(err)
		}
		db := closing(t, sql.OpenDB(c))
		_, err = db.ExecContext(t.Context(), insert)
		var lost *snowtether.SessionError
		if !errors.Is(err, snowtether.ErrInDoubt) || !errors.As(err, &lost) || lost.QueryID == "" {
			t.Fatalf("error is %v", err)
		}
		var running *gosnowflake.SnowflakeError
		if err := outcome(t.Context(), db, lost.QueryID); !errors.As(err, &running) || running.Number != gosnowflake.ErrQueryIsRunning {
			t.Errorf("at first: %v", err)
		}
		time.Sleep(2 * time.Minute)
		if err := outcome(t.Context(), db, lost.QueryID); err != nil {
			t.Errorf("in the end: %v", err)
		}
	})
}
