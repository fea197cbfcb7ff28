// Command program has the takeover for gosnowflake v1, and a dependency that is on v1.
package main

import (
	_ "github.com/snowtether/snowtether/takeover/gosnowflakev1"
	"github.com/snowtether/snowtether/takeover/gosnowflakev1/testdata/program/probe"
)

func main() { probe.Main() }
