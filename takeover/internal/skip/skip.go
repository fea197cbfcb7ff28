// Package skip keeps gosnowflake, v2 and v1, from registering the name "snowflake", by
// being initialised before it. Nothing but os may be imported here.
//
// Why that is early enough. Since Go 1.21 the language's specification has packages
// initialised one after the other, always the first, by import path, of those whose
// imports are initialised. This package waits for os alone. net/http waits for os too,
// and "net/http" sorts after "github.com/…": whenever net/http could be next, this
// package has been before it. gosnowflake imports net/http, so it comes later still.
// What else a program imports, and in which order, makes no difference.
package skip

import "os"

// The variables that gosnowflake reads when it is initialised, spelled as it spells them:
// v2 the first, v1 the second.
var variables = [...]string{"GOSNOWFLAKE_SKIP_REGISTRATION", "GOSNOWFLAKE_SKIP_REGISTERATION"}

// before is what the variables were, for those that this package has set.
var before = map[string]*string{}

var claimed string

func init() {
	for _, name := range variables {
		was, set := os.LookupEnv(name)
		if was != "" {
			continue // gosnowflake heeds any value but the empty one
		}
		before[name] = nil
		if set {
			before[name] = &was
		}
		_ = os.Setenv(name, "true") // fails for a malformed name only
	}
}

// Restore makes the variables what they were: programs that this one starts inherit them,
// and would be left without a driver "snowflake".
func Restore() {
	for name, was := range before {
		if was == nil {
			_ = os.Unsetenv(name)
		} else {
			_ = os.Setenv(name, *was)
		}
	}
}

// Claim takes the name "snowflake" for the package that imports this one. It panics if
// another has taken it: only one gosnowflake can be behind the name. registered says
// whether database/sql knows the name already.
func Claim(importPath string, registered bool) {
	if claimed != "" {
		panic(importPath + ": " + claimed + " is in the program too, and only one of them can be behind the name \"snowflake\"; import the second if code in this program uses gosnowflake v1 with it, and otherwise the first:" +
			" github.com/snowtether/snowtether/takeover for v2, " + V1 + " for v1")
	}
	if registered {
		panic(importPath + ": \"snowflake\" has been registered by something else: a package that registers the name itself, which this one replaces, or a gosnowflake that heeds neither " +
			variables[0] + " (v2) nor " + variables[1] + " (v1), as v1.6.25 and earlier do not; remove the one or upgrade the other")
	}
	claimed = importPath
}

// The import paths of the two packages.
const (
	V2 = "github.com/snowtether/snowtether/takeover"
	V1 = V2 + "/gosnowflakev1"
)
