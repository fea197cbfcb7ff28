// Package dependency registers "snowflake" itself, as some wrappers do.
package dependency

import (
	"database/sql"
	"database/sql/driver"
)

func init() { sql.Register("snowflake", wrapper{}) }

type wrapper struct{ driver.Driver }
