package twice

import (
	"runtime/debug"
	"testing"
)

// A program with one of the two is in order; takeover/gosnowflakev1 runs programs with both.
func TestOneVersionIsInOrder(t *testing.T) {
	v1, v2 := &debug.Module{Path: "github.com/snowflakedb/gosnowflake"}, &debug.Module{Path: "github.com/snowflakedb/gosnowflake/v2"}
	other := &debug.Module{Path: "github.com/snowflakedb/gosnowflake-tools"}
	for _, tt := range []struct {
		deps []*debug.Module
		both bool
	}{{nil, false}, {[]*debug.Module{v1, other}, false}, {[]*debug.Module{other, v2}, false}, {[]*debug.Module{v1, v2}, true}} {
		if got := both(&debug.BuildInfo{Deps: tt.deps}); got != tt.both {
			t.Errorf("%v: %v", tt.deps, got)
		}
	}
}
