package snowtether

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	semconv "go.opentelemetry.io/otel/semconv/v1.39.0"
	"go.opentelemetry.io/otel/semconv/v1.39.0/dbconv"
	"go.opentelemetry.io/otel/trace"
)

// This file hands the counts and the events to OpenTelemetry, and makes spans of
// logins and resumes. Names are those of its semantic conventions where there are
// any. An attribute has few values: no session or query ID, no SQL, no account.

const scope = "github.com/snowtether/snowtether"

// The attribute that is not of the semantic conventions: why a session was lost.
const reasonKey = attribute.Key("snowtether.reason")

// The bounds of the histograms' buckets, in seconds. A login takes a tenth of a
// second to minutes, a session lives for minutes to weeks.
var (
	tookBounds = metric.WithExplicitBucketBoundaries(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
	lifeBounds = metric.WithExplicitBucketBoundaries(1, 10, 60, 300, 900, 1800, 3600, 7200, 14400, 28800, 86400, 604800)
)

// counted are the counters that have one value each.
var counted = []struct {
	kind                    EventKind
	name, unit, description string
}{
	{EventOpened, "snowtether.logins", "{login}", "Logins that succeeded."},
	{EventLoginSuspended, "snowtether.login.suspensions", "{login}", "Logins that were refused for good, after which none is sent for a while."},
	{EventLost, "snowtether.sessions.lost", "{session}", "Sessions that were found dead."},
	{EventRetired, "snowtether.sessions.retired", "{session}", "Sessions that were replaced ahead of their end."},
	{EventRenewed, "snowtether.renewals", "{renewal}", "Session tokens that were renewed."},
	{EventResumed, "snowtether.statements.resumed", "{statement}", "Accepted statements that were carried over to a new session."},
	{EventInDoubt, "snowtether.statements.in_doubt", "{statement}", "Statements that may or may not have run."},
	{EventTransactionRepeated, "snowtether.transactions.repeated", "{transaction}", "Transactions that RunTx has begun again."},
	{EventSetUpFailed, "snowtether.set_up.failures", "{session}", "New sessions that were closed because they could not be set up."},
	{EventPingFailed, "snowtether.ping.failures", "{ping}", "Pings of idle sessions to which there was no answer."},
	{EventOutageBegan, "snowtether.outages", "{outage}", "Times in which Snowflake could not be reached."},
	{EventCloseTimedOut, "snowtether.close.timeouts", "{session}", "Sessions whose log-out did not end within its bound."},
}

// metrics are the instruments of one connector.
type metrics struct {
	pool         attribute.KeyValue
	stopping     sync.Once
	registration metric.Registration

	createTime, login, resume, session, token metric.Float64Histogram
}

// newMetrics makes the instruments of a connector. What is wrong with one goes to
// OpenTelemetry's error handler: no program fails for want of a metric.
func newMetrics(c *Connector) *metrics {
	provider := c.settings.meterProvider
	if provider == nil {
		provider = otel.GetMeterProvider()
	}
	meter := provider.Meter(scope, metric.WithSchemaURL(semconv.SchemaURL))
	m := &metrics{pool: semconv.DBClientConnectionPoolName(c.settings.poolName), registration: noop.Registration{}}

	var failed error
	histogram := func(name, description string, bounds metric.HistogramOption) metric.Float64Histogram {
		h, err := meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description), bounds)
		if err != nil {
			failed = errors.Join(failed, err)
			return noop.Float64Histogram{}
		}
		return h
	}
	createTime := dbconv.ClientConnectionCreateTime{}
	m.createTime = histogram(createTime.Name(), createTime.Description(), tookBounds)
	m.login = histogram("snowtether.login.duration", "How long a login took, without waiting for it.", tookBounds)
	m.resume = histogram("snowtether.resume.duration", "How long it took to carry a statement over to a new session.", tookBounds)
	m.session = histogram("snowtether.session.life", "How long a session lived that was found dead.", lifeBounds)
	m.token = histogram("snowtether.token.life", "How long a session token lived until it was renewed.", lifeBounds)

	var observed []metric.Observable
	var observers []func(metric.Observer, Stats)
	add := func(instrument metric.Int64Observable, err error, observe func(metric.Observer, Stats)) {
		if err != nil {
			failed = errors.Join(failed, err)
			return
		}
		observed, observers = append(observed, instrument), append(observers, observe)
	}
	with := func(attrs ...attribute.KeyValue) metric.ObserveOption {
		return metric.WithAttributeSet(attribute.NewSet(append(attrs, m.pool)...))
	}
	counter := func(name, unit, description string, observe func(o metric.Observer, i metric.Int64Observable, s Stats)) {
		i, err := meter.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
		add(i, err, func(o metric.Observer, s Stats) { observe(o, i, s) })
	}
	gauge := func(name, unit, description string, observe func(o metric.Observer, i metric.Int64Observable, s Stats)) {
		i, err := meter.Int64ObservableUpDownCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
		add(i, err, func(o metric.Observer, s Stats) { observe(o, i, s) })
	}

	none := with()
	idle, used := with(semconv.DBClientConnectionStateIdle), with(semconv.DBClientConnectionStateUsed)
	connections := dbconv.ClientConnectionCount{}
	gauge(connections.Name(), connections.Unit(), connections.Description(), func(o metric.Observer, i metric.Int64Observable, s Stats) {
		o.ObserveInt64(i, s.Idle, idle)
		o.ObserveInt64(i, max(s.Open-s.Idle, 0), used)
	})
	gauge("snowtether.sessions.suspect", "{session}", "Sessions to be asked before their next use whether they are alive.", func(o metric.Observer, i metric.Int64Observable, s Stats) {
		o.ObserveInt64(i, s.Suspect, none)
	})
	gauge("snowtether.login.suspended", "{pool}", "1 while no login is sent because the last one was refused.", func(o metric.Observer, i metric.Int64Observable, _ Stats) {
		suspended := int64(0)
		if gateInfo(c.gate.Info(time.Now())).State == GateSuspended {
			suspended = 1
		}
		o.ObserveInt64(i, suspended, none)
	})
	gauge("snowtether.outage.age", "s", "For how long Snowflake has not been reached; 0 if there is no outage.", func(o metric.Observer, i metric.Int64Observable, _ Stats) {
		age := int64(0)
		if g := gateInfo(c.gate.Info(time.Now())); g.State == GateProbing {
			age = int64(time.Since(g.Since).Seconds())
		}
		o.ObserveInt64(i, age, none)
	})
	counter("snowtether.login.failures", "{login}", "Logins that were sent and failed.", func(o metric.Observer, i metric.Int64Observable, s Stats) {
		for _, class := range []Class{ClassTransient, ClassCredential, ClassPermanent} {
			o.ObserveInt64(i, s.LoginFailuresByClass[class], with(semconv.ErrorTypeKey.String(string(class))))
		}
	})
	counter("snowtether.reconnects", "{session}", "Lost sessions that were replaced on their connection.", func(o metric.Observer, i metric.Int64Observable, s Stats) {
		for reason, n := range s.ReconnectsByReason {
			o.ObserveInt64(i, n, with(reasonKey.String(reason)))
		}
	})
	counter("snowtether.pings", "{ping}", "Pings of idle sessions.", func(o metric.Observer, i metric.Int64Observable, s Stats) {
		o.ObserveInt64(i, s.Pings, none)
	})
	for _, each := range counted {
		counter(each.name, each.unit, each.description, func(o metric.Observer, i metric.Int64Observable, _ Stats) {
			o.ObserveInt64(i, c.counters.of(each.kind), none)
		})
	}

	registration, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		s := c.Stats()
		for _, observe := range observers {
			observe(o, s)
		}
		return nil
	}, observed...)
	if err == nil {
		m.registration = registration
	}
	if failed = errors.Join(failed, err); failed != nil {
		otel.Handle(failed)
	}
	return m
}

// stop ends the observing: nothing of the connector is left at the provider.
func (m *metrics) stop() {
	m.stopping.Do(func() {
		if err := m.registration.Unregister(); err != nil {
			otel.Handle(err)
		}
	})
}

// created records how long a caller waited for a new session, from the call until
// the session was set up.
func (m *metrics) created(ctx context.Context, took time.Duration) {
	m.observe(ctx, m.createTime, took)
}

// record records what an event says of times.
func (m *metrics) record(ctx context.Context, e Event) {
	switch e.Kind {
	case EventOpened:
		m.observe(ctx, m.login, e.Duration)
	case EventLoginFailed:
		m.observe(ctx, m.login, e.Duration, semconv.ErrorTypeKey.String(string(e.Class)))
	case EventLost:
		m.observe(ctx, m.session, e.Age, reasonKey.String(e.reason()))
	case EventRenewed:
		if e.Duration > 0 {
			m.observe(ctx, m.token, e.Duration)
		}
	case EventResumed:
		m.observe(ctx, m.resume, e.Duration)
	}
}

func (m *metrics) observe(ctx context.Context, h metric.Float64Histogram, d time.Duration, attrs ...attribute.KeyValue) {
	h.Record(ctx, d.Seconds(), metric.WithAttributes(append(attrs, m.pool)...))
}

// span begins a span of the caller's trace, if there is one that is being recorded.
// end ends it with the outcome.
func (c *Connector) span(ctx context.Context, name string) (_ context.Context, end func(error)) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, func(error) {}
	}
	tracer := parent.TracerProvider().Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL))
	ctx, span := tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(semconv.DBSystemNameKey.String("snowflake"), c.metrics.pool))
	return ctx, func(err error) {
		if err != nil {
			class := string(Classify(err))
			span.SetAttributes(semconv.ErrorTypeKey.String(class))
			if code := number(err); code != 0 {
				span.SetAttributes(semconv.DBResponseStatusCode(strconv.Itoa(code)))
			}
			span.SetStatus(codes.Error, class)
		}
		span.End()
	}
}
