package transcript_test

import (
	"context"
	"database/sql/driver"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/internal/transcript"
	"github.com/snowtether/snowtether/snowtest"
)

// This file holds what the transcript rests on: what the gosnowflake in use looks up, and
// when.

const insert = "INSERT INTO t VALUES (1)"

// watched carries one statement out on a bare connection of gosnowflake's, and gives its
// transcript.
func watched(t *testing.T, arrange func(srv *snowtest.Server), run func(ctx context.Context, conn driver.Conn) error, opts ...snowtest.Option) (got transcript.Transcript) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		srv := snowtest.New(t, append(opts, snowtest.InMemory(), snowtest.AllowRepeats(), snowtest.AllowOpenSessions())...)
		conn, err := gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *srv.Config()).Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if arrange != nil {
			arrange(srv)
		}
		seen := transcript.New(t.Context())
		err = run(seen, conn)
		got = seen.End(false)
		t.Logf("%s: %v", got, err)
	})
	return got
}

func exec(ctx context.Context, conn driver.Conn) error {
	_, err := conn.(driver.ExecerContext).ExecContext(ctx, insert, nil)
	return err
}

// bulk is an array bind through a stage, where the server says that ten values are many.
func bulk(ctx context.Context, conn driver.Conn) error {
	values := make([]int, 100)
	array, err := gosnowflake.Array(&values)
	if err != nil {
		return err
	}
	_, err = conn.(driver.ExecerContext).ExecContext(ctx, "INSERT INTO t VALUES (?)", []driver.NamedValue{{Ordinal: 1, Value: array}})
	return err
}

var stage = snowtest.WithSessionParameter("CLIENT_STAGE_ARRAY_BINDING_THRESHOLD", 10)

// once answers the next request for a statement with a fault.
func once(f snowtest.Fault) func(srv *snowtest.Server) {
	return func(srv *snowtest.Server) {
		srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) { return f, r.Kind == snowtest.RequestQuery })
	}
}

func slow(srv *snowtest.Server) {
	srv.Handle("^INSERT", func(ctx context.Context, _ *snowtest.Statement) (*snowtest.Result, error) {
		select {
		case <-time.After(time.Minute):
		case <-ctx.Done():
		}
		return snowtest.Count(snowtest.KindInsert, []string{"inserted"}, []int64{1}), nil
	})
}

// TestWhatGosnowflakeLooksUp: each mark means what the package says that it means.
func TestWhatGosnowflakeLooksUp(t *testing.T) {
	for _, tt := range []struct {
		name    string
		arrange func(srv *snowtest.Server)
		run     func(ctx context.Context, conn driver.Conn) error
		opts    []snowtest.Option
		want    string
	}{
		{name: "plain", run: exec, want: "qP.i"},
		{name: "token expired", arrange: func(srv *snowtest.Server) { srv.ExpireSessionTokens() }, run: exec, want: "qP.qP.P.i"},
		{name: "session gone", arrange: func(srv *snowtest.Server) { srv.AbortSessions() }, run: exec, want: "qP.o"},
		{name: "master token expired", arrange: func(srv *snowtest.Server) { srv.ExpireMasterTokens() }, run: exec, want: "qP.qP."},
		{name: "503 and a retry", arrange: once(snowtest.Fault{Status: 503}), run: exec, want: "qP.P.i"},
		{name: "reply lost and a retry", arrange: once(snowtest.Fault{Run: true, Drop: true}), run: exec, want: "qPP.i"},
		{name: "reply cut", arrange: once(snowtest.Fault{Run: true, Cut: 20}), run: exec, want: "qP.tP.i"},
		{name: "HTTP 401", arrange: once(snowtest.Fault{Status: 401}), run: exec, want: "qP."},
		{name: "polled", arrange: slow, run: exec, opts: []snowtest.Option{snowtest.WithInlineWait(20 * time.Second)}, want: "qP.iG.G.G."},
		{name: "expired while polled", arrange: func(srv *snowtest.Server) {
			slow(srv)
			time.AfterFunc(30*time.Second, func() { srv.ExpireSessionTokens() })
		}, run: exec, opts: []snowtest.Option{snowtest.WithInlineWait(20 * time.Second)}, want: "qP.iG.G.qP.G.G."},
		{name: "array bind through a stage", run: bulk, opts: []snowtest.Option{stage}, want: "qqP.iqP.iqP.ix.P.i"},
		{name: "array bind, token expired", arrange: func(srv *snowtest.Server) { srv.ExpireSessionTokens() }, run: bulk, opts: []snowtest.Option{stage}, want: "qqP.qP.P.iqP.iqP.ix.P.i"},
		{name: "bad bind", run: func(ctx context.Context, conn driver.Conn) error {
			_, err := conn.(driver.ExecerContext).ExecContext(ctx, insert, []driver.NamedValue{{Ordinal: 1, Value: make(chan int)}})
			return err
		}, want: "q"},
		{name: "isolation level", run: func(ctx context.Context, conn driver.Conn) error {
			_, err := conn.(driver.ConnBeginTx).BeginTx(ctx, driver.TxOptions{Isolation: 6})
			return err
		}, want: ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := watched(t, tt.arrange, tt.run, tt.opts...).String(); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

// TestTranscriptsSayHowTheStatementWasSent: by which gosnowflake, as which request, to run or not
// to run something, and since when it has had no answer.
func TestTranscriptsSayHowTheStatementWasSent(t *testing.T) {
	for _, tt := range []struct {
		name       string
		arrange    func(srv *snowtest.Server)
		unanswered bool
	}{{"plain", nil, false}, {"without an answer", slow, true}} {
		t.Run(tt.name, func(t *testing.T) {
			got := watched(t, tt.arrange, func(ctx context.Context, conn driver.Conn) error {
				ctx, stop := context.WithTimeout(ctx, 5*time.Second)
				defer stop()
				return exec(ctx, conn)
			})
			if got.Dialect() != transcript.V2 || got.Request() == nil {
				t.Errorf("sent by %v as %v", got.Dialect(), got.Request())
			}
			if got.Idle() || got.Unanswered().IsZero() == tt.unanswered {
				t.Errorf("idle: %v; without an answer since %v", got.Idle(), got.Unanswered())
			}
		})
	}
	describe := transcript.New(gosnowflake.WithDescribeOnly(t.Context()))
	_ = describe.Value(gosnowflake.ContextKey("DESCRIBE_ONLY"))
	if got := describe.End(false); !got.Idle() {
		t.Error("a description is said to run something")
	}
}

// TestLookUpsOfOthersAreNoMarks: a tracing wrapper, a log or a transport may look up what
// gosnowflake does. Taken for its own, one more look-up would make a statement that ran
// one of those that an array bind sends before it.
func TestLookUpsOfOthersAreNoMarks(t *testing.T) {
	type key struct{}
	id := gosnowflake.NewUUID()
	got := watched(t, nil, func(ctx context.Context, conn driver.Conn) error {
		ctx = context.WithValue(ctx, key{}, 1)
		for range 2 {
			if ctx.Value(gosnowflake.ContextKey("SNOWFLAKE_REQUEST_ID")) != nil {
				t.Error("there is none")
			}
		}
		if err := exec(ctx, conn); err != nil {
			return err
		}
		_ = ctx.Value(gosnowflake.ContextKey("SNOWFLAKE_REQUEST_ID"))
		_ = ctx.Value(gosnowflake.ContextKey("QUERY_ID_CHANNEL"))
		return nil
	})
	if got.String() != "qP.i?" {
		t.Errorf("%s", got)
	}
	seen := transcript.New(gosnowflake.WithRequestID(t.Context(), id))
	for range 2 {
		if seen.Value(gosnowflake.ContextKey("SNOWFLAKE_REQUEST_ID")) != id {
			t.Error("others do not see the caller's request ID")
		}
	}
}

// A layer is a context of a program's own.
type layer struct{ context.Context }

func (l layer) Value(key any) any { return l.Context.Value(key) }

// TestLookUpsAreSeenThroughContextsOfOthers: of whatever is between a statement and its recorder,
// which says neither that it is gosnowflake's nor that it is not.
func TestLookUpsAreSeenThroughContextsOfOthers(t *testing.T) {
	for _, layers := range []int{0, 1, 2, 3, 4, 8} {
		got := watched(t, nil, func(ctx context.Context, conn driver.Conn) error {
			for range layers {
				ctx = layer{ctx}
			}
			_ = ctx.Value(gosnowflake.ContextKey("SNOWFLAKE_REQUEST_ID"))
			return exec(ctx, conn)
		})
		if got.String() != "qP.i" {
			t.Errorf("through %d: %s", layers, got)
		}
	}
}

// TestCallersRequestIDIsForTheirStatementAlone: and not for what an array bind sends
// before it.
func TestCallersRequestIDIsForTheirStatementAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := snowtest.New(t, snowtest.InMemory(), stage)
		conn, err := gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *srv.Config()).Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		id := gosnowflake.NewUUID()
		seen := transcript.New(gosnowflake.WithRequestID(t.Context(), id))
		if err := bulk(seen, conn); err != nil {
			t.Fatal(err)
		}
		for _, e := range srv.Ledger() {
			if own := strings.HasPrefix(e.SQL, "INSERT"); own != (e.RequestID == id.String()) {
				t.Errorf("%s was sent as request %s, the caller's is %s", e.SQL, e.RequestID, id)
			}
		}
	})
}

// TestWithoutHidesWhatIsForOneStatement: of gosnowflake's keys all, of others none.
func TestWithoutHidesWhatIsForOneStatement(t *testing.T) {
	type key struct{}
	type text string
	ctx := context.WithValue(t.Context(), key{}, 1)
	ctx = context.WithValue(ctx, text("SNOWFLAKE_REQUEST_ID"), 2)
	ctx = gosnowflake.WithDescribeOnly(gosnowflake.WithRequestID(ctx, gosnowflake.NewUUID()))
	hidden := transcript.Without(ctx)
	for _, k := range []gosnowflake.ContextKey{"SNOWFLAKE_REQUEST_ID", "DESCRIBE_ONLY"} {
		if ctx.Value(k) == nil || hidden.Value(k) != nil {
			t.Errorf("%s: %v", k, hidden.Value(k))
		}
	}
	if hidden.Value(key{}) != 1 || hidden.Value(text("SNOWFLAKE_REQUEST_ID")) != 2 {
		t.Error("a key of the program's own is hidden")
	}
}

// BenchmarkTranscript is the recorder alone, used as gosnowflake and net/http use it for
// a statement in the steady state.
func BenchmarkTranscript(b *testing.B) {
	b.ReportAllocs()
	ctx := b.Context()
	for b.Loop() {
		seen := transcript.New(ctx)
		transcript.LookUp(seen)
		transcript.Traffic(seen)
		ch := seen.Value(gosnowflake.ContextKey("QUERY_ID_CHANNEL")).(chan<- string)
		ch <- "01b2c3d4-0000-0000-0000-000000000000"
		close(ch)
		if saw := seen.End(false); saw.ID() == "" {
			b.Fatal(saw)
		}
	}
}
