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

	"github.com/cenkalti/backoff/v4"
	"github.com/jmoiron/sqlx"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// Transactions (docs/guarantees.md): RunTx repeats a lost transaction as a whole where nothing of
// it lasts, and nothing else.

// rowsLast checks that each row took effect once.
func rowsLast(t *testing.T, srv *snowtest.Server, want int, rows ...int) {
	t.Helper()
	for _, i := range rows {
		if n := srv.Effects(row(i)); n != want {
			t.Errorf("row %d took effect %d times, want %d", i, n, want)
		}
	}
}

// TestRunTxRepeatsTheWholeTransaction: whichever way its session ends, at each of
// its statements, also where fn does not look at its errors.
func TestRunTxRepeatsTheWholeTransaction(t *testing.T) {
	for _, way := range ways[1:] {
		for _, at := range []string{"BEGIN", row(1), row(2), "COMMIT"} {
			for _, careless := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/careless %v", way.Name, at, careless), func(t *testing.T) {
					inBubble(t, func(t *testing.T, srv *snowtest.Server) {
						db := pool(t, srv, 2)
						srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
							if r.SQL == at {
								srv.EndSessions(way.End)
							}
							return snowtest.Fault{}, r.SQL == at
						})
						runs := 0
						err := snowtether.RunTx(t.Context(), begin(db), func(tx *sql.Tx) error {
							runs++
							for i := 1; i <= 2; i++ {
								if _, err := tx.ExecContext(t.Context(), row(i)); err != nil && !careless {
									return fmt.Errorf("row %d: %w", i, err)
								}
							}
							return nil
						})
						if err != nil {
							t.Error(err)
						}
						if want := map[bool]int{true: 1, false: 2}[at == "BEGIN"]; runs != want {
							t.Errorf("fn ran %d times, want %d", runs, want)
						}
						rowsLast(t, srv, 1, 1, 2)
					}) // accepted again, but only one lasts, which is what the server checks
				})
			}
		}
	}
}

// TestRunTxNeverRepeatsACommitInDoubt: it may have been carried out.
func TestRunTxNeverRepeatsACommitInDoubt(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		once(srv, "COMMIT", snowtest.Fault{Run: true, Drop: true, After: func() { srv.AbortSessions() }})
		runs := 0
		err := snowtether.RunTx(t.Context(), begin(db), func(tx *sql.Tx) error {
			runs++
			_, err := tx.ExecContext(t.Context(), insert)
			return err
		})
		ranInDoubt(t, srv, insert, err, 1)
		if runs != 1 {
			t.Errorf("fn ran %d times", runs)
		}
	})
}

// TestRunTxTakesASqlxTransaction: T is whatever begin returns.
func TestRunTxTakesASqlxTransaction(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := sqlx.NewDb(pool(t, srv, 1), "snowflake")
		err := snowtether.RunTx(t.Context(),
			func(ctx context.Context) (*sqlx.Tx, error) { return db.BeginTxx(ctx, nil) },
			func(tx *sqlx.Tx) error {
				_, err := tx.ExecContext(t.Context(), insert)
				return err
			})
		if err != nil {
			t.Error(err)
		}
		rowsLast(t, srv, 1, 1)
	})
}

// TestRunTxReturnsTheCallersOwnError: as it is, after a rollback.
func TestRunTxReturnsTheCallersOwnError(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		mine := errors.New("mine")
		runs := 0
		err := snowtether.RunTx(t.Context(), begin(db), func(tx *sql.Tx) error {
			runs++
			if _, err := tx.ExecContext(t.Context(), insert); err != nil {
				return err
			}
			return mine
		})
		if err != mine || runs != 1 { // as it is
			t.Errorf("error is %v after %d runs", err, runs)
		}
		rowsLast(t, srv, 0, 1)
	})
}

// TestRunTxSaysThatItsFunctionEndedTheTransaction: what the function committed lasts, and the
// error must not read as if nothing did.
func TestRunTxSaysThatItsFunctionEndedTheTransaction(t *testing.T) {
	for name, end := range map[string]func(*sql.Tx) error{"commit": (*sql.Tx).Commit, "rollback": (*sql.Tx).Rollback} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				runs := 0
				err := snowtether.RunInTx(t.Context(), db, nil, func(tx *sql.Tx) error {
					runs++
					if _, err := tx.ExecContext(t.Context(), insert); err != nil {
						return err
					}
					return end(tx)
				}, snowtether.WithTxRetryIf(func(error) bool { return name == "commit" }))
				if !errors.Is(err, sql.ErrTxDone) || !strings.Contains(err.Error(), "whether its changes last depends on what ended it: a Commit or Rollback in the function") || runs != 1 {
					t.Errorf("error is %v after %d runs", err, runs)
				}
				checkRan(t, srv, insert, 1, map[string]int{"commit": 1}[name])
			})
		})
	}
}

// TestRunTxRollsBackAndPanicsOn: the panic is the caller's.
func TestRunTxRollsBackAndPanicsOn(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		defer func() {
			if r := recover(); r != "mine" {
				t.Errorf("recovered %v", r)
			}
			rowsLast(t, srv, 0, 1)
			if n := srv.Accepted("ROLLBACK"); n != 1 {
				t.Errorf("%d rollbacks", n)
			}
		}()
		_ = snowtether.RunTx(t.Context(), begin(db), func(tx *sql.Tx) error {
			if _, err := tx.ExecContext(t.Context(), insert); err != nil {
				t.Error(err)
			}
			panic("mine")
		})
	})
}

// TestRunTxRepeatsAfterALockWait: 000625, and what WithTxRetryIf names.
func TestRunTxRepeatsAfterALockWait(t *testing.T) {
	deadlock := snowtether.WithTxRetryIf(func(err error) bool { return number(err) == 999999 })
	for _, tt := range []struct {
		code string
		opts []snowtether.TxOption
		runs int
	}{
		{"000625", nil, 2}, {"999999", []snowtether.TxOption{deadlock}, 2}, {"999999", nil, 1},
		{"000625", []snowtether.TxOption{snowtether.WithTxAttempts(1)}, 1},
	} {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			db := pool(t, srv, 1)
			once(srv, insert, snowtest.Fault{Code: tt.code, Message: "aborted"})
			runs := 0
			err := snowtether.RunTx(t.Context(), begin(db), func(tx *sql.Tx) error {
				runs++
				_, err := tx.ExecContext(t.Context(), insert)
				return err
			}, tt.opts...)
			if runs != tt.runs || (err == nil) != (tt.runs == 2) {
				t.Errorf("%s: %d runs, want %d; error %v", tt.code, runs, tt.runs, err)
			}
		})
	}
}

// TestRunTxGivesUp: after its attempts, when its back-off says so, and at once when
// its context ends.
func TestRunTxGivesUp(t *testing.T) {
	for name, tt := range map[string]struct {
		opts []snowtether.TxOption
		runs int
		took time.Duration
	}{
		"attempts": {[]snowtether.TxOption{snowtether.WithTxAttempts(3), snowtether.WithTxBackOff(func() backoff.BackOff { return backoff.NewConstantBackOff(time.Second) })}, 3, 2 * time.Second},
		"back-off": {[]snowtether.TxOption{snowtether.WithTxBackOff(func() backoff.BackOff { return &backoff.StopBackOff{} })}, 1, 0},
		"context":  {[]snowtether.TxOption{snowtether.WithTxAttempts(99), snowtether.WithTxBackOff(func() backoff.BackOff { return backoff.NewConstantBackOff(time.Hour) })}, 1, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				runs, start := 0, time.Now()
				err := snowtether.RunTx(ctx, begin(db), func(tx *sql.Tx) error {
					runs++
					srv.AbortSessions()
					_, err := tx.ExecContext(ctx, insert)
					return err
				}, tt.opts...)
				if !errors.Is(err, snowtether.ErrSessionLost) || runs != tt.runs || time.Since(start) != tt.took {
					t.Errorf("%d runs in %v, want %d in %v; error %v", runs, time.Since(start), tt.runs, tt.took, err)
				}
				if name == "context" && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v is not context.DeadlineExceeded", err)
				}
			})
		})
	}
}

// TestRunTxRefusesBadInput: with one clear line, and begins nothing.
func TestRunTxRefusesBadInput(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		ok := func(*sql.Tx) error { return nil }
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		for want, err := range map[string]error{
			"must not be nil":    snowtether.RunTx(t.Context(), begin(db), nil),
			"fn must not be nil": snowtether.RunTx(t.Context(), nil, ok),
			"0 attempts":         snowtether.RunTx(t.Context(), begin(db), ok, snowtether.WithTxAttempts(0)),
			"an option is nil":   snowtether.RunTx(t.Context(), begin(db), ok, nil),
			"context canceled":   snowtether.RunTx(ended, begin(db), ok),
			"db and fn":          snowtether.RunInTx(t.Context(), (*sql.DB)(nil), nil, ok),
			"RunInTx: db and fn": snowtether.RunInTx(t.Context(), nil, nil, ok),
			"fn must":            snowtether.RunInTx(t.Context(), db, nil, nil),
			"-1 attempts":        snowtether.RunInTx(t.Context(), db, nil, ok, snowtether.WithTxAttempts(-1)),
			"neither":            snowtether.RunTx(t.Context(), func(context.Context) (*sql.Tx, error) { return nil, nil }, ok),
		} {
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error is %v, want %q", err, want)
			}
		}
		if n := srv.Accepted("BEGIN"); n != 0 {
			t.Errorf("%d transactions were begun", n)
		}
	})
}

// TestRunInTxIsTheShortForm: for pools of database/sql's and sqlx's, and for a connection.
func TestRunInTxIsTheShortForm(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 2)
		c, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		busy := errors.New("busy")
		for i, on := range []snowtether.Beginner{db, sqlx.NewDb(db, "snowtether"), c} {
			runs := 0
			err := snowtether.RunInTx(t.Context(), on, &sql.TxOptions{}, func(tx *sql.Tx) error {
				switch runs++; runs {
				case 1:
					srv.AbortSessions()
				case 2:
					return fmt.Errorf("once more: %w", busy)
				}
				_, err := tx.ExecContext(t.Context(), row(i))
				return err
			}, snowtether.WithTxRetryIf(func(err error) bool { return errors.Is(err, busy) }))
			if err != nil || runs != 3 {
				t.Errorf("%T: %v after %d runs", on, err, runs)
			}
		}
		rowsLast(t, srv, 1, 0, 1, 2)
	})
}

// TestRunTxDoesNotWaitForItsRollback: longer than its context lasts.
func TestRunTxDoesNotWaitForItsRollback(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		once(srv, "ROLLBACK", snowtest.Fault{Delay: time.Minute})
		own := errors.New("own")
		begun := time.Now()
		err := snowtether.RunTx(within(t, 2*time.Second), begin(db), func(*sql.Tx) error { return own })
		if took := time.Since(begun); took > 2*time.Second || !errors.Is(err, own) {
			t.Errorf("after %v: %v", took, err)
		}
		time.Sleep(time.Hour)
	})
}

// TestRunTxWithoutTimeBeginsNothing: nor does it hide that the caller has left.
func TestRunTxWithoutTimeBeginsNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := snowtether.RunTx(ctx, func(context.Context) (*sql.Tx, error) {
		t.Error("it began")
		return nil, errors.New("no")
	}, func(*sql.Tx) error { return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}

// TestRunTxOutOfTimeIsNoBadConnection: whatever the last attempt failed with, and
// database/sql must not make another of it.
func TestRunTxOutOfTimeIsNoBadConnection(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := snowtether.RunTx(ctx, func(context.Context) (*sql.Tx, error) {
		cancel()
		return nil, driver.ErrBadConn
	}, func(*sql.Tx) error { return nil })
	if !errors.Is(err, context.Canceled) || errors.Is(err, driver.ErrBadConn) || !strings.Contains(err.Error(), driver.ErrBadConn.Error()) {
		t.Errorf("error is %v", err)
	}
}

// TestRunTxNeedsATransaction: nothing at all is none.
func TestRunTxNeedsATransaction(t *testing.T) {
	err := snowtether.RunTx(t.Context(), func(context.Context) (snowtether.Tx, error) { return nil, nil }, func(snowtether.Tx) error {
		t.Error("fn ran")
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "neither a transaction nor an error") {
		t.Errorf("error is %v", err)
	}
}

// TestRunTxBeginsAgainAfterABeginInDoubt: a BEGIN that may have run has changed
// nothing.
func TestRunTxBeginsAgainAfterABeginInDoubt(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		once(srv, "BEGIN", snowtest.Fault{Run: true, Body: "<html>"})
		runs := 0
		err := snowtether.RunTx(t.Context(), begin(db), func(tx *sql.Tx) error {
			runs++
			_, err := tx.ExecContext(t.Context(), insert)
			return err
		})
		if err != nil || runs != 1 {
			t.Errorf("fn ran %d times: %v", runs, err)
		}
		rowsLast(t, srv, 1, 1)
	})
}

// TestRunTxAsksNobodyAboutACommitInDoubt: not even the program, which might say yes to
// everything.
func TestRunTxAsksNobodyAboutACommitInDoubt(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		once(srv, "COMMIT", snowtest.Fault{Run: true, Drop: true, After: func() { srv.AbortSessions() }})
		runs := 0
		err := snowtether.RunTx(t.Context(), begin(db), func(tx *sql.Tx) error {
			runs++
			_, err := tx.ExecContext(t.Context(), insert)
			return err
		}, snowtether.WithTxRetryIf(func(error) bool { return true }))
		ranInDoubt(t, srv, insert, err, 1)
		if runs != 1 {
			t.Errorf("fn ran %d times", runs)
		}
	})
}

// TestRunTxRepeatsWhatItSetsItself: what a transaction sets of its session goes with it,
// and is set again.
func TestRunTxRepeatsWhatItSetsItself(t *testing.T) {
	for _, text := range []string{"ALTER SESSION SET QUERY_TAG = 'nightly'", "USE SCHEMA other", "SET day = '2026-01-01'"} {
		t.Run(text, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				n := 0
				err := snowtether.RunTx(t.Context(), func(ctx context.Context) (*sql.Tx, error) { return db.BeginTx(ctx, nil) }, func(tx *sql.Tx) error {
					for i, query := range []string{text, row(1), row(2)} {
						if i == 2 && n == 0 {
							n++
							srv.AbortSessions()
						}
						if _, err := tx.Exec(query); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
				for i := range 2 {
					if n := srv.Effects(row(i + 1)); n != 1 {
						t.Errorf("row %d took effect %d times", i+1, n)
					}
				}
			}, snowtest.AllowRepeats())
		})
	}
}

// TestRunTxDoesNotRepeatOverLostState: the holder of a connection has chosen
// a schema. The session is lost, the error that says so ("set again what was lost") is
// taken by RunTx for a reason to repeat, and the second attempt writes into the default
// schema. RunTx returns nil: the row is in another table than was meant. Right: an error
// that names lost state (SessionError.lost != 0) is not repeated by RunTx but returned.
func TestRunTxDoesNotRepeatOverLostState(t *testing.T) {
	for _, when := range []string{"before BEGIN", "at the INSERT", "at COMMIT"} {
		t.Run(when, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				conn := pin(t, pool(t, srv, 1))
				mustExec(t, conn, "USE SCHEMA other")
				chosen := srv.Ledger()[0].SessionID
				n := 0
				if when == "before BEGIN" {
					srv.AbortSessions()
				}
				err := snowtether.RunTx(t.Context(), func(ctx context.Context) (*sql.Tx, error) { return conn.BeginTx(ctx, nil) }, func(tx *sql.Tx) error {
					n++
					if when == "at the INSERT" && n == 1 {
						srv.AbortSessions()
					}
					_, err := tx.ExecContext(t.Context(), row(1))
					if when == "at COMMIT" && n == 1 {
						srv.AbortSessions()
					}
					return err
				})
				for _, e := range srv.Ledger() {
					if e.SQL == row(1) && e.Effects == 1 && e.SessionID != chosen && err == nil {
						t.Error("RunTx returned nil, and its row is in the schema that the session began in, not in the one that its holder chose")
					}
				}
			}, snowtest.AllowRepeats())
		})
	}
}

// TestRunTxDoesNotRepeatWhatMayLast: DDL has committed what came before it, and so has COMMIT;
// the error of a later statement, Snowflake's or the program's own, does not say so.
// Before: the row was there twice.
func TestRunTxDoesNotRepeatWhatMayLast(t *testing.T) {
	own := errors.New("own")
	always := snowtether.WithTxRetryIf(func(error) bool { return true })
	for _, by := range []string{"CREATE TABLE IF NOT EXISTS x (n INT)", "COMMIT", "CALL p()", ""} {
		for _, fails := range []error{nil, own, driver.ErrBadConn, snowtether.ErrSessionLost} {
			t.Run(fmt.Sprintf("%s/%v", by, fails), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := pool(t, srv, 1)
					once(srv, row(2), snowtest.Fault{Code: "000625", Message: "aborted"})
					runs := 0
					err := snowtether.RunInTx(t.Context(), db, nil, func(tx *sql.Tx) error {
						runs++
						if _, err := tx.ExecContext(t.Context(), row(1)); err != nil {
							return err
						}
						var err error
						if by == "" {
							err = tx.Commit()
						} else {
							_, err = tx.ExecContext(t.Context(), by)
						}
						if err != nil || fails != nil {
							return errors.Join(err, fails)
						}
						_, err = tx.ExecContext(t.Context(), row(2))
						return err
					}, always)
					if err == nil || runs != 1 || fails != nil && !errors.Is(err, fails) {
						t.Errorf("%d runs; error %v", runs, err)
					}
					if n := srv.Accepted(row(1)); n != 1 {
						t.Errorf("row 1 was sent %d times", n)
					}
				})
			})
		}
	}
}

// TestRunTxRepeatsARefusedCommit: where Snowflake says so in words of its own, nothing lasts.
func TestRunTxRepeatsARefusedCommit(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		once(srv, "COMMIT", snowtest.Fault{Code: "000625", Message: "aborted"})
		runs := 0
		err := snowtether.RunInTx(t.Context(), db, nil, func(tx *sql.Tx) error {
			runs++
			_, err := tx.ExecContext(t.Context(), row(1))
			return err
		})
		if err != nil || runs != 2 {
			t.Errorf("%d runs; error %v", runs, err)
		}
		rowsLast(t, srv, 1, 1)
	})
}

// A panickingTx is a program's own whose Rollback panics.
type panickingTx struct{}

func (panickingTx) Commit() error   { return nil }
func (panickingTx) Rollback() error { panic("rollback") }

// TestPanicOfARollbackHarmsNobodyElse: it is told with fn's error, and where fn panicked that
// goes on. Before: it ended the process.
func TestPanicOfARollbackHarmsNobodyElse(t *testing.T) {
	begin := func(context.Context) (panickingTx, error) { return panickingTx{}, nil }
	own := errors.New("own")
	err := snowtether.RunTx(t.Context(), begin, func(panickingTx) error { return own })
	if !errors.Is(err, own) || !strings.Contains(err.Error(), "its rollback panicked") {
		t.Errorf("error is %v", err)
	}
	defer func() {
		if r := recover(); r != "mine" {
			t.Errorf("recovered %v", r)
		}
	}()
	_ = snowtether.RunTx(t.Context(), begin, func(panickingTx) error { panic("mine") })
}
