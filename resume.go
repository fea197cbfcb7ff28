package snowtether

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/snowflakedb/gosnowflake/v2"
)

// This file carries a statement that Snowflake accepted over to a new session.
// Snowflake goes on with it although its session has ended, and keeps its result
// for 24 hours, readable from the user's other sessions: so its outcome can be
// waited for and fetched by its query ID, and nothing has to be run again.

// unknownFor is for how long the server may say nothing about a statement before
// it is in doubt.
const unknownFor = 5 * time.Minute

// cancelTimeout bounds the cancelling of a statement whose caller has left.
const cancelTimeout = 10 * time.Second

// resume waits for the statement's end and returns its rows. It survives the
// deaths of further sessions. The error is the statement's own if it failed, the
// context's if that ended, and otherwise in doubt.
func (c *conn) resume(ctx context.Context, op *operation, id string, cause error) (_ driver.Rows, failed error) {
	begun, lostID, query := time.Now(), c.session.id(), op.query
	ctx, end := c.connector.span(ctx, "snowtether.resume")
	var ended *endedError
	defer func() {
		if ended != nil {
			end(nil) // what failed is the statement
			return
		}
		end(failed)
	}()
	err := cause
	for {
		if lost(err, phaseStatement) {
			if err := c.reconnect(ctx, err); err != nil {
				if ctx.Err() != nil {
					return nil, fmt.Errorf("%w; the statement %s had been accepted", ctx.Err(), id)
				}
				return nil, &SessionError{Op: op.name, Class: ClassInDoubt, Code: number(cause), SessionID: lostID, QueryID: id, Err: fmt.Errorf("%w; %w", cause, err)}
			}
		}
		var rows driver.Rows
		if err = c.awaitEnd(ctx, op, id); err == nil {
			fetched, fetchErr := c.session.call(ctx, gosnowflake.WithFetchResultByID(ctx, id), func(ctx context.Context) (any, error) {
				return c.session.conn.full.QueryContext(ctx, query, nil)
			})
			rows, err = outcome[driver.Rows](fetched, fetchErr)
		}
		switch {
		case err == nil:
			c.connector.emit(ctx, Event{
				Kind: EventResumed, SessionID: c.session.id(), OldSessionID: lostID, Code: number(cause), Class: ClassSessionLost,
				QueryID: id, Duration: time.Since(begun),
			})
			return rows, nil
		case errors.As(err, &ended):
			return nil, ended.err
		case (isTransient(err) || isContext(err) || isGarbled(err)) && op.wait(ctx, c.connector):
			// The network is cut; the statement and its result know nothing of that.
		case ctx.Err() != nil:
			c.cancel(id)
			return nil, fmt.Errorf("%w; the statement %s had been accepted and is being cancelled", ctx.Err(), id)
		case !lost(err, phaseStatement):
			return nil, &SessionError{Op: op.name, Class: ClassInDoubt, Code: number(err), SessionID: c.session.id(), QueryID: id, Err: err}
		}
	}
}

// An endedError is the statement's own end: it failed, or was aborted.
type endedError struct{ err error }

func (e *endedError) Error() string { return e.err.Error() }

var errNoStatus = errors.New("the server says nothing about the statement")

// awaitEnd polls until the statement runs no longer. Fetching its result earlier
// can give an empty one.
func (c *conn) awaitEnd(ctx context.Context, op *operation, id string) error {
	pause := backoff.NewExponentialBackOff(backoff.WithInitialInterval(100*time.Millisecond), backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0))
	silent := time.Now()
	for {
		asked, err := c.session.call(ctx, ctx, func(ctx context.Context) (any, error) {
			return c.session.conn.full.GetQueryStatus(ctx, id)
		})
		status, _ := asked.(*gosnowflake.SnowflakeQueryStatus)
		state := stateOf(err)
		switch {
		case err == nil && hasArray(op.args) && strings.TrimSpace(status.SQLText) != strings.TrimSpace(op.query):
			// The ID is that of a statement which gosnowflake sent to prepare the array
			// bind; whether the caller's own was sent, nothing tells.
			return errNoStatus
		case err == nil:
			return nil
		case state == running:
			silent = time.Now()
		case state == ended:
			return &endedError{ownError(err, id)}
		case errors.Is(err, errNotSnowflake):
			return errNoStatus
		default:
			// GetQueryStatus neither renews an expired token nor says that its session
			// is gone: both look like a statement that nobody knows. A statement of our
			// own renews the token, or says it.
			if _, err := c.probe(ctx); err != nil {
				return err
			}
			if time.Since(silent) > unknownFor {
				return fmt.Errorf("%w: %w", errNoStatus, err)
			}
		}
		timer := time.NewTimer(pause.NextBackOff())
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

type queryState int

const (
	unknown queryState = iota
	running
	ended
)

// stateOf reads what GetQueryStatus makes of a statement that has not succeeded.
func stateOf(err error) queryState {
	se, ok := as[*gosnowflake.SnowflakeError](err)
	switch {
	case !ok:
		return unknown
	case se.Number == gosnowflake.ErrQueryIsRunning:
		return running
	case se.Number == gosnowflake.ErrQueryReportedError:
		// gosnowflake takes a statement that waits for a lock for a failed one.
		if strings.Contains(se.Message, "[BLOCKED]") || strings.Contains(se.Message, "[ABORTING]") {
			return running
		}
		return ended
	case se.Number == gosnowflake.ErrQueryStatus && len(se.MessageArgs) == 2:
		return ended
	}
	return unknown
}

// ownError is the error that the statement itself ended with, as gosnowflake
// would have returned it to a caller whose session had lived.
func ownError(err error, id string) error {
	se, _ := as[*gosnowflake.SnowflakeError](err)
	if se.Number == gosnowflake.ErrQueryStatus {
		if code, atoiErr := strconv.Atoi(fmt.Sprint(se.MessageArgs[0])); atoiErr == nil {
			return &gosnowflake.SnowflakeError{Number: code, Message: fmt.Sprint(se.MessageArgs[1]), QueryID: id, IncludeQueryID: true}
		}
	}
	return err
}

// cancel stops the statement of a caller who has left, in the background, and
// gives the session up after that.
func (c *conn) cancel(id string) {
	s := c.session
	c.bad = errAbandoned
	c.abandoned = c.connector.spawn(func() {
		s.awaitLeft()
		ctx, stop := context.WithTimeout(context.Background(), cancelTimeout)
		defer stop()
		// The ID came from the server; it is letters, digits and dashes.
		_, _ = guard(ctx, func(ctx context.Context) (any, error) {
			return nil, s.conn.execSimple(ctx, "SELECT SYSTEM$CANCEL_QUERY('"+id+"')")
		})
		c.connector.retire(s)
	})
}

var errAbandoned = errors.New("the connection was given up when its caller left")

// A resumed is the result of an Exec that was carried over.
type resumed struct {
	queryID string
	rows    int64
	err     error // of RowsAffected
}

var (
	_ driver.Result               = (*resumed)(nil)
	_ gosnowflake.SnowflakeResult = (*resumed)(nil)
)

func (r *resumed) LastInsertId() (int64, error)       { return -1, nil } // as gosnowflake answers
func (r *resumed) RowsAffected() (int64, error)       { return r.rows, r.err }
func (r *resumed) GetQueryID() string                 { return r.queryID }
func (r *resumed) GetStatus() gosnowflake.QueryStatus { return gosnowflake.QueryStatusComplete }

// The columns in which Snowflake counts what a DML statement did.
var counts = map[string]bool{"number of rows inserted": true, "number of rows updated": true, "number of rows deleted": true}

// manyStatements is the column with which Snowflake answers a request of several
// statements; their own results are not reachable through it.
const manyStatements = "multiple statement execution"

// errOutcome is a result that cannot be handed out as what it was asked for as.
var errOutcome = errors.New("what was asked for was carried out, but its result cannot be fetched any more")

// transfersFile reports whether the statement is a PUT or GET, most of which
// gosnowflake carries out after the server has answered.
func transfersFile(sql string) bool {
	sc := scanner{rest: sql}
	word := sc.next()
	return is(word, "PUT") || is(word, "GET")
}

// rowsOf makes a query's outcome of the rows that were fetched. Those of a request
// of several statements only say that it was carried out.
func rowsOf(rows driver.Rows, _ string) (any, error) {
	if columns := rows.Columns(); len(columns) == 1 && strings.EqualFold(columns[0], manyStatements) {
		return nil, errors.Join(errOutcome, rows.Close())
	}
	return rows, nil
}

// resultOf makes an Exec's result of the rows that were fetched.
func resultOf(rows driver.Rows, id string) (any, error) {
	defer rows.Close()
	columns := rows.Columns()
	res := &resumed{queryID: id}
	if len(columns) == 1 && strings.EqualFold(columns[0], manyStatements) {
		res.err = fmt.Errorf("snowtether: the statements of request %s were carried out, but how many rows they affected is not known: their session ended meanwhile", id)
		return res, nil
	}
	dest := make([]driver.Value, len(columns))
	counted := false
	for {
		err := rows.Next(dest)
		if err == io.EOF { // driver.Rows returns it bare
			break
		}
		if err != nil {
			return nil, err
		}
		for i, column := range columns {
			if !counts[strings.ToLower(column)] {
				continue
			}
			n, err := strconv.ParseInt(fmt.Sprint(dest[i]), 10, 64)
			if err != nil {
				return nil, err
			}
			res.rows += n
			counted = true
		}
	}
	if !counted {
		return driver.ResultNoRows, nil // as gosnowflake answers for DDL
	}
	return res, nil
}
