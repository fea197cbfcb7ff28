package main

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

const (
	manyQuery = "SELECT * FROM many"
	manyRows  = 1000
	partRows  = 100 // the first part stands in the reply: parts 0 to 8 are fetched
)

// handleMany makes the server answer with many rows, numbered from 0.
func handleMany(srv *snowtest.Server) {
	srv.Handle("FROM many", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		rows := make([][]any, manyRows)
		for i := range rows {
			rows[i] = []any{i, fmt.Sprint("row ", i)}
		}
		return snowtest.Rows([]string{"N", "TEXT"}, rows...), nil
	})
}

// exactly checks that the file has each row once, in order, and that the query ran
// once.
func exactly(t *testing.T, srv *snowtest.Server, path string) {
	t.Helper()
	var got []string
	if strings.HasSuffix(path, ".csv") {
		for _, line := range readCSV(t, path)[1:] {
			got = append(got, line[0])
		}
	} else {
		got = texts(readParquet(t, path).Column(0))
	}
	for i := range max(len(got), manyRows) {
		if i >= len(got) || i >= manyRows || got[i] != fmt.Sprint(i) {
			t.Errorf("%d rows, and row %d is wrong", len(got), i)
			break
		}
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

// garbage is no Arrow stream. It begins with a length, or Arrow would take its
// first four letters for one and make room for gigabytes.
const garbage = "\x10\x00\x00\x00garbage"

// losses are the ways in which the rows that are being read are lost.
var losses = []struct {
	name string
	put  func(srv *snowtest.Server, part int)
}{
	{"a URL has expired", func(srv *snowtest.Server, part int) {
		srv.FaultOnce(at(part, snowtest.Fault{Run: true, Status: 403, Body: "<Error><Code>AccessDenied</Code></Error>", After: srv.ExpireChunkURLs}))
	}},
	{"a download is cut off", func(srv *snowtest.Server, part int) { srv.FaultOnce(at(part, snowtest.Fault{Cut: 100})) }},
	{"a download is cut off between messages", func(srv *snowtest.Server, part int) {
		srv.FaultOnce(at(part, snowtest.Fault{Body: stream(part*partRows+partRows, 10)}))
	}},
	{"a download is garbage", func(srv *snowtest.Server, part int) { srv.FaultOnce(at(part, snowtest.Fault{Body: garbage})) }},
	{"the session was aborted, and a URL has expired", func(srv *snowtest.Server, part int) {
		srv.FaultOnce(at(part, snowtest.Fault{Run: true, Status: 403, After: func() { srv.ExpireChunkURLs(); srv.AbortSessions() }}))
	}},
	{"the master token and a URL have expired", func(srv *snowtest.Server, part int) {
		srv.FaultOnce(at(part, snowtest.Fault{Run: true, Status: 403, After: func() { srv.ExpireChunkURLs(); srv.ExpireMasterTokens() }}))
	}},
}

// stream is a part in the Arrow format, with n rows.
func stream(from, n int) string {
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
	return buf.String()
}

func TestLossInTheMiddleCostsNoRowAndDoublesNone(t *testing.T) {
	for i, loss := range losses {
		t.Run(loss.name, func(t *testing.T) {
			srv := snowtest.New(t, snowtest.WithChunkRows(partRows))
			handleMany(srv)
			for _, part := range []int{0, 4, 8} {
				loss.put(srv, part)
			}
			exactly(t, srv, extractTo(t, srv, []string{"many.csv", "many.parquet"}[i%2], "-query", manyQuery))
			if n := srv.Stats().Requests[snowtest.RequestResult]; n < 3 {
				t.Errorf("the result was fetched again %d times", n)
			}
		})
	}
}

// inMemory extracts with a server in a bubble, where time is virtual.
func inMemory(t *testing.T, put func(*snowtest.Server), opts ...snowtest.Option) (srv *snowtest.Server, path string, err error) {
	t.Helper()
	srv = snowtest.New(t, append(opts, snowtest.InMemory(), snowtest.WithChunkRows(partRows))...)
	handleMany(srv)
	put(srv)
	connector, err := snowtether.NewConnector(srv.Config())
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	path = filepath.Join(t.TempDir(), "many.csv")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	out := &output{open: newCSV, file: file, progress: newProgress(io.Discard)}
	if err := readAll(t.Context(), db, []string{manyQuery}, out); err != nil {
		return srv, path, err
	}
	return srv, path, out.close()
}

func TestResultThatIsGoneIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, _, err := inMemory(t, func(srv *snowtest.Server) {
			srv.FaultOnce(at(5, snowtest.Fault{Status: 403}))
			srv.FaultOnce(func(req *snowtest.Request) (snowtest.Fault, bool) {
				return snowtest.Fault{Code: "000709", Message: "Statement not found"}, req.Kind == snowtest.RequestResult
			})
		})
		if err == nil || !strings.Contains(err.Error(), "Statement not found") {
			t.Errorf("the error is %v", err)
		}
		if n := srv.Stats().Requests[snowtest.RequestResult]; n != 1 {
			t.Errorf("the result was fetched %d times", n)
		}
	})
}

// The URL of a part is all that it takes to read it.
func TestURLsAreNotLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		log.SetOutput(&logged)
		defer log.SetOutput(os.Stderr)
		_, _, err := inMemory(t, func(srv *snowtest.Server) {
			for range 24 { // more often than gosnowflake tries by itself
				srv.FaultOnce(at(2, snowtest.Fault{Drop: true}))
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if text := logged.String(); !strings.Contains(text, "fetched again") || strings.Contains(text, "/chunks/") {
			t.Errorf("it logged %s", text)
		}
	})
}
