// Package dependency is as many are: it imports gosnowflake, opens "snowflake" by name, and
// knows nothing of snowtether.
package dependency

import (
	"database/sql"
	"fmt"

	"github.com/snowflakedb/gosnowflake/v2"
)

// Open opens the database.
func Open(dsn string) (*sql.DB, error) {
	if _, err := gosnowflake.ParseDSN(dsn); err != nil {
		return nil, fmt.Errorf("dependency: %w", err)
	}
	return sql.Open("snowflake", dsn)
}
