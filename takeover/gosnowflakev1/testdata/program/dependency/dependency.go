// Package dependency is as many are: it imports gosnowflake v1, opens "snowflake" by name,
// and knows nothing of snowtether.
package dependency

import (
	"database/sql"
	"errors"

	"github.com/snowflakedb/gosnowflake"
)

// Open opens the database.
func Open(dsn string) (*sql.DB, error) { return sql.Open("snowflake", dsn) }

// Number is the number of Snowflake's error.
func Number(err error) int {
	var se *gosnowflake.SnowflakeError
	if !errors.As(err, &se) {
		return 0
	}
	return se.Number
}
