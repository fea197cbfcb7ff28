package snowtest

import (
	"regexp"
	"strconv"
	"strings"
)

// This file lets a user end sessions of their own from another one.

var abortSession = regexp.MustCompile(`(?is)^\s*SELECT\s+SYSTEM\$ABORT_SESSION\s*\(\s*(\d+)\s*\)\s*;?\s*$`)

// abortByID answers SELECT SYSTEM$ABORT_SESSION(<id>): it ends an open session of the same
// user's as [Server.AbortSessions] does. The words for a session that there is not are not known.
func (s *Server) abortByID(q *query, text string) (*Result, *Error) {
	id, _ := strconv.ParseInt(text, 10, 64) // what is too long is the ID of none
	s.mu.Lock()
	ses := s.open[id]
	own := ses != nil && strings.EqualFold(ses.user, q.user)
	s.mu.Unlock()
	if !own {
		return nil, &Error{Code: "002003", SQLState: "02000", Message: "Session " + text + " does not exist or not authorized."}
	}
	s.AbortSessions(id)
	return Rows([]string{"SYSTEM$ABORT_SESSION(" + text + ")"}, []any{"session [" + text + "] terminated."}), nil
}
