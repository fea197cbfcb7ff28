package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"

	"github.com/snowtether/snowtether"
)

// This file is about inner drivers that end the goroutine of their caller, as a mock in a test does.

// leavingDriver ends the goroutine of whoever executes something.
type leavingDriver struct{}

func (leavingDriver) Connect(context.Context) (driver.Conn, error) { return leavingDriver{}, nil }
func (leavingDriver) Driver() driver.Driver                        { return nil }
func (leavingDriver) Prepare(string) (driver.Stmt, error)          { return nil, errors.New("no") }
func (leavingDriver) Begin() (driver.Tx, error)                    { return nil, errors.New("no") }
func (leavingDriver) Close() error                                 { return nil }
func (leavingDriver) ExecContext(context.Context, string, []driver.NamedValue) (driver.Result, error) {
	runtime.Goexit()
	return nil, nil
}

// TestStatementThatEndsItsGoroutineIsNotUnderWayForEver: a mock of a test does that.
func TestStatementThatEndsItsGoroutineIsNotUnderWayForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := snowtether.WrapConnector(leavingDriver{}, quiet)
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(c)
		over := make(chan struct{})
		go func() {
			defer close(over)
			_, _ = db.ExecContext(context.Background(), "INSERT INTO t VALUES (1)")
		}()
		<-over
		if n := c.Snapshot().Waiting.Statements; n != 0 {
			t.Errorf("%d statements are under way", n)
		}
		_ = db.Close()
	})
}
