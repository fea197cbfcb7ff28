package contract_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/causes"
	"github.com/snowtether/snowtether/snowtest"
)

// This file holds docs/observability.md against the code and what it does.

// table returns the rows of the table of a document whose first column has this
// heading, in cells.
func table(t *testing.T, document, heading string) (rows [][]string) {
	t.Helper()
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "\n| "+heading+" |")
	if !found {
		t.Fatalf("%s has no table %q", document, heading)
	}
	for _, row := range strings.Split(rest, "\n")[2:] { // below the heading and its rule
		if !strings.HasPrefix(row, "|") {
			break
		}
		cells := strings.Split(strings.Trim(row, "| "), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	return rows
}

var inCode = regexp.MustCompile("`([^`]+)`")

// terms are the words of a cell that are set as code, sorted.
func terms(cell string) (terms []string) {
	for _, m := range inCode.FindAllStringSubmatch(cell, -1) {
		terms = append(terms, m[1])
	}
	slices.Sort(terms)
	return terms
}

// constants are the values of the string constants of events.go whose names begin
// with the prefix, sorted.
func constants(t *testing.T, prefix string) (values []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "events.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, prefix) || len(spec.Values) != 1 {
			return true
		}
		if lit, ok := spec.Values[0].(*ast.BasicLit); ok {
			value, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			values = append(values, value)
		}
		return true
	})
	slices.Sort(values)
	return values
}

const eventTable = "event | level | message | attributes"

// TestEventsAreDocumented: all kinds, messages and attributes that are in the code,
// and no others.
func TestEventsAreDocumented(t *testing.T) {
	t.Chdir("..")
	var kinds, used, explained []string
	code, err := os.ReadFile("events.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range table(t, "docs/observability.md", eventTable) {
		kinds, used = append(kinds, terms(row[0])...), append(used, terms(row[3])...)
		if !strings.Contains(string(code), strconv.Quote(row[2])) {
			t.Errorf("the code has no message %q", row[2])
		}
	}
	for _, row := range table(t, "docs/observability.md", "attribute | what it is") {
		explained = append(explained, terms(row[0])...)
	}
	for what, lists := range map[string][2][]string{
		"kinds of events":                  {kinds, constants(t, "Event")},
		"attributes":                       {explained, constants(t, "key")},
		"attributes in the first table of": {append(used, "event"), constants(t, "key")},
	} {
		documented := slices.Sorted(slices.Values(lists[0]))
		if documented = slices.Compact(documented); !slices.Equal(documented, lists[1]) {
			t.Errorf("%s in the document %v\nin the code %v", what, documented, lists[1])
		}
	}
}

// TestLogLinesAreAsDocumented: level, message and attributes of each line, whatever
// happens.
func TestLogLinesAreAsDocumented(t *testing.T) {
	t.Chdir("..")
	rows, seen := make(map[string][]string), make(map[string][]string)
	for _, row := range table(t, "docs/observability.md", eventTable) {
		rows[terms(row[0])[0]] = row
	}
	for i := range happenings {
		happen(t, i, func(_ *snowtest.Server, _ *snowtether.Connector, j *journal) {
			for _, r := range j.written() {
				event := attr(r, "event")
				row := rows[event]
				if row == nil {
					t.Fatalf("a line about %q: %s", event, r.Message)
				}
				again := r.Level == slog.LevelDebug && slices.Contains([]snowtether.EventKind{snowtether.EventLoginSuspended, snowtether.EventReconnected, snowtether.EventClosedLate}, snowtether.EventKind(event))
				if r.Message != row[2] || r.Level.String() != row[1] && !again {
					t.Errorf("%s %q; in the document %s %q", r.Level, r.Message, row[1], row[2])
				}
				r.Attrs(func(a slog.Attr) bool {
					if a.Key != "event" && !slices.Contains(seen[event], a.Key) {
						seen[event] = append(seen[event], a.Key)
					}
					return true
				})
			}
		})
	}
	for event, keys := range seen {
		documented := slices.DeleteFunc(terms(rows[event][3]), func(key string) bool {
			// TestChangedPrincipalIsInTheLog, TestStateThatTheKeeperLosesIsInTheLog, TestSessionsLostTogetherNameAllReasons
			return key == "cause" || key == "new_user" || key == "new_role" || (key == "lost" || key == "reasons") && !slices.Contains(keys, key)
		})
		keys = slices.DeleteFunc(keys, func(key string) bool { return key == "cause" }) // not every code has a name
		if slices.Sort(keys); !slices.Equal(keys, documented) {
			t.Errorf("%s has the attributes %v, in the document %v", event, keys, documented)
		}
	}
}

// TestCodesAreExplained: the document has the number, the name, what happened and what to do as
// logs have them.
func TestCodesAreExplained(t *testing.T) {
	t.Chdir("..")
	rows := table(t, "docs/observability.md", "code | cause | what happened | what to do")
	if len(rows) != len(causes.All) {
		t.Errorf("%d rows for %d codes", len(rows), len(causes.All))
	}
	for i, c := range causes.All {
		want := []string{"`" + strconv.Itoa(c.Code) + "`", c.Name, c.Happened, c.Do}
		if i < len(rows) && !slices.Equal(rows[i], want) {
			t.Errorf("row %d is\n%q, want\n%q", i, rows[i], want)
		}
	}
}

// promised are the names of the documented metrics as Prometheus's exporter writes them.
func promised(t *testing.T) (names []string) {
	for _, row := range table(t, "docs/observability.md", "metric | kind | unit | attributes | what it is") {
		name := strings.ReplaceAll(terms(row[0])[0], ".", "_")
		if terms(row[2])[0] == "s" {
			name += "_seconds"
		}
		switch row[1] {
		case "counter":
			names = append(names, name+"_total")
		case "histogram":
			names = append(names, name+"_bucket", name+"_count", name+"_sum")
		default:
			names = append(names, name)
		}
	}
	return names
}

// TestDashboardAndAlertsKnowTheMetrics: each name in a query is one of a metric, as Prometheus has
// it, or one of its labels; and what needs a person has an alert.
func TestDashboardAndAlertsKnowTheMetrics(t *testing.T) {
	t.Chdir("..")
	names := promised(t)
	metric := regexp.MustCompile(`\b(?:snowtether|db_client)_\w+`)
	labels := []string{"db_client_connection_pool_name", "db_client_connection_state", "snowtether_reason"}
	for file, least := range map[string]int{"docs/grafana.json": 13, "docs/alerts.yaml": 5} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, ".json") && !json.Valid(text) {
			t.Errorf("%s is no JSON", file)
		}
		var seen []string
		for _, name := range metric.FindAllString(string(text), -1) {
			if !slices.Contains(names, name) && !slices.Contains(labels, name) {
				t.Errorf("%s has %s, which is the name of no metric", file, name)
			}
			if !slices.Contains(labels, name) && !slices.Contains(seen, name) {
				seen = append(seen, name)
			}
		}
		if len(seen) < least {
			t.Errorf("%s has only %v", file, seen)
		}
	}
	rules, _ := os.ReadFile("docs/alerts.yaml")
	document, _ := os.ReadFile("docs/observability.md")
	alerts := regexp.MustCompile(`(?m)^ +- alert: (\w+)$`).FindAllStringSubmatch(string(rules), -1)
	if len(alerts) != 4 {
		t.Errorf("%d alerts", len(alerts))
	}
	for _, alert := range alerts {
		if !strings.Contains(string(document), "`"+alert[1]+"`") {
			t.Errorf("docs/observability.md does not say what to do about %s", alert[1])
		}
	}
}
