package dsn

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/internal/sferr"
)

// This file says what gosnowflake means, in words of our own.

// What the values of gosnowflake's typed parameters have to be. It overwrites the
// error of some with the next parameter, and its other errors repeat the value
// and not the name.
const (
	isBool   = "must be true or false"
	isNumber = "must be a whole number"
	isTime   = "must be a whole number of seconds"
)

var paramKinds = map[string][]string{
	isBool: {
		"singleAuthenticationPrompt", "enableSingleUseRefreshTokens", "passcodeInPassword", "serverSessionKeepAlive", "disableOCSPChecks", "ocspFailOpen",
		"validateDefaultParameters", "clientRequestMfaToken", "clientStoreTemporaryCredential", "logQueryText", "logQueryParameters",
		"disableQueryContextCache", "includeRetryReason", "disableConsoleLogin", "disableSamlURLCheck", "crlAllowCertificatesWithoutCrlURL",
		"crlInMemoryCacheDisabled", "crlOnDiskCacheDisabled", "connectionDiagnosticsEnabled", "insecureMode", "disableTelemetry",
	},
	isNumber: {"maxRetryCount", "crlDownloadMaxSize", "proxyPort"},
	isTime: {
		"clientTimeout", "jwtClientTimeout", "loginTimeout", "requestTimeout", "jwtTimeout", "externalBrowserTimeout", "cloudStorageTimeout",
		"crlHttpClientTimeout",
	},
}

func kindOf(name string) string {
	for kind, names := range paramKinds {
		if slices.Contains(names, name) {
			return kind
		}
	}
	return ""
}

func checkTypes(params map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(params)) {
		var err error
		kind := kindOf(name)
		switch kind {
		case isBool:
			_, err = strconv.ParseBool(params[name])
		case isNumber, isTime:
			_, err = strconv.ParseInt(params[name], 10, 32)
		}
		if err != nil {
			return fmt.Errorf("snowtether: the parameter %s %s", name, kind)
		}
	}
	return nil
}

// Problem says what one of gosnowflake's numbered errors means, in words of our
// own, or "".
func Problem(err error) string {
	said, _ := sferr.Of(err)
	return problems[said.Number]
}

var problems = map[int]string{
	gosnowflake.ErrCodeEmptyAccountCode:           "the account is missing",
	gosnowflake.ErrCodeEmptyUsernameCode:          "the user is missing or empty",
	gosnowflake.ErrCodeEmptyPasswordCode:          "the password is missing or empty, and the authenticator needs one",
	gosnowflake.ErrCodeEmptyToken:                 "token and tokenFilePath are missing, and the authenticator needs one of them",
	gosnowflake.ErrCodeEmptyOAuthParameters:       "oauthClientId or oauthClientSecret is missing, and the authenticator needs both",
	gosnowflake.ErrCodeFailedToParseHost:          "the host name is not valid",
	gosnowflake.ErrCodeHostWithScheme:             "the host starts with http:// or https://; give the name alone, and the scheme as protocol",
	gosnowflake.ErrCodeFailedToParsePort:          "the port is not a number from 1 to 65535",
	gosnowflake.ErrCodeFailedToParseAuthenticator: "the authenticator is none that gosnowflake knows: " + authenticators + ", or the https URL of an Okta account",
	gosnowflake.ErrCodePrivateKeyParseError:       "the privateKey is not a base64 URL-encoded PKCS#8 key",
	gosnowflake.ErrCodeRegionOverlap:              "the region is given twice, by itself and within the account",
	codeMissingTLSConfig:                          "the tlsConfigName names no TLS configuration that was registered: call gosnowflake.RegisterTLSConfig before sql.Open",
}

// authenticators are those that have a name.
const authenticators = "snowflake, oauth, externalbrowser, snowflake_jwt, tokenaccessor, username_password_mfa, " +
	"programmatic_access_token, oauth_authorization_code, oauth_client_credentials, workload_identity"

// isComplete reports whether the words about an error say all that helps: what a DSN looks
// like has nothing to do with it.
func isComplete(err error) bool {
	said, _ := sferr.Of(err)
	return said.Number == gosnowflake.ErrCodeFailedToParseAuthenticator || said.Number == codeMissingTLSConfig
}

// gosnowflake exports every code but this one.
const codeMissingTLSConfig = 260019
