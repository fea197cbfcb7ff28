package snowtest

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

type loginRequest struct {
	Data struct {
		LoginName     string         `json:"LOGIN_NAME"`
		Password      string         `json:"PASSWORD"`
		Authenticator string         `json:"AUTHENTICATOR"`
		ClientAppID   string         `json:"CLIENT_APP_ID"`
		Token         string         `json:"TOKEN"`
		Parameters    map[string]any `json:"SESSION_PARAMETERS"`
	} `json:"data"`
}

func (s *Server) loginEnds() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logins--
}

// logIn answers POST /session/v1/login-request.
func (s *Server) logIn(in *incoming) *reply {
	r, now := in.HTTP, time.Now()
	if err := s.authenticate(in.login, r.URL.Query().Get("roleName")); err != nil {
		return s.loginFailed(in.login, err)
	}
	params := maps.Clone(s.parameters)
	text := map[string]string{}
	for name, value := range in.login.Data.Parameters {
		params[upper(name)] = value
		text[upper(name)] = fmt.Sprint(value)
	}
	if err := checkParameters(params); err != nil {
		return s.loginFailed(in.login, asError(err))
	}
	ask := r.URL.Query().Get
	ses := &session{
		user:     cmp.Or(in.login.Data.LoginName, s.user),
		role:     cmp.Or(ask("roleName"), role),
		database: ask("databaseName"),
		schema:   ask("schemaName"),
		wh:       cmp.Or(ask("warehouse"), warehouse),
		params:   params,
		client:   in.login.Data.ClientAppID,
		requests: map[string][]*query{},
		tail:     make(chan struct{}),
	}
	close(ses.tail)
	if err := s.admit(ses); err != nil {
		return s.loginFailed(in.login, err)
	}
	s.mu.Lock()
	s.lastSession++
	ses.id = s.lastSession
	s.mu.Unlock()

	engine, err := s.engine.OpenSession(s.base, SessionConfig{
		ID: ses.id, User: ses.user, Role: ses.role, Database: ses.database,
		Schema: ses.schema, Warehouse: ses.wh, Parameters: text,
	})
	if err != nil {
		return s.loginFailed(in.login, asError(err))
	}
	ses.engine, ses.opened, ses.lastUsed = engine, now, now

	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[ses.id] = ses
	ses.unanswered, ses.excused = true, in.lost || s.conns.cut.Load()
	s.stats.Logins++
	sessionToken, masterToken := s.issue(ses, now)
	rep := success(map[string]any{
		"token":                   sessionToken,
		"validityInSeconds":       int64(s.sessionLife / time.Second),
		"masterToken":             masterToken,
		"masterValidityInSeconds": int64(s.masterLife / time.Second),
		"displayUserName":         ses.user,
		"serverVersion":           "9.0.0",
		"firstLogin":              false,
		"healthCheckInterval":     45,
		"newClientForUpgrade":     nil,
		"responseData":            nil,
		"idToken":                 nil, "idTokenValidityInSeconds": 0,
		"mfaToken": nil, "mfaTokenValidityInSeconds": 0,
		"remMeToken": nil, "remMeValidityInSeconds": 0,
		"sessionId":  ses.id,
		"parameters": parameterList(ses.params),
		"sessionInfo": map[string]string{
			"databaseName":  ses.database,
			"schemaName":    ses.schema,
			"warehouseName": ses.wh,
			"roleName":      ses.role,
		},
	})
	rep.session = ses
	return rep
}

// answered comes after the reply to a login: from here on, Disconnect does not keep
// the client from the tokens that it needs to log out.
func (s *Server) answered(ses *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ses.unanswered = false
}

func (s *Server) authenticate(login *loginRequest, role string) *Error {
	d := &login.Data
	if d.Token != "" {
		s.secrets.add(d.Token)
	}
	if s.isDisabled() {
		return &Error{Code: codeUserDisabled, Message: "User access disabled. Contact your local system administrator."}
	}
	byToken := d.Token != "" && d.Password == ""
	if s.checkLogin != nil {
		return s.judge(login, role)
	}
	switch {
	case byToken && s.checkToken != nil:
		err := s.checkToken(d.Token)
		var e *Error
		if err == nil || errors.As(err, &e) {
			return e
		}
		return &Error{Code: "390303", Message: err.Error()}
	case byToken && d.Authenticator == "SNOWFLAKE_JWT":
		return nil
	case byToken && d.Token == s.token:
		return nil
	case byToken && d.Authenticator == "PROGRAMMATIC_ACCESS_TOKEN":
		return &Error{Code: "394400", Message: "Programmatic access token is invalid."}
	case byToken:
		return &Error{Code: "390303", Message: "Invalid OAuth access token."}
	case strings.EqualFold(d.LoginName, s.user) && d.Password == s.password:
		return nil
	}
	return &Error{Code: "390100", Message: "Incorrect username or password was specified."}
}

// loginFailed refuses a login as an account does: without an SQLState.
func (s *Server) loginFailed(login *loginRequest, err *Error) *reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.LoginFailures++
	return refuseWith(err.Code, err.Message, map[string]any{
		"nextAction":    "RETRY_LOGIN",
		"authnMethod":   authnMethod(login.Data.Authenticator),
		"signInOptions": map[string]any{},
	})
}

// authnMethod names an authenticator as refusals do. Known from recordings are those of
// passwords and of programmatic access tokens.
func authnMethod(authenticator string) string {
	switch upper(authenticator) {
	case "", "SNOWFLAKE":
		return "USERNAME_PASSWORD"
	case "PROGRAMMATIC_ACCESS_TOKEN":
		return "PAT"
	case "SNOWFLAKE_JWT":
		return "KEYPAIR"
	}
	return upper(authenticator)
}

type parameter struct {
	Name  string `json:"name"`
	Value any    `json:"value"`
}

func parameterList(params map[string]any) []parameter {
	list := make([]parameter, 0, len(params))
	for _, name := range slices.Sorted(maps.Keys(params)) {
		list = append(list, parameter{name, params[name]})
	}
	return list
}

func upper(s string) string { return strings.ToUpper(s) }
