package snowtest_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/snowtest"
)

// on is a control function for one kind of request.
func on(kind snowtest.RequestKind, fault snowtest.Fault) func(*snowtest.Request) (snowtest.Fault, bool) {
	return func(req *snowtest.Request) (snowtest.Fault, bool) { return fault, req.Kind == kind }
}

func TestFaultOnceIsForOneRequest(t *testing.T) {
	srv := snowtest.New(t)
	srv.FaultOnce(on(snowtest.RequestQuery, snowtest.Fault{Code: "000603", Message: "first"}))
	srv.FaultOnce(on(snowtest.RequestQuery, snowtest.Fault{Code: "000604", Message: "second"}))
	c := conn(t, open(t, srv))
	for _, want := range []int{603, 604, 0, 0} {
		_, err := c.ExecContext(t.Context(), "SELECT 1")
		wantCode(t, err, want)
	}
	if n := len(srv.Ledger()); n != 2 {
		t.Errorf("%d statements were accepted", n)
	}
}

func TestFaultAlwaysIsForEveryRequest(t *testing.T) {
	srv := snowtest.New(t)
	var on atomic.Bool
	on.Store(true)
	srv.FaultAlways(func(req *snowtest.Request) (snowtest.Fault, bool) {
		return snowtest.Fault{Code: "000603"}, req.Kind == snowtest.RequestQuery && on.Load()
	})
	c := conn(t, open(t, srv))
	for range 2 {
		on.Store(true)
		for range 5 {
			_, err := c.ExecContext(t.Context(), "SELECT 1")
			wantCode(t, err, 603)
		}
		on.Store(false) // what does not want a request leaves it alone, and is asked about the next
		exec(t, c, "SELECT 1")
	}
}

// The names of before 0.1.0.
func TestControlIsForOneRequestUnlessItIsKept(t *testing.T) {
	srv := snowtest.New(t)
	kept := true
	srv.Control(func(req *snowtest.Request) (snowtest.Fault, bool) {
		if req.Kind != snowtest.RequestQuery {
			return snowtest.Fault{}, false
		}
		if kept {
			srv.KeepControl()
		}
		kept = false
		return snowtest.Fault{Code: "000603"}, true
	})
	c := conn(t, open(t, srv))
	for _, want := range []int{603, 603, 0} {
		_, err := c.ExecContext(t.Context(), "SELECT 1")
		wantCode(t, err, want)
	}
}

func TestFaultOnceIsForOneOfManyRequestsAtTheSameTime(t *testing.T) {
	srv := snowtest.New(t, snowtest.AllowRepeats())
	const faults = 5
	for range faults {
		srv.FaultOnce(on(snowtest.RequestQuery, snowtest.Fault{Code: "000603"}))
	}
	db := open(t, srv)
	var failed atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := db.ExecContext(t.Context(), "INSERT INTO t VALUES (1)"); err != nil {
				failed.Add(1)
			}
		})
	}
	wg.Wait()
	if failed.Load() != faults || len(srv.Ledger()) != 20-faults {
		t.Errorf("%d failed, %d were accepted", failed.Load(), len(srv.Ledger()))
	}
}

func TestControlFunctionSeesTheRequest(t *testing.T) {
	srv := snowtest.New(t, snowtest.WithInlineWait(0))
	b := block(srv, "INSERT")
	seen := map[snowtest.RequestKind][]snowtest.Request{}
	srv.FaultOnce(func(req *snowtest.Request) (snowtest.Fault, bool) {
		seen[req.Kind] = append(seen[req.Kind], *req)
		if req.Kind == snowtest.RequestResult && req.N == 1 {
			close(b.release)
		}
		return snowtest.Fault{}, false
	})
	db := open(t, srv)
	c := conn(t, db)
	srv.ExpireSessionTokens()
	id := gosnowflake.NewUUID()
	if _, err := c.ExecContext(gosnowflake.WithRequestID(t.Context(), id), "INSERT INTO t VALUES (?, ?)", 7, nil); err != nil {
		t.Fatal(err)
	}
	if err := status(t, c, srv.Ledger()[0].QueryID); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	_ = db.Close()

	if login := seen[snowtest.RequestLogin][0]; login.User != srv.User() || login.SessionID != 0 || login.HTTP.URL.Query().Get("databaseName") == "" {
		t.Errorf("login: %+v", login)
	}
	query := seen[snowtest.RequestQuery]
	if len(query) != 2 || query[0].N != 0 || query[1].N != 1 {
		t.Fatalf("query requests: %+v", query)
	}
	for _, q := range query {
		if q.SessionID != 1 || q.RequestID != id.String() || q.SQL != "INSERT INTO t VALUES (?, ?)" || q.Async ||
			len(q.Binds) != 2 || q.Binds[0].Type != "FIXED" || *q.Binds[0].Value != "7" || q.Binds[1].Value != nil {
			t.Errorf("query: %+v", q)
		}
	}
	for _, kind := range []snowtest.RequestKind{snowtest.RequestResult, snowtest.RequestMonitor} {
		if got := seen[kind]; len(got) == 0 || got[0].QueryID != srv.Ledger()[0].QueryID {
			t.Errorf("%v: %+v", kind, got)
		}
	}
	for _, kind := range []snowtest.RequestKind{snowtest.RequestRenew, snowtest.RequestLogout} {
		if got := seen[kind]; len(got) != 1 || got[0].SessionID != 1 {
			t.Errorf("%v: %+v", kind, got)
		}
	}
	stats := srv.Stats()
	for kind, list := range seen {
		if stats.Requests[kind] != len(list) {
			t.Errorf("%v: %d in Stats, %d seen", kind, stats.Requests[kind], len(list))
		}
	}
}

func TestAbortRequestNamesItsStatement(t *testing.T) {
	srv := snowtest.New(t)
	b := block(srv, "UPDATE")
	aborted := make(chan string, 10)
	srv.FaultOnce(func(req *snowtest.Request) (snowtest.Fault, bool) {
		if req.Kind == snowtest.RequestAbort {
			aborted <- req.RequestID
		}
		return snowtest.Fault{}, false
	})
	db := open(t, srv)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-b.began; cancel() }()
	_, _ = db.ExecContext(ctx, "UPDATE t SET x = 1")
	if got := <-aborted; got != srv.Ledger()[0].RequestID {
		t.Errorf("request %q was aborted, the statement's is %q", got, srv.Ledger()[0].RequestID)
	}
}

func TestFaultDropsTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := snowtest.New(t, snowtest.InMemory())
		c := conn(t, open(t, srv, func(c *gosnowflake.Config) { c.MaxRetryCount = 1 }))
		for range 2 {
			srv.FaultOnce(on(snowtest.RequestQuery, snowtest.Fault{Drop: true}))
		}
		_, err := c.ExecContext(t.Context(), "SELECT 1")
		if err == nil || code(err) != 0 {
			t.Errorf("got %v", err)
		}
		if n := len(srv.Ledger()); n != 0 {
			t.Errorf("%d statements were accepted without Run", n)
		}
	})
}

func TestFaultAnswersWithAStatus(t *testing.T) {
	srv := snowtest.New(t)
	c := conn(t, open(t, srv))
	srv.FaultOnce(on(snowtest.RequestQuery, snowtest.Fault{Status: 403, Body: "<html>forbidden</html>"}))
	_, err := c.ExecContext(t.Context(), "SELECT 1")
	wantCode(t, err, gosnowflake.ErrFailedToPostQuery)
}

func TestFaultAnswersWithABody(t *testing.T) {
	srv := snowtest.New(t)
	c := conn(t, open(t, srv))
	srv.FaultOnce(on(snowtest.RequestQuery, snowtest.Fault{Body: "<html>maintenance</html>"}))
	if _, err := c.ExecContext(t.Context(), "SELECT 1"); err == nil || code(err) != 0 {
		t.Errorf("got %v", err)
	}
}

func TestFaultStatusIsRetriedByGosnowflake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := snowtest.New(t, snowtest.InMemory())
		c := conn(t, open(t, srv))
		for range 3 {
			srv.FaultOnce(on(snowtest.RequestQuery, snowtest.Fault{Status: 503}))
		}
		exec(t, c, "INSERT INTO t VALUES (1)")
		if n := srv.Stats().Requests[snowtest.RequestQuery]; n != 4 {
			t.Errorf("%d requests", n)
		}
	})
}

func TestFaultDelaysAndThenBehaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := snowtest.New(t, snowtest.InMemory())
		c := conn(t, open(t, srv))
		hold := make(chan struct{})
		srv.FaultOnce(on(snowtest.RequestQuery, snowtest.Fault{Delay: 7 * time.Second, Hold: hold}))
		go func() { time.Sleep(time.Minute); close(hold) }()
		start := time.Now()
		exec(t, c, "SELECT 1")
		if took := time.Since(start); took != time.Minute {
			t.Errorf("took %v", took)
		}
		srv.FaultOnce(on(snowtest.RequestQuery, snowtest.Fault{Delay: 7 * time.Second}))
		start = time.Now()
		exec(t, c, "SELECT 1")
		if took := time.Since(start); took != 7*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// The request of a client that gave up during a stall never arrived.
func TestStalledRequestOfAClientThatLeftIsNotCarriedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := snowtest.New(t, snowtest.InMemory())
		c := conn(t, open(t, srv))
		srv.FaultOnce(on(snowtest.RequestQuery, snowtest.Fault{Delay: time.Hour}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if _, err := c.ExecContext(ctx, "SELECT 1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		synctest.Wait()
		if len(srv.Ledger()) != 0 || time.Since(start) > 2*time.Second {
			t.Errorf("ledger %v after %v", srv.Ledger(), time.Since(start))
		}
	})
}

// After stands between a statement and its reply: the place where a session can
// die with its statement accepted and nobody told.
func TestAfterComesBetweenTheStatementAndItsReply(t *testing.T) {
	srv := snowtest.New(t)
	c := conn(t, open(t, srv))
	var states []snowtest.State
	note := func() {
		for _, e := range srv.Ledger() {
			states = append(states, e.State)
		}
		srv.ExpireMasterTokens()
	}
	srv.FaultOnce(on(snowtest.RequestQuery, snowtest.Fault{Run: true, Code: "390112", After: note}))
	_, err := c.ExecContext(t.Context(), "INSERT INTO t VALUES (1)")
	wantCode(t, err, 390114)
	if len(states) != 1 || states[0] != snowtest.Succeeded {
		t.Errorf("After saw %v", states)
	}
	if n := srv.Effects("INSERT INTO t VALUES (1)"); n != 1 {
		t.Errorf("took effect %d times", n)
	}
}

func TestAfterWithoutRunComesBeforeTheAnswer(t *testing.T) {
	srv := snowtest.New(t)
	c := conn(t, open(t, srv))
	srv.FaultOnce(on(snowtest.RequestQuery, snowtest.Fault{Code: "390112", After: func() { srv.ExpireMasterTokens() }}))
	_, err := c.ExecContext(t.Context(), "INSERT INTO t VALUES (1)")
	wantCode(t, err, 390114)
	if n := len(srv.Ledger()); n != 0 {
		t.Errorf("%d statements were accepted", n)
	}
}

// The unbounded loop of gosnowflake when 390112 goes on while renewals succeed.
func TestEndlessExpiryIsALoopOfRenewals(t *testing.T) {
	srv := snowtest.New(t)
	c := conn(t, open(t, srv))
	ctx, cancel := context.WithCancel(t.Context())
	srv.FaultAlways(func(req *snowtest.Request) (snowtest.Fault, bool) {
		if req.Kind == snowtest.RequestRenew && req.N == 50 {
			cancel()
		}
		return snowtest.Fault{Code: "390112"}, req.Kind == snowtest.RequestQuery
	})
	_, err := c.ExecContext(ctx, "SELECT 1")
	if !errors.Is(err, context.Canceled) || srv.Stats().Renewals < 50 {
		t.Errorf("%d renewals, %v", srv.Stats().Renewals, err)
	}
}

func TestConcurrentLoginsAreCounted(t *testing.T) {
	srv := snowtest.New(t)
	hold := make(chan struct{})
	srv.FaultAlways(func(req *snowtest.Request) (snowtest.Fault, bool) {
		if req.Kind == snowtest.RequestLogin && req.N == 7 {
			close(hold)
		}
		return snowtest.Fault{Hold: hold}, req.Kind == snowtest.RequestLogin
	})
	db := open(t, srv)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := db.PingContext(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := srv.Stats().MaxConcurrentLogins; n != 8 {
		t.Errorf("at most %d logins at once", n)
	}
}

func TestRequestKindsHaveNames(t *testing.T) {
	names := map[string]bool{}
	for kind := snowtest.RequestOther; kind <= snowtest.RequestChunk; kind++ {
		names[kind.String()] = true
	}
	if len(names) != 11 || snowtest.RequestKind(99).String() != "kind 99" || !names["renew"] {
		t.Errorf("names %v", names)
	}
}

func TestFaultsHeaderIsSent(t *testing.T) {
	srv := snowtest.New(t)
	header := http.Header{"Retry-After": {"7"}, "Content-Type": {"text/html"}}
	for _, fault := range []snowtest.Fault{{Status: 503, Header: header}, {Body: "<html>", Header: header}} {
		srv.FaultOnce(on(snowtest.RequestOther, fault))
		reply, err := http.Get(srv.URL() + "/somewhere")
		if err != nil {
			t.Fatal(err)
		}
		_ = reply.Body.Close()
		if reply.Header.Get("Retry-After") != "7" || reply.Header.Get("Content-Type") != "text/html" {
			t.Errorf("the reply has the header %v", reply.Header)
		}
	}
}
