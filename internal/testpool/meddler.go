package testpool

import (
	"context"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing/synctest"

	"github.com/snowtether/snowtether/snowtest"
)

// A Meddler is a context that acts in the moment in which a function of gosnowflake's uses it.
type Meddler struct {
	context.Context
	From           string // the function's name in gosnowflake's package
	OnValue, OnErr func() // it looks something up; it asks whether the context has ended
}

// Value looks something up.
func (m *Meddler) Value(key any) any { m.act(m.OnValue); return m.Context.Value(key) }

// Err says whether the context has ended.
func (m *Meddler) Err() error { m.act(m.OnErr); return m.Context.Err() }

func (m *Meddler) act(do func()) {
	if do == nil {
		return
	}
	var pcs [32]uintptr
	for frames, more := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])]), true; more; {
		var frame runtime.Frame
		frame, more = frames.Next()
		if name, is := strings.CutPrefix(frame.Function, "github.com/snowflakedb/gosnowflake/v2."); is {
			if name == m.From {
				do()
			}
			return
		}
	}
}

// FailUnseen has the first n downloads of a large result fail at the moment in which gosnowflake has
// looked whether one did, and found none, and is about to wait for that to be said. Those that are
// made anew are answered. It must be called in a bubble of testing/synctest.
func FailUnseen(ctx context.Context, srv *snowtest.Server, n int) context.Context {
	all, held := make(chan struct{}), 0
	srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
		if r.Kind != snowtest.RequestChunk || held == n {
			return snowtest.Fault{}, false
		}
		held++
		return snowtest.Fault{Hold: all, Status: http.StatusForbidden, Body: "<Error/>"}, true
	})
	fail := sync.OnceFunc(func() {
		close(all)
		synctest.Wait() // they have said so, and nobody has heard it
	})
	return &Meddler{Context: ctx, OnValue: fail, From: "(*snowflakeChunkDownloader).checkErrorRetry"}
}
