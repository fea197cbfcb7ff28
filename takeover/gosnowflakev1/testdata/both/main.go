// Command both has both packages, which cannot be.
package main

import (
	_ "github.com/snowtether/snowtether/takeover"
	_ "github.com/snowtether/snowtether/takeover/gosnowflakev1"
)

func main() {}
