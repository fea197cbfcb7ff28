// Package snowtether is a database/sql driver for Snowflake whose pool outlives
// its sessions. It wraps gosnowflake, Snowflake's own driver. Adopting it is a
// change of one word:
//
//	import _ "github.com/snowtether/snowtether"
//
//	db, err := sql.Open("snowtether", dsn) // was: sql.Open("snowflake", dsn)
//
// The DSN is gosnowflake's. [NewConnector] takes a gosnowflake.Config and options
// instead; [WrapConnector] wraps any other connector.
//
// # What is promised
//
// A statement that returned no error took effect once. One that returned
// [ErrInDoubt] or a context's error took effect at most once. One that returned any
// other error did not take effect; only of several statements in one request, or of
// a procedure, a part may have. docs/guarantees.md has the limits of this, and the
// tests that show it.
//
// When a session ends under a statement, snowtether opens a new one. What becomes of
// the statement depends on whether it ran:
//
//   - It provably did not run: it runs on the new session. The caller only waits
//     longer.
//   - Snowflake had accepted it: snowtether waits for its outcome, and fetches it on
//     the new session by its query ID ([WithResume]).
//   - Its reply was lost, and it may run twice without harm: it runs again. The text
//     says whether it may: a query may if it calls nothing but Snowflake's own
//     functions without effect, and those that the program names
//     ([WithHarmlessFunctions]).
//   - Otherwise Snowflake may or may not have run it: the error matches [ErrInDoubt]
//     (errors.Is), and the statement is not run again.
//
// The proof is the statement's network traffic, which snowtether observes through the
// statement's context. Behind a wrapped connector or a Config.Transporter that does
// not pass that context on, every statement that meets a lost session is in doubt.
//
// A transaction is never continued on another session, whether BeginTx or a
// statement began it. If its session is lost, or it is not known whether a statement
// in it ran, its session is ended, its statements and its COMMIT fail, and its
// connection does not return to the pool. A COMMIT whose reply was lost is
// in doubt. [RunTx], and [RunInTx] for database/sql's own transactions, runs a whole
// transaction again if its session was lost, but never one whose COMMIT is in doubt.
//
// # When an error still reaches the caller
//
//   - [ErrSessionLost]: the session was lost, and nothing of the statement lasts.
//     Inside a transaction ([SessionError].InTx): run the whole transaction again. On
//     a connection with settings or temporary objects of yours: the error names what
//     was lost, once; set it up again. Otherwise new sessions died several times in a
//     row: try later.
//   - [ErrInDoubt]: the statement may have run. Before running it again, look at
//     the data, or look for [SessionError].QueryID in QUERY_HISTORY.
//     [SessionError.Remedy] says where to look.
//   - [ErrLoginSuspended]: no login was tried, because Snowflake refused the last one
//     with the same credentials.
//   - The caller's context ended. The call returns at once; a statement under way
//     is being cancelled, and may have run.
//   - Snowflake cannot be reached, or refuses the login: a [SessionError] of
//     [ClassTransient] or [ClassPermanent].
//   - Everything else is Snowflake's or gosnowflake's own error about the statement.
//
// [Classify] tells these apart. The cause stays in the chain, so errors.As finds
// the gosnowflake.SnowflakeError.
//
// # Settings
//
// All settings are optional. Most can be given as an [Option] or as a DSN parameter;
// the option wins.
//
//   - All logins of a [Connector] pass one gate. It limits how many are under way
//     ([WithMaxLogins]), spaces them out while Snowflake cannot be reached
//     ([WithBackOff], [WithConnectBudget], [WithFirstConnectBudget]), and suspends
//     logins with the same credentials for a while after Snowflake has refused one
//     ([WithAuthCooldown]). Processes can share a limit ([WithLoginGuard]).
//   - Each login can fetch a fresh token or password ([WithTokenSource],
//     [WithBeforeConnect]), and each new session can be set up before its first use
//     ([WithSessionInit], [WithAfterConnect]).
//   - Heartbeats keep idle sessions alive ([WithKeepAlive], [WithHeartbeat]). Where a
//     session policy ends sessions too soon for them, use [WithIdlePing].
//   - [WithChangedSession] says what becomes of a pooled connection whose role,
//     schema or variables a user has changed.
//
// [Warm] opens connections ahead of their users.
//
// # Observing
//
// A lost session that was replaced is one log line at Info, which says that nothing
// needs doing; a statement in doubt is one at Warn. The lines go to slog.Default
// unless [WithLogger] says otherwise, and hold neither secrets nor SQL.
// [Connector.Stats] has the counts, and [Connector.Snapshot] the current sessions
// and gate; [ConnectorOf] finds the connector of a pool that was opened by name.
// [WithEventHook] calls a function with each [Event], and [WithMeterProvider] sends
// the metrics to OpenTelemetry. docs/observability.md lists all of it.
//
// gosnowflake itself logs each error that it returns, even if snowtether recovers
// from it; gosnowflake.GetLogger().SetLogLevel("off") stops that at once, and tracing=off in a
// DSN from the first login of a pool that has it. Both act on the whole process.
//
// # Testing
//
// Package [github.com/snowtether/snowtether/snowtest] is a Snowflake server inside
// the test process. There, sessions end and replies get lost on request, and in a
// testing/synctest bubble hours of token life pass in milliseconds:
//
//	srv := snowtest.New(t)
//	db, err := sql.Open("snowtether", srv.DSN())
//	…
//	srv.AbortSessions()
package snowtether
