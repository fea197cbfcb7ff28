package contract_test

import (
	"database/sql"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about how much the driver writes into the program's log.

// A command-line tool whose users see slog's default output can silence the driver in the DSN.
// A logger of its own wins over that.
func TestTetherLogLimitsWhatTheDriverWrites(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		for _, tt := range []struct {
			value          string
			own            bool
			info, warnings int
		}{
			{"off", false, 0, 0}, {"warn", false, 0, 1}, {"info", false, 1, 1}, {"", false, 1, 1}, {"off", true, 1, 1},
		} {
			var log lines
			old := slog.Default()
			slog.SetDefault(newLogger(&log))
			opts, cfg := []snowtether.Option{snowtether.WithLogger(nil)}, srv.Config()
			if tt.own {
				opts = []snowtether.Option{snowtether.WithLogger(newLogger(&log))}
			}
			if tt.value != "" {
				cfg.Params["tetherLog"] = &tt.value
			}
			connector, err := snowtether.NewConnector(cfg, opts...)
			if err != nil {
				t.Fatal(err)
			}
			db := sql.OpenDB(connector)
			if err := db.PingContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			srv.AbortSessions()
			if err := db.PingContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			once(srv, insert, snowtest.Fault{Run: true, Status: 503, After: func() { srv.AbortSessions() }})
			if _, err := db.ExecContext(t.Context(), insert); !errors.Is(err, snowtether.ErrInDoubt) {
				t.Errorf("in doubt: %v", err)
			}
			_ = db.Close()
			slog.SetDefault(old)
			text := log.String()
			if got := strings.Count(text, "event=reconnected"); got != tt.info {
				t.Errorf("tetherLog=%s: %d lines at Info, want %d:\n%s", tt.value, got, tt.info, text)
			}
			if got := strings.Count(text, "level=WARN"); got != tt.warnings || strings.Count(text, "event=in_doubt") != tt.warnings {
				t.Errorf("tetherLog=%s: %d lines at Warn, want %d:\n%s", tt.value, got, tt.warnings, text)
			}
		}
	}, snowtest.AllowRepeats())
}
