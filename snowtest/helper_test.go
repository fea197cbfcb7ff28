package snowtest_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/snowtest"
)

// open opens a pool of plain gosnowflake connections and closes it with the
// test.
func open(t *testing.T, srv *snowtest.Server, change ...func(*gosnowflake.Config)) *sql.DB {
	t.Helper()
	cfg := srv.Config()
	for _, fn := range change {
		fn(cfg)
	}
	db := sql.OpenDB(gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *cfg))
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// conn takes one connection, and with it one session, out of the pool.
func conn(t *testing.T, db *sql.DB) *sql.Conn {
	t.Helper()
	c, err := db.Conn(t.Context())
	if err != nil {
		t.Fatalf("login: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

func exec(t *testing.T, db execer, query string, args ...any) sql.Result {
	t.Helper()
	res, err := db.ExecContext(t.Context(), query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return res
}

type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// column reads all rows of a query with one column.
func column(t *testing.T, ctx context.Context, db queryer, query string, args ...any) []string {
	t.Helper()
	// Not the test's own, which ends with it: gosnowflake v2.1.0 panics if a context
	// ends just when the last row was read (chunk_downloader.go, downloadChunk).
	ctx = context.WithoutCancel(ctx)
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	list, err := readColumn(rows)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return list
}

func readColumn(rows *sql.Rows) (list []string, err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	for {
		for rows.Next() {
			var v sql.NullString
			if err := rows.Scan(&v); err != nil {
				return nil, err
			}
			if !v.Valid {
				v.String = "NULL"
			}
			list = append(list, v.String)
		}
		if !rows.NextResultSet() {
			return list, rows.Err()
		}
	}
}

// code is the number of a Snowflake error, 0 for any other.
func code(err error) int {
	var se *gosnowflake.SnowflakeError
	if errors.As(err, &se) {
		return se.Number
	}
	return 0
}

func wantCode(t *testing.T, err error, want int) {
	t.Helper()
	if code(err) != want {
		t.Fatalf("error %v, want code %d", err, want)
	}
}

// accessor shows a test the tokens of a connection.
type accessor struct {
	lock sync.Mutex

	mu      sync.Mutex
	session string
	master  string
	id      int64
}

func (a *accessor) GetTokens() (string, string, int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.session, a.master, a.id
}

func (a *accessor) SetTokens(session, master string, id int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.session, a.master, a.id = session, master, id
}

func (a *accessor) Lock() error { a.lock.Lock(); return nil }
func (a *accessor) Unlock()     { a.lock.Unlock() }

// answer is what the server says to a request that a test writes itself.
type answer struct {
	Data    map[string]any `json:"data"`
	Code    string         `json:"code"`
	Message string         `json:"message"`
	Success bool           `json:"success"`
	status  int
}

// request sends a request past gosnowflake.
func request(t *testing.T, srv *snowtest.Server, method, path, token string, body any) answer {
	t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, srv.URL()+path, bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", fmt.Sprintf("Snowflake Token=%q", token))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	a := answer{status: res.StatusCode}
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(string(text), "{") {
		if err := json.Unmarshal(text, &a); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

// blocker is a handler that runs until it is released or cancelled, and says
// when it has begun.
type blocker struct {
	began   chan struct{}
	release chan struct{}
}

func block(srv *snowtest.Server, pattern string) *blocker {
	b := &blocker{began: make(chan struct{}, 100), release: make(chan struct{})}
	srv.Handle(pattern, func(ctx context.Context, _ *snowtest.Statement) (*snowtest.Result, error) {
		b.began <- struct{}{}
		select {
		case <-b.release:
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	return b
}
