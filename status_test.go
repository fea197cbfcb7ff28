package snowtether

import (
	"context"
	"database/sql/driver"
	"errors"
	"testing"

	"github.com/snowflakedb/gosnowflake/v2"
)

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
		"of other types":    {otherConn{}, errNotSnowflake},
		"hidden":            {struct{ driver.Conn }{statusConn{}}, errNotSnowflake},
		"nothing inside":    {shownConn{}, errNotSnowflake},
		"wrapped in itself": {endlessConn{}, errNotSnowflake},
	} {
		status, err := adapter{tt.conn}.GetQueryStatus(t.Context(), "01b2")
		if err != tt.want || err == nil && (status.SQLText != "01b2" || status.EndTime != 7) { // it is passed on as it is
			t.Errorf("%s: %+v, %v", name, status, err)
		}
	}
}
