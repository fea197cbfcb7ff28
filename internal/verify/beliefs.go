package verify

import (
	"context"
	"slices"
	"time"
)

// This file is what is believed of Snowflake, and the checks that ask it. docs/guarantees.md
// has the same table; TestDocumentsHaveWhatIsBelieved compares them.

// A Belief is one thing that the driver or its documents take for so.
type Belief struct {
	Name     string `json:"name"`
	Claim    string `json:"claim"`
	Check    string `json:"check"`    // that settles it
	Safety   bool   `json:"safety"`   // if it is wrong, a statement may run twice or be lost unnoticed
	IfWrong  string `json:"ifWrong"`  // what it means for the driver
	Evidence string `json:"evidence"` // who confirms it, who contradicts it, or that it is open
}

// A check is one function that settles the beliefs of its name.
type check struct {
	name  string
	asks  string
	wait  time.Duration // that it takes on an account, at most about
	busy  time.Duration // for which a warehouse works
	slow  bool          // only with Slow, or by its name
	admin bool          // only with an administrator
	ask   func(context.Context, *env) error
}

// settles reports whether a belief is the check's to settle.
func (c check) settles(belief string) bool {
	return slices.ContainsFunc(Beliefs, func(b Belief) bool { return b.Name == belief && b.Check == c.name })
}

// credits are those of an XS warehouse, which takes one an hour.
func (c check) credits() float64 { return c.busy.Hours() }

var checks = []check{
	{name: "shapes", asks: "unknown IDs, an unknown token, COMMIT without a transaction, what a login reports", wait: 20 * time.Second, ask: askShapes},
	{name: "results", asks: "for results by their ID, after the session that made them was logged out", wait: 15 * time.Second, busy: 3 * time.Second, ask: askResults},
	{name: "history", asks: "whether a described statement is the last query", wait: 5 * time.Second, ask: askHistory},
	{name: "transactions", asks: "about transactions from another session, and ends one there", wait: 20 * time.Second, busy: 5 * time.Second, ask: askTransactions},
	{name: "cancelall", asks: "to cancel all that another session of the user's runs", wait: 30 * time.Second, busy: 10 * time.Second, ask: askCancelAll},
	{name: "binds", asks: "for two rows through a stage, one of them an empty line", wait: 20 * time.Second, busy: 5 * time.Second, ask: askBinds},
	{name: "words", asks: "for the status of statements that run, wait or were cancelled", wait: 70 * time.Second, busy: time.Minute, ask: askWords},
	{name: "logout", asks: "what becomes of statements and transactions whose session is logged out", wait: 2 * time.Minute, busy: time.Minute, ask: askLogout},
	{name: "ends", asks: "what is said to a statement whose session is aborted, and what becomes of it", wait: 11 * time.Minute, busy: time.Minute, ask: askEnds},
	{name: "requests", asks: "the same request again, at once, from elsewhere and after minutes", wait: 6 * time.Minute, busy: time.Minute, ask: askRequests},
	{name: "locks", asks: "how long the locks of a dead session's transaction last", wait: 9 * time.Minute, busy: 9 * time.Minute, ask: askLocks},
	{name: "detached", asks: "what becomes of a statement whose client has vanished", wait: 9 * time.Minute, busy: 8 * time.Minute, ask: askDetached},
	{name: "hour", asks: "the same request after an hour, and with a token that has expired", wait: 66 * time.Minute, busy: 10 * time.Second, slow: true, ask: askHour},
	{name: "policy", asks: "what keeps a session alive under a policy of 5 minutes, as a throw-away user", wait: 9 * time.Minute, admin: true, ask: askPolicy},
	{name: "users", asks: "with what a throw-away user is refused who lost password, role, key, token, network or everything", wait: 45 * time.Second, admin: true, ask: askUsers},
	{name: "resume", asks: "for the status of a statement that waits for a suspended warehouse of the run's own", wait: 40 * time.Second, busy: 70 * time.Second, admin: true, ask: askResume},
}

// Names are the names of the checks.
func Names() (names []string) {
	for _, c := range checks {
		names = append(names, c.name)
	}
	return names
}

const (
	open      = "Open: nobody is known to have asked."
	inDoubt   = "A statement that would have been carried over is in doubt, or fails with the error that Snowflake recorded; it is not run twice."
	slowLock  = "The next transaction may wait until Snowflake has rolled the lost one back."
	onlyWords = "An error that could have said more is passed on as it is; nothing runs twice."
)

// Beliefs is all that is believed, in the order of the checks.
var Beliefs = []Belief{
	{"unknown-token", "A request with a token that Snowflake does not know is answered with HTTP 401 and code 390104.", "shapes", false,
		"The session is known to be lost by the code or by the status; with neither, its error reaches the caller.",
		"Confirmed by the end-to-end test of Snowflake's Node driver (sf.js). snowflake-connector-net 557 and 616 saw HTTP 401, without the code."},
	{"unknown-result", "The result of an unknown query ID is refused with code 612, not with success.", "shapes", false,
		"A carry-over that has the wrong ID waits until its bound, and is in doubt.",
		"Confirmed by the troubleshooting page of Snowflake's universal driver. 000709 is RESULT_SCAN's."},
	{"unknown-status", "The status of an unknown query ID is a success with an empty list.", "shapes", false,
		"A carry-over ends in doubt sooner or later than it should.",
		"Confirmed by gosnowflake's source, which reads it so."},
	{"idle-commit", "A COMMIT that finds no transaction is a success without a query ID.", "shapes", true,
		"A COMMIT whose transaction the server had aborted would be taken for one that committed: rows are lost without an error.",
		"Confirmed by snowflakedb/drivers 3a0d60f54."},
	{"own-error", "A statement that fails has a code that is not 39xxxx, and its query ID or an SQLState.", "shapes", false,
		"Snowflake's own errors would be in doubt.",
		"Confirmed by gosnowflake's tests, which read both."},
	{"autocommit-reported", "A login reports the session parameter AUTOCOMMIT.", "shapes", true,
		"Where a default of the user or the account has AUTOCOMMIT off, a lost session loses the open transaction without an error.",
		"Snowflake's JDBC driver reads it there, and replies to statements in gosnowflake's recordings have it (select1.json). Open for logins."},
	{"renewal", "A token request with the master token renews the session token, and the session stays the same.", "shapes", false,
		"Sessions end after an hour and are replaced.",
		"Confirmed by gosnowflake's source and by the recordings that Snowflake's Python connector ships."},
	{"gone-refused", "What is sent in a session that was logged out is refused with HTTP 401 or a session's code.", "shapes", false,
		"The session is not replaced by itself, and its error reaches the caller.",
		"Open: snowflake-connector-net 557 and 616 saw HTTP 401, not for which token."},
	{"transaction-without-warehouse", "CURRENT_TRANSACTION() is answered in a session without a warehouse.", "shapes", false,
		"Behind a script, connections of such sessions are closed instead of used again.",
		open},
	{"described-without-warehouse", "A statement that is only described needs no warehouse.", "shapes", false,
		"A session without a warehouse is asked in vain whether it is alive, and is taken for alive.",
		open},
	{"result-by-id", "A statement's result can be fetched by its ID from another session of the same user, also when its own was logged out.", "results", false,
		inDoubt,
		"Confirmed by Snowflake's documentation of RESULT_SCAN (24 hours) and by Python's test_async."},
	{"children-by-id", "The results of a request of several statements are named in its reply, and can be fetched by their IDs too.", "results", false,
		"A carried-over request of several statements has no counts and no rows.",
		"Confirmed by gosnowflake's source within a session. Open from another one."},
	{"described-is-not-last", "A statement that is only described is not the one that LAST_QUERY_ID() names.", "history", false,
		"The driver refuses LAST_QUERY_ID(-2) and its like behind a question of its own, which covers both.",
		open},
	{"current-transaction", "CURRENT_TRANSACTION() has a value in a transaction, and is NULL behind it.", "transactions", true,
		"The transaction that a script has left open would be the next user's, who loses rows with it.",
		"Confirmed by Snowflake's documentation."},
	{"commit-has-an-id", "A COMMIT of an open transaction is answered with a query ID.", "transactions", false,
		"Each COMMIT would be in doubt.",
		"Confirmed by gosnowflake's tests, which read the ID of any statement. Open for COMMIT."},
	{"transactions-shown", "SHOW TRANSACTIONS lists the transactions of the user's other sessions, with their session's ID.", "transactions", false,
		slowLock,
		"Confirmed by Snowflake's documentation. Open in a test."},
	{"abort-own-transaction", "A user may end their own transaction from another session by SYSTEM$ABORT_TRANSACTION.", "transactions", false,
		slowLock,
		"Confirmed by Snowflake's documentation. Open in a test."},
	{"commit-after-abort", "Where the server has aborted a transaction, its COMMIT fails, or is a success without a query ID.", "transactions", true,
		"Rows of a transaction that was rolled back are taken for committed.",
		"Follows from idle-commit (snowflakedb/drivers 3a0d60f54). Open by itself."},
	{"insert-after-abort", "What is sent behind a transaction that the server has aborted, in the same session, commits by itself.", "transactions", false,
		"It fails instead, which is better: the COMMIT is in doubt either way.",
		open},
	{"cancel-all-of-own-session", "A user may stop what their other session runs by SYSTEM$CANCEL_ALL_QUERIES.", "cancelall", false,
		"A statement whose caller has left runs on where its session has ended.",
		"Confirmed by Snowflake's documentation of the function: one's own statements, whatever the role. Open in a test."},
	{"empty-line-is-a-row", "A bulk bind of one column whose value is NULL, an empty line of its file, is a row.", "binds", false,
		"Such rows are lost. The driver says so (`rows_uncounted`) and cannot do more; bind a second column.",
		open},
	{"running-is-not-final", "The status of a statement is no final word before it has ended.", "words", true,
		"A statement that runs on is taken for one that has failed or ended, and its program sends it again.",
		"Confirmed by Python's test_async, JDBC's StatementLatestIT and gosnowflake's tests."},
	{"success-has-an-end", "A status of SUCCESS has an end time.", "words", false,
		"A result without columns is waited for until the bound.",
		"Confirmed by gosnowflake's source, which reads it. Open for each kind of statement."},
	{"cancelled-reads-failed", "A statement that was cancelled reads as failed, and its result is error 604.", "words", false,
		onlyWords,
		"Confirmed by Python's test_async and SYSTEM$GET_RESULTSET_STATUS: FAILED_WITH_ERROR, briefly ABORTING."},
	{"blocked-is-not-final", "The status of a statement that waits for a lock is no final word.", "words", true,
		"A statement that waits is taken for one that has failed, and its program sends it again.",
		"Confirmed by the list of words in Snowflake's drivers: BLOCKED is among those that go on."},
	{"logout-cancels", "A log-out cancels what its session runs, within minutes.", "logout", false,
		"Statements of callers who have left run on; nothing runs twice.",
		"Confirmed by gosnowflake's doc.go on ServerSessionKeepAlive (its PR 1662), snowpark-java-scala 36, snowflake-connector-net 1077."},
	{"logout-rolls-back", "A log-out rolls back the open transaction, with what still runs in it.", "logout", true,
		"A transaction that was given up may commit in part.",
		"Snowflake's drivers send no ROLLBACK when they close; its documentation speaks of sessions that disconnect abruptly. Open."},
	{"abort-own-session", "A user may end their own session from another one by SYSTEM$ABORT_SESSION.", "ends", false,
		"A transaction whose session cannot be logged out stays open, with its locks, until Snowflake rolls it back. The checks log the session out from beside instead.",
		"Snowflake's documentation of SYSTEM$ABORT_SESSION does not say who may. Open."},
	{"no-late-refusal", "The request of a statement that runs is not answered as refused when its session is aborted after 5 s.", "ends", true,
		"A statement that ran is taken for one that did not, and runs twice. The driver believes no refusal that came later than 3 s.",
		open},
	{"no-early-refusal", "The request of a statement that runs is not answered as refused when its session is aborted within the first 3 s.", "ends", true,
		"A statement that ran is taken for one that did not, and runs twice. docs/guarantees.md has it as a limit.",
		open},
	{"poll-refused", "A poll in an aborted session is refused with HTTP 401 or a session's code.", "ends", false,
		"The statement is in doubt instead of carried over.",
		"Open: snowflake-connector-net 557 and 616 saw HTTP 401, not for which token."},
	{"outlives-abort", "A statement goes on when its session is aborted.", "ends", false,
		inDoubt,
		"Snowflake's pages on session policies, of different dates, say this and its opposite. Open."},
	{"carried-over", "The result of a statement whose session was aborted can be fetched by its ID from another session.", "ends", false,
		inDoubt,
		"Follows from result-by-id. Open by itself."},
	{"request-id-twice", "A request that comes again in its session as gosnowflake repeats it (the same ID and body, a count in the URL) is answered with the first result, and not run again.", "requests", true,
		"What gosnowflake and proxies repeat after a 503 or a broken connection runs twice.",
		"Confirmed by gosnowflake's driver_test.go for DDL (a request ID in two sessions), Node's testExecute, and snowflakedb/drivers 913, which relies on it. Contradicted in snowflake-connector-nodejs 740, where a maintainer says that the statement is resubmitted, and 1189: for IDs that a program sent again."},
	{"request-id-while-running", "A request that comes again while its statement runs is answered with that one's result, and not run again.", "requests", true,
		"What gosnowflake repeats after 45 s without an answer runs twice.",
		"Follows from request-id-twice. snowflake-connector-nodejs 1189 saw two statements where a proxy broke the connection and its program sent the request again."},
	{"request-id-minutes", "A request ID is still known after 1 and after 5 minutes.", "requests", true,
		"What is repeated after an outage of minutes runs twice.",
		"Open: how long an account remembers is not documented."},
	{"request-id-uncounted", "A request ID that comes again without the count in the URL is known, too.", "requests", false,
		"Nothing: the driver sends no ID again by itself. A program that does so to end a doubt may run its statement twice.",
		"Confirmed by gosnowflake's driver_test.go for DDL. snowflake-connector-nodejs 1189 saw it differ."},
	{"request-id-other-text", "A request ID that comes again with another text is answered with the first result, and the other text is not run.", "requests", false,
		"Nothing: neither gosnowflake nor the driver sends another text under an ID.",
		"Confirmed by Node's testExecute. Open for other drivers."},
	{"request-id-other-session", "In another session a statement with the same request ID is run.", "requests", false,
		"A caller's own request ID would be answered with an earlier result when its statement is run on a new session.",
		"Confirmed by gosnowflake's driver_test.go (a request ID in two sessions)."},
	{"detached-is-listed", "The transaction of a session that was aborted stays open, and SHOW TRANSACTIONS lists it.", "locks", false,
		"It is rolled back at once, which is better.",
		"Confirmed by Snowflake's documentation of transactions and by estuary/flow 238, with locks of over 5 minutes."},
	{"abort-frees-locks", "SYSTEM$ABORT_TRANSACTION of a transaction that a session left behind frees its locks within a minute.", "locks", false,
		slowLock,
		"Confirmed by Snowflake's documentation. Open in a test."},
	{"locks-are-freed", "The locks of a transaction that a session left behind are freed within 9 minutes once somebody waits for them.", "locks", false,
		"Whoever waits for them, waits for up to 4 hours, or until the lock time-out.",
		"Confirmed by Snowflake's documentation: when it has blocked another one and been idle for 5 minutes."},
	{"vanished-goes-on", "With ABORT_DETACHED_QUERY at FALSE a statement goes on whose client has vanished.", "detached", false,
		inDoubt,
		"Confirmed by Snowflake's documentation of the parameter."},
	{"detached-is-aborted", "With ABORT_DETACHED_QUERY at TRUE it is aborted, although somebody asks for its status.", "detached", false,
		"The driver's polls for the result would not be needed.",
		"Confirmed by snowflake-jdbc 2072, snowflake-connector-python 2038 and gosnowflake's recordings (queryAbortsAfterSecs 300)."},
	{"result-poll-attaches", "With ABORT_DETACHED_QUERY at TRUE a statement goes on as long as somebody asks for its result.", "detached", false,
		"A statement that is carried over may be aborted after 5 minutes; it is not run twice.",
		"Confirmed by snowflake-jdbc 2072 and snowflake-connector-python 2038."},
	{"request-id-hour", "A request ID is still known after 30 and after 60 minutes.", "hour", false,
		"Nothing: nobody repeats a request for so long. A program must not ask for an outcome that way.",
		"Open: how long an account remembers is not documented."},
	{"expired-token", "A session token that has expired is refused with code 390112, and can be renewed.", "hour", false,
		"The session is not renewed, and is replaced.",
		"Confirmed by gosnowflake's source and Node's recordings."},
	{"idle-policy-refuses", "A session that has rested for longer than its policy allows is refused with HTTP 401 or a session's code.", "policy", false,
		"The session is not replaced by itself, and its error reaches the caller.",
		"Confirmed by Snowflake's documentation, without the code. Open."},
	{"heartbeat-counts", "A heartbeat is activity for a session policy.", "policy", false,
		"Idle sessions end in spite of the heartbeat, and are replaced.",
		"Open. snowflake-connector-net 1293 saw HTTP 401 after 20 minutes of rest with heartbeats on."},
	{"described-counts", "A statement that is only described is activity for a session policy.", "policy", false,
		"A session that is only asked so ends, and is replaced.",
		open},
	{"statement-counts", "SELECT 1, which the idle ping may send, is activity for a session policy.", "policy", false,
		"Idle sessions end in spite of the idle ping, and are replaced.",
		"Follows from Snowflake's documentation of session policies. Open in a test."},
	{"old-password-refused", "A password that was changed is refused with code 390100.", "users", false,
		"Another code is a permanent refusal, too: logins rest, and nobody is locked out.",
		"Confirmed by gosnowflake's tests and recordings, for a wrong one."},
	{"password-keeps-sessions", "Sessions go on when their user's password is changed.", "users", false,
		"They are replaced, with the new password if the program has it.",
		open},
	{"revoked-role-refused", "A login with a role that was revoked is refused with code 390189.", "users", false,
		"Another code is a permanent refusal, too.",
		"Confirmed by gosnowflake's tests, for a role that does not exist."},
	{"network-policy-refuses", "A login from where no network policy allows it is refused with code 390422 or 390420.", "users", false,
		"Another code is a permanent refusal, too.",
		"390422 stands in a recording that gosnowflake ships. Open for network policies."},
	{"unset-key-refused", "A login with a key that was unset is refused with code 390144.", "users", false,
		"Another code is a permanent refusal, too.",
		"Confirmed by gosnowflake's tests of key pairs, for one that is not the user's."},
	{"removed-token-refused", "A programmatic access token that was removed is refused with code 390303 or 394400.", "users", false,
		"Another code is a permanent refusal, and the token source is not asked for a fresh token.",
		"Confirmed by gosnowflake's tests and recordings: 394400 for one that is not valid."},
	{"disabling-ends-sessions", "Disabling a user ends their sessions.", "users", false,
		"They go on until their tokens expire.",
		"Snowflake's documentation of ALTER USER says that it aborts their statements. Open for sessions."},
	{"disabled-is-refused", "The login of a disabled user is refused with a code that is no session's.", "users", false,
		"Logins are tried again and again, at most 4 within 15 minutes.",
		"Confirmed by Snowflake's documentation, without the code; it is not 390101. Open."},
	{"resuming-is-not-final", "The status of a statement that waits for a suspended warehouse is no final word.", "resume", true,
		"A statement that waits is taken for one that has failed, and its program sends it again.",
		"Confirmed by the list of words in Snowflake's drivers: QUEUED and RESUMING_WAREHOUSE are among those that go on."},
}
