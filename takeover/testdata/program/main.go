// Command program opens "snowflake" through a dependency, loses its session, goes on, and
// prints what it found.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/snowtether/snowtether"
	_ "github.com/snowtether/snowtether/takeover"
	"github.com/snowtether/snowtether/takeover/testdata/program/dependency"
)

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(dsn string) error {
	if dsn == "none" {
		return nil
	}
	var was []string
	for _, name := range []string{"GOSNOWFLAKE_SKIP_REGISTRATION", "GOSNOWFLAKE_SKIP_REGISTERATION"} {
		value, set := os.LookupEnv(name)
		switch {
		case !set:
			value = "unset"
		case value == "":
			value = "empty"
		}
		was = append(was, value)
	}
	fmt.Println("variables", strings.Join(was, " "))
	db, err := dependency.Open(dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := db.Ping(); err != nil {
		return err
	}
	fmt.Printf("driver %T\n", db.Driver())
	if _, err := snowtether.ConnectorOf(db); err != nil {
		return err
	}
	fmt.Println("connector found")
	return nil
}
