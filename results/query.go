package results

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"regexp"

	"github.com/snowtether/snowtether/internal/sqltext"
)

// This file says what is read: the result of a query that is to run, or one that Snowflake has.

// A Query is what to read. It comes from [SQL] or [From].
type Query struct {
	text string
	args []any
	id   string
	row  int64
	err  error
}

// SQL is the result of a query that is run once. It must be a read: one statement that begins with
// SELECT, WITH, VALUES, SHOW, DESCRIBE, EXPLAIN or LIST, or a chain (->>) of such. Anything else is
// refused, and nothing is sent: a DROP should not be carried out only to find that it has no rows.
// A read can have effects through the functions that it calls.
func SQL(text string, args ...any) Query {
	return Query{text: text, args: args, err: refuse(text)}
}

// From is the result of a query that has run, or runs: from the row with this number, the first
// being 0. It runs nothing. The ID is that of [Batch.QueryID] or of an [Error], perhaps of another
// process, of the same user. When Snowflake does not have the result any more, the error matches
// [ErrGone].
func From(queryID string, row int64) Query {
	q := Query{id: queryID, row: row}
	switch {
	case !isID.MatchString(queryID):
		q.err = errors.New("From needs the ID of a query, such as 01b2c3d4-0000-0000-0000-000000000000")
	case row < 0:
		q.err = fmt.Errorf("From(…, %d): the first row is 0", row)
	}
	return q
}

// isID is the form of query IDs. What has another one does not get into a URL.
var isID = regexp.MustCompile(`^[0-9A-Za-z_-]{1,64}$`)

// refuse says why a text is none to read, if it is none.
func refuse(text string) error {
	read := sqltext.Reader{}.Read(text)
	if read.Many() {
		return errors.New("SQL takes one query, and there is more than one statement")
	}
	for _, other := range []sqltext.Kind{sqltext.Unknown, sqltext.DML, sqltext.DDL, sqltext.Transaction, sqltext.Session, sqltext.FileTransfer} {
		if read.Has(other) {
			return fmt.Errorf("SQL takes a query, and nothing else is sent; this statement is not a read (%v). "+
				"To read what another statement returns, run that, and give From its query ID", other)
		}
	}
	if read.First() != sqltext.Read {
		return errors.New("SQL takes a query, and the text has none")
	}
	return nil
}

func (q Query) check() error {
	if q.err == nil && q.text == "" && q.id == "" {
		return errors.New("a Query comes from SQL or From")
	}
	return q.err
}

// named converts the arguments as database/sql would.
func (q Query) named(conn any) ([]driver.NamedValue, error) {
	checker, _ := conn.(driver.NamedValueChecker)
	values := make([]driver.NamedValue, len(q.args))
	for i, arg := range q.args {
		v := driver.NamedValue{Ordinal: i + 1, Value: arg}
		if n, ok := arg.(sql.NamedArg); ok {
			v.Name, v.Value = n.Name, n.Value
		}
		err := driver.ErrSkip
		if checker != nil {
			err = checker.CheckNamedValue(&v)
		}
		if err == driver.ErrSkip {
			v.Value, err = driver.DefaultParameterConverter.ConvertValue(v.Value)
		}
		if err != nil {
			return nil, fmt.Errorf("argument %d: %w", i+1, err)
		}
		values[i] = v
	}
	return values, nil
}
