package snowtether

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// Warm opens n connections of db side by side and returns them to the pool, so
// that the first users find them there. Connections that are already open count. If
// ctx ends or a login fails first, the error says how many connections were opened;
// those stay in the pool.
//
// Warm returns an error for an n below 1, and for one above the pool's MaxOpenConns,
// because it would wait for ever. The pool keeps no more of the connections than its MaxIdleConns,
// which is 2 by default.
func Warm(ctx context.Context, db *sql.DB, n int) error {
	switch limit := 0; {
	case db == nil:
		return errors.New("snowtether: Warm: db is nil")
	case n < 1:
		return fmt.Errorf("snowtether: Warm: %d connections; must be at least 1", n)
	default:
		if limit = db.Stats().MaxOpenConnections; limit > 0 && n > limit {
			return fmt.Errorf("snowtether: Warm: %d connections are more than the pool's MaxOpenConns of %d", n, limit)
		}
	}
	conns := make([]*sql.Conn, n)
	var g errgroup.Group
	for i := range conns {
		g.Go(func() (err error) {
			conns[i], err = db.Conn(ctx)
			return err
		})
	}
	err := g.Wait()
	// Returned one by one only now: before, the same one would be handed out again.
	got := 0
	for _, conn := range conns {
		if conn != nil {
			got++
			err = errors.Join(err, conn.Close())
		}
	}
	if err != nil {
		return fmt.Errorf("snowtether: Warm: %d of %d connections: %w", got, n, err)
	}
	return nil
}
