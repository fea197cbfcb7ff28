// Package projects puts what people use on top of database/sql onto the driver, by its
// published versions and through its public interfaces: quiet, and under waves that end
// all sessions every 60 ms. docs/compatibility.md has what came of it. It is a module of its
// own, outside the workspace, whose versions it would raise:
//
//	cd compat/projects && GOWORK=off go test ./...
package projects
