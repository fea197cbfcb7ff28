package snowtether

import (
	"database/sql"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/snowflakedb/gosnowflake/v2"
)

// plain is what an account, host or parameter looks like whose text needs no
// escaping. gosnowflake escapes neither of the former, and unescapes some of the
// latter twice.
var plain = regexp.MustCompile(`^[\w.-]*$`)

// FuzzDSN: sql.Open never panics, an error is one line and never repeats a secret,
// and a DSN that is accepted still means the same after gosnowflake has written it
// anew.
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
	f.Fuzz(func(t *testing.T, user, password, rest string) {
		const secret = "aVerySecretValue7"
		if strings.Contains(user+password+rest, "tether:") {
			return // a mistyped DSN can make a password part of a parameter's name
		}
		dsn := user + ":" + secret + password + "@" + strings.ReplaceAll(rest, "=§", "="+secret)
		db, err := sql.Open(DriverName, dsn)
		if err != nil {
			if text := err.Error(); strings.Contains(strings.ToLower(text), strings.ToLower(secret)) || strings.ContainsFunc(text, unicode.IsControl) || len(text) > 600 {
				t.Errorf("%q gives the error %q", dsn, text)
			}
			return
		}
		_ = db.Close()

		first, s := read(t, dsn)
		for _, text := range []string{first.Account, first.Host, first.Region, first.Database, first.Schema, first.Warehouse, first.Role} {
			if !plain.MatchString(text) {
				return
			}
		}
		again := cloneConfig(first)
		maps.DeleteFunc(again.Params, func(name string, value *string) bool { return !plain.MatchString(name) || !plain.MatchString(*value) })
		text, err := gosnowflake.DSN(again)
		if err != nil {
			t.Fatalf("%q is accepted and cannot be written: %v", dsn, err)
		}
		second, s2 := read(t, text)
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
		if s.heartbeat != 0 && (s.heartbeat < minHeartbeat || s.heartbeat > maxHeartbeat) || s.maxLogins < 1 || s2.maxLogins != defaults().maxLogins {
			t.Errorf("%q gives the settings %+v", dsn, s)
		}
	})
}

// read returns what the connector of a DSN logs in with. Its settings have
// parameters of the DSN that its Config has not.
func read(t *testing.T, dsn string) (*gosnowflake.Config, *settings) {
	t.Helper()
	c, err := Driver{}.OpenConnector(dsn)
	if err != nil {
		t.Fatalf("%q is refused: %v", dsn, err)
	}
	made := c.(*Connector)
	if err := made.Close(); err != nil {
		t.Error(err)
	}
	for name := range made.cfg.Params {
		if strings.HasPrefix(strings.ToLower(name), "tether") {
			t.Errorf("%q leaves %q in the Config", dsn, name)
		}
	}
	return made.cfg, &made.settings
}
