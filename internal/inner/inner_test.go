package inner

import (
	"context"
	"database/sql/driver"
	"errors"
	"runtime/debug"
	"testing"

	"github.com/snowflakedb/gosnowflake/v2"
)

// TestOldGosnowflakeIsKnownByItsVersion: what is no release of v1's is not judged.
func TestOldGosnowflakeIsKnownByItsVersion(t *testing.T) {
	for version, want := range map[string]bool{
		"v1.6.25": true, "v1.14.0": true, "v1.13.9": true, "v0.1.0": true,
		"v1.14.1": false, "v1.19.1": false, "v2.1.0": false, "": false, "(devel)": false, "main": false, "v1": false,
		"v1.13.1-0.20250101000000-abcdefabcdef": true,
	} {
		if got := Older(version); got != want {
			t.Errorf("%q: %v, want %v", version, got, want)
		}
	}
	program := &debug.BuildInfo{Deps: []*debug.Module{
		{Path: "example.com/a", Version: "v1.0.0"}, {Path: "example.com/b", Version: "v1.0.0", Replace: &debug.Module{Path: "../b"}},
	}}
	for module, want := range map[string]string{"example.com/a": "v1.0.0", "example.com/b": "", "example.com/c": ""} {
		if got := VersionIn(program, module); got != want {
			t.Errorf("%s: %q, want %q", module, got, want)
		}
	}
}

// A statusConn has the status question, and is no SnowflakeConnection, as v1's.
type statusConn struct {
	driver.Conn
	err error
}

func (c statusConn) GetQueryStatus(_ context.Context, id string) (*gosnowflake.SnowflakeQueryStatus, error) {
	if c.err != nil {
		return nil, c.err
	}
	return &gosnowflake.SnowflakeQueryStatus{SQLText: id, EndTime: 7}, nil
}

// An otherConn has a question of that name, and of other types.
type otherConn struct{ driver.Conn }

func (otherConn) GetQueryStatus(context.Context, string) (*string, error) { return nil, nil }

type shownConn struct{ driver.Conn }

func (c shownConn) Raw() driver.Conn { return c.Conn }

type endlessConn struct{ driver.Conn }

func (c endlessConn) Raw() driver.Conn { return c }

// TestStatusIsAskedOfWhatIsInside: whatever the version, behind wrappers that show it.
func TestStatusIsAskedOfWhatIsInside(t *testing.T) {
	failed := errors.New("no")
	for name, tt := range map[string]struct {
		conn driver.Conn
		want error
	}{
		"bare":              {statusConn{}, nil},
		"wrapped":           {shownConn{shownConn{statusConn{}}}, nil},
		"its error":         {shownConn{statusConn{err: failed}}, failed},
		"of other types":    {otherConn{}, ErrNotSnowflake},
		"hidden":            {struct{ driver.Conn }{statusConn{}}, ErrNotSnowflake},
		"nothing inside":    {shownConn{}, ErrNotSnowflake},
		"wrapped in itself": {endlessConn{}, ErrNotSnowflake},
	} {
		status, err := adapter{tt.conn}.GetQueryStatus(t.Context(), "01b2")
		if err != tt.want || err == nil && (status.SQLText != "01b2" || status.EndTime != 7) { // it is passed on as it is
			t.Errorf("%s: %+v, %v", name, status, err)
		}
	}
}
