package explore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file has what must hold after every sequence, and which errors a program need
// not have got.

// check holds what took effect against what the operation returned.
func (x *trial) check() {
	err := x.err
	doubt, lost := inDoubt(err), errors.Is(err, snowtether.ErrSessionLost)
	mayLast := doubt || x.left() && isContext(err) || x.isForeign(err)
	var counts []int
	for _, write := range x.kind.writes {
		n := x.srv.Effects(write)
		counts = append(counts, n)
		switch {
		case n > 1:
			x.wrong("%s took effect %d times", write, n)
		case err == nil && n != 1:
			x.wrong("%s took no effect, and the operation returned nil", write)
		case n == 1 && lost:
			x.wrong("%s took effect, and its error matches ErrSessionLost", write)
		case n == 1 && err != nil && !mayLast:
			x.wrong("%s took effect, and its error does not say so", write)
		}
	}
	if x.kind.inTx && slices.Max(counts) != slices.Min(counts) {
		x.wrong("half a transaction took effect: %v", counts)
	}
	if x.kind.inTx && !x.committing.Load() && slices.Max(counts) > 0 {
		x.wrong("a transaction took effect that nobody committed")
	}
	if doubt && errors.Is(err, driver.ErrBadConn) {
		x.wrong("the error is in doubt and matches driver.ErrBadConn: database/sql runs the statement again")
	}
	for n := range 2 {
		if insert := fmt.Sprintf("INSERT INTO n VALUES (%d)", n+1); x.srv.Effects(insert) != 1 {
			x.wrong("the row of the next user took effect %d times: %s", x.srv.Effects(insert), insert)
		}
	}
	x.checkLedger()
	x.checkQueryID()
}

// checkLedger looks for statements that ran where they must not, or without all of
// their values.
func (x *trial) checkLedger() {
	set := map[int64]bool{} // the sessions that have what the connection was set to
	for _, e := range x.srv.Ledger() {
		switch {
		case e.SQL == x.kind.pinned && e.State == snowtest.Succeeded:
			set[e.SessionID] = true
		case x.kind.pinned != "" && x.kind.pinned != e.SQL && (x.conn != nil || x.kind.pooled) && x.isOwn(e.SQL) && !set[e.SessionID]:
			x.wrong("%s ran in a session without %s", e.SQL, x.kind.pinned)
		case e.SQL == bound && e.Effects > 0:
			want := 1
			if x.kind.name == "array bind through a stage" {
				want = bulk
			}
			switch {
			case len(e.Binds) == 1 && max(1, len(e.Binds[0].Array)) == want:
			case x.in.Short != "" && (inDoubt(x.err) || x.left() && isContext(x.err)):
				x.limit = x.in.Short
			default:
				x.wrong("%s took effect with the values %v", e.SQL, e.Binds)
			}
		}
		if e.State == snowtest.Running {
			x.wrong("still running: %s", e.SQL)
		}
	}
}

// isForeign reports whether the error is gosnowflake's own about the session of an
// asynchronous statement. It comes from the result, when the statement had long been
// accepted, and says nothing about what became of that.
func (x *trial) isForeign(err error) bool {
	var ours *snowtether.SessionError
	return x.kind.own && !errors.As(err, &ours) && x.in.Number(err)/1000 == 390
}

// isOwn reports whether the statement is one of the operation's.
func (x *trial) isOwn(sql string) bool { return sql == numbers || slices.Contains(x.kind.writes, sql) }

// checkQueryID looks at what came through the caller's channel: the ID of the
// statement and of no other, and at success an end.
func (x *trial) checkQueryID() {
	if x.ids == nil {
		return
	}
	var id string
	var open bool
	select {
	case id, open = <-x.ids:
	default:
		if x.err == nil {
			x.wrong("the caller's channel got no query ID and was not closed")
		}
		return
	}
	known := slices.ContainsFunc(x.srv.Ledger(), func(e snowtest.Entry) bool {
		return e.QueryID == id && x.isOwn(e.SQL) && (e.Effects > 0 || x.err != nil)
	})
	if open && id != "" && !known {
		x.wrong("the caller's channel got %q, which is not the statement's query ID", id)
	}
	if x.err == nil && (!open || id == "") {
		x.wrong("the caller's channel got no query ID")
	}
}

// checkTransactions looks for transactions that were left open.
func (x *trial) checkTransactions() {
	disowned := x.disowned()
	for _, ses := range x.srv.Sessions() {
		switch {
		case !ses.InTx || slices.Contains(disowned, ses.ID):
		case slices.Contains(x.overtaken(), ses.ID):
			x.limit = expiredAgain
		default:
			x.wrong("session %d has a transaction open", ses.ID)
		}
	}
}

// disowned are the sessions that a fault refused in the server's name. The server
// knows nothing of that, and no client ends a session that it believes has ended.
func (x *trial) disowned() (ids []int64) {
	for _, r := range x.requests() {
		// 390112 is no end: the token is renewed, if it is not the renewal that is refused.
		if r.fault != nil && r.fault.refuses && (r.fault.name != "390112" || r.kind == snowtest.RequestRenew) {
			ids = append(ids, r.session)
		}
	}
	return slices.DeleteFunc(ids, func(id int64) bool { return id == 0 })
}

// expiredAgain is a limit of gosnowflake's log-out, which does not renew an expired token: the
// driver has it renewed before, by a question, and cannot do both at once.
const expiredAgain = "a session whose token expires in the moment between the driver's question and the log-out behind it is not logged out"

// overtaken are the sessions whose tokens may have expired in that moment.
func (x *trial) overtaken() (ids []int64) {
	asked := map[int64]bool{}
	for _, r := range x.requests() {
		if r.kind == snowtest.RequestQuery && r.sql == question {
			asked[r.session] = true
		}
		if r.fault != nil && r.fault.name == "session tokens expired" {
			for id := range asked {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// question is what the driver asks by itself.
const question = "SELECT 1"

// stranded are the sessions whose renewal failed for good although they live: they stay open,
// without a transaction, until the server ends them.
func (x *trial) stranded() (ids []int64) {
	for _, r := range x.requests() {
		if r.kind == snowtest.RequestRenew && r.fault != nil && (r.fault.denies() || r.fault.garbles) {
			ids = append(ids, r.session)
		}
	}
	return ids
}

// denies reports whether the fault is an answer that says no, and will not change.
func (f *fault) denies() bool { return f.refuses || strings.HasPrefix(f.name, "403") }

func (x *trial) requests() []request {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.seen)
}

func (x *trial) left() bool {
	return slices.ContainsFunc(x.requests(), func(r request) bool { return r.fault != nil && r.fault.leaves })
}

// loginRefused reports whether a fault refused a login, in whatever way.
func (x *trial) loginRefused() bool {
	return slices.ContainsFunc(x.requests(), func(r request) bool {
		return r.kind == snowtest.RequestLogin && r.fault != nil && r.fault.denies()
	})
}

// needless reports whether the operation returned an error that nobody needed: only
// sessions had died, and logins worked.
func (x *trial) needless() bool {
	if x.err == nil {
		return false
	}
	for _, r := range x.requests() {
		if r.fault != nil && (!r.fault.death || r.fault.refuses && r.kind == snowtest.RequestLogin) {
			return false
		}
	}
	return true
}

// unavoidable are the errors that a program has to get although only sessions had
// died, each with its reason.
var unavoidable = []struct {
	reason string
	holds  func(x *trial) bool
}{
	{
		"what a transaction has done is rolled back with its session, and only the program can do it again",
		func(x *trial) bool {
			var se *snowtether.SessionError
			return x.kind.inTx && !x.kind.repeats &&
				errors.Is(x.err, snowtether.ErrSessionLost) && errors.As(x.err, &se) && se.InTx &&
				x.srv.Accepted("BEGIN") > 0
		},
	},
	{
		"what the program had set on its connection went with the session, and only the program can set it again",
		func(x *trial) bool {
			// driver.ErrBadConn would close the connection under the program.
			return x.kind.pinned != "" && errors.Is(x.err, snowtether.ErrSessionLost) && !errors.Is(x.err, driver.ErrBadConn)
		},
	},
	{
		"a COMMIT that was accepted is not asked about from another session: only its own knows which transaction it ended",
		func(x *trial) bool { return x.kind.slow == "^COMMIT" && inDoubt(x.err) && x.srv.Accepted("COMMIT") > 0 },
	},
	{
		"what becomes of an asynchronous statement after it was accepted is told by gosnowflake, and by nobody else",
		func(x *trial) bool {
			var ours *snowtether.SessionError
			return x.kind.own && !errors.As(x.err, &ours) && x.srv.Accepted(numbers)+x.srv.Accepted(insertA) > 0
		},
	},
}

// excuse is the reason why an error cannot be avoided, or "".
func (x *trial) excuse() string {
	for _, u := range unavoidable {
		if u.holds(x) {
			return u.reason
		}
	}
	for _, l := range x.in.Limits {
		if (l.Kind == "" || l.Kind == x.kind.name) && l.Holds(x.err) {
			return l.Reason
		}
	}
	return ""
}

func inDoubt(err error) bool {
	return errors.Is(err, snowtether.ErrInDoubt) || snowtether.Classify(err) == snowtether.ClassInDoubt
}

func isContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// report says what happened, in full.
func (x *trial) report() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s\n", x.name())
	for i, r := range x.requests() {
		fmt.Fprintf(&text, "\trequest %d: %s\n", i+1, r)
	}
	fmt.Fprintf(&text, "\treturned: %v", x.err)
	for _, p := range x.problems {
		fmt.Fprintf(&text, "\n\tWRONG: %s", p)
	}
	return text.String()
}
