package snowtest_test

import (
	"errors"
	"testing"

	"github.com/snowtether/snowtether/snowtest"
)

func TestTestDecidesWhichLoginsAreGood(t *testing.T) {
	var seen []snowtest.Login
	check := func(l snowtest.Login) error {
		seen = append(seen, l)
		switch l.User {
		case "ann":
			return nil
		case "bob":
			return &snowtest.Error{Code: "390144", Message: "JWT token is invalid."}
		}
		return errors.New("nobody knows you")
	}
	inMemory(t, func(t *testing.T, srv *snowtest.Server) {
		for user, code := range map[string]string{"ann": "", "bob": "390144", "eve": "390100"} {
			a := newRaw(t, srv).send("POST", "/session/v1/login-request?roleName=PUBLIC", map[string]any{"data": map[string]any{"LOGIN_NAME": user, "PASSWORD": "p-of-" + user}})
			if a.Success != (code == "") || a.Code != code {
				t.Errorf("%s: %+v", user, a)
			}
			if l := seen[len(seen)-1]; l != (snowtest.Login{User: user, Password: "p-of-" + user, Role: "PUBLIC"}) {
				t.Errorf("%+v", l)
			}
		}
	}, snowtest.WithLogins(check))
}
