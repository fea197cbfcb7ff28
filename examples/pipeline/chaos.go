package main

import (
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"

	"github.com/snowtether/snowtether/snowtest"
)

// This file makes the embedded server a bad one. Nothing in it belongs into a
// program of your own, but perhaps into its tests.

// strikes are what happens to the statements of a kind, one after the other.
var strikes = []struct {
	what  string
	end   func(*snowtest.Server)
	fault snowtest.Fault
}{
	{"it is carried out, then its reply is lost and all sessions end", func(s *snowtest.Server) { s.AbortSessions() },
		snowtest.Fault{Run: true, Drop: true}},
	{"its session is aborted (390111)", func(s *snowtest.Server) { s.AbortSessions() }, snowtest.Fault{}},
	{"all master tokens expire (390114)", func(s *snowtest.Server) { s.ExpireMasterTokens() }, snowtest.Fault{}},
	{"it is lost on its way, and all sessions end", func(s *snowtest.Server) { s.AbortSessions() }, snowtest.Fault{Drop: true}},
	{"all session tokens expire (390112)", func(s *snowtest.Server) { s.ExpireSessionTokens() }, snowtest.Fault{}},
	{"it is carried out, a gateway answers HTTP 503, and all master tokens expire", func(s *snowtest.Server) { s.ExpireMasterTokens() },
		snowtest.Fault{Run: true, Status: 503}},
	{"a gateway forgets all sessions (HTTP 401)", func(s *snowtest.Server) { s.EndSessions(snowtest.Refusal{Status: 401}) }, snowtest.Fault{}},
}

// intervals say which statements are struck: of each kind the first, and then
// each one after so many. They leave a transaction a chance: no two attempts in
// a row are struck at the same statement.
var intervals = map[string]int{"PUT": 5, "COPY": 4, "INSERT": 3, "MERGE": 2, "COMMIT": 2}

// unleash lets the strikes begin. The count is how many there were.
func unleash(srv *snowtest.Server) *atomic.Int64 {
	count, seen := new(atomic.Int64), map[string]int{}
	srv.FaultAlways(func(req *snowtest.Request) (snowtest.Fault, bool) {
		verb, _, _ := strings.Cut(req.SQL, " ")
		if intervals[verb] == 0 || req.RetryCount > 0 {
			return snowtest.Fault{}, false
		}
		seen[verb]++
		if seen[verb]%intervals[verb] != 1 {
			return snowtest.Fault{}, false
		}
		// Each kind has its own turn, so that each has one whose reply is lost.
		strike := strikes[seen[verb]/intervals[verb]%len(strikes)]
		slog.Info(fmt.Sprintf("pipeline: strike %d, at %s: %s", count.Add(1), verb, strike.what))
		fault := strike.fault
		if fault.Run {
			fault.After = func() { strike.end(srv) }
		} else {
			strike.end(srv)
		}
		return fault, true
	})
	return count
}
