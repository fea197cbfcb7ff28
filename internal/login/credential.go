package login

import (
	"os"

	"github.com/snowflakedb/gosnowflake/v2"
)

// This file is what a Config says of the credential that a login with it sends.

// Token is the token that a login with this Config would send.
func Token(cfg *gosnowflake.Config) string {
	if cfg.TokenFilePath == "" {
		return cfg.Token
	}
	// gosnowflake reads the file at each login too, and reports what is wrong with it.
	text, _ := os.ReadFile(cfg.TokenFilePath)
	return string(text)
}

// Credential is what makes a credential.
func Credential(cfg *gosnowflake.Config) []string {
	parts := []string{
		cfg.Account, cfg.Host, cfg.User, cfg.Authenticator.String(), cfg.Password, // a new passcode makes no other credential
		cfg.OauthClientID, cfg.OauthClientSecret, Token(cfg),
	}
	if cfg.PrivateKey != nil {
		parts = append(parts, string(cfg.PrivateKey.N.Bytes()))
	}
	return parts
}

// IsLockable reports whether each refusal counts towards a lock-out, also that of a
// credential which has been refused before: a password, also where a passcode or a person's
// consent comes with it. Of other credentials, such as tokens, only a new one does.
func IsLockable(cfg *gosnowflake.Config) bool {
	switch cfg.Authenticator {
	case gosnowflake.AuthTypeSnowflake, gosnowflake.AuthTypeUsernamePasswordMFA, gosnowflake.AuthTypeOkta:
		return true
	}
	return false
}

// HasPerson reports whether somebody has to consent to each login: then a refusal is no
// news of the next one.
func HasPerson(cfg *gosnowflake.Config) bool {
	switch cfg.Authenticator {
	case gosnowflake.AuthTypeExternalBrowser, gosnowflake.AuthTypeOAuthAuthorizationCode:
		return true
	case gosnowflake.AuthTypeUsernamePasswordMFA:
		return cfg.Passcode == "" && !cfg.PasscodeInPassword
	}
	return false
}
