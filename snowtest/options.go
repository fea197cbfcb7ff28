package snowtest

import (
	"errors"
	"fmt"
	"time"
)

// An Option changes how a [Server] behaves. Without options it behaves as Snowflake
// does, in miniature. For a value that makes no sense [Start] returns an error, and
// [New] fails the test.
type Option func(*options)

type options struct {
	engine       Engine
	inMemory     bool
	tls          bool
	port         int
	user         string
	password     string
	checkToken   func(string) error
	checkLogin   func(Login) error
	sessionLife  time.Duration
	masterLife   time.Duration
	idle         time.Duration
	maxLife      time.Duration
	inlineWait   time.Duration
	latency      time.Duration
	chunkRows    int
	fixedChunks  bool
	chunkLife    time.Duration
	detached     time.Duration
	parameters   map[string]any
	objects      objects
	store        Store
	cancelOnEnd  bool
	remember     time.Duration
	byText       bool
	allowRepeats bool
	allowOpen    bool
}

func defaults() options {
	return options{
		user:        "tester",
		password:    "s3cret-Passw0rd!",
		sessionLife: time.Hour,
		masterLife:  4 * time.Hour,
		inlineWait:  45 * time.Second,
		chunkRows:   10_000,
		chunkLife:   6 * time.Hour,
		parameters: map[string]any{
			"TIMEZONE": "UTC", "AUTOCOMMIT": true, formatParameter: "ARROW",
			// Those by which clients write values as text. Node's cannot read a binary value without its format.
			"BINARY_OUTPUT_FORMAT": "HEX", "DATE_OUTPUT_FORMAT": "YYYY-MM-DD", "TIME_OUTPUT_FORMAT": "HH24:MI:SS",
			"TIMESTAMP_OUTPUT_FORMAT": "YYYY-MM-DD HH24:MI:SS.FF3 TZHTZM", "TIMESTAMP_NTZ_OUTPUT_FORMAT": "YYYY-MM-DD HH24:MI:SS.FF3",
			"TIMESTAMP_LTZ_OUTPUT_FORMAT": "", "TIMESTAMP_TZ_OUTPUT_FORMAT": "",
		},
		objects: objects{
			databases:  [][2]string{{database, ""}, {database, schema}},
			warehouses: []string{warehouse},
			roles:      []string{role, "ACCOUNTADMIN", "ORGADMIN", "PUBLIC", "SECURITYADMIN", "USERADMIN"},
		},
	}
}

func (o *options) validate() error {
	checks := []struct {
		bad  bool
		text string
	}{
		{o.user == "" || o.password == "", "WithCredentials: user and password must not be empty"},
		{o.port < 0 || o.port > 65535, "WithPort: must be from 1 to 65535, or 0 for any that is free"},
		{o.port != 0 && o.inMemory, "WithPort: a server in memory has no port; leave one of WithPort and InMemory out"},
		{o.tls && o.inMemory, "WithTLS: a server in memory has no TLS; leave one of WithTLS and InMemory out"},
		{o.store < GoogleURLs || o.store > Azure, "WithStore: must be GoogleURLs, GoogleTokens, S3 or Azure"},
		{o.store != GoogleURLs && !o.tls, "WithStore: clients speak https to this store; add WithTLS"},
		{o.sessionLife <= 0 || o.masterLife <= 0, "WithTokenLife: both lives must be positive"},
		{o.idle < 0, "WithIdleTimeout: must not be negative"},
		{o.maxLife < 0, "WithMaxSessionLife: must not be negative"},
		{o.inlineWait < 0, "WithInlineWait: must not be negative"},
		{o.latency < 0, "WithLatency: must not be negative"},
		{o.chunkRows < 0, "WithChunkRows: must not be negative"},
		{o.detached < 0, "WithDetachedTransactions: must not be negative"},
		{!o.objects.check(), "WithDatabase, WithWarehouse, WithRole: a name must not be empty"},
		{o.remember < 0, "WithRequestMemory: must not be negative"},
		{o.chunkLife <= 0, "WithChunkLife: must be positive"},
		{checkParameters(o.parameters) != nil, "WithSessionParameter: " + formatParameter + " is ARROW or JSON"},
	}
	var errs []error
	for _, c := range checks {
		if c.bad {
			errs = append(errs, fmt.Errorf("snowtest: %s", c.text))
		}
	}
	return errors.Join(errs...)
}

// WithEngine sets the engine that answers the SQL. The default is a new [Script].
// [Server.Close] closes the engine.
func WithEngine(e Engine) Option { return func(o *options) { o.engine = e } }

// InMemory makes a server without a listener: connections are pipes inside the
// process, so that the server and its clients can live in a testing/synctest
// bubble, where hours of token life pass in milliseconds. Use [Server.Config], whose
// Transporter reaches the server. No DSN can: [Server.DSN] panics, and [Server.URL]
// is empty.
func InMemory() Option { return func(o *options) { o.inMemory = true } }

// WithPort sets the port on 127.0.0.1, from 1 to 65535. The default, 0, is any that is free,
// which is right for tests. [Start] fails if the port is in use.
func WithPort(n int) Option { return func(o *options) { o.port = n } }

// WithCredentials sets the one user that can log in, and the password. The
// defaults are what [Server.User] and [Server.Password] return.
func WithCredentials(user, password string) Option {
	return func(o *options) { o.user, o.password = user, password }
}

// WithToken sets the check of logins that bring a token (OAuth, programmatic
// access tokens, key pairs). A nil error accepts the token. An [*Error] reaches
// the client as it stands, any other error as code 390303. Logins that come at the
// same time are checked at the same time. Without this option the server accepts
// what [Server.Token] returns, and any key-pair token.
func WithToken(check func(token string) error) Option {
	return func(o *options) { o.checkToken = check }
}

// WithTokenLife sets how long a session token and a master token are good for.
// The defaults are Snowflake's, one hour and four hours. A renewal gives out a
// new session token and a new master token, both with a full life.
func WithTokenLife(session, master time.Duration) Option {
	return func(o *options) { o.sessionLife, o.masterLife = session, master }
}

// WithIdleTimeout sets a session policy: a session ends (390111) when for d it has
// sent no statement, no heartbeat and no renewal, and has asked for no result or
// status. A running statement keeps its session alive. The server acts on it at the
// next request of any session. The default, 0, is no policy.
func WithIdleTimeout(d time.Duration) Option { return func(o *options) { o.idle = d } }

// WithMaxSessionLife ends each session (390111) when d has passed since its
// login, however busy it is. The default, 0, is never.
func WithMaxSessionLife(d time.Duration) Option { return func(o *options) { o.maxLife = d } }

// WithDetachedTransactions makes sessions that end other than by a log-out leave their
// open transaction behind, detached, with what it holds: it stays open for d, as long as
// nobody aborts it, and is rolled back then. So does an account: says Snowflake's
// documentation of transactions, one whose session disconnects abruptly is left in a
// detached state, with its locks, until its user or an administrator aborts it, until it
// has blocked another transaction and been idle for 5 minutes, or until it is 4 hours old.
//
// A server with this option has locks, too: an UPDATE, DELETE or MERGE waits while another
// transaction is open, attached or detached, that has changed the same table, by the name
// in the text, with an UPDATE, DELETE or MERGE. INSERT waits for nobody and keeps nobody
// waiting, a statement outside a transaction keeps nobody waiting, and deadlocks are not
// found.
//
// The default, 0, is no locks, and that each session's end rolls its transaction back at
// once. SHOW TRANSACTIONS and SYSTEM$ABORT_TRANSACTION are answered with and without it.
func WithDetachedTransactions(d time.Duration) Option {
	return func(o *options) { o.detached = d }
}

// WithCancelOnEnd makes the end of a session cancel what runs in it, also where a policy
// ([WithIdleTimeout], [WithMaxSessionLife]) or an administrator ([Server.AbortSessions],
// [Server.EndSessions]) ends it. Snowflake's pages on session policies say this and its
// opposite. A log-out cancels in any case, and tokens that expire never do. The default is
// that running statements go on.
func WithCancelOnEnd() Option { return func(o *options) { o.cancelOnEnd = true } }

// WithRequestMemory sets for how long after a statement was accepted a request with the same
// ID, in the same session, is known to be its repetition, which is answered with the first
// one's result and not carried out. How long an account remembers is not known. The default,
// 0, is for as long as the session.
func WithRequestMemory(d time.Duration) Option { return func(o *options) { o.remember = d } }

// WithRequestTexts makes a request a repetition only if it has the text of the earlier one
// as well. The default is that the ID alone decides: with the ID of an earlier statement,
// another text is not carried out but answered with the earlier one's result.
func WithRequestTexts() Option { return func(o *options) { o.byText = true } }

// WithInlineWait sets how long a request waits for the result of its statement
// before it is answered with 333333, in progress, and the client has to ask again.
// The default is Snowflake's, 45 s; with 0 no request waits.
func WithInlineWait(d time.Duration) Option { return func(o *options) { o.inlineWait = d } }

// WithLatency adds d to each reply. The default is 0.
func WithLatency(d time.Duration) Option { return func(o *options) { o.latency = d } }

// WithChunkRows sets how many rows of a result are in the reply itself; the others
// go into gzipped chunks of n rows that the client fetches. Without this option
// 10,000 rows are in the reply, and the chunks grow as on an account, from 20,000 to
// 80,000 rows; with 0 all rows are in the reply. Chunks are kept in a temporary file
// until the server is closed.
func WithChunkRows(n int) Option {
	return func(o *options) { o.chunkRows, o.fixedChunks = n, true }
}

// WithChunkLife sets how long the URLs of chunks are good for, from the reply
// that brings them; then they answer 403, as a presigned URL of an object store
// does. The default is Snowflake's, 6 hours. See [Server.ExpireChunkURLs].
func WithChunkLife(d time.Duration) Option { return func(o *options) { o.chunkLife = d } }

// WithSessionParameter sets a parameter that the server gives each session at
// its login, such as CLIENT_TELEMETRY_ENABLED true or
// CLIENT_STAGE_ARRAY_BINDING_THRESHOLD 10. The client's own session parameters win
// over it. GO_QUERY_RESULT_FORMAT sets the format of the rows of queries: ARROW, the
// default, or JSON.
func WithSessionParameter(name string, value any) Option {
	return func(o *options) { o.parameters[upper(name)] = value }
}

// AllowRepeats lets the same statement, with the same bind values, take lasting effect
// more than once without failing [Server.Check].
func AllowRepeats() Option { return func(o *options) { o.allowRepeats = true } }

// AllowOpenSessions lets sessions stay open without failing [Server.Check].
func AllowOpenSessions() Option { return func(o *options) { o.allowOpen = true } }
