// Package takeover is for programs whose dependencies are on gosnowflake v2, or on none:
// it makes sql.Open("snowflake", dsn), wherever in the program it stands, open snowtether.
// Import it in package main, for its effect alone:
//
//	import _ "github.com/snowtether/snowtether/takeover"
//
// If code in the program uses gosnowflake v1 with connections that it opened by that name
// (v1's Array, WithMultiStatement, SnowflakeConnection, *SnowflakeError), take
// takeover/gosnowflakev1 instead, which has v1 underneath. The two cannot be in one program:
// it panics when it starts.
//
// The DSN is gosnowflake's, with the tether… parameters in it; insecureMode and
// disableTelemetry, which only v1 knows, mean what they mean there. The name "snowtether"
// is registered too, and [snowtether.ConnectorOf] finds the connector of a pool that
// was opened under either.
//
// gosnowflake would register the name itself when the program starts. It is told not to, in
// the environment of the process, before it is initialised, and the environment is restored
// right after: programs that this one starts see none of it. If the name is registered all
// the same, the program panics when it starts, with what to do.
package takeover

import (
	"database/sql"
	"slices"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/takeover/internal/skip"
)

func init() {
	skip.Claim(skip.V2, slices.Contains(sql.Drivers(), "snowflake"))
	sql.Register("snowflake", snowtether.Driver{})
	skip.Restore()
}
