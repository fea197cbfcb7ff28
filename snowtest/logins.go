package snowtest

import "errors"

// This file lets a test decide which logins are good, for more users than one.

// A Login is what a login brings, as far as it decides whether it is let in.
type Login struct {
	User          string
	Password      string
	Token         string // of OAuth, programmatic access tokens and key pairs
	Authenticator string // "" or SNOWFLAKE for a password
	Role          string // "" for the default
}

// WithLogins sets the check of all logins, in place of those of the one user and of the role:
// so a server has many users. A nil error lets the login in. An [*Error] reaches the client as it stands, any
// other error as code 390100. Logins that come at the same time are checked at the same time.
func WithLogins(check func(Login) error) Option {
	return func(o *options) { o.checkLogin = check }
}

// judge asks the test.
func (s *Server) judge(login *loginRequest, role string) *Error {
	d := &login.Data
	if d.Password != "" {
		s.secrets.add(d.Password)
	}
	err := s.checkLogin(Login{User: d.LoginName, Password: d.Password, Token: d.Token, Authenticator: d.Authenticator, Role: role})
	var e *Error
	if err == nil || errors.As(err, &e) {
		return e
	}
	return &Error{Code: "390100", Message: err.Error()}
}
