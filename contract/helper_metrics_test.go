package contract_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
)

// This file has what stands in for OpenTelemetry's meters.

// A meters is a metric.MeterProvider whose meter keeps what it is given.
type meters struct {
	noop.MeterProvider
	refuses error // of every instrument and callback

	mu        sync.Mutex
	kinds     map[string]string // of the instruments, as in "counter {login}"
	callbacks map[int]metric.Callback
	values    map[string]float64 // of counters, and how often a histogram was given a value
	sums      map[string]float64 // of histograms, in seconds
}

func (m *meters) Meter(string, ...metric.MeterOption) metric.Meter { return meter{meters: m} }

// collect returns all series that have a value.
func (m *meters) collect(t *testing.T) map[string]float64 {
	t.Helper()
	m.mu.Lock()
	callbacks := slices.Collect(maps.Values(m.callbacks))
	m.mu.Unlock()
	for _, f := range callbacks {
		if err := f(t.Context(), observer{meters: m}); err != nil {
			t.Error(err)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.values)
}

type meter struct {
	noop.Meter
	*meters
}

func (m meter) note(name, kind string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kinds[name] = kind
}

func (m meter) Int64ObservableCounter(name string, opts ...metric.Int64ObservableCounterOption) (metric.Int64ObservableCounter, error) {
	m.note(name, "counter "+metric.NewInt64ObservableCounterConfig(opts...).Unit())
	return counter{name: name}, m.refuses
}

func (m meter) Int64ObservableUpDownCounter(name string, opts ...metric.Int64ObservableUpDownCounterOption) (metric.Int64ObservableUpDownCounter, error) {
	m.note(name, "up-down counter "+metric.NewInt64ObservableUpDownCounterConfig(opts...).Unit())
	return upDownCounter{name: name}, m.refuses
}

func (m meter) Float64Histogram(name string, opts ...metric.Float64HistogramOption) (metric.Float64Histogram, error) {
	m.note(name, "histogram "+metric.NewFloat64HistogramConfig(opts...).Unit())
	if m.refuses != nil {
		return nil, m.refuses
	}
	return histogram{meters: m.meters, name: name}, nil
}

func (m meter) RegisterCallback(f metric.Callback, _ ...metric.Observable) (metric.Registration, error) {
	if m.refuses != nil {
		return nil, m.refuses
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	id := len(m.callbacks)
	m.callbacks[id] = f
	return registration{meters: m.meters, id: id}, nil
}

type counter struct {
	noop.Int64ObservableCounter
	name string
}

type upDownCounter struct {
	noop.Int64ObservableUpDownCounter
	name string
}

type histogram struct {
	noop.Float64Histogram
	*meters
	name string
}

func (h histogram) Record(_ context.Context, v float64, opts ...metric.RecordOption) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.values[series(h.name, metric.NewRecordConfig(opts).Attributes())]++
	h.sums[h.name] += v
}

// series is the name of a series, as in "name{key=value,…}", without the pool.
func series(name string, attrs attribute.Set) string {
	var pairs []string
	for _, kv := range attrs.ToSlice() {
		if kv.Key != "db.client.connection.pool.name" {
			//lint:ignore SA1019 its successor is not in the version that go.mod names
			pairs = append(pairs, string(kv.Key)+"="+kv.Value.Emit())
		}
	}
	return name + "{" + strings.Join(pairs, ",") + "}"
}

type registration struct {
	noop.Registration
	*meters
	id int
}

func (r registration) Unregister() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.callbacks, r.id)
	return nil
}

type observer struct {
	noop.Observer
	*meters
}

func (o observer) ObserveInt64(i metric.Int64Observable, v int64, opts ...metric.ObserveOption) {
	name := ""
	switch i := i.(type) {
	case counter:
		name = i.name
	case upDownCounter:
		name = i.name
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.values[series(name, metric.NewObserveConfig(opts).Attributes())] = float64(v)
}

func newMeters() *meters {
	return &meters{kinds: map[string]string{}, callbacks: map[int]metric.Callback{}, values: map[string]float64{}, sums: map[string]float64{}}
}
