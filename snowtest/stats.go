package snowtest

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Stats counts what happened since the server started.
type Stats struct {
	Logins              int                 // that succeeded; each opened a session
	LoginFailures       int                 // refused by the server; those that a Fault answered are not among them
	MaxConcurrentLogins int                 // the most that were in progress at one moment, from request to reply
	Renewals            int                 // of session tokens; refused ones do not count
	Heartbeats          int                 // that found their session
	Logouts             int                 // that found their session
	SessionsEnded       int                 // by a log-out, by the server or by a fault
	Statements          int                 // accepted, with the children of multi-statement requests
	Repeats             int                 // query requests answered from an earlier one with the same request ID
	Requests            map[RequestKind]int // that arrived, whatever became of them
}

// Stats returns the counts so far.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(time.Now())
	stats := s.stats
	stats.Requests = maps.Clone(s.stats.Requests)
	return stats
}

// A Session is an open session.
type Session struct {
	ID       int64
	User     string
	Role     string
	Opened   time.Time
	LastUsed time.Time // by a request that its token was good for, a renewal, or the end of a statement
	InTx     bool
	Renewals int
}

// Sessions returns the sessions that are open now, in the order of their IDs.
func (s *Server) Sessions() []Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(time.Now())
	var list []Session
	for _, ses := range s.open {
		list = append(list, Session{
			ID: ses.id, User: ses.user, Role: ses.role, Opened: ses.opened,
			LastUsed: ses.lastUsed, InTx: ses.tx != nil, Renewals: ses.renewals,
		})
	}
	slices.SortFunc(list, func(a, b Session) int { return cmp.Compare(a.ID, b.ID) })
	return list
}
