package snowtether_test

import (
	"database/sql"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/testpool"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is the contract: what a program sees through database/sql and sqlx
// when sessions end under it, with the real gosnowflake against a real listener.

func TestMain(m *testing.M) {
	// gosnowflake logs to stderr what it is about to return anyway.
	if err := gosnowflake.GetLogger().SetLogLevel("off"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// quiet keeps the examples' log out of their output.
var quiet = snowtether.WithLogger(slog.New(slog.DiscardHandler))

// TestPoolOutlivesItsSessions: plain gosnowflake fails all 400 statements, for
// ever.
func TestPoolOutlivesItsSessions(t *testing.T) {
	statements := 400
	if testing.Short() {
		statements = 80 // they take half the time of all tests
	}
	for _, way := range testpool.Ways {
		for _, use := range testpool.Uses {
			t.Run(way.Name+"/"+use.Name, func(t *testing.T) {
				t.Parallel()
				srv := snowtest.New(t)
				db := testpool.Open(t, srv, 8)
				before := srv.Stats().Logins
				if way.End == (snowtest.Refusal{}) {
					srv.ExpireSessionTokens()
				} else {
					srv.EndSessions(way.End)
				}
				var wg sync.WaitGroup
				for worker := range 8 {
					wg.Go(func() {
						for i := worker; i < statements; i += 8 {
							if err := use.Use(t.Context(), db, i); err != nil {
								t.Errorf("statement %d: %v", i, err)
							}
						}
					})
				}
				wg.Wait()
				if n := srv.Stats().Logins - before; n > 8*way.Logins {
					t.Errorf("%d new logins, want at most %d", n, 8*way.Logins)
				}
				if d := srv.Doubles(); len(d) > 0 {
					t.Errorf("took effect twice: %v", d)
				}
			})
		}
	}
}

// TestSteadyStateHasNoRequestsOfItsOwn: while all is well the server gets what it
// gets from plain gosnowflake, request by request.
func TestSteadyStateHasNoRequestsOfItsOwn(t *testing.T) {
	for _, use := range testpool.Uses {
		t.Run(use.Name, func(t *testing.T) {
			requests := func(open func(*snowtest.Server) *sql.DB) map[snowtest.RequestKind]int {
				srv := snowtest.New(t, snowtest.AllowRepeats())
				db := open(srv)
				for i := range 20 {
					if err := use.Use(t.Context(), db, i); err != nil {
						t.Fatal(err)
					}
				}
				n := srv.Stats().Requests
				delete(n, snowtest.RequestTelemetry) // gosnowflake's own, sent in batches
				return n
			}
			ours := requests(func(srv *snowtest.Server) *sql.DB { return testpool.Open(t, srv, 1) })
			plain := requests(func(srv *snowtest.Server) *sql.DB {
				db := sql.OpenDB(gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *srv.Config()))
				t.Cleanup(func() { _ = db.Close() })
				db.SetMaxOpenConns(1)
				return db
			})
			if !maps.Equal(ours, plain) {
				t.Errorf("requests %v, through gosnowflake %v", ours, plain)
			}
		})
	}
}

// TestReconnectIsLoggedOnceAtInfo: and with all that an operator asks about.
func TestReconnectIsLoggedOnceAtInfo(t *testing.T) {
	srv := snowtest.New(t)
	var log testpool.Lines
	db := testpool.Open(t, srv, 1, snowtether.WithLogger(testpool.Logger(&log)))
	old := srv.Sessions()[0].ID
	srv.EndSessions(snowtest.Refusal{Code: "390114"})
	if _, err := db.ExecContext(t.Context(), "INSERT INTO t VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	text := log.String()
	for _, want := range []string{
		"level=INFO", "nothing needs doing", "reason=390114", "session_age=", "login_took=",
		fmt.Sprintf("old_session=%d", old), fmt.Sprintf("session_id=%d", srv.Sessions()[0].ID),
	} {
		if strings.Count(text, want) != 1 {
			t.Errorf("%q is not in the log once:\n%s", want, text)
		}
	}
	for _, secret := range []string{srv.Password(), srv.DSN()} {
		if strings.Contains(text, secret) {
			t.Errorf("a secret is in the log:\n%s", text)
		}
	}
}
