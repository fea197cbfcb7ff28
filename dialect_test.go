package snowtether

import (
	"context"
	"database/sql/driver"
	"runtime/debug"
	"strings"
	"testing"
)

// TestOldGosnowflakeIsKnownByItsVersion: what is no release of v1's is not judged.
func TestOldGosnowflakeIsKnownByItsVersion(t *testing.T) {
	for version, want := range map[string]bool{
		"v1.6.25": true, "v1.14.0": true, "v1.13.9": true, "v0.1.0": true,
		"v1.14.1": false, "v1.19.1": false, "v2.1.0": false, "": false, "(devel)": false, "main": false, "v1": false,
		"v1.13.1-0.20250101000000-abcdefabcdef": true,
	} {
		if got := older(version); got != want {
			t.Errorf("%q: %v, want %v", version, got, want)
		}
	}
	program := &debug.BuildInfo{Deps: []*debug.Module{
		{Path: "example.com/a", Version: "v1.0.0"}, {Path: "example.com/b", Version: "v1.0.0", Replace: &debug.Module{Path: "../b"}},
	}}
	for module, want := range map[string]string{"example.com/a": "v1.0.0", "example.com/b": "", "example.com/c": ""} {
		if got := versionIn(program, module); got != want {
			t.Errorf("%s: %q, want %q", module, got, want)
		}
	}
}

type nilConnector struct{}

func (*nilConnector) Connect(context.Context) (driver.Conn, error) { return nil, nil }
func (*nilConnector) Driver() driver.Driver                        { return nil }

// TestNilConnectorIsRefused: and not found out by a panic at the first login.
func TestNilConnectorIsRefused(t *testing.T) {
	for _, inner := range []driver.Connector{nil, (*nilConnector)(nil)} {
		if _, err := WrapConnector(inner); err == nil || !strings.Contains(err.Error(), "the inner connector is nil; give it") {
			t.Errorf("%T: %v", inner, err)
		}
	}
	if _, err := WrapConnector(new(nilConnector)); err != nil {
		t.Error(err)
	}
}
