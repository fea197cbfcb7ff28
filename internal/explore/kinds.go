package explore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file has the ways in which a program uses a pool, each as an operation that
// the explorer disturbs.

// A kind is a kind of operation.
type kind struct {
	name    string
	server  []snowtest.Option
	slow    string   // statements that match take longer than the server lets a request wait
	endless bool     // the caller's context cannot end
	writes  []string // each takes effect exactly once if the operation succeeds
	inTx    bool     // the writes are one transaction
	pinned  string   // what has been set on a connection that the operation is bound to
	pooled  bool     // and that lies in the pool, whose users rely on it (ErrorOnLoss)
	rests   bool     // the connection was not used for a while
	own     bool     // what comes after acceptance is gosnowflake's own
	repeats bool     // it runs a transaction again whose session is lost
	run     func(context.Context, *trial) error
}

const (
	insertA = "INSERT INTO t VALUES ('a')"
	insertB = "INSERT INTO t VALUES ('b')"
	bound   = "INSERT INTO t VALUES (?)"
	numbers = "SELECT n FROM numbers"
	setting = "USE SCHEMA elsewhere"
	update  = "UPDATE t SET n = n + 1"
)

// bulk is how many values an array bind has; it is above the server's threshold.
const bulk = 20

var kinds = slices.Concat(statements, transactions, pinned, rested, foreign)

// statements are those that stand for themselves.
var statements = []*kind{
	{name: "exec", writes: []string{insertA}, run: exec},
	{name: "exec, endless context", endless: true, writes: []string{insertA}, run: exec},
	{name: "exec, polled", slow: "^INSERT", writes: []string{insertA}, run: exec},
	{name: "exec, polled, endless context", slow: "^INSERT", endless: true, writes: []string{insertA}, run: exec},
	{name: "query", run: query},
	{name: "query, endless context", endless: true, run: query},
	{name: "query, polled", slow: "^SELECT n", run: query},
	{name: "query of DML", writes: []string{insertA}, run: queryDML},
	{name: "query of DML, polled", slow: "^INSERT", writes: []string{insertA}, run: queryDML},
	{name: "prepared", writes: []string{bound}, run: prepared},
	{name: "bind", writes: []string{bound}, run: func(ctx context.Context, x *trial) error {
		return x.affected(1)(x.db.ExecContext(ctx, bound, 7))
	}},
	{
		name: "array bind through a stage", writes: []string{bound}, run: arrayBind,
		server: []snowtest.Option{snowtest.WithSessionParameter("CLIENT_STAGE_ARRAY_BINDING_THRESHOLD", bulk/2)},
	},
	{name: "ping", run: func(ctx context.Context, x *trial) error { return x.db.PingContext(ctx) }},
}

// transactions are of one or two statements, begun in every way there is.
var transactions = []*kind{
	{name: "transaction of one", inTx: true, writes: []string{insertA}, run: transaction},
	{name: "transaction of two", inTx: true, writes: []string{insertA, insertB}, run: transaction},
	{name: "transaction, endless context", inTx: true, endless: true, writes: []string{insertA}, run: transaction},
	{name: "transaction, polled", inTx: true, slow: "^INSERT", writes: []string{insertA}, run: transaction},
	{name: "transaction, COMMIT polled", inTx: true, slow: "^COMMIT", writes: []string{insertA}, run: transaction},
	{name: "transaction by text", inTx: true, writes: []string{insertA}, run: byText},
	{name: "RunTx", inTx: true, repeats: true, writes: []string{insertA, insertB}, run: runTx},
	{name: "RunTx, polled", inTx: true, repeats: true, slow: "^INSERT", writes: []string{insertA}, run: runTx},
	{
		name: "RunTx behind its own locks", inTx: true, repeats: true, writes: []string{update, insertB}, run: runTx,
		server: []snowtest.Option{snowtest.WithDetachedTransactions(5 * time.Minute)},
	},
	{name: "RunTx, endless context", inTx: true, repeats: true, endless: true, writes: []string{insertA}, run: runTx},
}

// pinned are the operations on a connection that a program holds and has changed.
var pinned = []*kind{
	{name: "pinned exec", pinned: setting, writes: []string{insertA}, run: func(ctx context.Context, x *trial) error {
		return x.affected(1)(x.conn.ExecContext(ctx, insertA))
	}},
	{name: "pinned query", pinned: setting, run: func(ctx context.Context, x *trial) error {
		return x.numbers(x.conn.QueryContext(ctx, numbers))
	}},
	{name: "pinned query, polled", slow: "^SELECT n", pinned: setting, run: func(ctx context.Context, x *trial) error {
		return x.numbers(x.conn.QueryContext(ctx, numbers))
	}},
	{name: "pinned query after SET", pinned: "SET v = 1", run: func(ctx context.Context, x *trial) error {
		return x.numbers(x.conn.QueryContext(ctx, numbers))
	}},
	{name: "pinned ping", pinned: setting, run: func(ctx context.Context, x *trial) error { return x.conn.PingContext(ctx) }},
	{name: "pinned transaction", pinned: setting, inTx: true, writes: []string{insertA}, run: func(ctx context.Context, x *trial) error {
		return x.inTransaction(ctx, x.conn)
	}},
}

// rested are the operations that come after a rest, or rely on what an earlier user of the
// pool has set.
var rested = []*kind{
	{name: "exec after a rest", rests: true, writes: []string{insertA}, run: exec},
	{name: "query after a rest", rests: true, run: query},
	{name: "transaction after a rest", rests: true, inTx: true, writes: []string{insertA}, run: transaction},
	{name: "RunTx after a rest", rests: true, inTx: true, repeats: true, writes: []string{insertA}, run: runTx},
	{name: "pinned exec after a rest", rests: true, pinned: setting, writes: []string{insertA}, run: func(ctx context.Context, x *trial) error {
		return x.affected(1)(x.conn.ExecContext(ctx, insertA))
	}},
	{name: "exec that relies on the pool", pooled: true, pinned: setting, writes: []string{insertA}, run: exec},
	{name: "exec that relies on the pool, polled", slow: "^INSERT", pooled: true, pinned: setting, writes: []string{insertA}, run: exec},
	{name: "transaction that relies on the pool", pooled: true, pinned: setting, inTx: true, writes: []string{insertA}, run: transaction},
}

// foreign are the ways in which a program uses what is gosnowflake's.
var foreign = []*kind{
	{name: "exec, query ID", writes: []string{insertA}, run: withQueryID},
	{name: "exec, polled, query ID", slow: "^INSERT", writes: []string{insertA}, run: withQueryID},
	{name: "asynchronous exec", own: true, writes: []string{insertA}, run: func(ctx context.Context, x *trial) error {
		return x.affected(1)(x.db.ExecContext(x.in.AsyncMode(ctx), insertA))
	}},
	{name: "asynchronous query", own: true, run: func(ctx context.Context, x *trial) error {
		return x.numbers(x.db.QueryContext(x.in.AsyncMode(ctx), numbers))
	}},
	{name: "several statements", writes: []string{insertA, insertB}, run: several},
	{name: "several statements, polled", slow: "^INSERT", writes: []string{insertA, insertB}, run: several},
}

func exec(ctx context.Context, x *trial) error {
	return x.affected(1)(x.db.ExecContext(ctx, insertA))
}

func query(ctx context.Context, x *trial) error {
	return x.numbers(x.db.QueryContext(ctx, numbers))
}

func queryDML(ctx context.Context, x *trial) error {
	return x.rows([]int{1})(x.db.QueryContext(ctx, insertA))
}

func prepared(ctx context.Context, x *trial) error {
	stmt, err := x.db.PrepareContext(ctx, bound)
	if err != nil {
		return err
	}
	return errors.Join(x.affected(1)(stmt.ExecContext(ctx, 7)), stmt.Close())
}

func arrayBind(ctx context.Context, x *trial) error {
	values := make([]int, bulk)
	for i := range values {
		values[i] = i
	}
	array, err := x.in.Array(&values)
	if err != nil {
		return err
	}
	return x.affected(bulk)(x.db.ExecContext(ctx, bound, array))
}

func transaction(ctx context.Context, x *trial) error { return x.inTransaction(ctx, x.db) }

// inTransaction is a transaction as programs write it.
func (x *trial) inTransaction(ctx context.Context, on interface {
	BeginTx(context.Context, *sql.TxOptions) (*sql.Tx, error)
}) error {
	tx, err := on.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	for _, write := range x.kind.writes {
		if _, err := tx.ExecContext(ctx, write); err != nil {
			_ = tx.Rollback() // what it says changes nothing for the program
			return err
		}
	}
	x.committing.Store(true)
	return tx.Commit()
}

// byText gives its connection back as it is when something fails, as a program does
// that believes in its pool.
func byText(ctx context.Context, x *trial) error {
	conn, err := x.db.Conn(ctx)
	if err != nil {
		return err
	}
	for _, statement := range slices.Concat([]string{"BEGIN"}, x.kind.writes, []string{"COMMIT"}) {
		x.committing.Store(statement == "COMMIT")
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			_ = conn.Close()
			return err
		}
	}
	return conn.Close()
}

func runTx(ctx context.Context, x *trial) error {
	return snowtether.RunTx(ctx, func(ctx context.Context) (*sql.Tx, error) { return x.db.BeginTx(ctx, nil) }, func(tx *sql.Tx) error {
		for _, write := range x.kind.writes {
			if _, err := tx.ExecContext(ctx, write); err != nil {
				return err
			}
		}
		x.committing.Store(true)
		return nil
	})
}

func withQueryID(ctx context.Context, x *trial) error {
	x.ids = make(chan string, 1)
	return exec(x.in.QueryIDChan(ctx, x.ids), x)
}

func several(ctx context.Context, x *trial) error {
	res, err := x.db.ExecContext(x.in.MultiStatement(ctx, 2), insertA+"; "+insertB)
	if err != nil {
		return err
	}
	// One that was carried over has no counts and says so.
	if n, err := res.RowsAffected(); err == nil && n != 2 {
		x.wrong("%d rows affected, want 2", n)
	}
	return nil
}

// affected takes what an Exec returned. The error of an asynchronous one comes with
// its count.
func (x *trial) affected(want int64) func(sql.Result, error) error {
	return func(res sql.Result, err error) error {
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if err == nil && n != want {
			x.wrong("%d rows affected, want %d", n, want)
		}
		return err
	}
}

// numbers takes what a query for the numbers returned.
func (x *trial) numbers(rows *sql.Rows, err error) error { return x.rows([]int{1, 2, 3})(rows, err) }

func (x *trial) rows(want []int) func(*sql.Rows, error) error {
	return func(rows *sql.Rows, err error) error {
		if err != nil {
			return err
		}
		var got []int
		for rows.Next() {
			var n int
			if err := rows.Scan(&n); err != nil {
				return fmt.Errorf("scan: %w", errors.Join(err, rows.Close()))
			}
			got = append(got, n)
		}
		err = errors.Join(rows.Err(), rows.Close())
		if err == nil && !slices.Equal(got, want) {
			x.wrong("the rows are %v, want %v", got, want)
		}
		return err
	}
}
