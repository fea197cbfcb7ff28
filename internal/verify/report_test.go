package verify_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/internal/verify"
	"github.com/snowtether/snowtether/snowtest"
)

// everything is a run of all checks, as people and programs get it.
func everything(t *testing.T, contradict func(*world)) (text, asJSON string, report *verify.Report, w *world) {
	bubble(t, func(t *testing.T) {
		w = newWorld(t, append(honest(), snowtest.AllowOpenSessions())...)
		if contradict != nil {
			contradict(w)
		}
		report = w.run(verify.Options{Only: withoutPolicy(), Admin: &gosnowflake.Config{}})
		var asText, asData bytes.Buffer
		if err := errors.Join(report.Text(&asText), report.JSON(&asData)); err != nil {
			t.Fatal(err)
		}
		text, asJSON = asText.String(), asData.String()
		_, _ = w.srv.Log().Write([]byte(text + asJSON)) // the server looks for its passwords and tokens in it
	})
	return text, asJSON, report, w
}

// No account, user, database, schema, object, ID or token is in a report: of the names of the
// world none, and of the forms of IDs and of long secrets none.
func TestReportHasNoNameAndNoValue(t *testing.T) {
	text, asJSON, _, w := everything(t, nil)
	secrets := regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-|[0-9a-f]{16}|[A-Z2-7]{20}`)
	for _, form := range []string{text, asJSON} {
		lower := strings.ToLower(form)
		for _, name := range []string{w.srv.User(), w.srv.Password(), "testdb", "testwh", "sysadmin", verify.Prefix, "127.0.0.1", "pat-of"} {
			if strings.Contains(lower, strings.ToLower(name)) {
				t.Errorf("%q is in the report", name)
			}
		}
		if found := secrets.FindString(form); found != "" {
			t.Errorf("%q is in the report", found)
		}
	}
}

func TestReportIsForPeopleAndPrograms(t *testing.T) {
	text, asJSON, report, _ := everything(t, func(w *world) { w.always(saying("done"), text("^COMMIT")) })
	for _, want := range []string{
		"**Wrong: idle-commit.** **Safety rests on it.**", "Believed: A COMMIT that finds no transaction", "| as believed |", "Checks that were not asked for: policy.", "| detached | ",
		"POST /queries/v1/query-request: 401, code 390104", "GET /queries/{id}/result: 200, code 000612", "“Session no longer exists.",
		verify.Unchecked,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report does not have %q:\n%s", want, text)
		}
	}
	var read verify.Report
	if err := json.Unmarshal([]byte(asJSON), &read); err != nil || len(read.Outcomes) != len(verify.Beliefs) {
		t.Errorf("%d outcomes, %v", len(read.Outcomes), err)
	}
	if unsafe := report.Unsafe(); !slices.Equal(unsafe, []string{"idle-commit", "commit-after-abort"}) {
		t.Errorf("%v", unsafe)
	}
	if read.Logins < 20 || read.Credits <= 0 || read.Seconds < 3600 {
		t.Errorf("%d logins, %v credits, %v s", read.Logins, read.Credits, read.Seconds)
	}
}

func TestPlanSaysWhatIsAskedAndWhatItCosts(t *testing.T) {
	for _, test := range []struct {
		o         verify.Options
		has, lack []string
	}{
		{verify.Options{}, []string{"shapes", "detached", "! idle-commit", "credits of an XS"}, []string{"hour  ", "policy  "}},
		{verify.Options{Slow: true, Admin: &gosnowflake.Config{}}, []string{"hour  ", "policy  "}, nil},
		{verify.Options{Only: []string{"hour"}}, []string{"hour  "}, []string{"shapes"}},
	} {
		var b strings.Builder
		if err := verify.Plan(&b, test.o); err != nil {
			t.Fatal(err)
		}
		for _, want := range test.has {
			if !strings.Contains(b.String(), want) {
				t.Errorf("%+v: no %q in\n%s", test.o, want, &b)
			}
		}
		for _, lack := range test.lack {
			if strings.Contains(b.String(), lack) {
				t.Errorf("%+v: %q in\n%s", test.o, lack, &b)
			}
		}
	}
	if err := verify.Plan(&strings.Builder{}, verify.Options{Only: []string{"none"}}); err == nil {
		t.Error("a check that there is not has a plan")
	}
}

func TestMessagesKeepOnlySnowflakesOwnWords(t *testing.T) {
	for text, want := range map[string]string{
		"Session no longer exists.  New login required to access the service.":   "Session no longer exists. New login required to access the service.",
		"SQL compilation error:\nObject 'ACME.PUBLIC.\"ORDERS\"' does not exist": "SQL compilation error: Object … does not exist",
		"User JANE is not authorized.":                                           "User … is not authorized.",
		"Role SERVICE does not exist":                                            "Role … does not exist",
		"Database orders does not exist":                                         "Database … does not exist",
		"IP 203.0.113.7 is not allowed to access Snowflake.":                     "… … is not … to access ….",
		"Statement 01bd0000-0001-0032-0000-000000000001 not found":               "Statement … not found",
		"SQL execution canceled":                                                 "SQL execution canceled",
		"":                                                                       "",
		"Incorrect username or password was specified. [01bd0000-0001-0032-0000-000001]": "Incorrect username or password was specified. …",
	} {
		if got := verify.Blank(text, "acme", "orders"); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
}

func TestRepliesAreShownWithoutValues(t *testing.T) {
	for _, test := range []struct {
		status        int
		body          string
		want          verify.Exchange
		refused, gone bool
	}{
		{200, `{"data":{"queryId":"x","acme.orders":1,"rowset":[["v"]]},"code":null,"message":null,"success":true}`,
			verify.Exchange{Keys: []string{"queryId", "rowset"}}, false, false},
		{401, `{"data":null,"code":"390104","message":"Session gone","success":false}`, verify.Exchange{Code: "390104", Message: "Session …"}, true, true},
		{200, `{"data":null,"code":390111,"message":"","success":false}`, verify.Exchange{Code: "390111"}, true, true},
		{200, `{"data":null,"code":"390999","success":false}`, verify.Exchange{Code: "390999"}, true, false},
		{200, `{"code":"acme's secret","success":false}`, verify.Exchange{Code: "?"}, false, false},
		{503, `<html>orders</html>`, verify.Exchange{}, false, false},
	} {
		x, refused, gone := verify.Read(test.status, test.body)
		test.want.Request, test.want.Status = "POST /queries/v1/query-request", test.status
		if x.String() != test.want.String() || refused != test.refused || gone != test.gone {
			t.Errorf("%s: %v, refused %v, gone %v", test.body, x, refused, gone)
		}
	}
}

func TestNamesAreWrittenAsStatementsNeedThem(t *testing.T) {
	for text, want := range map[string]string{"db": "db", "DB_1$": "DB_1$", "my db": `"my db"`, `"Db"`: `"Db"`, "1db": `"1db"`, `a"b`: `"a""b"`, `"DB".PUBLIC --`: `"""DB"".PUBLIC --"`, `"a"";DROP`: `"""a"""";DROP"`, `"`: `""""`} {
		if got := verify.Name(text); got != want {
			t.Errorf("%s is written %s", text, got)
		}
	}
}

func TestTransportGoesThroughTheProxyOfTheDSN(t *testing.T) {
	cfg := &gosnowflake.Config{ProxyHost: "proxy.example", ProxyPort: 3128, ProxyUser: "u", ProxyPassword: "p", NoProxy: "near.example"}
	transport, proxy := verify.Transport(cfg, &tls.Config{ServerName: "x"})
	if transport.TLSClientConfig.ServerName != "x" {
		t.Error("the TLS configuration is not used")
	}
	for host, want := range map[string]string{"far.example": "http://u:p@proxy.example:3128", "near.example": "<nil>"} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+host+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		through, err := proxy(req)
		if text := "<nil>"; err != nil || through != nil && through.String() != want || through == nil && text != want {
			t.Errorf("%s goes through %v, %v", host, through, err)
		}
	}
	if _, proxy := verify.Transport(&gosnowflake.Config{}, nil); proxy == nil {
		t.Error("the environment's proxy is not used")
	}
}
