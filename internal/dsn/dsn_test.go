package dsn

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/snowflakedb/gosnowflake/v2"
)

// isTether stands for the driver's own parameters.
func isTether(name string) bool { return strings.HasPrefix(strings.ToLower(name), "tether") }

// plain is what an account, host or parameter looks like whose text needs no
// escaping. gosnowflake escapes neither of the former, and unescapes some of the
// latter twice.
var plain = regexp.MustCompile(`^[\w.-]*$`)

// FuzzDSN: nothing panics, an error is one line and never repeats a secret, and a DSN that is
// accepted still means the same after gosnowflake has written it anew.
func FuzzDSN(f *testing.F) {
	for _, rest := range []string{
		"acct", "acct/db", "acct/db/schema?warehouse=wh&role=r", "acct.eu-west-1", "host.example.com:8080/db?account=acct&protocol=http",
		"acct-x.global.snowflakecomputing.com:443/db", "acct/db?token=§&authenticator=oauth", "acct?privateKey=§&authenticator=snowflake_jwt",
		"acct/d?clientTimeout=§", "acct/d?authenticator=§", "acct/d?tetherKeepAlive=§", "acct/d?tetherHeartbeat=900&tetherMaxLogins=2&tetherResume=false",
		"acct/d?tether=§&x=%zz", "acct:§/d", "acct/d?client_session_keep_alive=§", "acct/d?CLIENT_SESSION_KEEP_ALIVE_HEARTBEAT_FREQUENCY=1800",
		"acct/a=§/b", "acct/d?tmpDirPath=§", "acct/d?tlsConfigName=§", "acct/d?passcode=§&proxyPort=§&loginTimeout=1", "@/?#:%\x00\xff", "acct/d?region=us-west-2",
	} {
		f.Add("user", "", rest)
		f.Add("us%40er", "/@:", rest)
	}
	for _, found := range [][3]string{ // what has failed before
		{"0", "0", ":100000"},
		{" 0", "0", "!"},
		{"0", "0", "?authenticator=Aaaaa"},
		{"0", "0", "0?tether=&A00000="},
		{"0", "0", "?account=!"},
		{"0", "Ȣ", "0.\xe800"},
		{"!!!!!!!!!!!!!!!!!!!!", "!!!!!!!!!!!!", "0"},
		{"0", "?/=", "0"},
		{"0", "0", "    0"},
		{"0", "0", "00+"},
		{"user", "c", "X1.8X?0120=20a1&protocol=http"},
		{" ", "0", "!?authenticator=oAuth"},
	} {
		f.Add(found[0], found[1], found[2])
	}
	f.Fuzz(func(t *testing.T, user, password, rest string) {
		const secret = "aVerySecretValue7"
		if strings.Contains(user+password+rest, "tether:") {
			return // a mistyped DSN can make a password part of a parameter's name
		}
		dsn := user + ":" + secret + password + "@" + strings.ReplaceAll(rest, "=§", "="+secret)
		first, err := Parse(dsn, isTether)
		if err != nil {
			if text := err.Error(); strings.Contains(strings.ToLower(text), strings.ToLower(secret)) || strings.ContainsFunc(text, unicode.IsControl) || len(text) > 600 {
				t.Errorf("%q gives the error %q", dsn, text)
			}
			return
		}
		maps.DeleteFunc(first.Params, func(name string, _ *string) bool { return isTether(name) })
		for _, text := range []string{first.Account, first.Host, first.Region, first.Database, first.Schema, first.Warehouse, first.Role} {
			if !plain.MatchString(text) {
				return
			}
		}
		again := Clone(first)
		maps.DeleteFunc(again.Params, func(name string, value *string) bool { return !plain.MatchString(name) || !plain.MatchString(*value) })
		text, err := gosnowflake.DSN(again)
		if err != nil {
			t.Fatalf("%q is accepted and cannot be written: %v", dsn, err)
		}
		second, err := Parse(text, isTether)
		if err != nil {
			t.Fatalf("%q, written as %q, is refused: %v", dsn, text, err)
		}
		type fields struct {
			user, password, account, host, database, schema, warehouse, role, protocol, token string
			port                                                                              int
			authenticator                                                                     gosnowflake.AuthType
			params                                                                            string
		}
		of := func(cfg *gosnowflake.Config) fields {
			v := fields{
				cfg.User, cfg.Password, cfg.Account, cfg.Host, cfg.Database, cfg.Schema, cfg.Warehouse, cfg.Role, cfg.Protocol, cfg.Token,
				cfg.Port, cfg.Authenticator, "",
			}
			for _, name := range slices.Sorted(maps.Keys(cfg.Params)) {
				v.params += name + "=" + *cfg.Params[name] + " "
			}
			return v
		}
		if a, b := of(again), of(second); a != b {
			t.Errorf("%q means\n%+v, written as %q\n%+v", dsn, a, text, b)
		}
	})
}

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
