package compat

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	v1 "github.com/snowflakedb/gosnowflake"
	v2 "github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/transcript"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about what a caller puts into a context for gosnowflake v1: its keys are of
// a type that nobody else can name.

// bubble runs f in virtual time with a server in memory.
func bubble(t *testing.T, f func(t *testing.T, srv *snowtest.Server), opts ...snowtest.Option) {
	t.Helper()
	virtually(t, func(t *testing.T) {
		f(t, snowtest.New(t, append(opts, snowtest.InMemory(), snowtest.AllowOpenSessions())...))
	})
}

// drain reads rows to their end.
func drain(rows *sql.Rows, err error) error {
	if err != nil {
		return err
	}
	for rows.Next() {
	}
	return errors.Join(rows.Err(), rows.Close())
}

// slow makes statements take a minute.
func slow(srv *snowtest.Server, pattern string) {
	srv.Handle(pattern, func(ctx context.Context, st *snowtest.Statement) (*snowtest.Result, error) {
		select {
		case <-time.After(time.Minute):
		case <-ctx.Done():
			return nil, &snowtest.Error{Code: "000604", SQLState: "57014", Message: "SQL execution canceled"}
		}
		return nil, nil
	})
}

// TestWhatGosnowflakeV1LooksUp: the marks mean what they mean of v2. A reply that was cut is
// not repeated, and an upload to a stage has a context of its own.
func TestWhatGosnowflakeV1LooksUp(t *testing.T) {
	once := func(f snowtest.Fault) func(*snowtest.Server) { return next(f) }
	exec := func(ctx context.Context, conn driver.Conn) error {
		_, err := conn.(driver.ExecerContext).ExecContext(ctx, insert, nil)
		return err
	}
	bulk := func(ctx context.Context, conn driver.Conn) error {
		values := make([]int, 100)
		_, err := conn.(driver.ExecerContext).ExecContext(ctx, "INSERT INTO t VALUES (?)", []driver.NamedValue{{Ordinal: 1, Value: v1.Array(&values)}})
		return err
	}
	stage := snowtest.WithSessionParameter("CLIENT_STAGE_ARRAY_BINDING_THRESHOLD", 10)
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
		{name: "reply cut", arrange: once(snowtest.Fault{Run: true, Cut: 20}), run: exec, want: "qP."},
		{name: "HTTP 401", arrange: once(snowtest.Fault{Status: 401}), run: exec, want: "qP."},
		{name: "polled", arrange: func(srv *snowtest.Server) { slow(srv, "^INSERT") }, run: exec, opts: []snowtest.Option{snowtest.WithInlineWait(20 * time.Second)}, want: "qP.iG.G.G."},
		{name: "array bind through a stage", run: bulk, opts: []snowtest.Option{stage}, want: "qqP.iqP.iqP.iP.i"},
		{name: "array bind, token expired", arrange: func(srv *snowtest.Server) { srv.ExpireSessionTokens() }, run: bulk, opts: []snowtest.Option{stage}, want: "qqP.qP.P.iqP.iqP.iP.i"},
		{name: "bad bind", run: func(ctx context.Context, conn driver.Conn) error {
			_, err := conn.(driver.ExecerContext).ExecContext(ctx, insert, []driver.NamedValue{{Ordinal: 1, Value: make(chan int)}})
			return err
		}, want: "q"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, srv *snowtest.Server) {
				login := transcript.New(t.Context())
				conn, err := v1Connector(srv).Connect(login)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if saw := login.End(false); saw.Dialect() == nil || saw.Dialect() == transcript.V2 || !saw.Sent() {
					t.Errorf("the login shows %s of %v", saw, saw.Dialect())
				}
				if tt.arrange != nil {
					tt.arrange(srv)
				}
				seen := transcript.New(t.Context())
				err = tt.run(seen, conn)
				if got := seen.End(false); got.String() != tt.want {
					t.Errorf("%s, want %s: %v", got, tt.want, err)
				}
			}, append(tt.opts, snowtest.AllowRepeats())...)
		})
	}
}

// A spy is a context that keeps what is looked up in it.
type spy struct {
	context.Context
	mu   sync.Mutex
	keys map[any]bool
}

func (s *spy) Value(key any) any {
	s.mu.Lock()
	s.keys[key] = true
	s.mu.Unlock()
	return s.Context.Value(key)
}

// TestWhatIsForOneStatementOfV1IsHiddenFromOthers: all that v1 has a function for.
func TestWhatIsForOneStatementOfV1IsHiddenFromOthers(t *testing.T) {
	bubble(t, func(t *testing.T, srv *snowtest.Server) {
		conn, err := v1Connector(srv).Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		type own struct{}
		ctx := v1.WithRequestID(context.WithValue(t.Context(), own{}, 1), v1.NewUUID())
		ctx = v1.WithQueryIDChan(v1.WithAsyncMode(v1.WithDescribeOnly(v1.WithQueryTag(ctx, "tag"))), make(chan string, 1))
		ctx = v1.WithFileGetStream(v1.WithFileStream(v1.WithFetchResultByID(ctx, "01b2"), new(bytes.Buffer)), new(bytes.Buffer))
		if ctx, err = v1.WithMultiStatement(v1.WithFileTransferOptions(ctx, new(v1.SnowflakeFileTransferOptions)), 2); err != nil {
			t.Fatal(err)
		}
		seen := &spy{Context: t.Context(), keys: map[any]bool{}}
		if _, err = conn.(driver.QueryerContext).QueryContext(seen, "SELECT 1", nil); err != nil {
			t.Fatal(err)
		}
		var hidden []string
		for key := range seen.keys {
			if reflect.TypeOf(key).Kind() != reflect.String || ctx.Value(key) == nil {
				continue // net/http's, context's, or not set
			}
			hidden = append(hidden, fmt.Sprint(key))
			if got := transcript.Without(ctx).Value(key); got != nil {
				t.Errorf("%v is %v", key, got)
			}
		}
		if len(hidden) < 6 { // multi-statement, tag, request ID, query-ID channel, asynchronous, describe-only, fetch
			t.Errorf("v1 looked up %v", hidden)
		}
		if transcript.Without(ctx).Value(own{}) != 1 {
			t.Error("a key of the program's own is hidden")
		}
	})
}

// TestRequestIDOfV1IsTheStatementsAlone: under one ID Snowflake would take a COMMIT for the
// BEGIN before it; and so is every other mark.
func TestRequestIDOfV1IsTheStatementsAlone(t *testing.T) {
	bubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := open(t, v1Connector(srv))
		time.Sleep(10 * time.Minute) // what has rested is asked about first
		id := v1.NewUUID()
		ctx := v1.WithQueryTag(v1.WithRequestID(t.Context(), id), "tag")
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = tx.ExecContext(ctx, insert); err != nil {
			t.Fatal(err)
		}
		if err = tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if n := srv.Effects(insert); n != 1 {
			t.Errorf("took effect %d times", n)
		}
		for _, e := range srv.Ledger() {
			if own := e.SQL == insert; own != (e.RequestID == id.String()) {
				t.Errorf("%s was sent as request %s, the caller's is %s", e.SQL, e.RequestID, id)
			}
		}
	})
}

// TestErrorNamesTheRequestOfV1: by which the caller can look it up.
func TestErrorNamesTheRequestOfV1(t *testing.T) {
	bubble(t, func(t *testing.T, srv *snowtest.Server) {
		db, id := open(t, v1Connector(srv)), v1.NewUUID()
		next(snowtest.Fault{Run: true, Body: "<html>"})(srv)
		_, err := db.ExecContext(v1.WithRequestID(t.Context(), id), insert)
		var se *snowtether.SessionError
		if !errors.As(err, &se) || !errors.Is(err, snowtether.ErrInDoubt) || se.RequestID != id.String() {
			t.Errorf("error is %v", err)
		}
	})
}

// TestQueryIDChannelOfV1GetsItsID: also of a statement that is carried over, and it is
// closed where nothing was sent.
func TestQueryIDChannelOfV1GetsItsID(t *testing.T) {
	for name, lose := range map[string]bool{"undisturbed": false, "carried over": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := open(t, v1Connector(srv))
				slow(srv, "^INSERT")
				if lose {
					time.AfterFunc(30*time.Second, func() { srv.AbortSessions() })
				}
				ids := make(chan string, 1)
				res, err := db.ExecContext(v1.WithQueryIDChan(t.Context(), ids), insert)
				if err != nil {
					t.Fatal(err)
				}
				if n, err := res.RowsAffected(); n != 1 || err != nil {
					t.Errorf("%d rows affected, %v", n, err)
				}
				for _, e := range srv.Ledger() {
					if e.SQL == insert {
						if id := <-ids; id != e.QueryID || e.Effects != 1 {
							t.Errorf("the channel got %q; %+v", id, e)
						}
					}
				}
				if _, open := <-ids; open {
					t.Error("the channel is open")
				}
			}, snowtest.WithInlineWait(10*time.Second))
		})
	}
}

// TestDescribedStatementOfV1IsNoneOfThoseThatRun: it may be sent again, and changes nothing.
func TestDescribedStatementOfV1IsNoneOfThoseThatRun(t *testing.T) {
	bubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := open(t, v1Connector(srv))
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := drain(conn.QueryContext(v1.WithDescribeOnly(t.Context()), "USE SCHEMA elsewhere")); err != nil {
			t.Fatal(err)
		}
		next(snowtest.Fault{Run: true, Drop: true, After: func() { srv.AbortSessions() }})(srv)
		if err := drain(conn.QueryContext(v1.WithDescribeOnly(t.Context()), insert)); err != nil {
			t.Errorf("described: %v", err) // its session was lost, and nothing with it
		}
		if n := srv.Effects(insert); n != 0 {
			t.Errorf("took effect %d times", n)
		}
	}, snowtest.AllowRepeats())
}

// TestFetchByIDOfV1OutlivesItsSession: and what is fetched is not run.
func TestFetchByIDOfV1OutlivesItsSession(t *testing.T) {
	bubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := open(t, v1Connector(srv))
		if _, err := db.ExecContext(t.Context(), insert); err != nil {
			t.Fatal(err)
		}
		all := srv.Ledger()
		srv.AbortSessions()
		if err := drain(db.QueryContext(v1.WithFetchResultByID(t.Context(), all[len(all)-1].QueryID), insert)); err != nil {
			t.Error(err)
		}
		if n := srv.Accepted(insert); n != 1 {
			t.Errorf("accepted %d times", n)
		}
	})
}

// TestAsynchronousStatementOfV1IsLeftToRun: it is not run again when its session is lost,
// and its session is not logged out before it has ended, which would cancel it.
func TestAsynchronousStatementOfV1IsLeftToRun(t *testing.T) {
	for name, lose := range map[string]bool{"lives": false, "lost": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := open(t, v1Connector(srv))
				slow(srv, "^INSERT")
				res, err := db.ExecContext(v1.WithAsyncMode(t.Context()), insert)
				if err != nil {
					t.Fatal(err)
				}
				if lose {
					srv.AbortSessions()
				}
				db.SetMaxIdleConns(0) // its session is closed
				// v1 waits until somebody asks, and database/sql locks the connection meanwhile.
				go func() { _, _ = res.RowsAffected() }()
				time.Sleep(10 * time.Minute)
				if n, m := srv.Accepted(insert), srv.Effects(insert); n != 1 || m != 1 {
					t.Errorf("accepted %d times, took effect %d times", n, m)
				}
				time.Sleep(13 * time.Hour) // for so long a session that says nothing is waited for
			})
		})
	}
}

// TestKeysOfTheOtherVersionDoNothing: v1 does not look for v2's. The statements ran; taken
// for described or fetched, they were run twice.
func TestKeysOfTheOtherVersionDoNothing(t *testing.T) {
	for name, with := range map[string]func(context.Context) context.Context{
		"describe-only": v2.WithDescribeOnly,
		"fetch by ID": func(ctx context.Context) context.Context {
			return v2.WithFetchResultByID(ctx, "01bd0000-0002-0032-0001-000000000002")
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := open(t, v1Connector(srv))
				next(snowtest.Fault{Run: true, Drop: true, After: func() { srv.AbortSessions() }})(srv)
				err := drain(db.QueryContext(with(t.Context()), insert))
				if n := srv.Effects(insert); n != 1 || !errors.Is(err, snowtether.ErrInDoubt) {
					t.Errorf("took effect %d times: %v", n, err)
				}
			})
		})
	}
}
