package unchanged

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"testing"
	"testing/fstest"

	"github.com/golang-migrate/migrate/v4"
	"github.com/golang-migrate/migrate/v4/database"
	"github.com/golang-migrate/migrate/v4/database/snowflake"
	"github.com/golang-migrate/migrate/v4/source/iofs"

	"github.com/snowtether/snowtether/internal/waves"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is golang-migrate, which is on gosnowflake v1 and opens "snowflake" itself.

// migrations are those of one turn: names and IDs are its own.
func migrations(one, two int) fstest.MapFS {
	files := fstest.MapFS{}
	for name, text := range map[string]string{
		"1_table.up.sql":   fmt.Sprintf("CREATE TABLE IF NOT EXISTS t%d (N INT)", one),
		"1_table.down.sql": fmt.Sprintf("DROP TABLE IF EXISTS t%d", one),
		"2_rows.up.sql":    fmt.Sprintf("INSERT INTO items (ID, NAME) VALUES (%d, 'a'), (%d, 'b')", one, two),
		"2_rows.down.sql":  fmt.Sprintf("UPDATE items SET NAME = 'down' WHERE ID IN (%d, %d)", one, two),
		"3_alter.up.sql":   fmt.Sprintf("ALTER TABLE t%d ADD COLUMN IF NOT EXISTS M INT", one),
		"3_alter.down.sql": fmt.Sprintf("ALTER TABLE t%d DROP COLUMN IF EXISTS M", one),
	} {
		files[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return files
}

// cause is the driver's error: golang-migrate's has no Unwrap.
func cause(err error) error {
	var value database.Error
	var pointer *database.Error
	switch {
	case errors.As(err, &value):
		return value.OrigErr
	case errors.As(err, &pointer):
		return pointer.OrigErr
	}
	return err
}

// TestGolangMigrate opens by URL and around a pool, goes up, down, up to a version and to the
// end, and holds its lock. What it notes of versions is in transactions; one that was lost
// leaves the version where it was, or dirty, and its user does what its documents say: Force.
func TestGolangMigrate(t *testing.T) {
	for name, open := range map[string]func(r *waves.Run, table string) (database.Driver, error){
		"by URL": func(r *waves.Run, table string) (database.Driver, error) {
			account.leadsTo(must(url.Parse(r.Server.URL())).Host)
			return database.Open("snowflake://" + url.UserPassword(r.Server.User(), r.Server.Password()).String() + "@snowtest/public/testdb?x-migrations-table=" + table)
		},
		"around a pool": func(r *waves.Run, table string) (database.Driver, error) {
			db, err := sql.Open("snowflake", dsn(r.Server))
			r.Must("sql.Open", err)
			return snowflake.WithInstance(db, &snowflake.Config{MigrationsTable: table})
		},
	} {
		t.Run(name, func(t *testing.T) {
			var db *sql.DB
			look := func(r *waves.Run) *sql.DB { db = looking(r); return db }
			serve := func(t *testing.T) *snowtest.Server { return server(t, snowtest.AllowRepeats()) } // versions are written again
			waves.Both(t, serve, look, "items", func(r *waves.Run) { migrateOnce(r, db, open) })
		})
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func migrateOnce(r *waves.Run, db *sql.DB, open func(r *waves.Run, table string) (database.Driver, error)) {
	one, two := r.ID(), r.ID()
	driver, err := open(r, fmt.Sprintf("VERSIONS%d", one))
	r.Must("Open", err)
	source, err := iofs.New(migrations(one, two), ".")
	r.Must("the source", err)
	m, err := migrate.NewWithInstance("iofs", source, "snowflake", driver)
	r.Must("NewWithInstance", err)
	defer func() {
		if a, b := m.Close(); a != nil || b != nil {
			r.Errorf("Close: %v, %v", a, b)
		}
	}()

	r.Must("Lock", driver.Lock())
	if err := driver.Lock(); !errors.Is(err, database.ErrLocked) {
		r.Errorf("a second Lock: %v", err)
	}
	r.Must("Unlock", driver.Unlock())

	steady(r, driver, m, "Migrate to 1", 1, func() error { return m.Migrate(1) })
	steady(r, driver, m, "Up", 3, m.Up)
	r.Wrote(nil, one, two)
	if n := count(r, db, "SELECT COUNT(*) FROM items WHERE ID IN (?, ?) AND NAME <> 'down'", one, two); n != 2 {
		r.Errorf("%d rows after Up", n)
	}
	steady(r, driver, m, "Migrate to 1 again", 1, func() error { return m.Migrate(1) })
	if n := count(r, db, "SELECT COUNT(*) FROM items WHERE ID IN (?, ?) AND NAME = 'down'", one, two); n != 2 {
		r.Errorf("%d rows after Down", n)
	}
	steady(r, driver, m, "Down", -1, m.Down)
}

// steady does what a user of golang-migrate does: again after an error; where the version is dirty,
// its migration has run, for only the note of it was lost, and Force says so.
func steady(r *waves.Run, driver database.Driver, m *migrate.Migrate, what string, want int, once func() error) {
	r.Helper()
	for {
		err := once()
		if err == nil || errors.Is(err, migrate.ErrNoChange) {
			break
		}
		if !r.Waves || !gone(cause(err)) {
			r.Fatalf("%s: %v", what, err)
		}
		for {
			version, dirty, err := driver.Version() // Migrate's own does not tell that no version is dirty
			if r.Must("Version", err); !dirty {
				break
			}
			if err := m.Force(version); err != nil && !gone(cause(err)) {
				r.Fatalf("Force: %v", err)
			}
		}
	}
	version, dirty, err := driver.Version()
	if r.Must("Version", err); version != want || dirty {
		r.Errorf("%s: version %d, dirty %v, want %d", what, version, dirty, want)
	}
}
