package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/testpool"
	"github.com/snowtether/snowtether/snowtest"
)

// Exactly once (docs/guarantees.md): inner drivers that speak HTTP and are no gosnowflake that is
// known. What is seen of their statements cannot be read, so nothing is ever run again.

// A strangeDriver is an inner driver for another database, over HTTP. What it answers to the
// next statement is broken; what was sent has run all the same.
type strangeDriver struct {
	client *http.Client
	mu     sync.Mutex
	ran    []string
	broken error
}

func (d *strangeDriver) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	text, _ := io.ReadAll(r.Body)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ran = append(d.ran, string(text))
}

func (d *strangeDriver) send(ctx context.Context, text string) (driver.Result, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://elsewhere/", strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer t")
	res, err := d.client.Do(r)
	if err != nil {
		return nil, err
	}
	_ = res.Body.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	err, d.broken = d.broken, nil
	return driver.ResultNoRows, err
}

func (d *strangeDriver) runs(text string) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, one := range d.ran {
		if one == text {
			n++
		}
	}
	return n
}

func (d *strangeDriver) Connect(ctx context.Context) (driver.Conn, error) {
	_, err := d.send(ctx, "login")
	return strangeConn{d}, err
}

func (d *strangeDriver) Driver() driver.Driver { return nil }

type strangeConn struct{ d *strangeDriver }

func (c strangeConn) ExecContext(ctx context.Context, query string, _ []driver.NamedValue) (driver.Result, error) {
	return c.d.send(ctx, query)
}

func (c strangeConn) BeginTx(ctx context.Context, _ driver.TxOptions) (driver.Tx, error) {
	_, err := c.d.send(ctx, "BEGIN")
	return c, err
}

func (c strangeConn) end(text string) error {
	_, err := c.d.send(context.Background(), text)
	return err
}

func (c strangeConn) Commit() error                       { return c.end("COMMIT") }
func (c strangeConn) Rollback() error                     { return c.end("ROLLBACK") }
func (c strangeConn) Prepare(string) (driver.Stmt, error) { return nil, errors.New("no") }
func (c strangeConn) Begin() (driver.Tx, error)           { return nil, errors.New("no") }
func (c strangeConn) Close() error                        { return nil }

// besides opens a pool on a stranger.
func besides(t *testing.T) (*strangeDriver, *sql.DB) {
	t.Helper()
	d := new(strangeDriver)
	pipes := newPipes()
	srv := &http.Server{Handler: d}
	go func() { _ = srv.Serve(pipes) }()
	d.client = &http.Client{Transport: &http.Transport{DialContext: pipes.dial}}
	t.Cleanup(func() {
		d.client.CloseIdleConnections()
		_ = srv.Close()
	})
	return d, testpool.OpenConnector(t, wrapped(t, d), 1)
}

// TestNothingOfAnUnknownDriverIsRunAgain: by its word its session was gone, or its network
// failed. Both were believed, and the statement ran twice.
func TestNothingOfAnUnknownDriverIsRunAgain(t *testing.T) {
	for name, broken := range map[string]error{
		"bad connection": driver.ErrBadConn,
		"token expired":  errors.New("authentication token has expired"),
		"network":        io.ErrUnexpectedEOF,
		"timeout":        context.DeadlineExceeded,
	} {
		for _, text := range []string{row(1), "SELECT 1"} {
			t.Run(name+"/"+text, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					d, db := besides(t)
					d.broken = broken
					begun := time.Now()
					_, err := db.ExecContext(t.Context(), text)
					if n := d.runs(text); n != 1 || !errors.Is(err, snowtether.ErrInDoubt) || errors.Is(err, driver.ErrBadConn) {
						t.Errorf("ran %d times: %v", n, err)
					}
					if took := time.Since(begun); took > time.Minute {
						t.Errorf("that was said after %v", took)
					}
					if _, err = db.ExecContext(t.Context(), row(2)); err != nil {
						t.Errorf("the next statement: %v", err)
					}
				})
			})
		}
	}
}

// TestCommitOfAnUnknownDriverIsInDoubt: whatever its error is.
func TestCommitOfAnUnknownDriverIsInDoubt(t *testing.T) {
	for name, broken := range map[string]error{"bad connection": driver.ErrBadConn, "its own": errors.New("no such luck")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, db := besides(t)
				tx := mustBegin(t, db)
				if _, err := tx.ExecContext(t.Context(), row(1)); err != nil {
					t.Fatal(err)
				}
				d.broken = broken
				if err := tx.Commit(); !errors.Is(err, snowtether.ErrInDoubt) || d.runs("COMMIT") != 1 {
					t.Errorf("ran %d times: %v", d.runs("COMMIT"), err)
				}
			})
		})
	}
}

// TestErrorOfAnUnknownDriverIsItsOwn: where it is no loss.
func TestErrorOfAnUnknownDriverIsItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, db := besides(t)
		for _, text := range []string{row(1), "SELECT 1"} {
			own := errors.New("no such table")
			d.broken = own
			if _, err := db.ExecContext(t.Context(), text); err != own || d.runs(text) != 1 { // it is passed on as it is
				t.Errorf("%s ran %d times: %v", text, d.runs(text), err)
			}
		}
	})
}

// A copyingConnector is gosnowflake under another name, such as a version that is not known yet:
// its keys and its errors are of types that nobody has seen. Inside it is gosnowflake v2,
// of which nothing can be found.
type copyingConnector struct{ driver.Connector }

func (c copyingConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(keylessContext{ctx})
	if err != nil {
		return nil, errors.New(err.Error())
	}
	return copyingConn{exec: conn.(driver.ExecerContext).ExecContext, full: nil}, nil
}

type copyingConn struct {
	full
	exec func(context.Context, string, []driver.NamedValue) (driver.Result, error)
}

func (c copyingConn) Close() error { return nil }

func (c copyingConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	res, err := c.exec(keylessContext{ctx}, query, args)
	if err != nil {
		err = errors.New(err.Error())
	}
	return res, err
}

// keylessContext does not pass on what gosnowflake looks up.
type keylessContext struct{ context.Context }

func (k keylessContext) Value(key any) any {
	if strings.Contains(reflect.TypeOf(key).PkgPath(), "gosnowflake") {
		return nil
	}
	return k.Context.Value(key)
}

// TestNothingOfAnUnknownGosnowflakeIsRunAgain: and as its errors cannot be read, each is in
// doubt, at once. A SELECT was sent for two minutes.
func TestNothingOfAnUnknownGosnowflakeIsRunAgain(t *testing.T) {
	for name, strike := range map[string]func(srv *snowtest.Server, text string){
		"session gone": func(srv *snowtest.Server, _ string) { srv.AbortSessions() },
		"lost after": func(srv *snowtest.Server, text string) {
			once(srv, text, snowtest.Fault{Run: true, Body: "<html>"})
		},
		"403 after": func(srv *snowtest.Server, text string) {
			once(srv, text, snowtest.Fault{Run: true, Status: http.StatusForbidden})
		},
		"its own error": func(srv *snowtest.Server, text string) {
			srv.Handle("^"+text[:6], func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
				return nil, &snowtest.Error{Code: "002003", SQLState: "42S02", Message: "Table does not exist"}
			})
		},
	} {
		for _, text := range []string{row(1), "SELECT 1"} {
			t.Run(name+"/"+text, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					inner := copyingConnector{gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *srv.Config())}
					db := sql.OpenDB(wrapped(t, inner))
					defer db.Close()
					db.SetMaxOpenConns(1)
					mustExec(t, db, "SELECT 2")
					strike(srv, text)
					begun := time.Now()
					_, err := db.ExecContext(t.Context(), text)
					if n := srv.Accepted(text); n > 1 || !errors.Is(err, snowtether.ErrInDoubt) || time.Since(begun) > time.Minute {
						t.Errorf("accepted %d times, after %v: %v", n, time.Since(begun), err)
					}
				}, snowtest.AllowOpenSessions())
			})
		}
	}
}

// TestDescribedStatementThatIsRunAllTheSame: what wraps gosnowflake does not pass the wish
// on. The statement ran, and, taken for described, it was sent again.
func TestDescribedStatementThatIsRunAllTheSame(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		inner := detachedConnector{gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *srv.Config())}
		db := testpool.OpenConnector(t, wrapped(t, inner), 1)
		once(srv, row(1), snowtest.Fault{Run: true, Drop: true, After: func() { srv.AbortSessions() }})
		_, err := db.ExecContext(gosnowflake.WithDescribeOnly(t.Context()), row(1))
		isInDoubt(t, err, false)
		checkRan(t, srv, row(1), 1, 1)
	}, snowtest.AllowOpenSessions())
}
