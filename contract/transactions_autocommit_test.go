package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/testpool"
	"github.com/snowtether/snowtether/snowtest"
)

// Transactions (docs/guarantees.md): with AUTOCOMMIT off, however it is spelled and whoever
// switched it off, the first DML begins a transaction.

// TestAutocommitIsOffHoweverItIsSpelt: in the Config, or as the server reports it.
// Before: "off", "OFF" and "0" were not noticed: the transaction went with its session,
// and what followed went to a new one, nil.
func TestAutocommitIsOffHoweverItIsSpelt(t *testing.T) {
	for _, spelling := range []any{false, "false", "FALSE", "off", "OFF", "Off", "0"} {
		for _, from := range []string{"Config", "server"} {
			for _, use := range forms {
				t.Run(fmt.Sprintf("%s/%T %v/%s", from, spelling, spelling, use.name), func(t *testing.T) {
					var opts []snowtest.Option
					if from == "server" {
						opts = append(opts, snowtest.WithSessionParameter("AUTOCOMMIT", spelling))
					}
					inBubble(t, func(t *testing.T, srv *snowtest.Server) {
						cfg := srv.Config()
						if text := fmt.Sprint(spelling); from == "Config" {
							cfg.Params["autocommit"] = &text
						}
						conn := pin(t, poolOf(t, cfg, 1))
						if err := use.run(t.Context(), conn, row(1)); err != nil {
							t.Fatal(err)
						}
						srv.AbortSessions()
						isLost(t, use.run(t.Context(), conn, "SELECT 1"), true)
						isLost(t, use.run(t.Context(), conn, "COMMIT"), true)
						checkRan(t, srv, row(1), 1, 0)
					}, opts...)
				})
			}
		}
	}
}

// TestAutocommitIsOnHoweverItIsSpelt: a statement by itself is in no transaction.
func TestAutocommitIsOnHoweverItIsSpelt(t *testing.T) {
	for _, spelling := range []any{true, "true", "TRUE", nil} {
		t.Run(fmt.Sprintf("%T %v", spelling, spelling), func(t *testing.T) {
			var opts []snowtest.Option
			if spelling != nil {
				opts = append(opts, snowtest.WithSessionParameter("AUTOCOMMIT", spelling))
			}
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				conn := pin(t, pool(t, srv, 1))
				mustExec(t, conn, row(1))
				srv.AbortSessions()
				mustExec(t, conn, "SELECT 1", row(2))
				checkRan(t, srv, row(1), 1, 1)
				checkRan(t, srv, row(2), 1, 1)
			}, opts...)
		})
	}
}

// TestAutocommitThatIsOffIsNoticed: where neither the Config nor a statement says so.
// The lost session took the rows with it, and COMMIT on the new one said nothing.
func TestAutocommitThatIsOffIsNoticed(t *testing.T) {
	for name, tt := range map[string]struct {
		server []snowtest.Option
		opts   []snowtether.Option
	}{
		"for the user or the account": {[]snowtest.Option{snowtest.WithSessionParameter("AUTOCOMMIT", false)}, nil},
		"by WithAfterConnect": {nil, []snowtether.Option{snowtether.WithAfterConnect(func(ctx context.Context, conn driver.Conn) error {
			_, err := conn.(driver.ExecerContext).ExecContext(ctx, "ALTER SESSION SET AUTOCOMMIT = FALSE", nil)
			return err
		})}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db, _ := connect(t, srv.Config(), tt.opts...)
				conn, err := db.Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if _, err := conn.ExecContext(t.Context(), insert); err != nil {
					t.Fatal(err)
				}
				srv.AbortSessions()
				var se *snowtether.SessionError
				if _, err := conn.ExecContext(t.Context(), row(2)); !errors.As(err, &se) || !se.InTx {
					t.Errorf("the second INSERT: %v", err)
				}
				if _, err := conn.ExecContext(t.Context(), "COMMIT"); err == nil {
					t.Error("COMMIT succeeded on another session")
				}
			}, tt.server...)
		})
	}
}

// TestAutocommitThatIsUnsetMayBeOff: AUTOCOMMIT is off by the user's default. ALTER SESSION
// UNSET AUTOCOMMIT gives the session that back, and the reply reports it; the driver takes
// UNSET for "on". What follows is in an open transaction that the driver does not know:
// the connection goes back to the pool with it, and the next user's row vanishes in it;
// or the session is lost and the INSERT is carried over as done. Right: behind UNSET, what
// the server reports (conn.parameter("autocommit")), and off where it reports nothing.
func TestAutocommitThatIsUnsetMayBeOff(t *testing.T) {
	off := func(srv *snowtest.Server) {
		srv.Handle("UNSET AUTOCOMMIT", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
			res := snowtest.Status(snowtest.KindSCL, "Statement executed successfully.")
			res.Parameters = map[string]any{"AUTOCOMMIT": false}
			return res, nil
		})
	}
	texts := []string{"ALTER SESSION SET AUTOCOMMIT = TRUE", row(1), "ALTER SESSION UNSET AUTOCOMMIT"}
	t.Run("next user", func(t *testing.T) {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			off(srv)
			db := pool(t, srv, 1)
			conn := pin(t, db)
			mustExec(t, conn, texts...)
			mustExec(t, conn, row(2))
			_ = conn.Close()
			// the next user's transaction is the predecessor's
			tx := mustBegin(t, db)
			mustExec(t, tx, row(3))
			if err := tx.Rollback(); err != nil {
				t.Fatal(err)
			}
			two, three := int64(0), int64(0)
			for _, e := range srv.Ledger() {
				switch e.SQL {
				case row(2):
					two = e.SessionID
				case row(3):
					three = e.SessionID
				}
			}
			if two == three {
				t.Error("a connection with an open transaction has gone to the next user")
			}
		}, snowtest.WithSessionParameter("AUTOCOMMIT", false))
	})
	t.Run("carried over", func(t *testing.T) {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			off(srv)
			conn := pin(t, pool(t, srv, 1))
			mustExec(t, conn, texts...)
			const update = "UPDATE t SET n = 1"
			slowly(srv, "^UPDATE", 2*time.Minute, counted(snowtest.KindUpdate, "updated", 1), nil)
			abortAt(srv, time.Minute)
			_, err := conn.ExecContext(t.Context(), update)
			time.Sleep(5 * time.Minute)
			if n := srv.Effects(update); err == nil && n != 1 {
				t.Errorf("nil, and the UPDATE took effect %d times", n)
			}
		}, snowtest.WithSessionParameter("AUTOCOMMIT", false))
	})
}

// TestAutocommitThatIsOffIsSeenThroughAWrapper: the server has told gosnowflake inside.
func TestAutocommitThatIsOffIsSeenThroughAWrapper(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		inner := veiledConnector{gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *srv.Config())}
		conn := pin(t, testpool.OpenConnector(t, wrapped(t, inner), 1))
		mustExec(t, conn, row(1))
		srv.AbortSessions()
		_, err := conn.ExecContext(t.Context(), row(2))
		isLost(t, err, true)
		checkRan(t, srv, row(2), 0, 0)
	}, snowtest.WithSessionParameter("AUTOCOMMIT", false))
}

// TestTransactionHasEndedWithoutAutocommit: with Commit and with Rollback.
// Before: the connection stayed "in a transaction": 20 logins for 20 transactions.
func TestTransactionHasEndedWithoutAutocommit(t *testing.T) {
	for _, spelling := range []any{false, "off"} {
		for _, commit := range []bool{true, false} {
			t.Run(fmt.Sprintf("%v/commit %v", spelling, commit), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := pool(t, srv, 1)
					for i := range 20 {
						tx := mustBegin(t, db)
						mustExec(t, tx, row(i))
						end := tx.Rollback
						if commit {
							end = tx.Commit
						}
						if err := end(); err != nil {
							t.Fatal(err)
						}
						effects := 0
						if commit {
							effects = 1
						}
						checkRan(t, srv, row(i), 1, effects)
					}
					if n := srv.Stats().Logins; n != 1 {
						t.Errorf("%d logins", n)
					}
				}, snowtest.WithSessionParameter("AUTOCOMMIT", spelling))
			})
		}
	}
}

// TestWhatFollowsATransactionWithoutAutocommitIsInNone: its session may go.
// Before: a read after the COMMIT said "run the whole transaction again".
func TestWhatFollowsATransactionWithoutAutocommitIsInNone(t *testing.T) {
	for _, end := range []string{"Commit", "Rollback", "COMMIT", "ROLLBACK"} {
		for _, use := range forms {
			t.Run(end+"/"+use.name, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					conn := pin(t, pool(t, srv, 1))
					var err error
					switch end {
					case "Commit", "Rollback":
						tx := mustBegin(t, conn)
						mustExec(t, tx, row(1))
						if end == "Commit" {
							err = tx.Commit()
						} else {
							err = tx.Rollback()
						}
					default:
						mustExec(t, conn, row(1))
						err = use.run(t.Context(), conn, end)
					}
					if err != nil {
						t.Fatal(err)
					}
					srv.AbortSessions()
					if err := use.run(t.Context(), conn, "SELECT 1"); err != nil {
						t.Errorf("the read after it: %v", err)
					}
				}, snowtest.WithSessionParameter("AUTOCOMMIT", false))
			})
		}
	}
}

// TestRunTxCommitsWithoutAutocommit: also when it is repeated.
func TestRunTxCommitsWithoutAutocommit(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		tries := 0
		err := snowtether.RunTx(t.Context(), begin(db), func(tx *sql.Tx) error {
			mustExec(t, tx, row(1))
			if tries++; tries == 1 {
				srv.AbortSessions()
			}
			_, err := tx.ExecContext(t.Context(), row(2))
			return err
		})
		if err != nil {
			t.Error(err)
		}
		checkRan(t, srv, row(1), 2, 1)
		checkRan(t, srv, row(2), 1, 1)
		if n := srv.Stats().Logins; n != 2 {
			t.Errorf("%d logins", n)
		}
	}, snowtest.WithSessionParameter("AUTOCOMMIT", "0"), snowtest.AllowRepeats())
}

// TestBareConnectionWithoutAutocommitGoesOn: its user has no database/sql (ADBC), and switches
// AUTOCOMMIT off for a manual mode. A lost transaction says so until ROLLBACK, and names
// the setting that went with its session; then the connection takes it anew.
func TestBareConnectionWithoutAutocommitGoesOn(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		_, exec := bareConn(t, srv)
		for i := range 3 {
			for _, query := range []string{"ALTER SESSION SET AUTOCOMMIT = FALSE", row(10 * i)} {
				if err := exec(query); err != nil {
					t.Fatalf("%s: %v", query, err)
				}
			}
			srv.AbortSessions()
			for j := range 2 {
				err := exec(row(10*i + 1 + j))
				isLost(t, err, true)
				if !strings.Contains(err.Error(), "set again what was lost: its parameters") {
					t.Errorf("the error does not name what else went: %v", err)
				}
			}
			if err := exec("ROLLBACK"); err != nil {
				t.Errorf("ROLLBACK: %v", err)
			}
			for _, query := range []string{"ALTER SESSION SET AUTOCOMMIT = FALSE", row(10*i + 5), "COMMIT"} {
				if err := exec(query); err != nil {
					t.Errorf("afterwards, %s: %v", query, err)
				}
			}
			checkRan(t, srv, row(10*i), 1, 0)
			checkRan(t, srv, row(10*i+5), 1, 1)
		}
	})
}

// TestWhatWasNotSentSaysSoBehindAutocommit: ALTER SESSION SET AUTOCOMMIT may have committed what
// is open, so the transaction is in doubt; but a statement behind it that was never sent says
// that it did not run.
func TestWhatWasNotSentSaysSoBehindAutocommit(t *testing.T) {
	for _, query := range []string{"SELECT 1", row(2), "COMMIT"} {
		for _, use := range forms {
			t.Run(query+"/"+use.name, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					conn := pin(t, pool(t, srv, 1))
					tx := mustBegin(t, conn)
					mustExec(t, tx, row(1))
					mustExec(t, tx, "ALTER SESSION SET AUTOCOMMIT = TRUE")
					srv.AbortSessions()
					for range 2 { // found dead, and then known to be
						err := use.run(t.Context(), tx, query)
						if !errors.Is(err, snowtether.ErrInDoubt) || !strings.Contains(err.Error(), "this statement did not run") {
							t.Errorf("error is %v", err)
						}
					}
					checkRan(t, srv, query, 0, 0)
				}, snowtest.AllowRepeats())
			})
		}
	}
}

// TestChainThatWritesBeginsATransactionWithoutAutocommit: and it goes with its session.
// Before: the SELECT and the COMMIT went to a new session, both nil, and the row was gone.
func TestChainThatWritesBeginsATransactionWithoutAutocommit(t *testing.T) {
	for chain, kind := range map[string]snowtest.Kind{
		"SELECT 1 AS n ->> INSERT INTO t SELECT * FROM $1":                                     snowtest.KindInsert,
		"SELECT 1 AS n ->> SELECT * FROM $1 ->> insert into t select 1":                        snowtest.KindInsert,
		"SELECT 1 AS n ->> UPDATE t SET n = 1 WHERE n IN (SELECT n FROM $1)":                   snowtest.KindUpdate,
		"SELECT 1 AS n ->> DELETE FROM t WHERE n IN (SELECT n FROM $1)":                        snowtest.KindDelete,
		"SHOW TABLES ->> MERGE INTO t USING $1 s ON t.n = s.\"name\" WHEN MATCHED THEN DELETE": snowtest.KindMerge,
		"WITH x AS (SELECT 1 AS n) SELECT * FROM x ->> INSERT INTO t SELECT * FROM $1":         snowtest.KindInsert,
	} {
		for _, use := range forms {
			t.Run(use.name+"/"+chain, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					handleChains(srv, kind)
					conn := pin(t, pool(t, srv, 1))
					if err := use.run(t.Context(), conn, chain); err != nil {
						t.Fatal(err)
					}
					srv.AbortSessions()
					isLost(t, use.run(t.Context(), conn, "SELECT 1"), true)
					isLost(t, use.run(t.Context(), conn, "COMMIT"), true)
					checkRan(t, srv, chain, 1, 0)
				}, snowtest.WithSessionParameter("AUTOCOMMIT", false))
			})
		}
	}
}

// TestAutocommitThatIsSwitchedOffMeanwhileIsNoticed: by ALTER USER, here or elsewhere, or in
// sql.Conn.Raw, in a session that was opened with it on. The reply in which the server first
// reports it may be that of the statement which began the transaction.
// Before: the lost session took the row with it, and what followed went to a new one, nil; and
// the next user of the pool had the transaction.
func TestAutocommitThatIsSwitchedOffMeanwhileIsNoticed(t *testing.T) {
	const alter = "ALTER USER me SET AUTOCOMMIT = FALSE"
	off := func(srv *snowtest.Server, pattern string, res *snowtest.Result) {
		res.Parameters = map[string]any{"AUTOCOMMIT": false}
		srv.Handle(pattern, func(context.Context, *snowtest.Statement) (*snowtest.Result, error) { return res, nil })
	}
	for name, switchOff := range map[string]func(t *testing.T, srv *snowtest.Server, conn *sql.Conn){
		"here": func(t *testing.T, srv *snowtest.Server, conn *sql.Conn) {
			off(srv, "^ALTER USER", snowtest.Status(snowtest.KindDDL, "Statement executed successfully."))
			mustExec(t, conn, alter)
		},
		"elsewhere": func(_ *testing.T, srv *snowtest.Server, _ *sql.Conn) {
			res := counted(snowtest.KindInsert, "inserted", 1)
			res.Transaction = snowtest.Begun
			off(srv, "^INSERT", res)
		},
		"in Raw": func(t *testing.T, _ *snowtest.Server, conn *sql.Conn) {
			if err := conn.Raw(func(dc any) error {
				inner := dc.(interface{ Raw() driver.Conn }).Raw()
				_, err := inner.(driver.ExecerContext).ExecContext(t.Context(), "ALTER SESSION SET AUTOCOMMIT = FALSE", nil)
				return err
			}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		for _, use := range forms {
			setUp := func(t *testing.T, srv *snowtest.Server) (*sql.DB, *sql.Conn) {
				db := pool(t, srv, 1)
				conn := pin(t, db)
				switchOff(t, srv, conn)
				if err := use.run(t.Context(), conn, row(1)); err != nil {
					t.Fatal(err)
				}
				return db, conn
			}
			t.Run(name+"/session lost/"+use.name, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					_, conn := setUp(t, srv)
					srv.AbortSessions()
					isLost(t, use.run(t.Context(), conn, "SELECT 1"), true)
					isLost(t, use.run(t.Context(), conn, "COMMIT"), true)
				})
			})
			t.Run(name+"/next user/"+use.name, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db, conn := setUp(t, srv)
					before := srv.Ledger()[0].SessionID
					if err := conn.Close(); err != nil {
						t.Fatal(err)
					}
					tx := mustBegin(t, db)
					if sessionOf(t, tx) == before {
						t.Error("the next user has the transaction")
					}
					if err := tx.Rollback(); err != nil {
						t.Error(err)
					}
				})
			})
		}
	}
}
