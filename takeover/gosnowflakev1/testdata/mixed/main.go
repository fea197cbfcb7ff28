// Command mixed has takeover, which is for v2, and a dependency that is on gosnowflake v1.
package main

import (
	_ "github.com/snowtether/snowtether/takeover"
	"github.com/snowtether/snowtether/takeover/gosnowflakev1/testdata/program/probe"
)

func main() { probe.Main() }
