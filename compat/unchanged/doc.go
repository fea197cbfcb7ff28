// Package unchanged runs programs of other people's that open "snowflake" themselves, and are
// on gosnowflake v1. No line of theirs is changed: the package takeover/gosnowflakev1 is
// imported, as it would be in package main. Each is run quiet, and under waves that end all
// sessions every 60 ms; docs/compatibility.md has what came of it. It is a module of its
// own, outside the workspace, whose versions it would raise:
//
//	cd compat/unchanged && GOWORK=off go test ./...
package unchanged
