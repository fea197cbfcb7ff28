package snowtest

import (
	"context"
	"fmt"
	"iter"
)

// An Engine answers the SQL that a [Server] accepts. The server does the rest:
// sessions, tokens, request-ID deduplication, the ledger, splitting of
// multi-statement requests, and the wire format.
//
// The package's own engine is [Script]. The module snowtest/duckdb has one that
// answers real SQL.
type Engine interface {
	// OpenSession is called at each login with good credentials. An error refuses
	// the login, as one of Run fails a statement. The context ends when the server
	// is closed.
	OpenSession(ctx context.Context, info SessionConfig) (EngineSession, error)
	// Close is called once, after the last session was closed.
	Close() error
}

// An EngineSession is what one login opened. The server calls Run for one
// statement of a session at a time.
type EngineSession interface {
	// Run carries out one statement. BEGIN, COMMIT and ROLLBACK come here too.
	// An error that is an [*Error] reaches the client as it stands; any other
	// becomes code 000603. The context ends when the statement is cancelled; it
	// does not end when its session does, because a real server goes on too.
	Run(ctx context.Context, st *Statement) (*Result, error)
	// Close ends the session: an open transaction is rolled back and temporary
	// objects go. It is called once, and never while Run runs.
	Close() error
}

// A SessionConfig is what a login asks for: who logged in, and with which defaults. Names
// are as the login sent them; an empty one is the account's default.
type SessionConfig struct {
	ID         int64
	User       string
	Role       string
	Database   string
	Schema     string
	Warehouse  string
	Parameters map[string]string // session parameters of the login request, keys in upper case
}

// A Statement is one SQL statement with its bind values.
type Statement struct {
	SQL          string
	Binds        []Bind // in the order of their placeholders
	DescribeOnly bool   // only the columns are wanted, nothing may be carried out
	QueryID      string
	SessionID    int64
	QueryTag     string // of this statement alone, as gosnowflake's WithQueryTag sets it
}

// A Bind is one bind value as gosnowflake sends it.
type Bind struct {
	Name   string    // of a named bind, such as :name; empty for one that is counted
	Type   string    // FIXED, REAL, TEXT, BOOLEAN, DATE, TIME, TIMESTAMP_NTZ, TIMESTAMP_LTZ, TIMESTAMP_TZ, BINARY, …
	Value  *string   // nil for NULL
	Array  []*string // the values of an array bind; nil for a single value
	Format string    // "json" for structured values
}

// A Result is what a statement answered.
type Result struct {
	Kind    Kind
	Columns []Column
	// Rows holds each value in the text form of Snowflake's JSON result format;
	// nil is NULL. Dates are days since 1970, times and timestamps seconds with
	// a fraction, which counts upwards also before 1970, TIMESTAMP_TZ is followed by a space and the offset in minutes
	// plus 1440, binaries are in hex, booleans "1" and "0".
	Rows [][]*string
	// More, if it is set, yields the rows that follow Rows, some at a time, so
	// that a large result never stands in memory as a whole. The server reads it
	// to the end, or to the first error, before the session runs anything else;
	// of a statement that is only described it is not read. What is yielded may
	// be used again for the next rows. An error fails the statement, as one of
	// Run does.
	More iter.Seq2[[][]*string, error]

	// ReadOnly says that a statement of KindSelect changed nothing. Where an engine does not
	// say so, as for a CALL or a function with side effects, the ledger takes the statement to
	// have changed something, which nobody wants done twice.
	ReadOnly bool
	// Transaction is what the statement did to the session's transaction, whatever its kind. If
	// it is NoChange and Kind is KindTCL, the server reads the statement itself. KindDDL commits.
	Transaction TransactionChange

	// Transfer is what the client does next, of a PUT or a GET. The ledger takes a PUT to have
	// changed something once a file has arrived.
	Transfer *Transfer
	// OutsideTransaction says that what the statement changed is no part of the session's
	// transaction, and lasts whatever becomes of it: the files of a stage.
	OutsideTransaction bool

	// What USE changed; empty fields changed nothing.
	Database, Schema, Warehouse, Role string
	// Parameters is what ALTER SESSION changed, "" what it unset. If it is nil, the
	// server reads the statement itself.
	Parameters map[string]any

	written *parts // in wire form, once the server has written it
}

// A Column describes one column of a [Result].
type Column struct {
	Name       string
	Type       string // fixed, real, text, boolean, date, time, timestamp_ntz, timestamp_ltz, timestamp_tz, binary, variant, object, array
	Precision  int64  // of fixed
	Scale      int64  // of fixed, time and the timestamps
	Length     int64  // of text and binary
	ByteLength int64  // of text and binary, and of variant, object and array
	Nullable   bool
}

// TransactionChange is what a statement does to its session's transaction.
type TransactionChange int

// The changes.
const (
	NoChange TransactionChange = iota // or the server finds out, see [Result].Transaction
	Begun
	Committed
	RolledBack
)

// Kind is the kind of a statement. Clients learn it as statementTypeId and
// decide by it whether there are rows to count.
type Kind int

// The kinds of statements. Their wire values are those that gosnowflake tests for
// (connection.go and connection_util.go of v2.1.0) and Snowflake's JDBC driver names
// (SFStatementType). To a client that reads SHOW, DESCRIBE, USE, ALTER SESSION, PUT and their
// like, the server gives the narrower value of that list.
const (
	KindSelect      Kind = 0x1000 // SELECT, SHOW, DESCRIBE, CALL: rows to read
	KindDML         Kind = 0x3000 // a change of rows that is none of the next five
	KindInsert      Kind = 0x3100
	KindUpdate      Kind = 0x3200
	KindDelete      Kind = 0x3300
	KindMerge       Kind = 0x3400
	KindMultiInsert Kind = 0x3500
	KindCopy        Kind = 0x3600 // COPY INTO a table; gosnowflake counts no rows for it
	KindUnload      Kind = 0x3700 // COPY INTO a stage
	KindSCL         Kind = 0x4000 // USE, ALTER SESSION, SET
	KindTCL         Kind = 0x5000 // BEGIN, COMMIT, ROLLBACK
	KindDDL         Kind = 0x6000
	KindMulti       Kind = 0xA000 // several statements in one request; the server's own
)

// Error is an error in Snowflake's shape.
type Error struct {
	Code     string // six digits, such as 001003
	SQLState string // five characters, such as 42000
	Message  string
}

func (e *Error) Error() string { return fmt.Sprintf("%s (%s): %s", e.Code, e.SQLState, e.Message) }

// IsDML reports whether the statement's rows count what it changed.
func (k Kind) IsDML() bool { return k >= KindDML && k <= KindMultiInsert }

// changesRows reports whether the statement is a part of a transaction and changes data.
func (k Kind) changesRows() bool { return k >= KindDML && k <= KindUnload }

// Status makes the one-row result with which Snowflake answers statements that
// have nothing to select: a column "status" with the message.
func Status(kind Kind, message string) *Result {
	return &Result{
		Kind:    kind,
		Columns: []Column{{Name: "status", Type: "text", Length: 16777216, ByteLength: 16777216, Nullable: true}},
		Rows:    [][]*string{{&message}},
	}
}

// Count makes the result of a DML statement: one row with one number for each
// name, such as "number of rows inserted".
func Count(kind Kind, names []string, counts []int64) *Result {
	res := &Result{Kind: kind, Rows: [][]*string{make([]*string, len(counts))}}
	for i, name := range names {
		res.Columns = append(res.Columns, Column{Name: name, Type: "fixed", Precision: 19})
		n := fmt.Sprint(counts[i])
		res.Rows[0][i] = &n
	}
	return res
}
