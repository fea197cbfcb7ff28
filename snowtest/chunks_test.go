package snowtest_test

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/snowflakedb/gosnowflake/v2"
	"github.com/snowflakedb/gosnowflake/v2/arrowbatches"

	"github.com/snowtether/snowtether/snowtest"
)

// This file is about large results: their chunks, and what gosnowflake makes of
// chunks that cannot be had.

// manyRows is a result of n rows with columns of several types, NULLs among them.
func manyRows(n int) *snowtest.Result {
	rows := make([][]any, n)
	for i := range rows {
		rows[i] = []any{i, float64(i) / 4, fmt.Sprint("row ", i), i%3 == 0, time.Unix(int64(i), int64(i)), []byte{byte(i)}}
		if i%7 == 0 {
			rows[i][1+i%5] = nil
		}
	}
	return snowtest.Rows([]string{"N", "R", "S", "B", "T", "X"}, rows...)
}

func sumOf(t *testing.T, rows *sql.Rows) (n int, sum string) {
	t.Helper()
	defer rows.Close()
	var total [6]float64
	for ; rows.Next(); n++ {
		var v struct {
			n int64
			r sql.NullFloat64
			s sql.NullString
			b sql.NullBool
			t sql.NullTime
			x []byte
		}
		if err := rows.Scan(&v.n, &v.r, &v.s, &v.b, &v.t, &v.x); err != nil {
			t.Fatal(err)
		}
		if v.n != int64(n) {
			t.Fatalf("row %d is %d", n, v.n)
		}
		for i, x := range []any{v.n, v.r, v.s, v.b, v.t, v.x} {
			total[i] += float64(i+n%11) * float64(len(fmt.Sprint(x)))
		}
		total[1] += v.r.Float64
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return n, fmt.Sprint(total)
}

func TestLargeResultHasTheSameValuesInBothFormats(t *testing.T) {
	const n = 25_001
	srv := snowtest.New(t, snowtest.WithChunkRows(10_000))
	srv.Handle("FROM big", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) { return manyRows(n), nil })
	var sums []string
	bothFormats(t, func(t *testing.T, format string) {
		rows, err := open(t, srv, inFormat(format)).QueryContext(t.Context(), "SELECT * FROM big")
		if err != nil {
			t.Fatal(err)
		}
		got, sum := sumOf(t, rows)
		if sums = append(sums, sum); got != n || sum != sums[0] {
			t.Errorf("%d rows, sums %v", got, sums)
		}
	})
}

func TestChunksGrowAndHaveSeveralRecords(t *testing.T) {
	srv := snowtest.New(t)
	srv.Handle("FROM big", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		return repeated(1000, 230), nil
	})
	var sizes []int
	records := 0
	batches(t, t.Context(), conn(t, open(t, srv)), "SELECT * FROM big", func(batch int, columns []arrow.Array) {
		if batch == len(sizes) {
			sizes = append(sizes, 0)
		}
		sizes[batch] += columns[0].Len()
		records++
	})
	if want := []int{10_000, 20_000, 40_000, 80_000, 80_000}; !reflect.DeepEqual(sizes, want) || records <= 2*len(sizes) {
		t.Errorf("parts of %v rows and %d records, want %v", sizes, records, want)
	}
}

// repeated is a result that comes as n batches of rows, each in the same memory.
func repeated(rows, n int) *snowtest.Result {
	res := &snowtest.Result{Columns: []snowtest.Column{{Name: "N", Type: "fixed", Precision: 38}}}
	text, list := make([]string, rows), make([][]*string, rows)
	for i := range list {
		list[i] = []*string{&text[i]}
	}
	res.More = func(yield func([][]*string, error) bool) {
		for batch := range n {
			for i := range text {
				text[i] = strconv.Itoa(batch*rows + i)
			}
			if !yield(list, nil) {
				return
			}
		}
	}
	return res
}

// numbered answers FROM big with n rows, in parts of a tenth of them.
func numbered(tb snowtest.TB, n int, opts ...snowtest.Option) *snowtest.Server {
	srv := snowtest.New(tb, append(opts, snowtest.WithChunkRows(n/10))...)
	rows := make([][]any, n)
	for i := range rows {
		rows[i] = []any{i}
	}
	srv.Handle("FROM big", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		return snowtest.Rows([]string{"N"}, rows...), nil
	})
	return srv
}

// inOrder fails unless the list counts from 0 to n-1.
func inOrder(t *testing.T, list []string, n int) {
	t.Helper()
	if len(list) != n {
		t.Fatalf("%d rows, want %d", len(list), n)
	}
	for i, v := range list {
		if v != strconv.Itoa(i) {
			t.Fatalf("row %d is %s", i, v)
		}
	}
}

// onChunks makes a fault of the next n requests for chunks.
func onChunks(srv *snowtest.Server, n int, fault func() snowtest.Fault) {
	srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
		if r.Kind != snowtest.RequestChunk || n == 0 {
			return snowtest.Fault{}, false
		}
		n--
		return fault(), true
	})
}

// bothFormats runs a test with a pool for each format.
func bothFormats(t *testing.T, test func(t *testing.T, format string)) {
	for _, format := range []string{jsonFormat, arrowFormat} {
		t.Run(format, func(t *testing.T) { test(t, format) })
	}
}

func TestExpiredChunkURLsEndTheRowsButNotTheResult(t *testing.T) {
	bothFormats(t, func(t *testing.T, format string) {
		const n = 1000
		srv := numbered(t, n)
		expire := sync.OnceFunc(func() { srv.ExpireChunkURLs() }) // before the first chunk is answered
		onChunks(srv, 100, func() snowtest.Fault {
			expire()
			// gosnowflake v2.1.0 waits for ever if a download fails while it is about to wait for
			// that (chunk_downloader.go, next). Over a network it hardly can.
			return snowtest.Fault{Delay: 50 * time.Millisecond}
		})
		db := open(t, srv, inFormat(format))
		rows, err := db.QueryContext(t.Context(), "SELECT n FROM big")
		if err != nil {
			t.Fatal(err)
		}
		got, err := readColumn(rows)
		wantCode(t, err, gosnowflake.ErrFailedToGetChunk)
		if len(got) != n/10 {
			t.Errorf("%d rows", len(got))
		}
		// gosnowflake asks for nine chunks side by side and gives up at the sixth
		// error.
		if asked := srv.Stats().Requests[snowtest.RequestChunk]; asked < 6 || asked > 14 {
			t.Errorf("%d requests for chunks", asked)
		}
		byID := gosnowflake.WithFetchResultByID(t.Context(), srv.Ledger()[0].QueryID)
		inOrder(t, column(t, byID, open(t, srv), ""), n)
		if srv.Accepted("SELECT n FROM big") != 1 {
			t.Error("the query ran again")
		}
	})
}

func TestExpiredChunkURLAnswersAsTheStoreDoes(t *testing.T) {
	srv := numbered(t, 1000)
	db := open(t, srv)
	c := conn(t, db)
	var urls []string
	srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
		if r.Kind == snowtest.RequestChunk {
			urls = append(urls, srv.URL()+r.HTTP.URL.String())
		}
		return snowtest.Fault{}, false
	})
	inOrder(t, column(t, t.Context(), c, "SELECT n FROM big"), 1000)
	get := func() (int, string, string) {
		res, err := http.Get(urls[0])
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, res.Header.Get("Content-Type"), string(body)
	}
	srv.AbortSessions()
	if status, _, body := get(); status != 200 || len(body) == 0 {
		t.Errorf("after the session: %d", status)
	}
	srv.ExpireChunkURLs()
	status, mime, body := get()
	if status != 403 || mime != "application/xml" || !strings.Contains(body, "<Code>AccessDenied</Code><Message>Request has expired</Message>") {
		t.Errorf("%d %s %s", status, mime, body)
	}
}

func TestChunkURLsExpireAfterSixHours(t *testing.T) {
	for life, opts := range map[time.Duration][]snowtest.Option{
		6 * time.Hour: nil,
		time.Minute:   {snowtest.WithChunkLife(time.Minute)},
	} {
		synctest.Test(t, func(t *testing.T) {
			const n = 100
			srv := numbered(t, n, append(opts, snowtest.InMemory(), snowtest.WithTokenLife(24*time.Hour, 24*time.Hour))...)
			err := conn(t, open(t, srv)).Raw(func(dc any) error {
				rows, err := dc.(driver.QueryerContext).QueryContext(arrowbatches.WithArrowBatches(t.Context()), "SELECT n FROM big", nil)
				if err != nil {
					return err
				}
				defer rows.Close()
				list, err := arrowbatches.GetArrowBatches(rows.(gosnowflake.SnowflakeRows))
				if err != nil || len(list) != 10 {
					t.Fatalf("%d batches: %v", len(list), err)
				}
				time.Sleep(life - time.Second)
				if _, err := list[1].Fetch(); err != nil {
					t.Errorf("in time: %v", err)
				}
				srv.Advance(time.Second)
				_, err = list[2].Fetch()
				wantCode(t, err, gosnowflake.ErrFailedToGetChunk)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			byID := gosnowflake.WithFetchResultByID(t.Context(), srv.Ledger()[0].QueryID)
			total := 0
			batches(t, byID, conn(t, open(t, srv)), "", func(_ int, columns []arrow.Array) { total += columns[0].Len() })
			if total != n {
				t.Errorf("%d rows by ID", total)
			}
		})
	}
}

// A download that breaks, and a store that is not available, are tried again. One
// at a time: of several failures at the same moment gosnowflake v2.1.0 takes note of
// one, and can then wait for ever (chunk_downloader.go, next).
func TestBrokenDownloadsOfRowsAreRepeated(t *testing.T) {
	for name, fault := range map[string]snowtest.Fault{
		"cut":                         {Cut: 40},
		"drop":                        {Drop: true},
		"503":                         {Status: 503, Body: "<Error><Code>SlowDown</Code></Error>"},
		"cut after the store's error": {Status: 500, Body: "<Error><Code>InternalError</Code></Error>", Cut: 3},
	} {
		bothFormats(t, func(t *testing.T, format string) {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					srv := numbered(t, 1000, snowtest.InMemory())
					onChunks(srv, 1, func() snowtest.Fault { return fault })
					inOrder(t, column(t, t.Context(), open(t, srv, inFormat(format)), "SELECT n FROM big"), 1000)
					if asked := srv.Stats().Requests[snowtest.RequestChunk]; asked != 9+1 {
						t.Errorf("%d requests for chunks", asked)
					}
				})
			})
		})
	}
}

// Who reads batches and streams has to try again himself.
func TestBrokenDownloadsOfBatchesAreErrors(t *testing.T) {
	const n = 1000
	srv := numbered(t, n)
	c := conn(t, open(t, srv))
	err := c.Raw(func(dc any) error {
		rows, err := dc.(driver.QueryerContext).QueryContext(arrowbatches.WithArrowBatches(t.Context()), "SELECT n FROM big", nil)
		if err != nil {
			return err
		}
		defer rows.Close()
		list, err := arrowbatches.GetArrowBatches(rows.(gosnowflake.SnowflakeRows))
		if err != nil {
			return err
		}
		onChunks(srv, 1, func() snowtest.Fault { return snowtest.Fault{Cut: 40} })
		if _, err := list[1].Fetch(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut: %v", err)
		}
		records, err := list[1].Fetch()
		if err != nil || (*records)[0].NumRows() != n/10 {
			t.Errorf("once more: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	stream(t, c, "SELECT n FROM big WHERE 1 = 1", func(l gosnowflake.ArrowStreamLoader) {
		list, err := l.GetBatches()
		if err != nil || len(list) != 10 {
			t.Fatalf("%d batches: %v", len(list), err)
		}
		onChunks(srv, 1, func() snowtest.Fault { return snowtest.Fault{Cut: 40} })
		read := func() ([]byte, error) {
			body, err := list[1].GetStream(t.Context())
			if err != nil {
				return nil, err
			}
			defer body.Close()
			return io.ReadAll(body)
		}
		if _, err := read(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut: %v", err)
		}
		_ = list[1].Reset() // its error is the one that ended the stream
		plain, err := read()
		if err != nil {
			t.Fatal(err)
		}
		r, err := ipc.NewReader(bytes.NewReader(plain))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Release()
		if !r.Next() || r.Schema().Field(0).Name != "N" {
			t.Errorf("no record: %v", r.Err())
		}
	})
}

func TestChunksLeaveNoFile(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Setenv("TMP", dir)
	srv := numbered(t, 1000)
	db := open(t, srv)
	inOrder(t, column(t, t.Context(), db, "SELECT n FROM big"), 1000)
	_ = db.Close()
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.HasPrefix(f.Name(), "snowtest") {
			t.Errorf("%s is left", f.Name())
		}
	}
}
