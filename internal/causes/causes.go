// Package causes has the words for Snowflake's numbers: what each is called, what happened, and
// what to do. Logs, the debug page and docs/observability.md say the same. What a number means
// to the driver is in errors.go of the root and rests on none of these words.
package causes

import (
	"slices"
	"strings"
)

// A Cause is one number in words. Do is what a person has to do, or nothing.
type Cause struct {
	Code               int
	Name, Happened, Do string
}

const (
	nothing = "nothing: the session is replaced"

	// A password in a DSN is read once.
	newCredentials = "change the credentials, and restart the program unless it takes them anew for each login"
	enroll         = "look at the user's MFA settings"
)

// All are the numbers that are explained, in order.
var All = []Cause{
	{260008, "login answered with 401 or 403", "a login was answered with HTTP 401 or 403", "correct the account's name if it is wrong; else look at the proxy or gateway"},
	{261000, "HTTP error", "a request was answered with an HTTP error; of a lost session: 401", "nothing if it recovers; else look at the proxy or gateway"},
	{261001, "renewal failed", "gosnowflake could not renew the session token", nothing},
	{390100, "wrong user name or password", "the login was refused", newCredentials},
	{390104, "session token unknown", "Snowflake does not know the session token", nothing},
	{390110, "session moved", "the session is now served elsewhere", nothing},
	{390111, "session gone", "the session was ended: by an administrator, an idle session policy, or Snowflake", "nothing: the session is replaced; often: find out who ends sessions"},
	{390112, "session token expired", "the session token expired and could not be renewed", nothing},
	{390113, "master token missing", "Snowflake has no master token for the session", nothing},
	{390114, "master token expired", "the session was not used for as long as a session may be idle (4 h by default)", "nothing: the session is replaced; WithKeepAlive or WithIdlePing keeps idle sessions"},
	{390115, "master token unknown", "Snowflake does not know the master token", nothing},
	{390120, "MFA denied", "the second factor was denied", enroll},
	{390122, "MFA not enrolled", "the user has no second factor", enroll},
	{390123, "MFA locked", "the second factor is locked", enroll},
	{390126, "MFA timed out", "nobody confirmed the second factor in time", enroll},
	{390127, "MFA passcode wrong", "the second factor was wrong", enroll},
	{390144, "invalid key-pair token", "the login's signed token was refused", "compare the private key with the user's RSA_PUBLIC_KEY, and this machine's clock with the time"},
	{390189, "role does not exist or is not granted", "the login was refused", "change the role, or grant it to the user"},
	{390195, "ID token invalid", "the cached ID token was refused", "nothing: a fresh one is asked for"},
	{390201, "warehouse, database or schema does not exist or is not granted", "the login was refused", "change its name, or grant it to the role"},
	{390302, "token revoked", "the login was refused", newCredentials},
	{390303, "token invalid", "the OAuth token was refused", newCredentials},
	{390318, "token expired", "the OAuth token has expired", newCredentials},
	{390400, "renewal refused", "Snowflake refused to renew the session token", nothing},
	{390422, "address not allowed", "a network policy refused the login", "let the network policy allow this machine's address"},
	{390432, "network policy required", "a login of this user needs a network policy", "give the user a network policy"},
	{394400, "token invalid", "the programmatic access token was refused", newCredentials},
}

// ForPerson is what a person has to do, or empty.
func (c Cause) ForPerson() string {
	if strings.HasPrefix(c.Do, "nothing") {
		return ""
	}
	return c.Do
}

// Of is the cause with a number; its zero value if it is not explained.
func Of(code int) Cause {
	i, found := slices.BinarySearchFunc(All, code, func(c Cause, code int) int { return c.Code - code })
	if !found {
		return Cause{}
	}
	return All[i]
}
