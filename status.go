package snowtether

import (
	"context"
	"database/sql/driver"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/internal/sferr"
	"github.com/snowtether/snowtether/internal/transcript"
)

// This file asks how far an accepted statement is, of gosnowflake v2 and v1 alike, and reads
// the answer.

type queryState int

const (
	unsaid queryState = iota
	vague             // a word that says neither that it has ended nor that it runs
	running
	succeeded
	ended
)

// status asks how far the statement is.
func (c *conn) status(ctx context.Context, id string) (queryState, error) {
	ctx, cancel := context.WithTimeout(ctx, questionTimeout)
	defer cancel()
	asked, _, err := c.session.call(ctx, transcript.Without(ctx), func(ctx context.Context, s *session) (any, error) {
		return statusOf(ctx, s, id)
	})
	state, _ := asked.(queryState)
	if err != nil {
		state = stateOf(err)
	}
	return state, err
}

// statusOf asks how far a statement is.
func statusOf(ctx context.Context, s *session, id string) (queryState, error) {
	status, err := s.conn.full.GetQueryStatus(ctx, id)
	switch {
	case err != nil:
		return stateOf(err), err
	case status == nil || status.EndTime == 0:
		return vague, nil // RESTARTED, which gosnowflake takes for a success
	}
	return succeeded, nil
}

// alive are the status words that show that a statement is alive, final those that end
// it. Any other word means: go on waiting, but not for ever.
var (
	alive = []string{"[RUNNING]", "[QUEUED]", "[QUEUED_REPAIRING_WAREHOUSE]", "[RESUMING_WAREHOUSE]", "[NO_DATA]", "[BLOCKED]"}
	final = []string{"[FAILED_WITH_ERROR]", "[FAILED_WITH_INCIDENT]", "[ABORTED]"}
)

// stateOf reads what GetQueryStatus makes of a statement that has not succeeded.
func stateOf(err error) queryState {
	said, _ := sferr.Of(err)
	has := func(words []string) bool {
		return slices.ContainsFunc(words, func(word string) bool { return strings.HasSuffix(said.Message, word) })
	}
	switch said.Number {
	case gosnowflake.ErrQueryIsRunning, gosnowflake.ErrQueryReportedError:
		switch {
		case has(alive):
			return running
		case has(final):
			return ended
		}
		return vague
	case gosnowflake.ErrQueryStatus:
		if len(said.Args) != 2 {
			return unsaid
		}
		if code, err := strconv.Atoi(fmt.Sprint(said.Args[0])); err == nil && code != 0 {
			return ended
		}
		return vague
	}
	return unsaid
}

// ownError is the error that the statement itself ended with, as gosnowflake
// would have returned it to a caller whose session had lived.
func ownError(err error, id string) error {
	said, _ := sferr.Of(err)
	if said.Number == gosnowflake.ErrQueryStatus {
		if code, atoiErr := strconv.Atoi(fmt.Sprint(said.Args[0])); atoiErr == nil {
			return sferr.Like(err, sferr.Said{Number: code, Message: fmt.Sprint(said.Args[1]), QueryID: id})
		}
	}
	return err
}

// GetQueryStatus asks the gosnowflake inside, behind what wraps it and says so.
func (a adapter) GetQueryStatus(ctx context.Context, queryID string) (*gosnowflake.SnowflakeQueryStatus, error) {
	conn := a.Conn
	for n := 0; conn != nil && n < maxWrappers; n++ {
		if c, ok := conn.(gosnowflake.SnowflakeConnection); ok {
			return c.GetQueryStatus(ctx, queryID)
		}
		if ask := reflect.ValueOf(conn).MethodByName("GetQueryStatus"); ask.IsValid() && isStatus(ask.Type()) {
			return statusOfV1(ask, ctx, queryID)
		}
		wrapper, ok := conn.(interface{ Raw() driver.Conn })
		if !ok {
			break
		}
		conn = wrapper.Raw()
	}
	return nil, errNotSnowflake
}

// maxWrappers is how many wrappers are looked through.
const maxWrappers = 8

// isStatus reports whether a method is v1's GetQueryStatus: as v2's, with a struct of v1's
// own that has v2's fields.
func isStatus(method reflect.Type) bool {
	v2 := reflect.TypeFor[gosnowflake.SnowflakeQueryStatus]()
	if method.NumIn() != 2 || method.NumOut() != 2 || method.In(0) != reflect.TypeFor[context.Context]() || method.In(1) != reflect.TypeFor[string]() || method.Out(1) != reflect.TypeFor[error]() {
		return false
	}
	t := method.Out(0)
	return t.Kind() == reflect.Pointer && transcript.IsSnowflake(t.Elem()) && t.Elem().ConvertibleTo(v2)
}

func statusOfV1(ask reflect.Value, ctx context.Context, queryID string) (*gosnowflake.SnowflakeQueryStatus, error) {
	out := ask.Call([]reflect.Value{reflect.ValueOf(ctx), reflect.ValueOf(queryID)})
	if err, _ := out[1].Interface().(error); err != nil || out[0].IsNil() {
		return nil, err
	}
	status, _ := out[0].Elem().Convert(reflect.TypeFor[gosnowflake.SnowflakeQueryStatus]()).Interface().(gosnowflake.SnowflakeQueryStatus)
	return &status, nil
}
