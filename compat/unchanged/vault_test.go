package unchanged

import (
	"context"
	"database/sql"
	"strings"
	"testing"
	"time"

	snowflakeplugin "github.com/hashicorp/vault-plugin-database-snowflake"
	"github.com/hashicorp/vault/sdk/database/dbplugin/v5"

	"github.com/snowtether/snowtether/internal/waves"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is Vault's plugin for Snowflake, which is on gosnowflake v1 and opens "snowflake"
// itself. The engine has no users, so the server's answers are those of a script.

// TestVaultPlugin makes users, changes them and drops them. The plugin puts each into a
// transaction of DDL, which Snowflake commits at once: where the session is lost behind the DDL,
// the error says that part of the transaction may last. The plugin hides the errors' types.
func TestVaultPlugin(t *testing.T) {
	var vault dbplugin.Database
	var db *sql.DB
	open := func(r *waves.Run) *sql.DB {
		plugin, err := snowflakeplugin.New()
		r.Must("New", err)
		vault = plugin.(dbplugin.Database)
		_, password, _ := strings.Cut(dsn(r.Server), "@")
		_, err = vault.Initialize(r.Context(), dbplugin.InitializeRequest{VerifyConnection: true, Config: map[string]any{
			"connection_url": "{{username}}:{{password}}@" + password,
			"username":       r.Server.User(), "password": r.Server.Password(),
		}})
		r.Must("Initialize", err)
		r.Cleanup(func() {
			if err := vault.Close(); err != nil {
				r.Error(err)
			}
		})
		db = looking(r)
		return db
	}
	serve := func(t *testing.T) *snowtest.Server {
		srv := snowtest.New(t, snowtest.AllowOpenSessions()) // the plugin's Close forgets its pool before it closes it
		srv.Handle("^SELECT ID FROM nothing", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
			return snowtest.Rows([]string{"ID"}), nil
		})
		return srv
	}
	waves.Both(t, serve, open, "nothing", func(r *waves.Run) { vaultOnce(r, vault) })
}

// vaultOnce is the life of one user.
func vaultOnce(r *waves.Run, vault dbplugin.Database) {
	ctx := r.Context()
	effect := func(sql string) {
		r.Helper()
		if n := r.Server.Effects(sql); n != 1 {
			r.Errorf("%s took effect %d times", sql, n)
		}
	}
	var name string
	vaultRepeats(r, "NewUser", func() error {
		made, err := vault.NewUser(ctx, dbplugin.NewUserRequest{
			UsernameConfig: dbplugin.UsernameMetadata{DisplayName: "d", RoleName: "r"},
			Statements:     dbplugin.Statements{Commands: []string{"CREATE USER {{name}} PASSWORD = '{{password}}' DAYS_TO_EXPIRY = {{expiration}}; GRANT ROLE reader TO USER {{name}};"}},
			Password:       "pw", Expiration: time.Now().Add(25 * time.Hour),
		})
		name = made.Username
		return err
	})
	effect("CREATE USER " + name + " PASSWORD = 'pw' DAYS_TO_EXPIRY = 1")
	effect("GRANT ROLE reader TO USER " + name)
	tries := 0
	vaultRepeats(r, "UpdateUser", func() error {
		tries++
		_, err := vault.UpdateUser(ctx, dbplugin.UpdateUserRequest{Username: name, Password: &dbplugin.ChangePassword{NewPassword: strings.Repeat("x", tries)}})
		return err
	})
	effect("alter user " + name + " set PASSWORD = '" + strings.Repeat("x", tries) + "'")
	vaultRepeats(r, "DeleteUser", func() error {
		tries++
		_, err := vault.DeleteUser(ctx, dbplugin.DeleteUserRequest{Username: name, Statements: dbplugin.Statements{
			Commands: []string{"DROP USER IF EXISTS {{name}} -- try " + strings.Repeat("x", tries)},
		}})
		return err
	})
	effect("DROP USER IF EXISTS " + name + " -- try " + strings.Repeat("x", tries))
}

// vaultRepeats calls until it has succeeded, as Vault does. What went wrong is only in the text.
func vaultRepeats(r *waves.Run, what string, once func() error) {
	r.Helper()
	for {
		err := once()
		if err == nil {
			return
		}
		if text := err.Error(); !r.Waves || !strings.Contains(text, "session lost inside a transaction") && !strings.Contains(text, "may have run") {
			r.Fatalf("%s: %v", what, err)
		}
	}
}
