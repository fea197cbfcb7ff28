// Package probe is what the programs here do: they open "snowflake" through a dependency that
// is on gosnowflake v1, and print what they found.
package probe

import (
	"fmt"
	"os"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/takeover/gosnowflakev1/testdata/program/dependency"
)

// Main opens "snowflake" at the DSN that is the program's argument; without one it does nothing.
func Main() {
	if len(os.Args) < 2 {
		return
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(dsn string) error {
	for _, name := range []string{"GOSNOWFLAKE_SKIP_REGISTRATION", "GOSNOWFLAKE_SKIP_REGISTERATION"} {
		if _, set := os.LookupEnv(name); set {
			fmt.Println("set:", name)
		}
	}
	db, err := dependency.Open(dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := db.Ping(); err != nil {
		return err
	}
	if _, err := snowtether.ConnectorOf(db); err != nil {
		return err
	}
	_, err = db.Exec("SELEC 1")
	fmt.Println("number", dependency.Number(err))
	return nil
}
