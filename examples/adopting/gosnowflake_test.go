package adopting_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/snowflakedb/gosnowflake/v2"
	"github.com/snowflakedb/gosnowflake/v2/arrowbatches"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about programs that use gosnowflake now, and about the way back.

func byName(dsn string) (*sql.DB, error) {
	db, err := sql.Open("snowtether", dsn) // was: sql.Open("snowflake", dsn)
	return db, err
}

func byConfig(cfg *gosnowflake.Config) (*sql.DB, error) {
	connector, err := snowtether.NewConnector(cfg) // was: gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *cfg)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	return db, nil
}

func TestBothWaysOfOpening(t *testing.T) {
	srv := snowtest.New(t)
	for name, open := range map[string]func() (*sql.DB, error){
		"name":   func() (*sql.DB, error) { return byName(srv.DSN()) },
		"Config": func() (*sql.DB, error) { return byConfig(srv.Config()) },
	} {
		db, err := open()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := errors.Join(db.PingContext(t.Context()), db.Close()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

const numbers = "SELECT n FROM numbers"

// uses are what programs do with gosnowflake beyond database/sql. Each returns what
// it saw.
var uses = map[string]func(ctx context.Context, db *sql.DB) (string, error){
	"rows and their query ID": func(ctx context.Context, db *sql.DB) (string, error) {
		return raw(ctx, db, func(dc any) (string, error) {
			rows, err := dc.(driver.QueryerContext).QueryContext(ctx, numbers, nil)
			if err != nil {
				return "", err
			}
			id := rows.(gosnowflake.SnowflakeRows).GetQueryID()
			status, err := dc.(gosnowflake.SnowflakeConnection).GetQueryStatus(ctx, id)
			if err != nil {
				return "", err
			}
			return fmt.Sprint(id != "", status.ErrorCode), rows.Close()
		})
	},
	"Arrow batches": func(ctx context.Context, db *sql.DB) (string, error) {
		return raw(ctx, db, func(dc any) (string, error) {
			rows, err := dc.(driver.QueryerContext).QueryContext(arrowbatches.WithArrowBatches(ctx), numbers, nil)
			if err != nil {
				return "", err
			}
			batches, err := arrowbatches.GetArrowBatches(rows.(gosnowflake.SnowflakeRows))
			if err != nil {
				return "", err
			}
			n := int64(0)
			for _, batch := range batches {
				records, err := batch.Fetch()
				if err != nil {
					return "", err
				}
				for _, record := range *records {
					n += record.NumRows()
					record.Release()
				}
			}
			return fmt.Sprint(n, " rows"), rows.Close()
		})
	},
	"Arrow stream": func(ctx context.Context, db *sql.DB) (string, error) {
		return raw(ctx, db, func(dc any) (string, error) {
			stream, err := dc.(interface {
				QueryArrowStream(context.Context, string, ...driver.NamedValue) (gosnowflake.ArrowStreamLoader, error)
			}).QueryArrowStream(ctx, numbers)
			if err != nil {
				return "", err
			}
			return fmt.Sprint(stream.TotalRows(), " rows"), nil
		})
	},
	"WithQueryIDChan": func(ctx context.Context, db *sql.DB) (string, error) {
		ids := make(chan string, 1)
		_, err := db.ExecContext(gosnowflake.WithQueryIDChan(ctx, ids), "DELETE FROM numbers")
		return fmt.Sprint(<-ids != ""), err
	},
	"WithAsyncMode": func(ctx context.Context, db *sql.DB) (string, error) {
		rows, err := db.QueryContext(gosnowflake.WithAsyncMode(ctx), numbers)
		if err != nil {
			return "", err
		}
		return all(rows)
	},
	"WithMultiStatement": func(ctx context.Context, db *sql.DB) (string, error) {
		rows, err := db.QueryContext(gosnowflake.WithMultiStatement(ctx, 2), "SELECT 1; SELECT 2")
		if err != nil {
			return "", err
		}
		return all(rows)
	},
	"array bind": func(ctx context.Context, db *sql.DB) (string, error) {
		array, err := gosnowflake.Array([]int{1, 2, 3})
		if err != nil {
			return "", err
		}
		res, err := db.ExecContext(ctx, "INSERT INTO numbers VALUES (?)", array)
		if err != nil {
			return "", err
		}
		n, err := res.RowsAffected()
		return fmt.Sprint(n, " rows"), err
	},
}

func raw(ctx context.Context, db *sql.DB, f func(dc any) (string, error)) (saw string, _ error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return "", err
	}
	err = conn.Raw(func(dc any) (err error) {
		saw, err = f(dc)
		return err
	})
	return saw, errors.Join(err, conn.Close())
}

func all(rows *sql.Rows) (saw string, _ error) {
	defer rows.Close()
	for more := true; more; more = rows.NextResultSet() {
		for rows.Next() {
			var v string
			if err := rows.Scan(&v); err != nil {
				return "", err
			}
			saw += v + " "
		}
	}
	return saw, rows.Err()
}

// TestWhatWorksWithGosnowflakeWorks, with the same outcome; with snowtether also
// after the session was lost.
func TestWhatWorksWithGosnowflakeWorks(t *testing.T) {
	for name, use := range uses {
		t.Run(name, func(t *testing.T) {
			srv := snowtest.New(t, snowtest.AllowRepeats())
			srv.Handle("SELECT n FROM numbers", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
				return snowtest.Rows([]string{"N"}, []any{1}, []any{2}, []any{3}), nil
			})
			want, err := use(t.Context(), open(t, "snowflake", srv))
			if err != nil || want == "" {
				t.Fatalf("gosnowflake: %q, %v", want, err)
			}
			db := open(t, "snowtether", srv)
			for _, after := range []string{"at first", "after the session was lost"} {
				if saw, err := use(t.Context(), db); err != nil || saw != want {
					t.Errorf("%s: %q, %v; with gosnowflake %q", after, saw, err, want)
				}
				srv.AbortSessions()
			}
		})
	}
}

// TestSnowflakesErrorsAreFoundInTheChain: a type assertion finds only those that
// are no session's.
func TestSnowflakesErrorsAreFoundInTheChain(t *testing.T) {
	srv := snowtest.New(t)
	const bad = "SELEKT 1"
	srv.Handle("SELEKT", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		return nil, &snowtest.Error{Code: "001003", SQLState: "42000", Message: "SQL compilation error"}
	})
	db := open(t, "snowtether", srv)
	_, err := db.ExecContext(t.Context(), bad)
	if se, ok := err.(*gosnowflake.SnowflakeError); !ok || se.Number != 1003 {
		t.Errorf("a statement's own error is %T: %v", err, err)
	}
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	srv.AbortSessions()
	_, err = tx.ExecContext(t.Context(), "SELECT 1")
	if _, ok := err.(*gosnowflake.SnowflakeError); ok {
		t.Errorf("the error of a lost session is bare: %v", err)
	}
	var snowflake *gosnowflake.SnowflakeError
	if errors.As(err, &snowflake) {
		t.Logf("Snowflake's code is %d", snowflake.Number)
	}
	if snowflake == nil || snowflake.Number != 390111 {
		t.Errorf("in the chain is %v", snowflake)
	}
	_ = tx.Rollback()
}

// parameters is an engine that keeps the session parameters of the last login.
type parameters struct {
	*snowtest.Script
	last map[string]string
}

func (p *parameters) OpenSession(ctx context.Context, info snowtest.SessionConfig) (snowtest.EngineSession, error) {
	p.last = info.Parameters
	return p.Script.OpenSession(ctx, info)
}

// TestWayBack: the name, the parameters, and what stays.
func TestWayBack(t *testing.T) {
	engine := &parameters{Script: new(snowtest.Script)}
	srv := snowtest.New(t, snowtest.WithEngine(engine))
	for driverName, sent := range map[string]bool{"snowtether": false, "snowflake": true} {
		db, err := sql.Open(driverName, srv.DSN()+"&tetherIdlePing=4m")
		if err != nil {
			t.Fatal(err)
		}
		err = snowtether.RunTx(t.Context(),
			func(ctx context.Context) (*sql.Tx, error) { return db.BeginTx(ctx, nil) },
			func(tx *sql.Tx) error {
				_, err := tx.Exec("INSERT INTO numbers VALUES ('" + driverName + "')")
				return err
			})
		if err := errors.Join(err, db.Close()); err != nil {
			t.Errorf("%s: %v", driverName, err)
		}
		if _, ok := engine.last["TETHERIDLEPING"]; ok != sent {
			t.Errorf("%s sends tetherIdlePing to Snowflake: %v", driverName, ok)
		}
	}
	if names := sql.Drivers(); !slices.Contains(names, "snowflake") || !slices.Contains(names, "snowtether") {
		t.Errorf("registered are %v", names)
	}
}
