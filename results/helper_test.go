package results_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/results"
	"github.com/snowtether/snowtether/snowtest"
)

// This file has what the tests of the package share: a result of 50 parts, and what is expected of
// each reading of it.

const (
	manyQuery = "SELECT * FROM many"
	partRows  = 20
	parts     = 50                     // that are downloaded; one more stands in the reply
	manyRows  = (parts + 1) * partRows // numbered from 0
)

// inBubble runs a test with a server in memory, where time is virtual, and a pool of snowtether's.
func inBubble(t *testing.T, f func(t *testing.T, srv *snowtest.Server, db *sql.DB), opts ...snowtest.Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		// gosnowflake goes on cancelling what Close has cut short, for minutes.
		t.Cleanup(func() { time.Sleep(time.Hour) })
		srv := snowtest.New(t, append([]snowtest.Option{snowtest.InMemory(), snowtest.WithChunkRows(partRows)}, opts...)...)
		handleMany(srv)
		connector, err := snowtether.NewConnector(srv.Config())
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(connector)
		defer db.Close()
		f(t, srv, db)
	})
}

// plainly is inBubble with a pool of gosnowflake's own.
func plainly(t *testing.T, f func(t *testing.T, srv *snowtest.Server, db *sql.DB), opts ...snowtest.Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		srv := snowtest.New(t, append([]snowtest.Option{snowtest.InMemory(), snowtest.WithChunkRows(partRows)}, opts...)...)
		handleMany(srv)
		db := sql.OpenDB(gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *srv.Config()))
		defer db.Close()
		f(t, srv, db)
	})
}

func handleMany(srv *snowtest.Server) {
	srv.Handle("FROM many", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		rows := make([][]any, manyRows)
		for i := range rows {
			rows[i] = []any{i, fmt.Sprint("row ", i)}
		}
		return snowtest.Rows([]string{"N", "TEXT"}, rows...), nil
	})
}

// A tally is what a reading has handed out. It checks that rows come in order.
type tally struct {
	t    *testing.T
	next int64
	last results.Batch // its columns and numbers; its rows are gone
}

func (y *tally) take(b results.Batch) error {
	if b.First != y.next || b.Total != manyRows || b.NumRows() == 0 {
		y.t.Errorf("a batch of %d rows begins at %d of %d, want %d of %d", b.NumRows(), b.First, b.Total, y.next, manyRows)
	}
	for row := range int(b.NumRows()) {
		want := y.next + int64(row)
		if n, text := b.Column(0).ValueStr(row), b.Column(1).ValueStr(row); n != fmt.Sprint(want) || text != fmt.Sprint("row ", want) {
			y.t.Fatalf("row %d is %s, %q", want, n, text)
		}
	}
	y.next += b.NumRows()
	y.last = b
	return nil
}

// whole reads many and checks that each row came once, in order, and that the query ran once.
func whole(t *testing.T, srv *snowtest.Server, db *sql.DB, opts ...results.Option) {
	t.Helper()
	y := &tally{t: t}
	if err := results.Read(t.Context(), db, results.SQL(manyQuery), y.take, opts...); err != nil {
		t.Fatal(err)
	}
	if y.next != manyRows {
		t.Errorf("%d rows of %d", y.next, manyRows)
	}
	if n := srv.Accepted(manyQuery); n != 1 {
		t.Errorf("the query was accepted %d times", n)
	}
}

// at puts a fault on the request for a part, whichever session fetches it.
func at(part int, fault snowtest.Fault) func(*snowtest.Request) (snowtest.Fault, bool) {
	return func(req *snowtest.Request) (snowtest.Fault, bool) {
		return fault, req.Kind == snowtest.RequestChunk && strings.HasSuffix(req.HTTP.URL.Path, fmt.Sprint("/", part))
	}
}

// refetched is how often the result was asked for by its ID.
func refetched(srv *snowtest.Server) int { return srv.Stats().Requests[snowtest.RequestResult] }

// stream is rows of many as a part in the Arrow format.
func stream(from, n int) []byte {
	schema := arrow.NewSchema([]arrow.Field{{Name: "N", Type: arrow.PrimitiveTypes.Int16}, {Name: "TEXT", Type: arrow.BinaryTypes.String}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	for i := range n {
		b.Field(0).(*array.Int16Builder).Append(int16(from + i))
		b.Field(1).(*array.StringBuilder).Append(fmt.Sprint("row ", from+i))
	}
	var buf bytes.Buffer
	w := ipc.NewWriter(&buf, ipc.WithSchema(schema))
	if err := w.Write(b.NewRecordBatch()); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

// garbage is no Arrow stream. It begins with a length, or Arrow would take its first four letters
// for one and make room for gigabytes.
const garbage = "\x10\x00\x00\x00garbage"

// breaks are the ways in which a result is lost while a part of it is asked for.
var breaks = []struct {
	name  string
	again bool // the result has to be fetched again
	put   func(srv *snowtest.Server, part int)
}{
	{"the URLs have expired", true, func(srv *snowtest.Server, part int) {
		srv.FaultOnce(at(part, snowtest.Fault{Run: true, Status: 403, Body: "<Error><Code>AccessDenied</Code></Error>", After: srv.ExpireChunkURLs}))
	}},
	{"the download is cut off", true, func(srv *snowtest.Server, part int) { srv.FaultOnce(at(part, snowtest.Fault{Cut: 100})) }},
	{"the download is cut off between two messages", true, func(srv *snowtest.Server, part int) {
		srv.FaultOnce(at(part, snowtest.Fault{Body: string(stream((part+1)*partRows, partRows/2))}))
	}},
	{"the download is garbage", true, func(srv *snowtest.Server, part int) { srv.FaultOnce(at(part, snowtest.Fault{Body: garbage})) }},
	{"the download stalls", true, func(srv *snowtest.Server, part int) {
		srv.FaultOnce(at(part, snowtest.Fault{Delay: 24 * time.Hour}))
	}},
	{"the session is gone and the URLs have expired", true, func(srv *snowtest.Server, part int) {
		srv.FaultOnce(at(part, snowtest.Fault{Run: true, Status: 403, After: func() { srv.ExpireChunkURLs(); srv.AbortSessions() }}))
	}},
	{"the tokens and the URLs have expired", true, func(srv *snowtest.Server, part int) {
		srv.FaultOnce(at(part, snowtest.Fault{Run: true, Status: 403, After: func() { srv.ExpireChunkURLs(); srv.ExpireMasterTokens() }}))
	}},
	{"the session's token and the URLs have expired", true, func(srv *snowtest.Server, part int) {
		srv.FaultOnce(at(part, snowtest.Fault{Run: true, Status: 403, After: func() { srv.ExpireChunkURLs(); srv.ExpireSessionTokens() }}))
	}},
	{"the session is gone", false, func(srv *snowtest.Server, part int) {
		srv.FaultOnce(at(part, snowtest.Fault{After: func() { srv.AbortSessions() }}))
	}},
	{"the network is away for five minutes", true, func(srv *snowtest.Server, part int) {
		srv.FaultOnce(at(part, snowtest.Fault{Drop: true, After: func() {
			srv.Disconnect()
			time.AfterFunc(5*time.Minute, srv.Reconnect)
		}, Run: true}))
	}},
}
