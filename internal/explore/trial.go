package explore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file runs one sequence, in a bubble of virtual time with a server of its own.

// The times of a trial. All but stuck are virtual.
const (
	inline  = 8 * time.Second  // that a request waits for its statement
	takes   = 20 * time.Second // of a statement that is polled
	patient = time.Hour        // that an operation may take
	soon    = 10 * time.Minute // that the next user, and the end of the pool, may take
	stuck   = 2 * time.Minute  // of real time: time in a bubble stands still while a goroutine waits for a mutex
)

// A trial is one operation under one sequence of faults.
type trial struct {
	in   *Inner
	kind *kind
	seq  sequence

	srv   *snowtest.Server
	db    *sql.DB
	conn  *sql.Conn          // of the kinds that are pinned
	leave context.CancelFunc // ends the context of the operation
	ids   chan string        // that the caller set for the query ID

	committing atomic.Bool // COMMIT is or was the next that the caller asked for
	mu         sync.Mutex
	counting   bool
	seen       []request
	problems   []string // what is wrong, whatever the operation returned
	limit      string   // what is wrong and known, and nothing that a driver on top of gosnowflake can help

	err error // that the operation returned
}

// A request is what the server saw, and what became of it.
type request struct {
	kind    snowtest.RequestKind
	session int64
	sql     string
	fault   *fault // nil if it was answered as it should
}

func (r request) String() string {
	text := fmt.Sprintf("%s in session %d", r.kind, r.session)
	if r.sql != "" {
		text += " " + r.sql
	}
	if r.fault != nil {
		text += " <- " + r.fault.name
	}
	return text
}

func (x *trial) name() string { return x.kind.name + "/" + x.seq.String() }

func (x *trial) wrong(format string, args ...any) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.problems = append(x.problems, fmt.Sprintf(format, args...))
}

// try runs one sequence.
func try(t *testing.T, in *Inner, k *kind, seq sequence) (x *trial) {
	x = &trial{in: in, kind: k, seq: seq}
	alarm := time.AfterFunc(stuck, func() {
		stacks := make([]byte, 1<<20)
		fmt.Fprintf(os.Stderr, "%s\n", stacks[:runtime.Stack(stacks, true)])
		panic("explorer: stuck, waiting for a mutex or spinning: " + x.name())
	})
	defer alarm.Stop()
	defer func() {
		// A bubble in which goroutines are left panics when its time is over.
		if left := recover(); left != nil {
			x.wrong("%v", left)
		}
	}()
	synctest.Test(t, func(*testing.T) {
		if err := x.live(); err != nil {
			x.wrong("the trial itself failed: %v", err)
		}
	})
	return x
}

// live is the whole of a trial, in its bubble.
func (x *trial) live() error {
	options := append([]snowtest.Option{
		snowtest.InMemory(), snowtest.WithInlineWait(inline),
		snowtest.AllowRepeats(), // what lasts is what counts, and RunTx repeats
	}, x.kind.server...)
	var err error
	if x.srv, err = snowtest.Start(options...); err != nil {
		return err
	}
	// What a caller left behind gosnowflake goes on cancelling for minutes.
	defer time.Sleep(patient)
	defer x.srv.Close()
	x.answers()
	if err := x.open(); err != nil {
		return err
	}
	x.operate()
	x.next("INSERT INTO n VALUES (1)")
	time.Sleep(soon)
	x.checkTransactions()
	x.next("INSERT INTO n VALUES (2)") // what came late has come by now
	x.check()
	x.end()
	return nil
}

// answers tells the server what the statements of the operations answer.
func (x *trial) answers() {
	x.srv.Handle("^SELECT n FROM numbers", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		return snowtest.Rows([]string{"N"}, []any{1}, []any{2}, []any{3}), nil
	})
	if x.kind.slow == "" {
		return
	}
	x.srv.Handle(x.kind.slow, func(ctx context.Context, st *snowtest.Statement) (*snowtest.Result, error) {
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			return nil, &snowtest.Error{Code: "000604", SQLState: "57014", Message: "SQL execution canceled"}
		}
		if strings.HasPrefix(st.SQL, "SELECT") {
			return snowtest.Rows([]string{"N"}, []any{1}, []any{2}, []any{3}), nil
		}
		return nil, nil // as without a handler
	})
}

// open opens the pool, of one connection, so that the next user meets what the
// operation has left.
func (x *trial) open() error {
	cfg := x.srv.Config()
	if x.seq.any(func(f *fault) bool { return f.late }) {
		cfg.Transporter = gateway{cfg.Transporter}
	}
	opts := []snowtether.Option{snowtether.WithLogger(slog.New(slog.DiscardHandler))}
	if x.kind.pooled {
		opts = append(opts, snowtether.WithChangedSession(snowtether.ErrorOnLoss))
	}
	c, err := x.in.Connector(cfg, opts...)
	if err != nil {
		return err
	}
	x.db = sql.OpenDB(c)
	x.db.SetMaxOpenConns(1)
	ctx := context.Background()
	if x.kind.rests {
		defer time.Sleep(soon)
	}
	err = snowtether.Warm(ctx, x.db, 1)
	switch {
	case err != nil || x.kind.pinned == "":
		return err
	case x.kind.pooled:
		_, err = x.db.ExecContext(ctx, x.kind.pinned)
		return err
	}
	if x.conn, err = x.db.Conn(ctx); err != nil {
		return err
	}
	_, err = x.conn.ExecContext(ctx, x.kind.pinned)
	return err
}

// operate runs the operation while the faults last.
func (x *trial) operate() {
	ctx, cancel := context.Background(), context.CancelFunc(func() {})
	if !x.kind.endless {
		ctx, cancel = context.WithCancel(ctx)
	}
	defer cancel()
	x.leave = cancel
	x.srv.FaultAlways(x.control)
	x.count(true)
	done := make(chan error, 1)
	go func() { done <- x.kind.run(ctx, x) }()
	select {
	case x.err = <-done:
	case <-time.After(patient):
		x.wrong("the operation did not return in %v", patient)
		cancel()
	}
	synctest.Wait() // what the operation does in the background is struck, too
	x.count(false)
	if x.conn == nil {
		return
	}
	if x.left() {
		// database/sql rolls back in the background and holds a mutex meanwhile, for which
		// Close would wait; time in a bubble stands still for that.
		time.Sleep(time.Minute)
	}
	_ = x.conn.Close()
}

func (x *trial) count(on bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.counting = on
}

// control is the faults' way into the server. The requests that come by the clock, and
// log-outs, which run side by side with what follows, have no place in a sequence: it
// would mean something else each time.
func (x *trial) control(r *snowtest.Request) (snowtest.Fault, bool) {
	switch r.Kind {
	case snowtest.RequestLogout, snowtest.RequestHeartbeat, snowtest.RequestTelemetry:
		return snowtest.Fault{}, false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.counting {
		return snowtest.Fault{}, false
	}
	now := request{kind: r.Kind, session: r.SessionID, sql: r.SQL}
	for _, st := range x.seq {
		if st.at == len(x.seen)+1 {
			now.fault = st.fault
		}
	}
	x.seen = append(x.seen, now)
	if now.fault == nil {
		return snowtest.Fault{}, false
	}
	return now.fault.make(x, r), true
}

// next is the next user of the pool, who meets no faults.
func (x *trial) next(insert string) {
	exec := func() error {
		ctx, cancel := context.WithTimeout(context.Background(), soon)
		defer cancel()
		_, err := x.db.ExecContext(ctx, insert)
		if x.kind.pooled && errors.Is(err, snowtether.ErrSessionLost) { // which is said once
			_, err = x.db.ExecContext(ctx, insert)
		}
		return err
	}
	err := exec()
	if err != nil && x.loginRefused() {
		// The credentials were refused, by a fault; they rest for a while.
		time.Sleep(soon)
		err = exec()
	}
	if err != nil {
		x.wrong("the next user got: %v", err)
	}
}

// end closes the pool and looks for what it left.
func (x *trial) end() {
	closed := make(chan error, 1)
	go func() { closed <- x.db.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			x.wrong("db.Close: %v", err)
		}
	case <-time.After(soon):
		x.wrong("db.Close did not return in %v", soon)
	}
	time.Sleep(slowly) // for what is late
	if gone := append(x.disowned(), x.stranded()...); len(gone) > 0 {
		x.srv.AbortSessions(gone...)
	}
	if err := x.srv.Check(); err != nil {
		x.wrong("%v", err)
	}
}

// A gateway passes requests on to their end although their senders have gone.
type gateway struct{ next http.RoundTripper }

func (g gateway) RoundTrip(r *http.Request) (*http.Response, error) {
	type answer struct {
		res *http.Response
		err error
	}
	answered := make(chan answer, 1)
	go func() {
		res, err := g.next.RoundTrip(r.WithContext(context.WithoutCancel(r.Context())))
		answered <- answer{res, err}
	}()
	select {
	case a := <-answered:
		return a.res, a.err
	case <-r.Context().Done():
	}
	go func() {
		if a := <-answered; a.err == nil {
			_ = a.res.Body.Close()
		}
	}()
	return nil, errors.Join(r.Context().Err())
}
