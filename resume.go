package snowtether

import (
	"cmp"
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

	"github.com/snowtether/snowtether/internal/inner"
	"github.com/snowtether/snowtether/internal/sferr"
	"github.com/snowtether/snowtether/internal/sqltext"
	"github.com/snowtether/snowtether/internal/transcript"
	"github.com/snowtether/snowtether/internal/verdict"
)

// This file carries a statement that Snowflake accepted over to a new session.
// Snowflake goes on with it although its session has ended, and keeps its result
// for 24 hours, readable from the user's other sessions: so its outcome can be
// waited for and fetched by its query ID, and nothing has to be run again.

// silentFor is for how long the server may say nothing about a statement before it is in
// doubt, and vagueFor for how long nothing that shows that it is alive: a word such as
// DISCONNECTED, or one that nobody knows, says neither.
const (
	silentFor = 5 * time.Minute
	vagueFor  = 12 * time.Hour
)

// carryOver waits for the outcome of an accepted statement and fetches it. If another
// session took the place of the one that it ran in, what that one had is lost: the next
// statement says so.
func (c *conn) carryOver(ctx context.Context, op *operation, t *try, s verdict.Situation) (out any, _ error) {
	fail := c.failure(ctx, op, t, s, verdict.Verdict{Action: verdict.InDoubt, Ran: true, Lasts: true})
	if t.gone {
		c.giveUp(t.err)
	}
	c.unclear(op.does())
	op.patience.renew() // Snowflake was reached
	rows, err := c.resume(ctx, op, t.fate.ID, t.err)
	if err == nil {
		if out, err = op.resumed(op, rows, t.fate.ID); err == nil {
			if err = c.counts(ctx, op.bulk, out, t.fate.ID); err == nil {
				return out, nil
			}
		}
		if !errors.Is(err, errOutcome) {
			err = fmt.Errorf("%w: %w", errOutcome, err)
		}
	}
	var ended *endedError
	switch {
	case errors.As(err, &ended):
		return nil, ended.err
	case ctx.Err() != nil && !errors.Is(err, errOutcome):
		return nil, err
	}
	fail.Err = err
	return nil, c.doubt(ctx, fail)
}

// resume waits for the statement's end and returns its rows. It survives the deaths of
// further sessions. The error is an endedError if the statement failed, has the
// context's in it if that ended, and says otherwise why it is in doubt.
func (c *conn) resume(ctx context.Context, op *operation, id string, cause error) (_ driver.Rows, failed error) {
	begun, ranIn := time.Now(), c.session
	defer ranIn.carry()()
	zone, _ := ranIn.conn.Parameter("timezone").Read()
	ctx, end := c.connector.span(ctx, "snowtether.resume")
	defer func() {
		if _, ended := as[*endedError](failed); ended {
			end(nil) // what failed is the statement
			return
		}
		end(failed)
	}()
	w := &waiting{op: op, id: id, alive: time.Now()}
	for {
		if c.gone == nil {
			_ = c.unoccupied(ctx) // with a question that was not answered in time
		}
		if c.gone != nil {
			if err := c.renew(ctx, op); err != nil {
				if ctx.Err() != nil {
					c.connector.cancelElsewhere(byID(id))
					return nil, fmt.Errorf("%w; the statement %s had been accepted and is being cancelled", ctx.Err(), id)
				}
				return nil, fmt.Errorf("%w; %w", cause, err)
			}
		}
		rows, err := c.awaitOutcome(ctx, w, zone)
		switch {
		case err == nil:
			c.connector.emit(ctx, Event{
				Kind: EventResumed, SessionID: c.session.id(), OldSessionID: ranIn.id(), Code: number(cause), Class: ClassSessionLost,
				QueryID: id, Duration: time.Since(begun),
			})
			return rows, nil
		case lost(err):
			c.connector.lost(ctx, c.session, err)
			c.giveUp(err)
			if op.sessions++; op.sessions > maxReplace && !op.patience.wait(ctx, c.connector) && ctx.Err() == nil {
				return nil, err
			}
		case ctx.Err() != nil:
			c.cancel(id)
			return nil, fmt.Errorf("%w; the statement %s had been accepted and is being cancelled", ctx.Err(), id)
		case sferr.IsGarbled(err) && w.tooLong() != nil:
			return nil, err
		case (isTransient(err) || isContext(err) || sferr.IsGarbled(err)) && op.patience.wait(ctx, c.connector):
			// The network is cut; the statement and its result know nothing of that.
			w.silent = time.Time{}
		case ctx.Err() == nil:
			return nil, err
		}
	}
}

// carry keeps the session from being logged out until the function that it returns is
// called: a log-out would cancel the statement, where the session lives after all.
func (s *session) carry() (over func()) {
	done := make(chan struct{})
	s.carried.Store(&done)
	return func() {
		s.carried.Store(nil)
		close(done)
	}
}

// A waiting is the waiting for one statement's outcome, over several sessions.
type waiting struct {
	op        *operation
	id        string
	silent    time.Time // since when the server, which answers, has said nothing about it; zero: it has
	alive     time.Time // when it last said something that shows that it is alive
	successes int       // times that the server has said that it succeeded
}

// An endedError is the statement's own end: it failed, or was aborted.
type endedError struct{ err error }

func (e *endedError) Error() string { return e.err.Error() }

var (
	errNoStatus = errors.New("the server says nothing about the statement")
	errVague    = errors.New("the server says neither that the statement has ended nor that it runs")
)

// awaitOutcome asks, in turns, for the statement's status and for its result. Asking for
// the result keeps a statement alive that would be aborted because its client is gone
// (ABORT_DETACHED_QUERY); asked for too early it comes without columns.
func (c *conn) awaitOutcome(ctx context.Context, w *waiting, zone string) (driver.Rows, error) {
	pause := backoff.NewExponentialBackOff(backoff.WithInitialInterval(100*time.Millisecond), backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0))
	for {
		state, err := c.status(ctx, w.id)
		w.note(state)
		switch {
		case state == sferr.Ended:
			return nil, &endedError{sferr.OwnError(err, w.id)}
		case errors.Is(err, inner.ErrNotSnowflake):
			return nil, errNoStatus
		case isContext(err):
			return nil, err
		case state == sferr.Unsaid:
			// GetQueryStatus neither renews an expired token nor says that its session
			// is gone: both look like a statement that nobody knows. A statement of our
			// own renews the token, or says it.
			if _, err := c.probe(ctx); err != nil {
				return nil, err
			}
		default:
			rows, failed := c.fetch(ctx, w, zone)
			// Of a statement that has not ended, a result that cannot be read says nothing: it is
			// asked for again at this pace, and not at that of an outage.
			goesOn := state != sferr.Succeeded && sferr.IsGarbled(failed)
			if rows != nil || failed != nil && !goesOn {
				return rows, failed
			}
			err = cmp.Or(failed, err)
		}
		if tooLong := w.tooLong(); tooLong != nil {
			return nil, fmt.Errorf("%w: %w", tooLong, cmp.Or(err, errNoStatus))
		}
		timer := time.NewTimer(pause.NextBackOff())
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
	}
}

// note takes note of what the server said. Where it speaks of a statement that has not
// ended, an outage is over.
func (w *waiting) note(state sferr.State) {
	switch state {
	case sferr.Unsaid:
		if w.silent.IsZero() {
			w.silent = time.Now()
		}
		return
	case sferr.Running:
		w.alive = time.Now()
	case sferr.Succeeded:
		w.alive = time.Now()
		w.successes++
	}
	w.silent = time.Time{}
	if state != sferr.Succeeded {
		w.op.patience.renew()
		w.op.sessions = 0
	}
}

// tooLong is the error of a statement of which nothing has been heard for too long.
func (w *waiting) tooLong() error {
	switch {
	case !w.silent.IsZero() && time.Since(w.silent) > silentFor:
		return errNoStatus
	case time.Since(w.alive) > vagueFor:
		return errVague
	}
	return nil
}

// fetch asks for the result. It returns none while the statement is in progress: an
// answer without columns is no result, until the server has said twice that the
// statement succeeded.
func (c *conn) fetch(ctx context.Context, w *waiting, zone string) (driver.Rows, error) {
	if err := c.setZone(ctx, zone); err != nil {
		return nil, err
	}
	// Rows go on with the context that they were asked for with: it ends only if there are none.
	asking, cancel := context.WithCancelCause(transcript.With(ctx, transcript.Fetch, w.id))
	timer := time.AfterFunc(fetchTimeout, func() { cancel(context.DeadlineExceeded) })
	fetched, saw, left, err := c.session.watched(asking, transcript.New(asking), func(ctx context.Context, s *session) (any, error) {
		return s.conn.Full.QueryContext(ctx, noStatement, nil)
	})
	if !saw.Idle() && !left && !c.session.silent {
		// What wraps gosnowflake has not passed the ID on: this was sent as a statement.
		cancel(nil)
		if rows, ok := fetched.(driver.Rows); ok {
			_ = rows.Close()
		}
		return nil, errHidden
	}
	rows, err := outcome[driver.Rows](fetched, err)
	if !timer.Stop() && err == nil {
		err = errors.Join(context.DeadlineExceeded, rows.Close())
	}
	switch {
	case err != nil:
		cancel(nil)
		switch said, _ := sferr.Of(err); {
		case said.Number == gosnowflake.ErrQueryStatus, sferr.StateOf(err) != sferr.Unsaid:
			return nil, nil // it begins with a look at the status, and that is not asked here
		case outcomeOf(err).Answer && said.QueryID == w.id:
			return nil, &endedError{err}
		}
		return nil, err
	case len(rows.Columns()) == 0 && w.successes < 2:
		w.note(sferr.Running)
		return nil, rows.Close()
	}
	return rows, nil
}

// noStatement stands where a fetch has a text, which gosnowflake does not send. Sent all
// the same, by what drops the context with the ID in it, it is no statement.
const noStatement = "snowtether fetches a result by its ID"

// errHidden is a fetch that was none.
var errHidden = errors.New("the inner driver does not pass on by which ID a result is to be fetched")

// fetchTimeout bounds one question for a result; a server that is asked too early may
// hold it for 45 s, and a large first part takes its time.
const fetchTimeout = 5 * time.Minute

// setZone gives a new session the TIMEZONE of the one that the statement ran in:
// gosnowflake shows a TIMESTAMP_LTZ in that of the session which fetches it. Nobody else
// is to have the session after that.
func (c *conn) setZone(ctx context.Context, zone string) error {
	now, known := c.session.conn.Parameter("timezone").Read()
	if zone == "" || !known || now == zone || !isZone(zone) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, questionTimeout)
	defer cancel()
	_, _, err := c.session.call(ctx, transcript.Without(ctx), func(ctx context.Context, s *session) (any, error) {
		return nil, s.conn.Exec(ctx, "ALTER SESSION SET TIMEZONE = '"+zone+"'")
	})
	if err == nil {
		c.foreign = true
	}
	return err
}

// isZone reports whether a time zone's name is one that needs no escaping.
func isZone(name string) bool {
	return strings.IndexFunc(name, func(r rune) bool {
		return !(r == '/' || r == '_' || r == '-' || r == '+' || r >= '0' && r <= '9' || r|0x20 >= 'a' && r|0x20 <= 'z')
	}) < 0
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

// manyStatements is the column with which Snowflake answers a request of several
// statements; their own results are not reachable through it.
const manyStatements = "multiple statement execution"

// errOutcome is a result that cannot be handed out as what it was asked for as.
var errOutcome = errors.New("what was asked for was carried out, but its result cannot be fetched any more")

// rowsOf makes a query's outcome of the rows that were fetched. Those of a request
// of several statements only say that it was carried out.
func rowsOf(rows driver.Rows, id string) (any, error) {
	if columns := rows.Columns(); len(columns) == 1 && strings.EqualFold(columns[0], manyStatements) {
		return nil, errors.Join(fmt.Errorf("%w: %s", errOutcome, childrenOf(id)), rows.Close())
	}
	return rows, nil
}

// childrenOf says how the results of the statements of one request are found, of which
// gosnowflake drops the IDs where the request is fetched by its own.
func childrenOf(id string) string {
	return "find the statements of request " + id + " in the query history by that as their parent, and read their results with RESULT_SCAN"
}

// resultOf makes an Exec's result of the rows that were fetched: what gosnowflake would
// have made of them. DML answers with one row of counts, and the sum of all is how many
// rows it affected; what else a statement answers with is no count.
func resultOf(rows driver.Rows, id string, text sqltext.Statement) (any, error) {
	defer rows.Close()
	columns := rows.Columns()
	res := &resumed{queryID: id}
	if len(columns) == 1 && strings.EqualFold(columns[0], manyStatements) {
		res.err = fmt.Errorf("snowtether: the statements of request %s were carried out, but how many rows they affected is not known: their session ended meanwhile; %s", id, childrenOf(id))
		return res, nil
	}
	if !text.Counts() {
		return driver.ResultNoRows, nil
	}
	dest := make([]driver.Value, len(columns))
	switch err := rows.Next(dest); err {
	case nil:
	case io.EOF: // driver.Rows returns it bare
		return res, nil
	default:
		return nil, err
	}
	for _, v := range dest {
		n, err := strconv.ParseInt(fmt.Sprint(v), 10, 64)
		if err != nil {
			return nil, err
		}
		res.rows += n
	}
	return res, nil
}

// status asks how far the statement is.
func (c *conn) status(ctx context.Context, id string) (sferr.State, error) {
	ctx, cancel := context.WithTimeout(ctx, questionTimeout)
	defer cancel()
	asked, _, err := c.session.call(ctx, transcript.Without(ctx), func(ctx context.Context, s *session) (any, error) {
		return statusOf(ctx, s, id)
	})
	state, _ := asked.(sferr.State)
	if err != nil {
		state = sferr.StateOf(err)
	}
	return state, err
}

// statusOf asks how far a statement is.
func statusOf(ctx context.Context, s *session, id string) (sferr.State, error) {
	status, err := s.conn.Full.GetQueryStatus(ctx, id)
	switch {
	case err != nil:
		return sferr.StateOf(err), err
	case status == nil || status.EndTime == 0:
		return sferr.Vague, nil // RESTARTED, which gosnowflake takes for a success
	}
	return sferr.Succeeded, nil
}
