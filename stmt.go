package snowtether

import (
	"context"
	"database/sql/driver"
	"sync/atomic"

	"github.com/snowflakedb/gosnowflake/v2"
)

// A stmt is a prepared statement. It outlives the session that it was prepared
// on: on the next one it is prepared anew, which with gosnowflake sends nothing.
//
// It is no NamedValueChecker: database/sql asks the connection instead.
type stmt struct {
	conn    *conn
	query   string
	inner   atomic.Pointer[prepared] // nil before its first use
	queryID string                   // of an execution that was carried over to another session
}

// A prepared is the inner statement, and the session that it was prepared on.
type prepared struct {
	driver.Stmt
	session *session
}

// close closes the inner statement, if its session has not done that.
func (p *prepared) close() error {
	s := p.session
	s.preparing.Lock() // its connection is one goroutine's at a time
	defer s.preparing.Unlock()
	if _, open := s.prepared[p]; !open {
		return nil
	}
	delete(s.prepared, p)
	return p.Stmt.Close()
}

var (
	_ driver.Stmt               = (*stmt)(nil)
	_ driver.StmtExecContext    = (*stmt)(nil)
	_ driver.StmtQueryContext   = (*stmt)(nil)
	_ gosnowflake.SnowflakeStmt = (*stmt)(nil)
)

func (s *stmt) prepare(ctx context.Context, on *session) (*prepared, error) {
	inner, err := on.conn.full.PrepareContext(ctx, s.query)
	if err != nil {
		return nil, err // and inner stays: database/sql asks for NumInput before it tries again
	}
	p := &prepared{inner, on}
	on.preparing.Lock()
	if on.prepared != nil {
		on.prepared[p] = struct{}{}
	}
	on.preparing.Unlock()
	s.inner.Store(p)
	return p, nil
}

// current is the inner statement on a session, the connection's present one.
func (s *stmt) current(ctx context.Context, on *session) (driver.Stmt, error) {
	p := s.inner.Load()
	if p == nil || p.session != on { // which closes what was prepared on it
		var err error
		if p, err = s.prepare(ctx, on); err != nil {
			return nil, err
		}
	}
	return p.Stmt, nil
}

// ExecContext carries out the statement.
func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	s.queryID = ""
	op := s.conn.exec(ctx, s.query, args)
	op.run = func(ctx context.Context, on *session) (any, error) {
		inner, err := s.current(ctx, on)
		if err != nil {
			return nil, err
		}
		return execStmt(ctx, inner, args)
	}
	op.resumed = func(rows driver.Rows, id string) (any, error) {
		s.queryID = id
		return resultOf(rows, id, op.text)
	}
	res, err := s.conn.do(ctx, op)
	return outcome[driver.Result](res, err)
}

// QueryContext carries out the statement and returns the inner driver's own rows.
func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	s.queryID = ""
	op := s.conn.query(ctx, s.query, args)
	op.run = func(ctx context.Context, on *session) (any, error) {
		inner, err := s.current(ctx, on)
		if err != nil {
			return nil, err
		}
		return queryStmt(ctx, inner, args)
	}
	op.resumed = func(fetched driver.Rows, id string) (any, error) {
		s.queryID = id
		return rowsOf(fetched, id)
	}
	rows, err := s.conn.do(ctx, op)
	return outcome[driver.Rows](rows, err)
}

// Exec is ExecContext from before contexts.
func (s *stmt) Exec(args []driver.Value) (driver.Result, error) {
	return s.ExecContext(context.Background(), named(args))
}

// Query is QueryContext from before contexts.
func (s *stmt) Query(args []driver.Value) (driver.Rows, error) {
	return s.QueryContext(context.Background(), named(args))
}

// NumInput is the inner statement's: -1 with gosnowflake, which does not know.
func (s *stmt) NumInput() int {
	if p := s.inner.Load(); p != nil {
		return p.NumInput()
	}
	return -1
}

// GetQueryID is gosnowflake's: the ID of the last execution.
func (s *stmt) GetQueryID() string {
	if s.queryID != "" {
		return s.queryID
	}
	if p := s.inner.Load(); p != nil {
		if q, ok := p.Stmt.(gosnowflake.SnowflakeStmt); ok {
			return q.GetQueryID()
		}
	}
	return ""
}

// Close closes the inner statement, as soon as nobody uses it: an execution that its
// caller left behind may still do.
func (s *stmt) Close() error {
	p := s.inner.Load()
	if p == nil {
		return nil
	}
	if p.session.busy.Load() == nil {
		return p.close()
	}
	go func() {
		p.session.awaitLeft()
		_ = p.close()
	}()
	return nil
}
