package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/snowtether/snowtether/snowtest"
)

// This file is the control interface: what happens to real sessions, over HTTP.

const help = `GET  /ledger    what was accepted, with how it ended and whether it lasts, as JSON
GET  /sessions  the open sessions, as JSON
GET  /stats     counts of logins, renewals, statements and requests, as JSON
POST /expire    all tokens expire; ?tokens=session lets only those expire that can be renewed
POST /abort     all sessions end, as an administrator ends them
POST /lose      the next statement runs, and its reply is lost; ?ran=false: the statement is lost;
                ?abort=true: the sessions end with it
POST /outage    the network is cut, until /restore; ?for=5s: for 5 seconds
POST /restore   the network is there again
POST /advance   the server's clock goes forward by ?by=5h
`

// control is the interface to one server.
type control struct {
	srv *snowtest.Server
	*http.ServeMux

	mu     sync.Mutex
	outage *time.Timer // ends the outage that is under way, if it was given an end
}

func newControl(srv *snowtest.Server) *control {
	c := &control{srv: srv, ServeMux: http.NewServeMux()}
	c.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, help) })
	c.HandleFunc("GET /ledger", func(w http.ResponseWriter, _ *http.Request) { show(w, ledger(srv.Ledger())) })
	c.HandleFunc("GET /sessions", func(w http.ResponseWriter, _ *http.Request) { show(w, append([]snowtest.Session{}, srv.Sessions()...)) })
	c.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) { show(w, stats(srv.Stats())) })
	for path, do := range map[string]struct {
		params []string
		act    func(*http.Request) (says string, err error)
	}{
		"/expire":  {[]string{"tokens"}, c.expire},
		"/abort":   {nil, c.abort},
		"/lose":    {[]string{"ran", "abort"}, c.lose},
		"/outage":  {[]string{"for"}, c.cut},
		"/restore": {nil, c.restore},
		"/advance": {[]string{"by"}, c.advance},
	} {
		c.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			says, err := "", known(r, do.params)
			if err == nil {
				says, err = do.act(r)
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			fmt.Fprintln(w, says)
		})
	}
	return c
}

// known says which parameter of a request is none.
func known(r *http.Request, params []string) error {
	for name := range r.URL.Query() {
		if !slices.Contains(params, name) {
			if len(params) == 0 {
				return fmt.Errorf("%s has no parameters", r.URL.Path)
			}
			return fmt.Errorf("%s has no parameter %q; it has %s", r.URL.Path, name, strings.Join(params, " and "))
		}
	}
	return nil
}

func (c *control) expire(r *http.Request) (string, error) {
	n := len(c.srv.Sessions())
	switch r.FormValue("tokens") {
	case "", "master":
		c.srv.ExpireMasterTokens()
		return fmt.Sprintf("%d sessions have no token any more that is good", n), nil
	case "session":
		c.srv.ExpireSessionTokens()
		return fmt.Sprintf("%d sessions have to renew their token", n), nil
	}
	return "", fmt.Errorf("tokens must be session or master")
}

func (c *control) abort(*http.Request) (string, error) {
	n := len(c.srv.Sessions())
	c.srv.AbortSessions()
	return fmt.Sprintf("%d sessions were ended", n), nil
}

func (c *control) lose(r *http.Request) (string, error) {
	ran, err := boolean(r, "ran", true)
	if err != nil {
		return "", err
	}
	abort, err := boolean(r, "abort", false)
	if err != nil {
		return "", err
	}
	fault := snowtest.Fault{Run: ran, Drop: true}
	if abort {
		fault.After = func() { c.srv.AbortSessions() }
	}
	c.srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
		if r.Kind != snowtest.RequestQuery {
			return snowtest.Fault{}, false
		}
		if abort && !ran {
			c.srv.AbortSessions() // After comes only behind what was carried out
		}
		return fault, true
	})
	if ran {
		return "the next statement's reply will be lost", nil
	}
	return "the next statement will be lost", nil
}

func (c *control) cut(r *http.Request) (string, error) {
	var d time.Duration
	if text := r.FormValue("for"); text != "" {
		var err error
		if d, err = time.ParseDuration(text); err != nil || d <= 0 {
			return "", fmt.Errorf("for must be a duration such as 5s or 2m")
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end()
	c.srv.Disconnect()
	if d == 0 {
		return "the network is cut, until /restore", nil
	}
	var over *time.Timer
	over = time.AfterFunc(d, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.outage == over { // and not another, that began since
			c.srv.Reconnect()
		}
	})
	c.outage = over
	return fmt.Sprintf("the network is cut, for %v", d), nil
}

func (c *control) restore(*http.Request) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end()
	c.srv.Reconnect()
	return "the network is there", nil
}

// end forgets when the outage under way was to end. It is called with the lock held.
func (c *control) end() {
	if c.outage != nil {
		c.outage.Stop()
		c.outage = nil
	}
}

// stop leaves nothing behind that touches the server.
func (c *control) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end()
}

func (c *control) advance(r *http.Request) (string, error) {
	d, err := time.ParseDuration(r.FormValue("by"))
	if err != nil || d <= 0 {
		return "", fmt.Errorf("by must be a duration such as 90m or 5h")
	}
	c.srv.Advance(d)
	return fmt.Sprintf("the server's clock went forward by %v", d), nil
}

func boolean(r *http.Request, name string, otherwise bool) (bool, error) {
	text := r.FormValue(name)
	if text == "" {
		return otherwise, nil
	}
	b, err := strconv.ParseBool(text)
	if err != nil {
		return false, fmt.Errorf("%s must be true or false", name)
	}
	return b, nil
}

func show(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	_ = out.Encode(v) // the client may have gone
}

// entry is a statement that was accepted.
type entry struct {
	QueryID   string    `json:"queryId"`
	RequestID string    `json:"requestId,omitempty"`
	Session   int64     `json:"session"`
	SQL       string    `json:"sql"`
	Binds     []any     `json:"binds,omitempty"`
	State     string    `json:"state"` // running, succeeded, failed or aborted
	InTx      bool      `json:"inTransaction,omitempty"`
	Effects   int       `json:"effects"` // 1 if it was carried out and was not rolled back
	Error     string    `json:"error,omitempty"`
	Accepted  time.Time `json:"accepted"`
	Parent    string    `json:"parent,omitempty"` // the query ID of the request of several statements that it is part of
}

func ledger(all []snowtest.Entry) []entry {
	list := make([]entry, len(all))
	for i, e := range all {
		list[i] = entry{
			QueryID: e.QueryID, RequestID: e.RequestID, Session: e.SessionID, SQL: e.SQL, State: e.State.String(),
			InTx: e.InTx, Effects: e.Effects, Accepted: e.Accepted, Parent: e.Parent,
		}
		for _, b := range e.Binds {
			if b.Array != nil {
				list[i].Binds = append(list[i].Binds, b.Array)
			} else {
				list[i].Binds = append(list[i].Binds, b.Value)
			}
		}
		if e.Err != nil {
			list[i].Error = e.Err.Error()
		}
	}
	return list
}

// stats has the kinds of requests by their names.
func stats(s snowtest.Stats) map[string]any {
	requests := map[string]int{}
	for kind, n := range s.Requests {
		requests[kind.String()] = n
	}
	return map[string]any{
		"logins": s.Logins, "loginFailures": s.LoginFailures, "maxConcurrentLogins": s.MaxConcurrentLogins, "renewals": s.Renewals,
		"heartbeats": s.Heartbeats, "logouts": s.Logouts, "sessionsEnded": s.SessionsEnded, "statements": s.Statements,
		"repeats": s.Repeats, "requests": requests,
	}
}
