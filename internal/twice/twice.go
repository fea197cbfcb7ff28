// Package twice says what is wrong with a program in which gosnowflake v1 and v2 would both
// register "snowflake": sql.Register, which would panic a moment later, can only say that.
//
// It has to be initialised before gosnowflake, and after takeover, which prevents it; so it
// needs nothing but os and runtime/debug. Of packages that are ready, Go initialises the one
// with the first import path. So before any "vendor/…" package of the standard library, which
// net/http waits for and gosnowflake for that, come all that wait only for paths before
// "vendor/…": this package does. takeover/internal/skip is ready with os and before
// "runtime/debug", for which this package waits.
package twice

import (
	"os"
	"runtime/debug"
)

func init() {
	if info, ok := debug.ReadBuildInfo(); ok && both(info) && os.Getenv("GOSNOWFLAKE_SKIP_REGISTRATION")+os.Getenv("GOSNOWFLAKE_SKIP_REGISTERATION") == "" {
		panic("snowtether: gosnowflake v1 and v2 are both in this program, and both would register \"snowflake\";" +
			" import github.com/snowtether/snowtether/takeover/gosnowflakev1 in package main, if code here uses v1 by that name," +
			" or github.com/snowtether/snowtether/takeover, if not;" +
			" or set GOSNOWFLAKE_SKIP_REGISTERATION=true in its environment (v2 has the name), or GOSNOWFLAKE_SKIP_REGISTRATION=true (v1 has it)")
	}
}

// both reports whether both are linked.
func both(info *debug.BuildInfo) bool {
	var v1, v2 bool
	for _, dep := range info.Deps {
		v1 = v1 || dep.Path == "github.com/snowflakedb/gosnowflake"
		v2 = v2 || dep.Path == "github.com/snowflakedb/gosnowflake/v2"
	}
	return v1 && v2
}
