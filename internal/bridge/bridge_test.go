package bridge_test

import (
	"context"
	"database/sql/driver"
	"strings"
	"testing"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/internal/bridge"
)

// A gosnowflake v1 that is older than what was tried is told, with the one that was; what
// cannot be read is not called old.
func TestAnOldV1IsTold(t *testing.T) {
	for version, old := range map[string]bool{
		"v1.19.1": false, "v1.19.2": false, "v1.20.0": false, "v2.0.0": false, "v1.19.1-0.20260101000000-abcdefabcdef": false,
		"v1.19.0": true, "v1.6.19": true, "v0.1.0": true, "v1.9.1": true, "1.18.1": true,
		"": false, "(devel)": false, "v1.x.0": false, "v1.2": false, "v1.-2.3": false, "v1.2.3.4": false,
	} {
		says := bridge.TooOld(version)
		if (says != "") != old {
			t.Errorf("%q: %q", version, says)
		}
		if old && (!strings.Contains(says, version) || !strings.Contains(says, "v1.19.1")) {
			t.Errorf("%q: %q does not say both versions", version, says)
		}
	}
}

type otherwise struct{ cfg int }

func (otherwise) Connect(context.Context) (driver.Conn, error) { return nil, nil }
func (otherwise) Driver() driver.Driver                        { return nil }

// gosnowflake's Config is found in its connector, and nothing is taken for one that is not.
func TestTheConfigIsFoundInGosnowflakesConnector(t *testing.T) {
	inner := gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, gosnowflake.Config{User: "u"})
	if cfg, ok := bridge.Config[gosnowflake.Config](inner); !ok || cfg.User != "u" {
		t.Errorf("not found: %v %v", cfg, ok)
	}
	for _, other := range []driver.Connector{otherwise{1}, &otherwise{2}} {
		if _, ok := bridge.Config[gosnowflake.Config](other); ok {
			t.Errorf("a Config was found in %T", other)
		}
	}
}
