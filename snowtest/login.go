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
		Token         string         `json:"TOKEN"`
		Parameters    map[string]any `json:"SESSION_PARAMETERS"`
	} `json:"data"`
}

func (s *Server) countLogin(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logins += n
	s.stats.MaxConcurrentLogins = max(s.stats.MaxConcurrentLogins, s.logins)
}

// logIn answers POST /session/v1/login-request.
func (s *Server) logIn(in *incoming) *reply {
	if err := s.authenticate(in.login); err != nil {
		return s.loginFailed(err)
	}
	r, now := in.HTTP, time.Now()
	params := maps.Clone(s.parameters)
	text := map[string]string{}
	for name, value := range in.login.Data.Parameters {
		params[upper(name)] = value
		text[upper(name)] = fmt.Sprint(value)
	}
	if err := checkParameters(params); err != nil {
		return s.loginFailed(asError(err))
	}
	ask := r.URL.Query().Get
	ses := &session{
		user:     cmp.Or(in.login.Data.LoginName, s.user),
		role:     cmp.Or(ask("roleName"), role),
		database: ask("databaseName"),
		schema:   ask("schemaName"),
		wh:       cmp.Or(ask("warehouse"), warehouse),
		params:   params,
		requests: map[string][]*query{},
		tail:     make(chan struct{}),
	}
	close(ses.tail)
	s.mu.Lock()
	s.lastSession++
	ses.id = s.lastSession
	s.mu.Unlock()

	engine, err := s.engine.OpenSession(s.base, SessionInfo{
		ID: ses.id, User: ses.user, Role: ses.role, Database: ses.database,
		Schema: ses.schema, Warehouse: ses.wh, Parameters: text,
	})
	if err != nil {
		return s.loginFailed(asError(err))
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
		"sessionId":               ses.id,
		"parameters":              parameterList(ses.params),
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

func (s *Server) authenticate(login *loginRequest) *Error {
	d := &login.Data
	if d.Token != "" {
		s.secrets.add(d.Token)
	}
	byToken := d.Token != "" && d.Password == ""
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
	case byToken:
		return &Error{Code: "390303", Message: "Invalid OAuth access token."}
	case strings.EqualFold(d.LoginName, s.user) && d.Password == s.password:
		return nil
	}
	return &Error{Code: "390100", Message: "Incorrect username or password was specified."}
}

func (s *Server) loginFailed(err *Error) *reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.LoginFailures++
	return failure(err, "")
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
