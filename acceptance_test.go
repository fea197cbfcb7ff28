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
