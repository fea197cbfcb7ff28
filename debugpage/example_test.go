package debugpage_test

import (
	"database/sql"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/debugpage"
	"github.com/snowtether/snowtether/snowtest"
)

// A pool that was opened by its name. In a program, the mux is that of a port that
// only operators reach.
func ExampleHandler() {
	srv, err := snowtest.Start() // in your program: Snowflake
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	db, err := sql.Open("snowtether", srv.DSN()+"&tetherPoolName=nightly")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	connector, err := snowtether.ConnectorOf(db)
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/debug/snowtether/", debugpage.Handler(connector))

	if err := db.Ping(); err != nil {
		log.Fatal(err)
	}
	admin := httptest.NewServer(mux)
	defer admin.Close()
	reply, err := http.Get(admin.URL + "/debug/snowtether/?format=json")
	if err != nil {
		log.Fatal(err)
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err != nil {
		log.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, `"sentence"`) {
			fmt.Println(strings.TrimSpace(line))
		}
	}
	// Output: "sentence": "The one session is in order; nothing needs doing.",
}
