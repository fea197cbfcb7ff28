package verify_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/internal/verify"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is an account for the checks: the test server with a script that knows enough
// SQL for them, and with users that an administrator can make and spoil.

func TestMain(m *testing.M) {
	_ = gosnowflake.GetLogger().SetLogLevel("off") // it logs each error that it returns
	m.Run()
}

// A world is an account in memory, in virtual time.
type world struct {
	t   *testing.T
	ctx context.Context // of runs
	srv *snowtest.Server

	disturbed bool // the request that a test waited for has come

	handle func(pattern string, h snowtest.HandlerFunc) // of the script

	mu       sync.Mutex
	users    map[string]*user
	roles    map[string]string // role to the user that has it
	sessions map[int64]string  // to their users, in upper case
	last     map[int64]string  // query IDs, by session
	refused  []string          // users, one for each refused login

	// How it differs from what is believed.
	codes          map[string]string // of refused logins
	countDescribed bool
	keepDisabled   bool // sessions of users who were disabled
	endOnPassword  bool
	failing        string // the mark of a statement that fails at its end
}

type user struct {
	password, token   string
	key, blocked, off bool
}

const admin = "ADMIN"

// An engine tells the world whose session is whose.
type engine struct {
	*snowtest.Script
	w *world
}

func (e engine) OpenSession(ctx context.Context, info snowtest.SessionConfig) (snowtest.EngineSession, error) {
	e.w.mu.Lock()
	e.w.sessions[info.ID] = strings.ToUpper(info.User)
	e.w.mu.Unlock()
	s, err := e.Script.OpenSession(ctx, info)
	return &counted{s, e.w}, err
}

// counted remembers the last statement of a session.
type counted struct {
	snowtest.EngineSession
	w *world
}

func (c *counted) Run(ctx context.Context, st *snowtest.Statement) (*snowtest.Result, error) {
	res, err := c.EngineSession.Run(ctx, st)
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	if !st.DescribeOnly || c.w.countDescribed {
		c.w.last[st.SessionID] = st.QueryID
	}
	return res, err
}

// honest are the options of a server that behaves as is believed.
func honest() []snowtest.Option {
	return []snowtest.Option{
		snowtest.WithSessionParameter("AUTOCOMMIT", true),
		snowtest.WithDetachedTransactions(5 * time.Minute),
		snowtest.WithLatency(10 * time.Millisecond),
		snowtest.AllowRepeats(),
	}
}

func newWorld(t *testing.T, opts ...snowtest.Option) *world {
	w := &world{t: t, ctx: t.Context(), users: map[string]*user{}, roles: map[string]string{}, sessions: map[int64]string{}, last: map[int64]string{}, codes: map[string]string{}}
	script := new(snowtest.Script)
	w.srv = snowtest.New(t, append(opts, snowtest.InMemory(), snowtest.WithEngine(engine{script, w}), snowtest.WithLogins(w.check))...)
	w.users[strings.ToUpper(w.srv.User())] = &user{password: w.srv.Password()}
	w.users[admin] = &user{password: "admin's-Passw0rd"}
	w.handle = script.Handle
	w.script(script)
	return w
}

func (w *world) config() *gosnowflake.Config { return w.srv.Config() }

func (w *world) admin() *gosnowflake.Config {
	cfg := w.srv.Config()
	cfg.User, cfg.Password = admin, "admin's-Passw0rd"
	return cfg
}

// run asks the world, and wants a report.
func (w *world) run(o verify.Options) *verify.Report {
	w.t.Helper()
	o.Config = w.config()
	if o.Admin != nil {
		o.Admin = w.admin()
	}
	report, err := verify.Run(w.t.Context(), o)
	if err != nil {
		w.t.Fatal(err)
	}
	return report
}

// bubble runs fn in virtual time.
func bubble(t *testing.T, fn func(t *testing.T)) { synctest.Test(t, fn) }

// check decides about logins.
func (w *world) check(l snowtest.Login) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if l.Authenticator == "SNOWFLAKE_JWT" {
		l.User = issuer(l.Token)
	}
	u, code := w.users[strings.ToUpper(l.User)], ""
	switch {
	case l.Token != "" && u == nil || l.Authenticator == "PROGRAMMATIC_ACCESS_TOKEN" && u.token != l.Token:
		code = "394400"
	case u == nil:
		code = "390100"
	case u.off:
		code = "390102"
	case u.blocked:
		code = "390422"
	case l.Authenticator == "SNOWFLAKE_JWT" && !u.key:
		code = "390144"
	case l.Token == "" && u.password != l.Password:
		code = "390100"
	case strings.HasPrefix(l.Role, verify.Prefix) && w.roles[l.Role] != strings.ToUpper(l.User):
		code = "390189"
	}
	if code == "" {
		return nil
	}
	w.refused = append(w.refused, strings.ToUpper(l.User))
	if other := w.codes[code]; other != "" {
		code = other
	}
	return &snowtest.Error{Code: code, Message: "Incorrect username or password was specified for " + l.User + "."}
}

// issuer is the user in a key pair's token.
func issuer(jwt string) string {
	var claims struct {
		Issuer string `json:"iss"` // account.user.fingerprint
	}
	parts := append(strings.Split(jwt, "."), "", "")
	payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
	_ = json.Unmarshal(payload, &claims)
	return append(strings.Split(claims.Issuer, "."), "", "")[1]
}

var (
	marked   = regexp.MustCompile(`(?is)^SELECT COUNT\(\*\) FROM (\S+)(?: WHERE M = '(\w+)')?$`)
	lasting  = regexp.MustCompile(`(?i)TIMELIMIT => (\d+)`)
	userText = regexp.MustCompile(`(?i)^(CREATE|ALTER|DROP) USER (?:IF EXISTS )?(\w+) ?(.*)$`)
	grant    = regexp.MustCompile(`(?i)^(GRANT|REVOKE) ROLE (\w+) (?:TO|FROM) USER (\w+)$`)
	quoted   = regexp.MustCompile(`'([^']*)'`)
)

func (w *world) script(s *snowtest.Script) {
	s.Handle(`NOTHING_OF_THIS_NAME`, func(_ context.Context, st *snowtest.Statement) (*snowtest.Result, error) {
		return nil, &snowtest.Error{Code: "002003", SQLState: "42S02", Message: "SQL compilation error:\nObject '" + st.SQL[14:] + "' does not exist or not authorized."}
	})
	s.Handle(`^SELECT COUNT`, func(_ context.Context, st *snowtest.Statement) (*snowtest.Result, error) {
		m := marked.FindStringSubmatch(st.SQL)
		if m == nil {
			return nil, nil
		}
		return snowtest.Rows([]string{"COUNT(*)"}, []any{int64(w.count(m[1], m[2]))}), nil
	})
	s.Handle(`GENERATOR`, func(ctx context.Context, st *snowtest.Statement) (*snowtest.Result, error) {
		return nil, w.last20(ctx, st)
	})
	s.Handle(`LAST_QUERY_ID`, func(_ context.Context, st *snowtest.Statement) (*snowtest.Result, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		return snowtest.Rows([]string{"LAST_QUERY_ID()"}, []any{w.last[st.SessionID]}), nil
	})
	s.Handle(`^(CREATE|ALTER|DROP) USER`, w.onUser)
	s.Handle(`^(GRANT|REVOKE) ROLE`, func(_ context.Context, st *snowtest.Statement) (*snowtest.Result, error) {
		m := grant.FindStringSubmatch(st.SQL)
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.roles, m[2])
		if strings.EqualFold(m[1], "GRANT") {
			w.roles[m[2]] = m[3]
		}
		return nil, nil
	})
}

// last20 makes a statement last as long as it says.
func (w *world) last20(ctx context.Context, st *snowtest.Statement) error {
	m := lasting.FindStringSubmatch(st.SQL)
	seconds, _ := strconv.Atoi(m[1])
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Duration(seconds) * time.Second):
	}
	if w.failing != "" && strings.Contains(st.SQL, "'"+w.failing+"'") {
		return &snowtest.Error{Code: "000604", SQLState: "57014", Message: "SQL execution canceled"}
	}
	return nil
}

// count counts the rows of a table that last, by their mark, or all.
func (w *world) count(table, mark string) (n int) {
	for _, e := range w.srv.Ledger() {
		if !strings.HasPrefix(e.SQL, "INSERT INTO "+table+" ") || mark != "" && !strings.Contains(e.SQL, "'"+mark+"'") {
			continue
		}
		rows := 1
		if len(e.Binds) > 0 {
			rows = len(e.Binds[0].Array)
		}
		n += rows * e.Effects
	}
	return n
}

// onUser is what an administrator does to a user.
func (w *world) onUser(_ context.Context, st *snowtest.Statement) (*snowtest.Result, error) {
	m := userText.FindStringSubmatch(st.SQL)
	w.mu.Lock()
	what, name, how := strings.ToUpper(m[1]), m[2], m[3]
	if w.sessions[st.SessionID] != admin || !strings.HasPrefix(name, verify.Prefix) {
		w.mu.Unlock()
		return nil, &snowtest.Error{Code: "003001", SQLState: "42501", Message: "SQL access control error:\nInsufficient privileges"}
	}
	u := w.users[name]
	value := ""
	if q := quoted.FindStringSubmatch(how); q != nil {
		value = q[1]
	}
	end := false
	var res *snowtest.Result
	switch {
	case what == "CREATE":
		w.users[name] = &user{password: value}
	case what == "DROP":
		delete(w.users, name)
	case strings.HasPrefix(how, "SET PASSWORD"):
		u.password, end = value, w.endOnPassword
	case strings.HasPrefix(how, "SET NETWORK_POLICY"), strings.HasPrefix(how, "UNSET NETWORK_POLICY"):
		u.blocked = how[0] == 'S'
	case strings.HasPrefix(how, "SET RSA_PUBLIC_KEY"), strings.HasPrefix(how, "UNSET RSA_PUBLIC_KEY"):
		u.key = how[0] == 'S'
	case strings.HasPrefix(how, "SET DISABLED"):
		u.off, end = true, !w.keepDisabled
	case strings.HasPrefix(how, "ADD PROGRAMMATIC"):
		u.token = "pat-of-" + name
		res = snowtest.Rows([]string{"token_name", "token_secret"}, []any{name, u.token})
	case strings.HasPrefix(how, "REMOVE PROGRAMMATIC"):
		u.token = ""
	}
	w.mu.Unlock()
	if end {
		w.endSessionsOf(name)
	}
	return res, nil
}

func (w *world) endSessionsOf(name string) {
	w.mu.Lock()
	var ids []int64
	for id, of := range w.sessions {
		if of == name {
			ids = append(ids, id)
		}
	}
	w.mu.Unlock()
	w.srv.AbortSessions(ids...)
}

// always answers each request that matches with the same fault.
func (w *world) always(fault snowtest.Fault, matches func(*snowtest.Request) bool) {
	w.srv.FaultAlways(func(req *snowtest.Request) (snowtest.Fault, bool) {
		return fault, matches(req)
	})
}

func kind(k snowtest.RequestKind) func(*snowtest.Request) bool {
	return func(req *snowtest.Request) bool { return req.Kind == k }
}

func text(pattern string) func(*snowtest.Request) bool {
	re := regexp.MustCompile(pattern)
	return func(req *snowtest.Request) bool {
		return req.Kind == snowtest.RequestQuery && re.MatchString(req.SQL)
	}
}

// saying is the body of a success with one row, or with none.
func saying(values ...string) snowtest.Fault {
	cells, rows := make([]string, len(values)), ""
	for i, v := range values {
		cells[i] = strconv.Quote(v)
	}
	if len(cells) > 0 {
		rows = "[" + strings.Join(cells, ",") + "]"
	}
	return snowtest.Fault{Body: fmt.Sprintf(
		`{"success":true,"data":{"queryId":"01bd0000-0000-0000-0000-000000000000","rowtype":[{"name":"X"}],"rowset":[%s]}}`, rows)}
}

func status(word string) snowtest.Fault {
	return snowtest.Fault{Body: `{"success":true,"data":{"queries":[{"status":"` + word + `"}]}}`}
}
