// Package snowtether is a database/sql driver for Snowflake whose pool outlives
// its sessions. It wraps gosnowflake, Snowflake's own driver, and is a change of
// one word:
//
//	import _ "github.com/snowtether/snowtether"
//
//	db, err := sql.Open("snowtether", dsn) // was: sql.Open("snowflake", dsn)
//
// The DSN is gosnowflake's. [NewConnector] takes a gosnowflake.Config and options
// instead; [WrapConnector] goes around any other connector.
//
// # What is promised
//
// A statement that returned no error took effect once. One that returned
// [ErrInDoubt] or a context's error took effect at most once. One that returned any
// other error did not take effect. docs/guarantees.md has the limits of this, and
// the tests that show it.
//
// When a session ends under a statement, the session is replaced, and what
// becomes of the statement depends on whether it ran:
//
//   - It provably did not run: it is run on the new session. The caller sees
//     nothing of it.
//   - Snowflake had accepted it: its outcome is waited for and fetched on the new
//     session, by its query ID ([WithResume]).
//   - It is a plain read, and its reply was lost: it is run again.
//   - Nothing can tell: the error Is [ErrInDoubt], and the statement is not run
//     again.
//
// The proof is the traffic of the statement, which is seen through its context. A
// wrapped connector must hand that context on, or a statement can run twice. Behind
// a Config.Transporter that does not, every statement that meets a lost session is
// in doubt.
//
// A transaction is never continued on another session, whether it was begun by
// BeginTx or by a statement. If its session is lost, its statements and its COMMIT
// fail, and its connection does not return to the pool. A COMMIT whose reply was
// lost is in doubt. [RunTx] runs a whole transaction again when its session was
// lost, and never one whose COMMIT is in doubt.
//
// # When an error still reaches the caller
//
//   - [ErrSessionLost]: the session was lost inside a transaction
//     ([SessionError].InTx), together with settings or temporary objects of a
//     connection that the caller holds, or again and again. Nothing that lasts was
//     carried out: start again, the transaction from its beginning.
//   - [ErrInDoubt]: the statement may have run. Look at the data, or at
//     [SessionError].QueryID in QUERY_HISTORY, before running it again. RequestID is
//     set if the caller gave gosnowflake one.
//   - [ErrLoginSuspended]: no login was tried, because the last one with the same
//     credentials was refused.
//   - The caller's context ended. It is honoured at once; a statement under way is
//     being cancelled and may have run.
//   - Snowflake cannot be reached, or refuses the login: a [SessionError] of
//     [ClassTransient] or [ClassPermanent].
//   - Everything else is Snowflake's or gosnowflake's own error about the statement.
//
// [Classify] tells these apart. The cause stays in the chain, so that errors.As
// finds the gosnowflake.SnowflakeError.
//
// # Settings
//
// None is needed. Most can be given as an [Option] or as a parameter of the DSN, and
// the option wins.
//
//   - Logins of a [Connector] pass one gate. It limits how many are under way
//     ([WithMaxLogins]), spaces them out while Snowflake cannot be reached
//     ([WithBackOff], [WithConnectBudget]), and after a refusal sends no further
//     login with the same credentials for a while ([WithAuthCooldown]).
//   - Tokens and passwords can be had afresh for each login ([WithTokenSource],
//     [WithBeforeConnect]), and sessions set up after it ([WithSessionInit],
//     [WithAfterConnect]).
//   - Idle sessions have heartbeats ([WithKeepAlive], [WithHeartbeat]) and, where a
//     session policy ends them sooner than those can prevent, [WithIdlePing].
//   - [WithChangedSession] says what becomes of a pooled connection whose role,
//     schema or variables a user has changed.
//
// [Warm] opens connections ahead of their users.
//
// # Observing
//
// A lost session that was replaced is one line at Info, which says that nothing
// needs doing; a statement in doubt is one at Warn. They go to slog.Default unless
// [WithLogger] says otherwise, and hold neither secrets nor SQL. [Connector.Stats]
// has the counts and [Connector.Snapshot] the sessions and the gate as they are now;
// [ConnectorOf] finds the connector of a pool that was opened by its name.
// [WithEventHook] calls a function with each [Event], and [WithMeterProvider] takes
// the metrics to OpenTelemetry. docs/observability.md lists all of it.
//
// gosnowflake logs the errors that it returns by itself, also where nothing comes
// of them; gosnowflake.GetLogger().SetLogLevel("off") stops that.
//
// # Testing
//
// Package [github.com/snowtether/snowtether/snowtest] is a Snowflake server in the
// process of a test. Sessions there end and replies get lost on request, and in a
// testing/synctest bubble hours of token life pass in milliseconds:
//
//	srv := snowtest.New(t)
//	db, err := sql.Open("snowtether", srv.DSN())
//	…
//	srv.AbortSessions()
package snowtether
