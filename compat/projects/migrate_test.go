package projects

import (
	"database/sql"
	"errors"
	"fmt"
	"testing"

	migrate "github.com/rubenv/sql-migrate"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/waves"
)

// This file is what a user of sql-migrate does. golang-migrate, which is on gosnowflake v1, is
// in the module compat/unchanged.

// TestSqlMigrate goes up and down. sql-migrate runs each migration in a transaction, with the
// row that says so; a call that fails is made again, and goes on where the last one stopped.
// DDL commits, so such a migration is in doubt when its session is lost, and says IF NOT
// EXISTS. sql-migrate's TxError has no Unwrap: the driver's error is its field.
func TestSqlMigrate(t *testing.T) {
	both(t, func(r *waves.Run, db *sql.DB) {
		one, two, table := r.ID(), r.ID(), fmt.Sprint("m", r.ID())
		insert := func(id int) string {
			return fmt.Sprintf("INSERT INTO items (ID, NAME, AMOUNT) VALUES (%d, 'migrated', %d)", id, 10*id)
		}
		source := &migrate.MemoryMigrationSource{Migrations: []*migrate.Migration{
			{Id: "1", Up: []string{"CREATE TABLE IF NOT EXISTS t" + table + " (N INT)"}, Down: []string{"DROP TABLE IF EXISTS t" + table}},
			{Id: "2", Up: []string{insert(one), insert(two)}},
			{Id: "3", Up: []string{"UPDATE items SET NOTE = 'up' WHERE ID = " + fmt.Sprint(one)}, Down: []string{"UPDATE items SET NOTE = 'down' WHERE ID = " + fmt.Sprint(one)}},
		}}
		set := migrate.MigrationSet{TableName: table}
		exec := func(what string, dir migrate.MigrationDirection, limit, want int) {
			r.Helper()
			done := 0
			for {
				n, err := set.ExecMaxContext(r.Context(), db, "snowflake", source, dir, limit-done)
				if done += n; err == nil {
					break
				}
				if failed := new(migrate.TxError); errors.As(err, &failed) {
					err = failed.Err
				}
				if !r.Waves || !errors.Is(err, snowtether.ErrSessionLost) && !errors.Is(err, snowtether.ErrInDoubt) {
					r.Fatalf("%s: %v", what, err)
				}
			}
			records, err := set.GetMigrationRecords(db, "snowflake")
			if r.Must(what, err); len(records) != want {
				r.Errorf("%s: %d migrations are applied, want %d", what, len(records), want)
			}
		}
		exec("up", migrate.Up, 3, 3)
		r.Wrote(nil, one, two)
		exec("down", migrate.Down, 1, 2)
		if got := stored(r, db, one); got.Note.String != "down" {
			r.Errorf("note is %q", got.Note.String)
		}
		exec("down to the end", migrate.Down, 2, 0)
	})
}
