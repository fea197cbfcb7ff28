package snowtest

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// State is how far a statement has come.
type State int

// The states of a statement.
const (
	Running State = iota
	Succeeded
	Failed
	Aborted // cancelled: by its client, by the engine with code 000604, or because the server closed
)

func (s State) String() string {
	switch s {
	case Running:
		return "running"
	case Succeeded:
		return "succeeded"
	case Failed:
		return "failed"
	case Aborted:
		return "aborted"
	}
	return fmt.Sprintf("state %d", int(s))
}

// An Entry of the ledger is one statement that the server accepted. A refusal
// makes no entry, and neither does a repeated request with the same request ID,
// nor a statement that is only described.
type Entry struct {
	QueryID   string
	RequestID string // empty for the children of a multi-statement request
	SessionID int64
	SQL       string
	Binds     []Bind
	Kind      Kind // by the first words, until the engine has told
	State     State
	InTx      bool // ran in a transaction
	Effects   int  // how often it took lasting effect: 0 or 1
	Err       *Error
	Accepted  time.Time
	Parent    string // the query ID of the multi-statement request it is part of
}

type entry struct {
	Entry
	changes bool // the engine has told, or has not told otherwise, that nobody wants it done twice
}

// Ledger returns what the server accepted, in that order.
func (s *Server) Ledger() []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Entry, len(s.ledger))
	for i, e := range s.ledger {
		list[i] = e.Entry
	}
	return list
}

// Accepted returns how many statements with exactly this text were accepted.
func (s *Server) Accepted(sql string) int {
	return s.sum(sql, func(*entry) int { return 1 })
}

// Effects returns how often statements with exactly this text took lasting effect:
// they succeeded outside a transaction, or inside one that was committed by
// COMMIT or by a DDL statement.
func (s *Server) Effects(sql string) int {
	return s.sum(sql, func(e *entry) int { return e.Effects })
}

func (s *Server) sum(sql string, count func(*entry) int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, e := range s.ledger {
		if e.SQL == sql {
			n += count(e)
		}
	}
	return n
}

// Doubles returns the statements that changed data, each with its bind values, that took
// lasting effect more than once. What changed data the engine has told: DML, and what is
// not known to have only read. DDL does not count: much of it is repeated on purpose. A
// statement that still runs outside a transaction counts as if it had succeeded.
func (s *Server) Doubles() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := map[string]int{}
	var list []string
	for _, e := range s.ledger {
		n := e.Effects
		switch {
		case e.State == Running && !e.InTx && !(isQuery(e.SQL) && onlyReads(e.SQL)):
			n = 1 // for all that is known
		case !e.changes:
			continue
		}
		key := e.key()
		before := counts[key]
		counts[key] += n
		if before <= 1 && counts[key] > 1 {
			list = append(list, key)
		}
	}
	slices.Sort(list)
	return list
}

// key is the text of the statement and, if it has any, its bind values; long
// ones are cut, with a hash in place of the rest.
func (e *entry) key() string {
	if len(e.Binds) == 0 {
		return e.SQL
	}
	values := make([]any, len(e.Binds))
	for i, b := range e.Binds {
		if values[i] = any(b.Value); b.Array != nil {
			values[i] = b.Array
		}
	}
	text, err := json.Marshal(values)
	if err != nil {
		panic(err) // strings always marshal
	}
	const limit = 200
	if len(text) > limit {
		return fmt.Sprintf("%s %s… (%x)", e.SQL, text[:limit], sha256.Sum256(text))
	}
	return fmt.Sprintf("%s %s", e.SQL, text)
}

// enter makes the entry of a statement that was accepted.
func (s *Server) enter(q *query) *entry {
	e := &entry{Entry: Entry{
		QueryID:   q.id,
		RequestID: q.requestID,
		SessionID: q.session.id,
		SQL:       q.sql,
		Binds:     q.binds,
		Kind:      kindOfSQL(q.sql),
		InTx:      q.session.tx != nil,
		Accepted:  q.started,
		Parent:    q.parent,
	}}
	s.ledger = append(s.ledger, e)
	return e
}

// record follows a statement that is done: its state, the session's
// transaction, and what took effect.
func (s *Server) record(q *query) {
	e, ses := q.entry, q.session
	if e == nil {
		return
	}
	switch {
	case q.err != nil && q.err.Code == errCanceled.Code:
		e.State, e.Err = Aborted, q.err
		return
	case q.err != nil:
		e.State, e.Err = Failed, q.err
		return
	}
	e.State, e.Kind = Succeeded, q.result.Kind
	e.changes = e.changes || e.Kind.changesRows() || e.Kind == KindSelect && !q.result.ReadOnly && q.result.Transfer == nil
	if e.Kind == KindMulti {
		return // its children count
	}
	if change := q.result.transaction(e); change != NoChange {
		s.recordTransaction(q, e, change)
		return
	}
	switch e.Kind {
	case KindDDL:
		if q.own {
			break // the stage of a bulk bind is no business of the transaction
		}
		s.commit(ses)
	case KindSCL:
		if _, ok := q.result.Parameters["AUTOCOMMIT"]; ok {
			s.commit(ses) // whatever it was and is
		}
	}
	outside := q.result.OutsideTransaction || q.result.Transfer != nil
	if ses.tx == nil && e.Kind.changesRows() && !outside && !ses.autocommit() {
		s.begin(ses)
	}
	if e.InTx = ses.tx != nil && !outside; e.InTx {
		ses.tx.entries = append(ses.tx.entries, e)
		s.hold(ses.tx, e.SQL)
	} else {
		e.Effects++
	}
}

// transaction is what a statement that succeeded did to its session's transaction.
func (r *Result) transaction(e *entry) TransactionChange {
	if r.Transaction != NoChange || e.Kind != KindTCL {
		return r.Transaction
	}
	return tclOf(e.SQL)
}

func (s *Server) recordTransaction(q *query, e *entry, change TransactionChange) {
	ses := q.session
	e.Effects++
	q.idle = ses.tx == nil && e.Kind == KindTCL && change != Begun
	switch change {
	case Begun:
		e.InTx = true
		if ses.tx == nil {
			s.begin(ses)
		}
	case Committed:
		s.commit(ses)
	case RolledBack:
		s.endTransaction(ses)
	}
}

// autocommit is the session parameter; on unless something turned it off.
func (ses *session) autocommit() bool {
	switch upper(fmt.Sprint(ses.params["AUTOCOMMIT"])) {
	case "FALSE", "OFF", "0":
		return false
	}
	return true
}
