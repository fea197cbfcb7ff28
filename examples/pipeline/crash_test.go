package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/snowtether/snowtether/snowtest"
	"github.com/snowtether/snowtether/snowtest/duckdb"
)

// These tests kill the program: it is a process of its own, and the server with
// its data lives on in this one.

// A child is the program, started.
type child struct {
	cmd    *exec.Cmd
	stderr output
	ended  chan struct{}
}

func start(t *testing.T, srv *snowtest.Server, args ...string) *child {
	t.Helper()
	c := &child{cmd: exec.Command(os.Args[0], args...), ended: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), childVariable+"=1", "SNOWFLAKE_DSN="+srv.DSN(), "SF_DISABLE_MINICORE=true")
	c.cmd.Stderr = &c.stderr
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.ended)
		_ = c.cmd.Wait()
	}()
	t.Cleanup(c.kill)
	return c
}

// flagsFor are the flags with which the program sends a statement that begins so.
func flagsFor(at string) []string {
	if strings.HasPrefix(at, "INSERT INTO pipeline_staged") {
		return slices.Concat([]string{"-inserts"}, small)
	}
	return slices.Clone(small)
}

// kill is kill -9. When it returns, the process is no more.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	<-c.ended
}

// rollBack does what Snowflake does after 5 minutes with the transaction of a
// client that is gone, when another one waits for its locks: it starts when the
// next run comes to the UPDATE with which it takes its turn.
func rollBack(srv *snowtest.Server) {
	var dead []int64
	for _, s := range srv.Sessions() {
		dead = append(dead, s.ID)
	}
	srv.FaultOnce(func(req *snowtest.Request) (snowtest.Fault, bool) {
		if !strings.HasPrefix(req.SQL, "UPDATE pipeline_turn") {
			return snowtest.Fault{}, false
		}
		if len(dead) > 0 {
			go srv.AbortSessions(dead...)
		}
		return snowtest.Fault{}, true
	})
}

// TestKilledAtAnyStatementAndRunAgain kills the program after each of its
// statements was carried out and before it learns of that; the next run has to
// make the tables exact. For the server this is the same as a kill just before
// the following statement, or anywhere between the two.
func TestKilledAtAnyStatementAndRunAgain(t *testing.T) {
	for name, flags := range map[string][]string{"by files": nil, "by INSERT": {"-inserts"}} {
		t.Run(name, func(t *testing.T) { killedAtAny(t, append(slices.Concat(flags, small), write(t, fileA, fileB)...)) })
	}
}

func killedAtAny(t *testing.T, args []string) {
	calm := serve(t)
	load(t, calm.DSN(), 0, args...)
	var statements []string
	for _, e := range calm.Ledger() {
		statements = append(statements, e.SQL)
	}
	exact(t, open(t, calm), fileA, fileB)
	for i, sql := range statements {
		t.Run(fmt.Sprintf("after statement %d of %d, %.40s", i+1, len(statements), sql), func(t *testing.T) {
			t.Parallel()
			srv := serve(t, snowtest.AllowOpenSessions())
			var victim atomic.Pointer[child]
			started, n := make(chan struct{}), 0
			srv.FaultOnce(func(req *snowtest.Request) (snowtest.Fault, bool) {
				if req.Kind != snowtest.RequestQuery {
					return snowtest.Fault{}, false
				}
				n++
				return snowtest.Fault{Run: true, Drop: true, After: func() { <-started; victim.Load().kill() }}, n == i+1
			})
			victim.Store(start(t, srv, args...))
			close(started)
			c := victim.Load()
			<-c.ended
			if c.cmd.ProcessState.Exited() {
				t.Fatalf("it was not killed, but ended: %v\n%s", c.cmd.ProcessState, &c.stderr)
			}
			rollBack(srv)
			load(t, srv.DSN(), 0, args...)
			db := open(t, srv)
			exact(t, db, fileA, fileB)
			onlyOnce(t, db)
			load(t, srv.DSN(), 0, args...)
			exact(t, db, fileA, fileB)
		})
	}
}

// lateEngine holds one statement back: it arrives, and is carried out when it is
// released, whatever has become of its client.
type lateEngine struct {
	snowtest.Engine
	at      string // how the statement begins
	held    atomic.Bool
	arrived chan struct{}
	release chan struct{}
	done    chan struct{}
	second  func() // called when another one like UPDATE pipeline_turn is about to run
}

func (e *lateEngine) OpenSession(ctx context.Context, info snowtest.SessionConfig) (snowtest.EngineSession, error) {
	s, err := e.Engine.OpenSession(ctx, info)
	return lateSession{s, e}, err
}

type lateSession struct {
	snowtest.EngineSession
	e *lateEngine
}

func (s lateSession) Run(ctx context.Context, st *snowtest.Statement) (*snowtest.Result, error) {
	e := s.e
	if strings.HasPrefix(st.SQL, e.at) && e.held.CompareAndSwap(false, true) {
		defer close(e.done)
		close(e.arrived)
		<-e.release
	} else if e.held.Load() && strings.HasPrefix(st.SQL, "UPDATE pipeline_turn") {
		e.second()
	}
	return s.EngineSession.Run(ctx, st)
}

// TestStatementOfAKilledProcessMayArriveLater: Snowflake carries a statement out
// although its client is gone, and nobody knows when. The next run has looked by
// then, and has done it again.
func TestStatementOfAKilledProcessMayArriveLater(t *testing.T) {
	for _, test := range []struct{ at, release string }{
		{"INSERT INTO pipeline_staged", "while the next run waits to merge"},
		{"INSERT INTO pipeline_staged", "when the next run is over"},
		{"COPY INTO pipeline_staged", "while the next run waits to merge"},
		{"COPY INTO pipeline_staged", "when the next run is over"},
		{"MERGE", "while the next run waits for its turn"},
		{"COMMIT", "while the next run waits for its turn"},
	} {
		t.Run(test.at+" "+test.release, func(t *testing.T) {
			engine, err := duckdb.New()
			if err != nil {
				t.Fatal(err)
			}
			late := &lateEngine{Engine: engine, at: test.at, second: func() {},
				arrived: make(chan struct{}), release: make(chan struct{}), done: make(chan struct{})}
			srv := serve(t, snowtest.WithEngine(late), snowtest.AllowOpenSessions())
			args := append(flagsFor(test.at), write(t, fileA, fileB)...)
			c := start(t, srv, args...)
			select {
			case <-late.arrived:
			case <-c.ended:
				t.Fatalf("it ended: %v\n%s", c.cmd.ProcessState, &c.stderr)
			}
			c.kill()

			release := sync.OnceFunc(func() { close(late.release) })
			defer release() // or the server could not close
			switch test.release {
			case "while the next run waits to merge":
				srv.FaultOnce(func(req *snowtest.Request) (snowtest.Fault, bool) {
					if req.SQL != "BEGIN" {
						return snowtest.Fault{}, false
					}
					release()
					return snowtest.Fault{Hold: late.done}, true
				})
			case "while the next run waits for its turn":
				rollBack(srv) // a session ends when its statement does
				late.second = release
			}
			load(t, srv.DSN(), 0, args...)
			release()
			<-late.done
			db := open(t, srv)
			exact(t, db, fileA, fileB)
			load(t, srv.DSN(), 0, args...)
			exact(t, db, fileA, fileB)
			if strings.HasPrefix(test.at, "INSERT") {
				if got := texts(t, db, "SELECT TO_VARCHAR(COUNT(*)) FROM pipeline_staged"); got[0] != "25" {
					t.Errorf("%s lines are staged; with the 5 that came late it should be 25: nothing was put to the test", got[0])
				}
			}
		})
	}
}

func TestInterruptEndsCleanly(t *testing.T) {
	for _, at := range []string{"CREATE TABLE", "PUT", "COPY", "INSERT INTO pipeline_staged", "MERGE", "COMMIT", "SELECT 'lines"} {
		t.Run(at, func(t *testing.T) {
			srv := serve(t)
			args := append(flagsFor(at), write(t, fileA, fileB)...)
			var victim atomic.Pointer[child]
			started := make(chan struct{})
			srv.FaultOnce(func(req *snowtest.Request) (snowtest.Fault, bool) {
				if !strings.HasPrefix(req.SQL, at) {
					return snowtest.Fault{}, false
				}
				<-started
				if err := victim.Load().cmd.Process.Signal(os.Interrupt); err != nil {
					t.Error(err)
				}
				return snowtest.Fault{Hold: make(chan struct{})}, true
			})
			c := start(t, srv, args...)
			victim.Store(c)
			close(started)
			<-c.ended
			if status := c.cmd.ProcessState.ExitCode(); status != 130 || !strings.Contains(c.stderr.String(), "pipeline: interrupted\npipeline: the next run goes on from here\n") {
				t.Errorf("status %d\n%s", status, &c.stderr)
			}
			load(t, srv.DSN(), 0, args...)
			exact(t, open(t, srv), fileA, fileB)
		})
	}
}
