// Package snowtest is a Snowflake server inside the test process, in the spirit of
// net/http/httptest. It speaks Snowflake's wire protocol to the real client,
// gosnowflake, and to everything built on it. It behaves by default, and misbehaves
// on request.
//
//	func TestImport(t *testing.T) {
//		srv := snowtest.New(t)
//		db, err := sql.Open("snowflake", srv.DSN())
//		…
//		srv.ExpireMasterTokens() // what four idle hours do
//		…
//		if n := srv.Effects("INSERT INTO t VALUES (1)"); n != 1 { … }
//	}
//
// # What it answers
//
// The SQL is answered by an [Engine]. The default, [Script], needs no database:
// it answers what a test registers with [Server.Handle], and something plausible
// for the rest. The module snowtest/duckdb has an engine that answers real SQL.
// The server itself handles sessions, tokens and renewals, heartbeats, transactions
// as far as the ledger needs them, multi-statement requests, asynchronous statements,
// cancellation, query status, results in the reply and in chunks, the uploads of bulk array
// binds, and the object store to which PUT and GET transfer ([WithStore] sets its kind; what
// is in the stages is the engine's). A COMMIT or ROLLBACK that finds no transaction is answered with
// success and no data, not even a query ID, as an account answers it. SHOW TRANSACTIONS
// lists the open transactions, and SYSTEM$ABORT_TRANSACTION rolls one back. In a session
// with ABORT_DETACHED_QUERY a statement is aborted when nobody has asked for its result for
// 5 minutes; a question about its status does not count.
//
// It answers as is known of accounts, also where that is inconvenient. A login that names a
// role that does not exist is refused with 390189, and, as gosnowflake asks for the check, one
// with another database, schema or warehouse with 390201; [WithDatabase], [WithWarehouse] and
// [WithRole] add some. A request with the ID of an earlier one of its session is answered
// with that one's result, whatever its text; [WithRequestMemory] and [WithRequestTexts] are
// for what is not known of that. The monitor's words are Snowflake's, and
// [Server.SetStatus] sets one. A log-out cancels what its session runs.
//
// The rows of queries come in Arrow format, as they do from an account, with
// Snowflake's encoding of each type; everything else comes in JSON. A session that
// sets GO_QUERY_RESULT_FORMAT to JSON gets JSON only, and so does every session of a
// server with WithSessionParameter("GO_QUERY_RESULT_FORMAT", "JSON"). Clients for JDBC, ODBC
// and Python have parameters of their own for that; any other client, such as those for
// Node and .NET, gets JSON. A result with a column of a type that [Column] does not list
// comes in JSON, too. Snowflake's client for Node judges the server in compat/node.
//
// # What goes wrong
//
// Real sessions end for a few reasons, and each has a method:
// [Server.ExpireSessionTokens], [Server.ExpireMasterTokens],
// [Server.AbortSessions] and, for the other ways in which servers refuse a dead
// session, [Server.EndSessions]; [WithCancelOnEnd] lets what they run end with them.
// [Server.DisableUser] shuts the user out. [Server.AbortTransactions] rolls back and lets the
// session live; with [WithDetachedTransactions] the transaction of a session that ends
// stays open for a while, with its locks. [WithIdleTimeout], [WithMaxSessionLife] and
// [WithTokenLife] make sessions end by the clock, which [Server.Advance] puts forward.
// Everything else (a lost reply, a gateway's 503, a stall) is a [Fault] that a
// function given to [Server.FaultOnce] puts on one request, or one given
// to [Server.FaultAlways] on every one that it picks. The URLs of a result's
// chunks expire by [WithChunkLife] or [Server.ExpireChunkURLs].
//
// # What happened
//
// [Server.Ledger] lists what was accepted, with how it ended and whether it took
// lasting effect; [Server.Accepted], [Server.Effects], [Server.Doubles],
// [Server.Sessions] and [Server.Stats] sum it up. When a test is over, [New] checks
// that every session was closed, that no statement that changes data took lasting effect
// twice, and that no secret is in the log; see [Server.Check]. A test that repeats a statement with
// the same values on purpose says so with [AllowRepeats].
//
// # Hours in milliseconds
//
// With [InMemory] the server and its clients can live in a testing/synctest bubble,
// where time jumps ahead whenever every goroutine waits:
//
//	synctest.Test(t, func(t *testing.T) {
//		srv := snowtest.New(t, snowtest.InMemory())
//		db := sql.OpenDB(gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *srv.Config()))
//		defer db.Close()
//		…
//		time.Sleep(5 * time.Hour) // takes no time, and the master token has expired
//		…
//	})
//
// Open the database in the bubble, and close it before the bubble ends. Read the
// result of each asynchronous statement: until then gosnowflake keeps a goroutine in
// the bubble. And do not close a statement of [database/sql.DB.Prepare] while others
// use the pool: that waits for the mutex of a connection that may be in use, and time
// stands still in a bubble while a goroutine waits for a mutex. Statements of one
// [database/sql.Conn] or [database/sql.Tx] have no such wait.
//
// gosnowflake starts one goroutine when it is loaded, before any bubble exists:
// it writes a small shared library to a temporary directory and opens it
// ("minicore"). It does not touch bubbles, and a login does not wait for it.
// SF_DISABLE_MINICORE=true in the environment of the process, or the build tag
// minicore_disabled, turns it off; setting the variable in a test is too late.
// Its other background work, the detection of the cloud it runs on, is turned
// off by [Start].
//
// # What it leaves out
//
// Structured types, and browser and Okta logins.
package snowtest
