// Command taken has a dependency that registers "snowflake" before takeover does.
package main

import (
	_ "github.com/snowtether/snowtether/takeover"
	_ "github.com/snowtether/snowtether/takeover/testdata/taken/dependency"
)

func main() {}
