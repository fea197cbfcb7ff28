package contract_test

import (
	"context"
	"database/sql/driver"
	"strings"
	"testing"

	"github.com/snowtether/snowtether"
)

// A noConnector is one that may be nil.
type noConnector struct{}

func (*noConnector) Connect(context.Context) (driver.Conn, error) { return nil, nil }
func (*noConnector) Driver() driver.Driver                        { return nil }

// TestNilConnectorIsRefused: and not found out by a panic at the first login.
func TestNilConnectorIsRefused(t *testing.T) {
	for _, inner := range []driver.Connector{nil, (*noConnector)(nil)} {
		if _, err := snowtether.WrapConnector(inner); err == nil || !strings.Contains(err.Error(), "the inner connector is nil; give it") {
			t.Errorf("%T: %v", inner, err)
		}
	}
	if _, err := snowtether.WrapConnector(new(noConnector)); err != nil {
		t.Error(err)
	}
}
