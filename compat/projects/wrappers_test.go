package projects

import (
	"database/sql"
	"database/sql/driver"
	"io"
	"testing"

	"github.com/XSAM/otelsql"
	"github.com/ngrok/sqlmw"
	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/compat/projects/peers"
	"github.com/snowtether/snowtether/internal/waves"
)

// This file is what wraps drivers, in front of snowtether and behind it.

// A kept driver remembers its connector: sqlmw's connector has no Close, so that db.Close
// does not wait for the sessions to be logged out. Their users close it themselves.
type kept struct {
	driver.Driver
	r *waves.Run
}

func (k kept) OpenConnector(dsn string) (driver.Connector, error) {
	c, err := k.Driver.(driver.DriverContext).OpenConnector(dsn)
	if err == nil {
		k.r.Cleanup(func() {
			if err := c.(io.Closer).Close(); err != nil {
				k.r.Error(err)
			}
		})
	}
	return c, err
}

// opened makes a connector of a driver.
func opened(r *waves.Run, d driver.Driver) driver.Connector {
	c, err := d.(driver.DriverContext).OpenConnector(r.Server.DSN())
	r.Must("OpenConnector", err)
	return c
}

func wrapped(r *waves.Run, inner driver.Connector) driver.Connector {
	c, err := snowtether.WrapConnector(inner)
	r.Must("WrapConnector", err)
	return c
}

// TestOtelsqlAndSqlmw: each in front of snowtether, and behind it.
func TestOtelsqlAndSqlmw(t *testing.T) {
	for name, connect := range map[string]func(r *waves.Run) driver.Connector{
		"otelsql in front": func(r *waves.Run) driver.Connector { return opened(r, otelsql.WrapDriver(snowtether.Driver{})) },
		"sqlmw in front": func(r *waves.Run) driver.Connector {
			return opened(r, sqlmw.Driver(kept{snowtether.Driver{}, r}, new(peers.Counting)))
		},
		"otelsql behind": func(r *waves.Run) driver.Connector {
			return wrapped(r, opened(r, otelsql.WrapDriver(gosnowflake.SnowflakeDriver{})))
		},
		"sqlmw behind": func(r *waves.Run) driver.Connector {
			return wrapped(r, opened(r, sqlmw.Driver(gosnowflake.SnowflakeDriver{}, new(peers.Counting))))
		},
		"both in front": func(r *waves.Run) driver.Connector {
			return opened(r, sqlmw.Driver(kept{otelsql.WrapDriver(snowtether.Driver{}), r}, new(peers.Counting)))
		},
		"both behind": func(r *waves.Run) driver.Connector {
			return wrapped(r, opened(r, otelsql.WrapDriver(sqlmw.Driver(gosnowflake.SnowflakeDriver{}, new(peers.Counting)))))
		},
	} {
		t.Run(name, func(t *testing.T) {
			bothOpened(t, func(r *waves.Run) *sql.DB { return closing(r, sql.OpenDB(connect(r))) }, plain)
		})
	}
}

// plain is what database/sql itself has.
func plain(r *waves.Run, db *sql.DB) {
	ctx := r.Context()
	const insert = "INSERT INTO items (ID, NAME, AMOUNT) VALUES (?, ?, ?)"
	it := newItem(r)
	res, err := db.ExecContext(ctx, insert, it.ID, it.Name, it.Amount)
	r.Wrote(err, it.ID)
	r.Must("Exec", err)
	if n, err := res.RowsAffected(); n != 1 || err != nil {
		r.Errorf("%d rows affected, %v", n, err)
	}
	if got := stored(r, db, it.ID); got != it {
		r.Errorf("%+v, want %+v", got, it)
	}
	stmt, err := db.PrepareContext(ctx, insert)
	r.Must("Prepare", err)
	defer stmt.Close()
	it = newItem(r)
	_, err = stmt.ExecContext(ctx, it.ID, it.Name, it.Amount)
	r.Wrote(err, it.ID)
	r.Must("a statement", err)
	it = newItem(r)
	r.Tx("RunInTx", func() error {
		return snowtether.RunInTx(ctx, db, nil, func(tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, insert, it.ID, it.Name, it.Amount)
			return err
		})
	}, it.ID)
	r.Must("Ping", db.PingContext(ctx))
	rows, err := db.QueryContext(ctx, "SELECT ID, AMOUNT FROM items WHERE ID <= ?", it.ID)
	r.Must("Query", err)
	defer rows.Close()
	types, err := rows.ColumnTypes()
	if r.Must("ColumnTypes", err); len(types) != 2 || types[0].DatabaseTypeName() != "FIXED" {
		r.Errorf("columns of types %v", types)
	}
	for rows.Next() {
		var id, amount int
		if r.Must("Scan", rows.Scan(&id, &amount)); amount != 10*id {
			r.Errorf("row %d has %d", id, amount)
		}
	}
	r.Must("rows", rows.Err())
}
