// Package compat holds tests of snowtether beside versions and projects that no user of it
// needs. It is a module of its own, outside the workspace, whose versions it would raise:
//
//	cd compat && GOWORK=off GOSNOWFLAKE_SKIP_REGISTRATION=true go test ./...
//
// The variable keeps gosnowflake v2 from registering the name that v1 registers too.
package compat
