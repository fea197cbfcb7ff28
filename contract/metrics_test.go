package contract_test

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about what OpenTelemetry is given. With its SDK and an exporter
// examples/metrics is tested.

// TestMetricsSayWhatHappened: by reason and by class; and nothing is left at the
// provider after Close.
func TestMetricsSayWhatHappened(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		m := newMeters()
		db, c := connect(t, srv.Config(), snowtether.WithMeterProvider(m))
		outage(srv, time.Millisecond, unavailable)
		mustPing(t, db)
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		mustPing(t, db) // the second session
		time.Sleep(time.Hour - time.Minute)
		srv.AbortSessions()
		if err := conn.PingContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		got := m.collect(t)
		for name, want := range map[string]float64{
			"db.client.connection.count{db.client.connection.state=used}": 1,
			"db.client.connection.count{db.client.connection.state=idle}": 1,
			"snowtether.sessions.suspect{}":                               1,
			"snowtether.logins{}":                                         3,
			"snowtether.login.failures{error.type=transient}":             1,
			"snowtether.login.failures{error.type=permanent}":             0,
			"snowtether.login.failures{error.type=credential}":            0,
			"snowtether.login.duration{}":                                 3,
			"snowtether.login.duration{error.type=transient}":             1,
			"snowtether.outages{}":                                        1,
			"snowtether.sessions.lost{}":                                  1,
			"snowtether.reconnects{snowtether.reason=390111}":             1,
			"snowtether.session.life{snowtether.reason=390111}":           1,
			"snowtether.statements.in_doubt{}":                            0,
			"snowtether.statements.resumed{}":                             0,
			"db.client.connection.create_time{}":                          3,
			"snowtether.renewals{}":                                       0,
			"snowtether.pings{}":                                          0,
		} {
			if n, ok := got[name]; !ok || n != want {
				t.Errorf("%s is %v (there: %v), want %v", name, n, ok, want)
			}
		}
		if life := m.sums["snowtether.session.life"]; life < 59*60 || life > 60*60 {
			t.Errorf("the session lived for %v s", life)
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil || len(m.callbacks) != 0 {
			t.Errorf("%d callbacks after Close, %v", len(m.callbacks), err)
		}
	})
}

// TestWhatFailedAndWasTriedAgainIsCounted: a transaction that RunTx begins again, and a session
// that could not be set up.
func TestWhatFailedAndWasTriedAgainIsCounted(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		m := newMeters()
		db, c := connect(t, srv.Config(), snowtether.WithMeterProvider(m), snowtether.WithSessionInit("ALTER SESSION SET TIMEZONE = 'UTC'"))
		once(srv, "ALTER SESSION SET TIMEZONE = 'UTC'", snowtest.Fault{Code: "002003", Message: "refused"})
		if err := db.PingContext(t.Context()); err == nil {
			t.Fatal("the session was set up")
		}
		time.Sleep(time.Hour)
		once(srv, insert, snowtest.Fault{Code: "000625", Message: "aborted"})
		if err := snowtether.RunTx(t.Context(), begin(db), func(tx *sql.Tx) error {
			_, err := tx.ExecContext(t.Context(), insert)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		got := m.collect(t)
		for name, want := range map[string]float64{"snowtether.transactions.repeated{}": 1, "snowtether.set_up.failures{}": 1} {
			if n, ok := got[name]; !ok || n != want {
				t.Errorf("%s is %v (there: %v), want %v", name, n, ok, want)
			}
		}
		if s := c.Stats(); s.TxRepeats != 1 || s.SetUpFailures != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// TestMetricsAreAsDocumented: name, kind, unit and attributes, whatever happens.
func TestMetricsAreAsDocumented(t *testing.T) {
	t.Chdir("..")
	m := newMeters()
	for i := range happenings {
		happen(t, i, func(*snowtest.Server, *snowtether.Connector, *journal) {}, snowtether.WithMeterProvider(m))
	}
	inBubble(t, func(t *testing.T, srv *snowtest.Server) { // whose counters are read while it is open
		db := pool(t, srv, 1, snowtether.WithMeterProvider(m))
		srv.AbortSessions()
		mustPing(t, db)
		m.collect(t)
	})
	attrs := make(map[string][]string)
	for name := range m.values {
		name, rest, _ := strings.Cut(strings.TrimSuffix(name, "}"), "{")
		attrs[name] = append(attrs[name], "")
		for pair := range strings.SplitSeq(rest, ",") {
			if key, _, ok := strings.Cut(pair, "="); ok && !slices.Contains(attrs[name], key) {
				attrs[name] = append(attrs[name], key)
			}
		}
	}
	documented := make(map[string]string)
	for _, row := range table(t, "docs/observability.md", "metric | kind | unit | attributes | what it is") {
		name := terms(row[0])[0]
		documented[name] = row[1] + " " + terms(row[2])[0]
		got := slices.DeleteFunc(slices.Clone(attrs[name]), func(key string) bool { return key == "" })
		if slices.Sort(got); !slices.Equal(got, terms(row[3])) {
			t.Errorf("%s has the attributes %v, in the document %v", name, got, terms(row[3]))
		}
	}
	if !maps.Equal(m.kinds, documented) {
		t.Errorf("metrics %v\nin the document %v", m.kinds, documented)
	}
}

// TestProviderThatRefusesHarmsNoProgram: its error goes to OpenTelemetry's handler.
func TestProviderThatRefusesHarmsNoProgram(t *testing.T) {
	var handled []error
	before := otel.GetErrorHandler()
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { handled = append(handled, err) }))
	defer otel.SetErrorHandler(before)
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		m := newMeters()
		m.refuses = errors.New("no instruments today")
		db, c := connect(t, srv.Config(), snowtether.WithMeterProvider(m))
		mustPing(t, db)
		srv.AbortSessions()
		mustPing(t, db)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if len(handled) != 1 || !errors.Is(handled[0], m.refuses) {
			t.Errorf("handled: %v", handled)
		}
	})
}

// A trail keeps the spans of a trace.
type trail struct {
	tracenoop.TracerProvider
	recording bool

	mu    sync.Mutex
	spans []*span
}

func (tr *trail) Tracer(string, ...trace.TracerOption) trace.Tracer { return tracer{trail: tr} }

type tracer struct {
	tracenoop.Tracer
	*trail
}

func (tr tracer) Start(ctx context.Context, name string, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	cfg := trace.NewSpanStartConfig(opts...)
	s := &span{trail: tr.trail, name: name, kind: cfg.SpanKind(), attrs: map[attribute.Key]string{}}
	s.SetAttributes(cfg.Attributes()...)
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.spans = append(tr.spans, s)
	return trace.ContextWithSpan(ctx, s), s
}

type span struct {
	tracenoop.Span
	trail  *trail
	name   string
	kind   trace.SpanKind
	attrs  map[attribute.Key]string
	status string
	err    error
	ended  bool
}

func (s *span) IsRecording() bool                    { return s.trail.recording }
func (s *span) TracerProvider() trace.TracerProvider { return s.trail }
func (s *span) End(...trace.SpanEndOption)           { s.ended = true }

func (s *span) RecordError(err error, _ ...trace.EventOption) { s.err = err }

func (s *span) SetStatus(code codes.Code, description string) {
	s.status = code.String() + " " + description
}

func (s *span) SetAttributes(attrs ...attribute.KeyValue) {
	for _, kv := range attrs {
		//lint:ignore SA1019 its successor is not in the version that go.mod names
		s.attrs[kv.Key] = kv.Value.Emit()
	}
}

// TestLoginsAndResumesAreSpans: of the caller's trace, if it is being recorded.
func TestLoginsAndResumesAreSpans(t *testing.T) {
	for _, recording := range []bool{true, false} {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			tr := &trail{recording: recording}
			ctx := trace.ContextWithSpan(t.Context(), &span{trail: tr})
			db, _ := connect(t, srv.Config(), snowtether.WithPoolName("nightly"))
			mustPing(t, db) // no trace, no span
			slowly(srv, "^INSERT", 5*time.Minute, nil, nil)
			endAt(srv, snowtest.Refusal{Code: "390111"}, 2*time.Minute)
			if _, err := db.ExecContext(ctx, insert); err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, s := range tr.spans {
				names = append(names, s.name)
				if s.kind != trace.SpanKindClient || !s.ended || s.err != nil || s.status != "" ||
					!maps.Equal(s.attrs, map[attribute.Key]string{"db.system.name": "snowflake", "db.client.connection.pool.name": "nightly"}) {
					t.Errorf("%+v", s)
				}
			}
			if want := []string{"snowtether.resume", "snowtether.login"}; recording && !slices.Equal(names, want) || !recording && names != nil {
				t.Errorf("recording %v: spans %v", recording, names)
			}
		})
	}
}

// TestSpanOfAFailedLoginSaysWhy: by class and code, and without the password.
func TestSpanOfAFailedLoginSaysWhy(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		tr := &trail{recording: true}
		cfg := srv.Config()
		cfg.Password = "wr0ng-Passw0rd"
		db, _ := connect(t, cfg)
		if err := db.PingContext(trace.ContextWithSpan(t.Context(), &span{trail: tr})); err == nil {
			t.Fatal("it succeeded")
		}
		s := tr.spans[0]
		if s.attrs["error.type"] != "permanent" || s.attrs["db.response.status_code"] != "390100" || s.status != "Error permanent" || !s.ended {
			t.Errorf("%+v", s)
		}
		if s.err != nil { // its text may quote SQL
			t.Errorf("recorded: %v", s.err)
		}
	})
}

// TestStatementThatFailsIsNoFailedResume: it was carried over, and that went well.
func TestStatementThatFailsIsNoFailedResume(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		tr := &trail{recording: true}
		db, _ := connect(t, srv.Config())
		mustPing(t, db)
		slowly(srv, "^INSERT", 5*time.Minute, nil, &snowtest.Error{Code: "001003", SQLState: "42000", Message: "syntax error in INSERT"})
		endAt(srv, snowtest.Refusal{Code: "390111"}, 2*time.Minute)
		if _, err := db.ExecContext(trace.ContextWithSpan(t.Context(), &span{trail: tr}), insert); err == nil {
			t.Fatal("it succeeded")
		}
		if s := tr.spans[0]; s.name != "snowtether.resume" || s.err != nil || s.status != "" || !s.ended {
			t.Errorf("%+v", s)
		}
	})
}
