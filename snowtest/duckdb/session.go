package duckdb

import (
	"context"
	"database/sql/driver"
	"errors"
	"iter"
	"strconv"
	"time"

	duck "github.com/duckdb/duckdb-go/v2"

	"github.com/snowtether/snowtether/snowtest"
	"github.com/snowtether/snowtether/snowtest/internal/stagefiles"
)

// A session is one DuckDB connection with what Snowflake keeps for a session.
type session struct {
	e    *Engine
	conn *duck.Conn
	info snowtest.SessionConfig

	database, schema, role, warehouse string

	vars   map[string]string // session variables, as literals
	params map[string]string // session parameters that were set, as text

	inTx        bool
	used        bool // the transaction has carried out a statement
	broken      bool // DuckDB has given the transaction up
	txID        int64
	changes     []*change // of the transaction, while they can be carried out again
	fleeting    bool      // they cannot
	changesAt   int64     // what had been committed by all sessions when it began
	lastQueryID string
	held        []string    // variables of DuckDB's connection that hold long texts
	unread      *resultRows // of the last query, until somebody has read them all
	history     []*historyEntry
	loads       []stagefiles.Load      // by the open transaction
	known       map[[2]object][]column // columns of tables, as of the DDL counted by knownAt
	knownAt     int64
}

// A work is one statement on its way.
type work struct {
	*session
	st   *snowtest.Statement
	toks []token
	now  time.Time
}

func (s *session) Run(ctx context.Context, st *snowtest.Statement) (*snowtest.Result, error) {
	s.dropUnread()
	s.release()
	toks, err := tokenize(st.SQL)
	if err != nil {
		return nil, err
	}
	if len(toks) == 0 {
		return nil, sfError("000900", "42601", "SQL compilation error:\nEmpty SQL statement.")
	}
	w := &work{session: s, st: st, toks: toks, now: time.Now()}
	entry := s.remember(w)
	limit, limited := s.statementTimeout()
	if limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	res, err := w.dispatch(ctx)
	if !st.DescribeOnly && st.QueryID != "" {
		s.lastQueryID = st.QueryID
	}
	if err != nil && s.inTx {
		// Some failures leave DuckDB's transaction intact, others do not.
		s.broken = s.execute(context.Background(), "SELECT 1") != nil && !s.restored()
	}
	switch {
	case errors.Is(err, errConflict):
		// The code and the state are those of the server when it gives up on a locked table.
		err = sfError("000625", "57014", "Statement '%s' was aborted: the table is locked by another transaction and this lock has not yet been released.", st.QueryID)
	case err != nil && limited && errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = sfError("000630", "57014", "Statement reached its statement or warehouse timeout of %d second(s) and was canceled.", int(limit.Seconds()))
	default:
		err = translate(ctx, st.SQL, err)
	}
	entry.end(err)
	if err != nil {
		return nil, err
	}
	if st.DescribeOnly {
		res.Rows = nil
	}
	return res, nil
}

// Close rolls an open transaction back and closes the connection, and with it
// the temporary objects go.
func (s *session) Close() error {
	s.dropUnread()
	return errors.Join(s.rollback(), s.conn.Close())
}

func (w *work) dispatch(ctx context.Context) (*snowtest.Result, error) {
	t := w.toks[0]
	if _, isArray, _ := arrayLength(w.st.Binds); isArray && !t.word("INSERT", "UPDATE", "DELETE", "MERGE") {
		return nil, unsupported("array bind in %s", t.text)
	}
	second := token{}
	if len(w.toks) > 1 {
		second = w.toks[1]
	}
	switch {
	case t.word("SELECT", "WITH") || t.is("("):
		return w.query(ctx)
	case t.word("INSERT", "UPDATE", "DELETE", "MERGE"):
		return w.dml(ctx)
	case t.word("PUT", "GET"):
		return w.transfer()
	case t.word("LIST", "LS", "REMOVE", "RM"):
		return w.listFiles()
	case t.word("COPY"):
		return w.copyInto(ctx)
	case t.word("BEGIN") && (second.kind == tEOF || second.word("TRANSACTION", "WORK", "NAME")),
		t.word("START") && second.word("TRANSACTION"), t.word("COMMIT", "ROLLBACK"):
		return w.transaction(ctx)
	case t.word("ALTER") && second.word("SESSION"):
		return w.alterSession(ctx)
	case t.word("CREATE", "ALTER", "DROP", "COMMENT", "TRUNCATE"):
		return w.ddl(ctx)
	case t.word("SHOW"):
		return w.show(ctx)
	case t.word("DESCRIBE", "DESC"):
		return w.describe(ctx)
	case t.word("USE"):
		return w.use(ctx)
	case t.word("SET"):
		return w.setVariables(ctx)
	case t.word("UNSET"):
		return w.unsetVariables()
	case t.word("CALL") && second.word("SYSTEM$WAIT"):
		w.toks[0].text = "SELECT"
		return w.query(ctx)
	}
	if t.word("EXECUTE") && second.word("IMMEDIATE") && len(w.toks) == 3 && w.toks[2].kind == tString {
		return w.immediate(ctx, w.toks[2].text)
	}
	if t.kind == tWord && otherStatements[t.text] {
		return nil, unsupported("%s", t.text)
	}
	return nil, syntaxError(w.st.SQL, t.start, w.st.SQL[t.start:t.end])
}

// immediate carries out the one statement in the text of EXECUTE IMMEDIATE.
func (w *work) immediate(ctx context.Context, text string) (*snowtest.Result, error) {
	toks, err := tokenize(text)
	if err != nil {
		return nil, err
	}
	if len(toks) == 0 || toks[0].word("EXECUTE", "BEGIN", "DECLARE") {
		return nil, unsupported("EXECUTE IMMEDIATE of a block")
	}
	st := *w.st
	st.SQL = text
	inner := &work{session: w.session, st: &st, toks: toks, now: w.now}
	res, err := inner.dispatch(ctx)
	return res, translate(ctx, text, err)
}

// otherStatements are Snowflake's own that this engine does not carry out.
var otherStatements = wordSet(`ABORT ANALYZE BEGIN CALL DECLARE EXECUTE EXPLAIN FOR GRANT REVOKE UNDROP`)

func (w *work) rewriter() *rewriter { return w.session.rewriter(w.st.SQL, w.toks, w.st, w.now) }

func (w *work) query(ctx context.Context) (*snowtest.Result, error) {
	r := w.rewriter()
	text := r.wholeQuery()
	if err := r.end(); err != nil {
		return nil, err
	}
	if !w.st.DescribeOnly {
		if err := pause(ctx, r.wait); err != nil {
			return nil, err
		}
	}
	res := &snowtest.Result{Kind: snowtest.KindSelect, ReadOnly: true}
	var rows *resultRows
	var err error
	res.Columns, rows, err = openRows(ctx, w.conn, text, w.st.DescribeOnly)
	if err == nil {
		described(res.Columns, r.outline)
		rows.reshape(res.Columns, w.zone())
	}
	if w.st.DescribeOnly {
		return res, err
	}
	w.used = true
	if err != nil {
		return nil, err
	}
	if res.Rows, err = rows.next(ctx, firstRows, false); err != nil || len(res.Rows) < firstRows {
		rows.close()
		return res, err
	}
	w.unread, res.More = rows, w.more(rows)
	return res, nil
}

// more yields the rows that a large result has besides the first.
func (w *work) more(rows *resultRows) iter.Seq2[[][]*string, error] {
	return func(yield func([][]*string, error) bool) {
		if w.unread != rows {
			yield(nil, errors.New("duckdb: the rows of a result can be read once only, and before the next statement"))
			return
		}
		defer w.dropUnread()
		ctx := context.Background() // who reads can stop at any time
		for {
			list, err := rows.next(ctx, moreRows, true)
			if err != nil {
				yield(nil, translate(ctx, w.st.SQL, err))
				return
			}
			if len(list) == 0 || !yield(list, nil) {
				return
			}
		}
	}
}

func (s *session) dropUnread() {
	if s.unread != nil {
		s.unread.close()
		s.unread = nil
	}
}

// hold keeps a long text in a variable of DuckDB's connection, and gives the variable's name.
// It goes there as bytes: a zero byte would end a text.
func (s *session) hold(text string) (string, error) {
	name := "held$" + strconv.Itoa(len(s.held))
	_, err := s.conn.ExecContext(context.Background(), "SET VARIABLE \""+name+"\" = decode(?)", []driver.NamedValue{{Ordinal: 1, Value: []byte(text)}})
	s.held = append(s.held, name)
	return name, err
}

// release drops the texts that statements before have held. A transaction keeps its own: its
// changes may have to be carried out again.
func (s *session) release() {
	if s.inTx {
		return
	}
	for _, name := range s.held {
		_, _ = exec(context.Background(), s.conn, "RESET VARIABLE \""+name+"\"") // of memory
	}
	s.held = nil
}

// pause waits on the clock of the process, which is virtual in a synctest
// bubble.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return canceled()
	case <-timer.C:
		return nil
	}
}
