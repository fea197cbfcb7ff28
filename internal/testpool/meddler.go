package testpool

import (
	"context"
	"runtime"
	"strings"
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
