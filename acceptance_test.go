package snowtether

import (
	"net/http/httptrace"
	"testing"

	"github.com/snowflakedb/gosnowflake/v2"
)

// BenchmarkAcceptanceWatch is the watch alone, used as gosnowflake and net/http use
// it for a statement in the steady state: one look-up, one request, one reply.
func BenchmarkAcceptanceWatch(b *testing.B) {
	b.ReportAllocs()
	key := gosnowflake.ContextKey("QUERY_ID_CHANNEL") // where v2.1.0 looks
	ctx := b.Context()
	for b.Loop() {
		w := newWatch(ctx, nil)
		trace := httptrace.ContextClientTrace(w)
		trace.GetConn("")
		trace.WroteHeaders()
		trace.GotFirstResponseByte()
		ch, ok := w.Value(key).(chan<- string)
		if !ok {
			b.Fatal("gosnowflake looks elsewhere now")
		}
		ch <- "01b2c3d4-0000-0000-0000-000000000000"
		close(ch)
		if acc := w.end(ctx); acc.queryID == "" || acc.requests != 1 || acc.replies != 1 {
			b.Fatalf("%+v", acc)
		}
	}
}

// TestRefusedIsProvenByTheTraffic: the table at acceptance.refused, and what is
// only nearly like it.
func TestRefusedIsProvenByTheTraffic(t *testing.T) {
	for _, tt := range []struct {
		name         string
		acc          acceptance
		unauthorized bool
		want         bool
	}{
		{"refused at once", acceptance{lookups: 1, requests: 1, replies: 1}, false, true},
		{"refused by the renewal", acceptance{requests: 2, replies: 2}, false, true},
		{"HTTP 401", acceptance{requests: 1, replies: 1}, true, true},
		{"accepted, lost while polled", acceptance{lookups: 1, requests: 4, replies: 4, lastID: "01b2"}, false, false},
		{"reply lost, then expiry", acceptance{requests: 3, replies: 2}, false, false},
		{"503 after execution, then expiry", acceptance{requests: 3, replies: 3}, false, false},
		{"503 after execution, then 390111", acceptance{lookups: 1, requests: 2, replies: 2}, false, false},
		{"503 after execution, then HTTP 401", acceptance{requests: 2, replies: 2}, true, false},

		{"another driver, no traffic", acceptance{}, false, true},
		{"renewed, then refused at once", acceptance{lookups: 1, requests: 3, replies: 3}, false, false},
		{"renewed, then refused by the renewal", acceptance{requests: 4, replies: 4}, false, false},
		{"renewed, then HTTP 401", acceptance{requests: 3, replies: 3}, true, false},
		{"array bind: two of its own, then refused", acceptance{lookups: 3, requests: 3, replies: 3}, false, true},

		{"one reply short", acceptance{lookups: 1, requests: 2, replies: 1}, false, false},
		{"one reply too many", acceptance{lookups: 1, requests: 1, replies: 2}, false, false},
		{"one request, no look-up, no 401", acceptance{requests: 1, replies: 1}, false, false},
		{"HTTP 401 with one reply short", acceptance{requests: 1}, true, false},
		{"HTTP 401 without traffic", acceptance{}, true, false},
		{"an ID and nothing else", acceptance{lastID: "01b2"}, false, false},
		{"an ID that came with the refusal", acceptance{lookups: 1, requests: 1, replies: 1, lastID: "01b2"}, false, false},
		{"array bind with a retry", acceptance{lookups: 3, requests: 4, replies: 4}, false, false},
		{"renewed, and one request left over", acceptance{lookups: 1, requests: 4, replies: 4}, false, false},
		{"renewed, reply of the first lost", acceptance{lookups: 1, requests: 4, replies: 3}, false, false},
	} {
		if got := tt.acc.refused(tt.unauthorized); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestLookUpWithoutAReplyProvesNothing: a driver may look for the query-ID channel
// for reasons of its own. Counted as a reply, it would make a clean refusal of a
// statement that ran before its first reply was lost.
func TestLookUpWithoutAReplyProvesNothing(t *testing.T) {
	w := newWatch(t.Context(), nil)
	trace := httptrace.ContextClientTrace(w)
	key := gosnowflake.ContextKey("QUERY_ID_CHANNEL")
	w.Value(key)
	for range 2 { // a 503 after execution, then 390111
		trace.WroteHeaders()
		trace.GotFirstResponseByte()
	}
	ch := w.Value(key).(chan<- string)
	ch <- ""
	close(ch)
	if acc := w.end(t.Context()); acc.lookups != 1 || acc.refused(false) {
		t.Errorf("%+v is a refusal: %v", acc, acc.refused(false))
	}
}
