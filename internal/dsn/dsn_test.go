package dsn

import (
	"errors"
	"strings"
	"testing"

	"github.com/snowflakedb/gosnowflake/v2"
)

// isTether stands for the driver's own parameters.
func isTether(name string) bool { return strings.HasPrefix(strings.ToLower(name), "tether") }

// TestPasswordThatIsNotEscaped: either it is taken as it stands, or refused with
// advice; it is never read as something else.
func TestPasswordThatIsNotEscaped(t *testing.T) {
	for _, c := range strings.Split("@ / ? # : & = % ; ~ \\ \" ' < é \x00 \n \x7f \xff // :// @/ /@ ?/ =/&", " ") {
		for _, password := range []string{"hush" + c + "hush", c + "hush", "hush" + c, "12" + c + "34"} {
			if password == "12%34" {
				continue // nobody can tell that it is not escaped
			}
			for _, rest := range []string{"@acct", "@acct/db", "@acct/db/sch", "@acct?warehouse=w", "@acct/db/sch?warehouse=w&tetherMaxLogins=3"} {
				dsn := "hushuser:" + password + rest
				cfg, err := Parse(dsn, isTether)
				if err != nil {
					if text := err.Error(); !strings.Contains(text, "percent-encod") || strings.Contains(text, "hush") {
						t.Errorf("%q gives the error %q", dsn, text)
					}
				} else if cfg.User != "hushuser" || cfg.Password != password || cfg.Account != "acct" {
					t.Errorf("%q is read as user %q, password %q, account %q", dsn, cfg.User, cfg.Password, cfg.Account)
				}
			}
		}
	}
}

// What only gosnowflake v1 knows means what it means there, in a DSN, in a Config that v2 has
// made of one, and in connections.toml. v2 would send it to Snowflake as session parameters.
func TestParametersOfV1MeanWhatTheyMeanThere(t *testing.T) {
	for _, tt := range []struct {
		dsn            string
		insecure, loud bool
		configInsecure bool // where nothing tells an explicit "false" from none
	}{
		{"application=x", false, true, false},
		{"insecureMode=true", true, true, true},
		{"insecureMode=false", false, true, false},
		{"insecuremode=true", true, true, true},
		{"insecure_mode=TRUE", true, true, true},
		{"insecureMode=true&disableOCSPChecks=false", false, true, true},
		{"disableOCSPChecks=true&insecureMode=false", true, true, true},
		{"disableTelemetry=true", false, false, false},
		{"disableTelemetry=false", false, true, false},
		{"disableTelemetry=true&insecureMode=true", true, false, true},
		{"disableTelemetry=true&client_telemetry_enabled=true", false, false, false},
	} {
		check := func(how string, cfg *gosnowflake.Config, insecure bool) {
			t.Helper()
			if cfg.DisableOCSPChecks != insecure {
				t.Errorf("%s, %s: DisableOCSPChecks is %v", tt.dsn, how, cfg.DisableOCSPChecks)
			}
			off := cfg.Params["CLIENT_TELEMETRY_ENABLED"]
			if loud := off == nil || *off != "false"; loud != tt.loud {
				t.Errorf("%s, %s: CLIENT_TELEMETRY_ENABLED is not as it should be", tt.dsn, how)
			}
			for name := range cfg.Params {
				if name := strings.ReplaceAll(strings.ToLower(name), "_", ""); name == "insecuremode" || name == "disabletelemetry" {
					t.Errorf("%s, %s: Snowflake would be sent %s", tt.dsn, how, name)
				}
			}
		}
		cfg, err := Parse("u:p@acct/db?"+tt.dsn, isTether)
		if err == nil {
			err = TakeV1Params(cfg)
		}
		if err != nil {
			t.Fatalf("%s: %v", tt.dsn, err)
		}
		check("DSN", cfg, tt.insecure)
		if cfg, err = gosnowflake.ParseDSN("u:p@acct/db?" + tt.dsn); err == nil {
			err = TakeV1Params(cfg)
		}
		if err != nil {
			t.Fatalf("%s: %v", tt.dsn, err)
		}
		check("Config", cfg, tt.configInsecure)
	}
}

// TestUnknownAuthenticatorIsToldWhichAreKnown: all that gosnowflake knows by a name, and none
// that it does not.
func TestUnknownAuthenticatorIsToldWhichAreKnown(t *testing.T) {
	_, err := Parse("u:p@acct?authenticator=hush", isTether)
	if err == nil {
		t.Fatal("an unknown authenticator is accepted")
	}
	_, list, _ := strings.Cut(err.Error(), ": the authenticator is none that gosnowflake knows: ")
	list, _, found := strings.Cut(list, ", or the https URL of an Okta account")
	if !found || strings.Contains(err.Error(), form) {
		t.Fatal(err)
	}
	told, unknown := map[string]bool{}, new(gosnowflake.SnowflakeError)
	for name := range strings.SplitSeq(list, ", ") {
		told[name] = true
		if _, err := gosnowflake.ParseDSN("u:p@acct?token=t&oauthClientId=i&oauthClientSecret=s&authenticator=" + name); errors.As(err, &unknown) && unknown.Number == gosnowflake.ErrCodeFailedToParseAuthenticator {
			t.Errorf("gosnowflake does not know %s", name)
		}
	}
	for a := gosnowflake.AuthType(0); a.String() != gosnowflake.AuthType(-1).String(); a++ {
		if name := strings.ToLower(a.String()); a != gosnowflake.AuthTypeOkta && !told[name] {
			t.Errorf("%s is missing in %v", name, err)
		}
	}
}

// TestUnregisteredTLSConfigIsToldHowToRegister: it is no matter of the DSN's form.
func TestUnregisteredTLSConfigIsToldHowToRegister(t *testing.T) {
	_, err := Parse("u:p@acct?tlsConfigName=hush", isTether)
	if err == nil || !strings.Contains(err.Error(), "gosnowflake.RegisterTLSConfig") || strings.Contains(err.Error(), form) {
		t.Error(err)
	}
}
