package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// Exactly once (docs/guarantees.md): what TestExactlyOnce puts a pool through, the ways in which
// programs use it, and the faults.

// A storm answers a share of the requests with random faults.
type storm struct {
	srv  *snowtest.Server
	wide bool // with what only snowtether is put through

	mu     sync.Mutex
	rand   *rand.Rand
	share  float64
	over   bool
	struck map[string]bool // the statements whose requests were struck
	faults int
	cuts   int // of the network, begun or ended
}

func (s *storm) strike(r *snowtest.Request) (snowtest.Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over || s.rand.Float64() >= s.share || r.Kind == snowtest.RequestLogout {
		return snowtest.Fault{}, false
	}
	s.faults++
	if r.SQL != "" {
		s.struck[belongsTo(r.SQL)] = true
	}
	if s.wide && (r.Kind == snowtest.RequestResult || r.RetryCount > 0) && s.rand.IntN(4) == 0 {
		// An answer that is not the statement's, after it was or may have been accepted.
		if s.rand.IntN(3) == 0 {
			return snowtest.Fault{Body: `{"success":false,"code":"403","message":"Forbidden"}`}, true
		}
		return snowtest.Fault{Code: []string{"390302", "390422", "390189", "399999", "000709", "000605"}[s.rand.IntN(6)]}, true
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
			if way.Logins == 0 {
				s.srv.ExpireSessionTokens(ids...)
			} else {
				s.srv.EndSessions(way.End, ids...)
			}
		}
	}
}

// weather cuts the network now and then, and ends sessions, most of them idle, until
// the storm is over. Whatever was sent through a cut may be lost.
func (s *storm) weather() {
	for {
		s.mu.Lock()
		if s.over {
			s.mu.Unlock()
			return
		}
		calm, spell, end := s.rand.Int64N(int64(time.Hour)), s.rand.Int64N(int64(3*time.Minute)), s.end()
		cut := s.rand.IntN(2) == 0
		s.mu.Unlock()
		time.Sleep(time.Duration(calm))
		if !cut {
			if open := s.srv.Sessions(); len(open) > 0 {
				end(open[int(calm)%len(open)].ID)()
			}
			continue
		}
		s.cut(s.srv.Disconnect)
		time.Sleep(time.Duration(spell))
		s.cut(s.srv.Reconnect)
	}
}

func (s *storm) cut(f func()) {
	s.mu.Lock()
	s.cuts++
	s.mu.Unlock()
	f()
}

// takingTheirTime answers what randomUse sends, each statement after as long as slow says.
func takingTheirTime(srv *snowtest.Server, slow func() time.Duration) {
	srv.Handle("^(INSERT|BEGIN -- |SELECT [0-9]+ AS w)", func(ctx context.Context, st *snowtest.Statement) (*snowtest.Result, error) {
		select {
		case <-time.After(slow()):
			if strings.HasPrefix(st.SQL, "BEGIN") {
				return snowtest.Status(snowtest.KindTCL, "Statement executed successfully."), nil
			}
			return counted(snowtest.KindInsert, "inserted", 1), nil
		case <-ctx.Done():
			return nil, &snowtest.Error{Code: "000604", SQLState: "57014", Message: "SQL execution canceled"}
		}
	})
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
	case 10:
		return inOneTransaction(ctx, db, "BEGIN -- "+query, query, "COMMIT -- "+query)
	case 11:
		return inOneTransaction(ctx, db, "ALTER SESSION SET AUTOCOMMIT = FALSE -- "+query, query, "COMMIT -- "+query)
	case 12:
		return snowtether.RunTx(ctx, begin(db), func(tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, query)
			if err == nil {
				_, err = tx.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS x (n INT) -- "+query) // commits
			}
			return err
		})
	case 3, 14:
		if d != snowtetherItself {
			// Without the context: with one, database/sql closes the rows twice, and the
			// second time waits for a mutex while gosnowflake logs the session out.
			ctx = context.WithoutCancel(ctx)
		}
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

// randomText is the statement of a worker: an INSERT, a chain that ends with one, or a
// query whose function may do anything.
func randomText(kind, worker, i int) string {
	switch kind {
	case 13:
		return fmt.Sprintf("SELECT %d AS w, %d AS i ->> INSERT INTO t SELECT w, i FROM $1", worker, i)
	case 14:
		return fmt.Sprintf("SELECT db.s.f(%d, %d)", worker, i)
	}
	return fmt.Sprintf("INSERT INTO t VALUES (%d, %d)", worker, i)
}

// inOneTransaction runs statements, one of which begins a transaction, on one
// connection, and does not give it back to the pool.
func inOneTransaction(ctx context.Context, db *sql.DB, statements ...string) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Raw(func(any) error { return driver.ErrBadConn })
	for _, statement := range statements {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// belongsTo is the INSERT that a statement is or stands around.
func belongsTo(sql string) string {
	_, insert, found := strings.Cut(sql, "-- ")
	if !found {
		return sql
	}
	return insert
}
