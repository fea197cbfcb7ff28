// Command twice has snowtether and gosnowflake v1, and neither takeover.
package main

import (
	_ "github.com/snowflakedb/gosnowflake"

	_ "github.com/snowtether/snowtether"
)

func main() {}
