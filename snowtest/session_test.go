package snowtest_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"database/sql"
	"errors"
	"net/http"
	"runtime"
	"sync"
	"testing"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/snowtest"
)

func TestWrongPasswordIsRefused(t *testing.T) {
	srv := snowtest.New(t)
	db := open(t, srv, func(c *gosnowflake.Config) { c.Password = "wrong" })
	wantCode(t, db.PingContext(t.Context()), 390100)
	db = open(t, srv, func(c *gosnowflake.Config) { c.User = "nobody" })
	wantCode(t, db.PingContext(t.Context()), 390100)
	if st := srv.Stats(); st.LoginFailures != 2 || st.Logins != 0 || len(srv.Sessions()) != 0 {
		t.Errorf("stats %+v", st)
	}
}

// What a wrong password does to a pool: each statement of each goroutine is one
// more failed login, and the user is locked out.
func TestEachStatementOfAPoolWithAWrongPasswordIsAFailedLogin(t *testing.T) {
	srv := snowtest.New(t)
	db := open(t, srv, func(c *gosnowflake.Config) { c.Password = "wrong" })
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			for range 2 {
				_ = db.PingContext(t.Context())
			}
		})
	}
	wg.Wait()
	if n := srv.Stats().LoginFailures; n != 20 {
		t.Errorf("%d failed logins", n)
	}
}

func TestTokenLogin(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	custom := &snowtest.Error{Code: "390318", Message: "OAuth access token expired."}
	tests := []struct {
		name  string
		opts  []snowtest.Option
		auth  gosnowflake.AuthType
		token string // "" stands for the server's own
		want  int
	}{
		{"OAuth", nil, gosnowflake.AuthTypeOAuth, "", 0},
		{"OAuth, another token", nil, gosnowflake.AuthTypeOAuth, "other", 390303},
		{"PAT", nil, gosnowflake.AuthTypePat, "", 0},
		{"PAT, another token", nil, gosnowflake.AuthTypePat, "other", 394400},
		{"key pair", nil, gosnowflake.AuthTypeJwt, "", 0},
		{"accepted by the check", []snowtest.Option{snowtest.WithToken(func(string) error { return nil })}, gosnowflake.AuthTypeOAuth, "other", 0},
		{"refused with a code", []snowtest.Option{snowtest.WithToken(func(string) error { return custom })}, gosnowflake.AuthTypeOAuth, "", 390318},
		{"refused without a code", []snowtest.Option{snowtest.WithToken(func(string) error { return errors.New("no") })}, gosnowflake.AuthTypeOAuth, "", 390303},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			srv := snowtest.New(t, test.opts...)
			db := open(t, srv, func(c *gosnowflake.Config) {
				c.Authenticator, c.Password, c.Token = test.auth, "", test.token
				if c.Token == "" {
					c.Token = srv.Token()
				}
				if test.auth == gosnowflake.AuthTypeJwt {
					c.Token, c.PrivateKey = "", key
				}
			})
			wantCode(t, db.PingContext(t.Context()), test.want)
		})
	}
}

func TestLoginTellsTheSessionsDefaults(t *testing.T) {
	infos := make(chan snowtest.SessionConfig, 1)
	srv := snowtest.New(t, snowtest.WithEngine(openHook{new(snowtest.Script), infos}),
		snowtest.WithDatabase("d", "s"), snowtest.WithWarehouse("w"), snowtest.WithRole("r"))
	value := "tag"
	db := open(t, srv, func(c *gosnowflake.Config) {
		c.Database, c.Schema, c.Warehouse, c.Role = "D", "S", "W", "R"
		c.Params = map[string]*string{"query_tag": &value}
	})
	column(t, t.Context(), db, "SELECT 1")
	got := <-infos
	if got.User != srv.User() || got.Database != "D" || got.Schema != "S" || got.Warehouse != "W" || got.Role != "R" ||
		got.Parameters["QUERY_TAG"] != "tag" || got.ID != srv.Sessions()[0].ID {
		t.Errorf("got %+v", got)
	}
}

func TestLoginAnswersWithTheSessionsParameters(t *testing.T) {
	srv := snowtest.New(t, snowtest.AllowOpenSessions(),
		snowtest.WithSessionParameter("query_tag", "server's"), snowtest.WithSessionParameter("CLIENT_TELEMETRY_ENABLED", true))
	got := request(t, srv, http.MethodPost, "/session/v1/login-request", "", map[string]any{"data": map[string]any{
		"LOGIN_NAME": srv.User(), "PASSWORD": srv.Password(),
		"SESSION_PARAMETERS": map[string]any{"QUERY_TAG": "client's"},
	}})
	params := map[string]any{}
	list, _ := got.Data["parameters"].([]any)
	for _, p := range list {
		params[p.(map[string]any)["name"].(string)] = p.(map[string]any)["value"]
	}
	if params["QUERY_TAG"] != "client's" || params["CLIENT_TELEMETRY_ENABLED"] != true || params["TIMEZONE"] != "UTC" {
		t.Errorf("parameters %v", params)
	}
	if got.Data["validityInSeconds"] != 3600.0 || got.Data["masterValidityInSeconds"] != 14400.0 {
		t.Errorf("the tokens are good for %v s and %v s", got.Data["validityInSeconds"], got.Data["masterValidityInSeconds"])
	}
}

type openHook struct {
	snowtest.Engine
	infos chan snowtest.SessionConfig
}

func (h openHook) OpenSession(ctx context.Context, info snowtest.SessionConfig) (snowtest.EngineSession, error) {
	h.infos <- info
	return h.Engine.OpenSession(ctx, info)
}

func TestEngineThatRefusesASessionFailsTheLogin(t *testing.T) {
	srv := snowtest.New(t, snowtest.WithEngine(refusing{new(snowtest.Script)}))
	wantCode(t, open(t, srv).PingContext(t.Context()), 390422)
}

type refusing struct{ snowtest.Engine }

func (refusing) OpenSession(context.Context, snowtest.SessionConfig) (snowtest.EngineSession, error) {
	return nil, &snowtest.Error{Code: "390422", Message: "Incoming request is not allowed to access Snowflake."}
}

func TestLogoutEndsTheSession(t *testing.T) {
	srv := snowtest.New(t)
	db := open(t, srv)
	tokens := &accessor{}
	db2 := open(t, srv, func(c *gosnowflake.Config) { c.TokenAccessor = tokens })
	column(t, t.Context(), db, "SELECT 1")
	column(t, t.Context(), db2, "SELECT 1")
	_ = db.Close()
	if open := srv.Sessions(); len(open) != 1 || open[0].ID != tokens.id {
		t.Fatalf("open sessions: %+v", open)
	}
	_ = db2.Close()
	if st := srv.Stats(); st.Logouts != 2 || st.SessionsEnded != 2 {
		t.Errorf("stats %+v", st)
	}
	for _, token := range []string{tokens.session, "made-up"} {
		if got := request(t, srv, http.MethodPost, "/session?delete=true", token, nil); got.Success || got.Code != "390111" {
			t.Errorf("a second log-out got %+v", got)
		}
	}
}

func TestExpiredSessionTokenIsRenewed(t *testing.T) {
	srv := snowtest.New(t)
	db := open(t, srv)
	c := conn(t, db)
	for i := 1; i <= 3; i++ {
		srv.ExpireSessionTokens()
		exec(t, c, "INSERT INTO t VALUES (?)", i)
		if st := srv.Stats(); st.Renewals != i || srv.Sessions()[0].Renewals != i {
			t.Errorf("after %d expiries: %+v", i, st)
		}
	}
	if n := srv.Accepted("INSERT INTO t VALUES (?)"); n != 3 {
		t.Errorf("accepted %d statements", n)
	}
}

func TestRenewalReplacesTheSessionToken(t *testing.T) {
	srv := snowtest.New(t)
	tokens := &accessor{}
	db := open(t, srv, func(c *gosnowflake.Config) { c.TokenAccessor = tokens })
	column(t, t.Context(), db, "SELECT 1")
	old, oldMaster, id := tokens.GetTokens()

	got := request(t, srv, http.MethodPost, "/session/token-request", oldMaster, map[string]string{"oldSessionToken": old, "requestType": "RENEW"})
	fresh, _ := got.Data["sessionToken"].(string)
	master, _ := got.Data["masterToken"].(string)
	if !got.Success || fresh == "" || fresh == old || master == "" || master == oldMaster || got.Data["sessionId"] != float64(id) {
		t.Fatalf("renewal: %+v", got)
	}
	heartbeat := func(token string) answer { return request(t, srv, http.MethodPost, "/session/heartbeat", token, nil) }
	if got := heartbeat(old); got.Code != "390112" {
		t.Errorf("the old token got %+v", got)
	}
	if got := heartbeat(fresh); !got.Success {
		t.Errorf("the new token got %+v", got)
	}
	// The reply that carried the new master token may have been lost.
	if got := request(t, srv, http.MethodPost, "/session/token-request", oldMaster, nil); !got.Success {
		t.Errorf("the old master token got %+v", got)
	}
}

func TestTokensAreGoodForTheirOwnPurposeOnly(t *testing.T) {
	srv := snowtest.New(t)
	tokens := &accessor{}
	db := open(t, srv, func(c *gosnowflake.Config) { c.TokenAccessor = tokens })
	column(t, t.Context(), db, "SELECT 1")
	session, master, _ := tokens.GetTokens()
	for _, test := range []struct {
		path, token, want string
		status            int
	}{
		{"/session/heartbeat", master, "390104", 401},
		{"/session/heartbeat", "made-up", "390104", 401},
		{"/session/heartbeat", "", "390104", 401},
		{"/session/token-request", session, "390111", 200},
		{"/session/token-request", "made-up", "390111", 200},
	} {
		if got := request(t, srv, http.MethodPost, test.path, test.token, nil); got.Success || got.Code != test.want || got.status != test.status {
			t.Errorf("%s with token %.16s…: %+v, want %s", test.path, test.token, got, test.want)
		}
	}
}

// Expiry of session tokens is the one fault that gosnowflake hides.
func TestRollingExpiryOfSessionTokensIsInvisible(t *testing.T) {
	srv := snowtest.New(t, snowtest.WithInlineWait(0))
	srv.FaultOnce(func(req *snowtest.Request) (snowtest.Fault, bool) {
		if req.N%7 == 0 && (req.Kind == snowtest.RequestQuery || req.Kind == snowtest.RequestResult) {
			srv.ExpireSessionTokens()
		}
		return snowtest.Fault{}, false
	})
	db := open(t, srv)
	db.SetMaxIdleConns(8)
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 25 {
				if _, err := db.ExecContext(t.Context(), "INSERT INTO t VALUES (?, ?)", worker, i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := srv.Effects("INSERT INTO t VALUES (?, ?)"); n != 8*25 || len(srv.Doubles()) > 0 || srv.Stats().Renewals == 0 {
		t.Errorf("%d effects, doubles %v, %d renewals", n, srv.Doubles(), srv.Stats().Renewals)
	}
}

// The fault that a pool of plain gosnowflake never gets over: database/sql does
// not learn that the connections are dead.
func TestExpiredMasterTokensLeaveAPoolDeadForEver(t *testing.T) {
	srv := snowtest.New(t)
	db := open(t, srv)
	db.SetMaxOpenConns(4)
	db.SetMaxIdleConns(4)
	var conns []*sql.Conn
	for range 4 {
		conns = append(conns, conn(t, db))
	}
	for _, c := range conns {
		_ = c.Close()
	}
	srv.ExpireMasterTokens()
	for range 40 {
		_, err := db.ExecContext(t.Context(), "INSERT INTO t VALUES (1)")
		wantCode(t, err, 390114)
	}
	if n := srv.Accepted("INSERT INTO t VALUES (1)"); n != 0 {
		t.Errorf("%d statements were accepted", n)
	}
	if st := srv.Stats(); st.Logins != 4 || st.SessionsEnded != 4 {
		t.Errorf("stats %+v", st)
	}
}

func TestAbortedSessionIsGone(t *testing.T) {
	srv := snowtest.New(t)
	db := open(t, srv)
	one, two := conn(t, db), conn(t, db)
	srv.AbortSessions(srv.Sessions()[0].ID)
	_, err := one.ExecContext(t.Context(), "SELECT 1")
	wantCode(t, err, 390111)
	exec(t, two, "SELECT 1")
}

func TestEndedSessionsAreRefusedAsAsked(t *testing.T) {
	for _, test := range []struct {
		name string
		end  snowtest.Refusal
		want int
	}{
		{"the zero value", snowtest.Refusal{}, 390111},
		{"code 390104, which comes with HTTP 401", snowtest.Refusal{Code: "390104"}, gosnowflake.ErrFailedToPostQuery},
		{"code 390114 at once", snowtest.Refusal{Code: "390114"}, 390114},
		{"HTTP status", snowtest.Refusal{Status: http.StatusUnauthorized}, gosnowflake.ErrFailedToPostQuery},
		{"refused renewal", snowtest.Refusal{Renewal: "390114"}, 390114},
		{"renewal refused with another code", snowtest.Refusal{Renewal: "390111"}, 390111},
	} {
		t.Run(test.name, func(t *testing.T) {
			srv := snowtest.New(t)
			c := conn(t, open(t, srv))
			srv.EndSessions(test.end)
			for range 2 {
				_, err := c.ExecContext(t.Context(), "SELECT 1")
				wantCode(t, err, test.want)
			}
			if n := len(srv.Ledger()); n != 0 {
				t.Errorf("%d statements were accepted", n)
			}
		})
	}
}

func TestUnknownSessionIDsAreIgnored(t *testing.T) {
	srv := snowtest.New(t)
	c := conn(t, open(t, srv))
	srv.AbortSessions(4711)
	srv.ExpireSessionTokens(4711)
	exec(t, c, "SELECT 1")
	if n := srv.Stats().Renewals; n != 0 {
		t.Errorf("%d renewals", n)
	}
}

// The row of the fault table that costs data: the statement is accepted, the
// session dies while the client polls, and the client is told that it failed.
func TestRunningStatementOutlivesItsSession(t *testing.T) {
	srv := snowtest.New(t, snowtest.WithInlineWait(0))
	b := block(srv, "INSERT")
	db := open(t, srv)
	ids := make(chan string, 1)
	failed := make(chan error)
	c := conn(t, db)
	go func() {
		ctx := gosnowflake.WithQueryIDChan(t.Context(), ids)
		_, err := c.ExecContext(ctx, "INSERT INTO t VALUES (1)")
		failed <- err
	}()
	<-b.began
	id := <-ids
	srv.AbortSessions()
	wantCode(t, <-failed, 390111)

	other := conn(t, db)
	wantCode(t, status(t, other, id), gosnowflake.ErrQueryIsRunning)
	close(b.release)
	if got := column(t, gosnowflake.WithFetchResultByID(t.Context(), id), other, ""); len(got) > 1 || len(got) == 1 && got[0] != "1" {
		t.Errorf("the result is %q", got)
	}
	waitFor(func() bool { return status(t, other, id) == nil })
	if got := column(t, gosnowflake.WithFetchResultByID(t.Context(), id), other, ""); len(got) != 1 || got[0] != "1" {
		t.Errorf("the result is %q", got)
	}
	if n := srv.Effects("INSERT INTO t VALUES (1)"); n != 1 {
		t.Errorf("the statement took effect %d times", n)
	}
}

func TestResultsBelongToTheirUser(t *testing.T) {
	srv := snowtest.New(t, snowtest.WithToken(func(string) error { return nil }))
	b := block(srv, "INSERT")
	one := conn(t, open(t, srv))
	done := make(chan error)
	go func() { _, err := one.ExecContext(t.Context(), "INSERT INTO t VALUES (1)"); done <- err }()
	<-b.began
	id := srv.Ledger()[0].QueryID
	tokens := &accessor{}
	stranger := conn(t, open(t, srv, func(c *gosnowflake.Config) {
		c.Authenticator, c.User, c.Password, c.Token = gosnowflake.AuthTypeOAuth, "stranger", "", "x"
		c.TokenAccessor = tokens
	}))
	wantCode(t, status(t, stranger, id), gosnowflake.ErrQueryStatus)
	if got := request(t, srv, http.MethodGet, "/queries/"+id+"/result", tokens.session, nil); got.Success || got.Code != "000612" {
		t.Errorf("a stranger got %+v", got)
	}
	exec(t, stranger, "SELECT SYSTEM$CANCEL_QUERY('"+id+"')")
	close(b.release)
	if err := <-done; err != nil {
		t.Errorf("a stranger could cancel: %v", err)
	}
	wantCode(t, status(t, one, "no-such-id"), gosnowflake.ErrQueryStatus)
	if err := status(t, one, id); err != nil {
		t.Error(err)
	}
}

// status asks for the status of a statement.
func status(t *testing.T, c *sql.Conn, id string) error {
	t.Helper()
	return c.Raw(func(dc any) error {
		_, err := dc.(gosnowflake.SnowflakeConnection).GetQueryStatus(t.Context(), id)
		return err
	})
}

// waitFor asks again until the condition holds. If it never does, go test ends
// the test by its -timeout.
func waitFor(cond func() bool) {
	for !cond() {
		runtime.Gosched()
	}
}

// A log-out cancels what runs in its session; a client that vanishes does not.
func TestLogOutCancelsWhatRuns(t *testing.T) {
	for _, logsOut := range []bool{true, false} {
		srv := snowtest.New(t, snowtest.AllowOpenSessions())
		release := make(chan struct{})
		srv.Handle("^INSERT", func(ctx context.Context, _ *snowtest.Statement) (*snowtest.Result, error) {
			select {
			case <-release:
				return nil, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
		tokens := &accessor{}
		db := open(t, srv, func(c *gosnowflake.Config) { c.TokenAccessor = tokens })
		exec(t, db, "SELECT 1")
		session, _, _ := tokens.GetTokens()
		res, err := db.ExecContext(gosnowflake.WithAsyncMode(t.Context()), "INSERT INTO t VALUES (1)")
		if err != nil {
			t.Fatal(err)
		}
		if logsOut {
			request(t, srv, http.MethodPost, "/session?delete=true", session, nil)
		}
		close(release)
		_, _ = res.RowsAffected() // waits for its end, or for a refusal
		want := 1
		if logsOut {
			want = 0
		}
		if n := srv.Effects("INSERT INTO t VALUES (1)"); n != want {
			t.Errorf("logged out %v: it took effect %d times, want %d", logsOut, n, want)
		}
	}
}
