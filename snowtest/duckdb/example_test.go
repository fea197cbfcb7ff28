package duckdb_test

import (
	"database/sql"
	"fmt"
	"log"

	_ "github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/snowtest"
	"github.com/snowtether/snowtether/snowtest/duckdb"
)

// Real SQL behind the server. In a test, snowtest.New takes the place of
// snowtest.Start.
func ExampleNew() {
	engine, err := duckdb.New()
	if err != nil {
		log.Fatal(err)
	}
	srv, err := snowtest.Start(snowtest.WithEngine(engine))
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close() // closes the engine, too
	db, err := sql.Open("snowflake", srv.DSN())
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	for _, statement := range []string{
		"CREATE TABLE orders (id NUMBER, amount NUMBER(10, 2))",
		"INSERT INTO orders VALUES (1, 9.50), (2, 0.50), (3, NULL)",
	} {
		if _, err := db.Exec(statement); err != nil {
			log.Fatal(err)
		}
	}
	var total string
	if err := db.QueryRow("SELECT SUM(NVL(amount, 0)) FROM orders").Scan(&total); err != nil {
		log.Fatal(err)
	}
	fmt.Println(total)
	// Output: 10.00
}
