package snowtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Check runs the checks that [New] runs when a test is over, and joins what
// they found:
//
//   - Every session that was opened was closed: by a log-out, or because the
//     server ended it (a master token that expired, a policy, a fault). Sessions
//     that nobody could log out do not count: those whose login was answered with
//     a [Fault] or lost in [Server.Disconnect], and those whose log-out came with
//     an expired session token, for which gosnowflake does not renew.
//     [AllowOpenSessions] turns this off.
//   - No statement that changes data took lasting effect twice, with the same text and the
//     same bind values; see [Server.Doubles]. What was rolled back, or failed, does not
//     count; a statement whose handler knows that it only reads says so with ReadOnly in
//     its [Result]. [AllowRepeats] turns this off.
//   - No secret is in what was written to [Server.Log]: the password, a token
//     that a login brought, or any session or master token that was given out.
func (s *Server) Check() error { return errors.Join(s.check()...) }

func (s *Server) check() []error {
	var errs []error
	if open := s.sessionsLeft(); len(open) > 0 && !s.allowOpen {
		errs = append(errs, fmt.Errorf("snowtest: %d sessions were not closed: %v", len(open), open))
	}
	if !s.allowRepeats {
		for _, key := range s.Doubles() {
			errs = append(errs, fmt.Errorf("snowtest: took lasting effect more than once: %s (if the test means it: snowtest.AllowRepeats())", key))
		}
	}
	if n := s.secrets.in(s.log.String()); n > 0 {
		errs = append(errs, fmt.Errorf("snowtest: %d secrets stand in the log", n))
	}
	return errs
}

// sessionsLeft returns the sessions that the client left open; after Close,
// those that it had left open then.
func (s *Server) sessionsLeft() []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(time.Now())
	list := slices.Clone(s.leftOpen)
	if !s.isClosing {
		for id, ses := range s.open {
			if !ses.excused {
				list = append(list, id)
			}
		}
	}
	slices.Sort(list)
	return list
}

// secrets is what must not stand in a log.
type secrets struct {
	mu     sync.Mutex
	given  map[string]bool // tokens of the server's own, which givenToken matches
	others []string
}

var givenToken = regexp.MustCompile(`snowtest-(session|master|login)-[0-9a-f]+`)

func (s *secrets) add(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if givenToken.FindString(secret) == secret {
		if s.given == nil {
			s.given = map[string]bool{}
		}
		s.given[secret] = true
	} else if !slices.Contains(s.others, secret) {
		s.others = append(s.others, secret)
	}
}

// in counts the secrets that stand in text, as they are or escaped: for a URL, in Go's
// quotes, as slog's text handler does, or in JSON.
func (s *secrets) in(text string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := map[string]bool{}
	for _, t := range givenToken.FindAllString(text, -1) {
		if s.given[t] {
			found[t] = true
		}
	}
	for _, t := range s.others {
		quoted := strconv.Quote(t)
		inJSON, _ := json.Marshal(t) // strings always marshal
		for _, form := range []string{t, url.QueryEscape(t), url.PathEscape(t), quoted[1 : len(quoted)-1], string(inJSON[1 : len(inJSON)-1])} {
			if strings.Contains(text, form) {
				found[t] = true
			}
		}
	}
	return len(found)
}
