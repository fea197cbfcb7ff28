package snowtest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
)

// A transaction collects what a COMMIT would make last. Its fields are guarded by the
// server's mu.
type transaction struct {
	id      int64
	name    string
	session *session
	began   time.Time
	entries []*entry
	tables  []string      // that it keeps others from changing
	aborted chan struct{} // closed when somebody aborts it
	over    chan struct{} // closed when it has ended, however
}

// begin begins the session's transaction.
func (s *Server) begin(ses *session) {
	ses.begun++
	id := randomHex(16)
	ses.tx = &transaction{
		id:      ses.id*1_000_000 + ses.begun,
		name:    id[:8] + "-" + id[8:12] + "-" + id[12:16] + "-" + id[16:20] + "-" + id[20:],
		session: ses,
		began:   time.Now(),
		aborted: make(chan struct{}),
		over:    make(chan struct{}),
	}
	s.openTx[ses.tx.id] = ses.tx
}

// commit makes what the session's transaction did last.
func (s *Server) commit(ses *session) {
	if ses.tx != nil {
		for _, e := range ses.tx.entries {
			e.Effects++
		}
	}
	s.endTransaction(ses)
}

// endTransaction ends the session's transaction. What it did takes effect only if commit
// has said so before.
func (s *Server) endTransaction(ses *session) {
	tx := ses.tx
	if tx == nil {
		return
	}
	ses.tx = nil
	delete(s.openTx, tx.id)
	for _, table := range tx.tables {
		delete(s.locks, table)
	}
	close(tx.over)
}

// AbortTransactions rolls the open transactions of these sessions (of all open ones
// if none is named) back, as SYSTEM$ABORT_TRANSACTION does, or Snowflake with one
// that has been idle for four hours. The sessions live, and nobody tells their
// clients: what they send next is in no transaction, and their COMMIT finds none.
func (s *Server) AbortTransactions(ids ...int64) {
	s.mu.Lock()
	var done []<-chan struct{}
	for _, ses := range s.named(ids) {
		done = append(done, s.rollBack(ses, nil))
	}
	s.mu.Unlock()
	for _, rolledBack := range done {
		<-rolledBack
	}
}

// rollBack rolls a transaction of a living session back, or any that is open then, as soon
// as the statements that the session accepted before are done. Then the channel is closed.
func (s *Server) rollBack(ses *session, only *transaction) <-chan struct{} {
	before, done := ses.tail, make(chan struct{})
	ses.tail = done
	s.work.Go(func() {
		defer close(done)
		<-before
		s.mu.Lock()
		tx := ses.tx
		s.mu.Unlock()
		if tx == nil || only != nil && tx != only {
			return
		}
		_, _ = ses.engine.Run(context.WithoutCancel(s.base), &Statement{SQL: "ROLLBACK", SessionID: ses.id})
		s.mu.Lock()
		defer s.mu.Unlock()
		s.endTransaction(ses)
	})
	return done
}

// leave keeps the transaction of a session that has ended open, detached, for as long as
// the server was told, unless somebody aborts it before.
func (s *Server) leave(tx *transaction) {
	timer := time.NewTimer(s.detached)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-tx.aborted:
	case <-s.base.Done():
	}
}

// showTransactions answers SHOW TRANSACTIONS: the open transactions of all of the user's
// sessions, and those that sessions of theirs have left behind.
func (s *Server) showTransactions(q *query) *Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	res := &Result{Kind: KindSelect, Columns: []Column{
		numberColumn("id"), textColumn("user"), numberColumn("session"), textColumn("name"),
		{Name: "started_on", Type: "timestamp_ltz", Scale: 3, Nullable: true}, textColumn("state"), numberColumn("scope"),
	}}
	byID := func(a, b *transaction) int { return cmp.Compare(a.id, b.id) }
	for _, tx := range slices.SortedFunc(maps.Values(s.openTx), byID) {
		if tx.session.user != q.user {
			continue
		}
		row := []string{
			strconv.FormatInt(tx.id, 10), upper(tx.session.user), strconv.FormatInt(tx.session.id, 10), tx.name,
			fmt.Sprintf("%d.%03d", tx.began.Unix(), tx.began.Nanosecond()/1e6), "running", "0",
		}
		cells := make([]*string, len(row))
		for i := range row {
			cells[i] = &row[i]
		}
		res.Rows = append(res.Rows, cells)
	}
	return res
}

func numberColumn(name string) Column {
	return Column{Name: name, Type: "fixed", Precision: 38, Nullable: true}
}

// abortTransaction answers SELECT SYSTEM$ABORT_TRANSACTION(<id>): it rolls an open
// transaction of the same user's back, and stops what still runs in it. The answer is that
// of Snowflake's documentation, which does not have the error for an unknown ID.
func (s *Server) abortTransaction(q *query, text string) (*Result, *Error) {
	id, _ := strconv.ParseInt(text, 10, 64) // what is too long is the ID of none
	s.mu.Lock()
	tx := s.openTx[id]
	if tx == nil || tx.session.user != q.user {
		s.mu.Unlock()
		return nil, &Error{Code: "002003", SQLState: "02000", Message: "Transaction " + text + " does not exist or not authorized."}
	}
	for _, running := range s.queries {
		if running.session == tx.session && running != q && running.running() {
			running.cancel()
		}
	}
	select {
	case <-tx.aborted:
	default:
		close(tx.aborted)
		if tx.session.ended == nil {
			s.rollBack(tx.session, tx)
		}
	}
	s.mu.Unlock()
	select {
	case <-tx.over:
		return Rows([]string{"SYSTEM$ABORT_TRANSACTION(" + text + ")"}, []any{"Aborted transaction id: " + text}), nil
	case <-q.ctx.Done():
		return nil, errCanceled
	}
}

// lock waits until no other transaction keeps the statement from changing its table.
func (s *Server) lock(q *query) error {
	if s.detached == 0 || q.describe {
		return nil
	}
	table := changedTable(q.sql)
	if table == "" {
		return nil
	}
	for {
		s.mu.Lock()
		holder := s.locks[table]
		free := holder == nil || holder == q.session.tx
		if free {
			s.hold(q.session.tx, q.sql)
		}
		q.blocked = !free
		s.mu.Unlock()
		if free {
			return nil
		}
		select {
		case <-holder.over:
		case <-q.ctx.Done():
			return errCanceled
		}
	}
}

// hold keeps others from changing the table that a statement changes, until the
// transaction ends.
func (s *Server) hold(tx *transaction, sql string) {
	if s.detached == 0 || tx == nil {
		return
	}
	if table := changedTable(sql); table != "" && s.locks[table] == nil {
		s.locks[table] = tx
		tx.tables = append(tx.tables, table)
	}
}
