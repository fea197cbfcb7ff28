package snowtether

import (
	"cmp"
	"context"
	"database/sql/driver"
	"fmt"
	"log/slog"
	"reflect"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/internal/sferr"
	"github.com/snowtether/snowtether/internal/transcript"
)

// This file is about what is inside a session: gosnowflake v2, gosnowflake v1, or
// something that is neither. Under whose keys a caller puts things into a context depends
// on it, and whether what is seen of a statement can be read; and how far an accepted
// statement is, which is asked of v2 and v1 alike.

// dialectOf is the dialect of a session's gosnowflake.
func dialectOf(login transcript.Transcript, conn inner, native bool) *transcript.Dialect {
	switch {
	case native:
		return transcript.V2
	case login.Dialect() != nil:
		return login.Dialect()
	case conn.snowflake.IsValid():
		return transcript.DialectOf(conn.snowflake.Type())
	}
	return nil
}

// told is what the caller has put into ctx for the session's gosnowflake, under its own
// keys: another version's do nothing there.
func (s *session) told(ctx context.Context, key transcript.Key) any {
	return cmp.Or(s.dialect.Load(), transcript.V2).Get(ctx, key)
}

// isSet reports whether the caller has switched something on for one statement.
func (s *session) isSet(ctx context.Context, key transcript.Key) bool {
	on, _ := s.told(ctx, key).(bool)
	return on
}

// fetches reports whether a query with this context runs nothing and fetches a result
// by its ID. An Exec or an Arrow stream with the same context is run.
func (s *session) fetches(ctx context.Context) bool {
	id, _ := s.told(ctx, transcript.Fetch).(string)
	return id != ""
}

// stranger reports whether the session is one of an inner driver that speaks HTTP and in
// which no gosnowflake was seen.
func (s *session) stranger() bool {
	return s.dialect.Load() == nil && !s.silent && !s.conn.snowflake.IsValid()
}

// wordOf is the fate of a statement of an inner driver that sends no HTTP at all, such
// as a mock: its word is all there is.
func wordOf(o transcript.Outcome) transcript.Fate {
	switch {
	case o.Gone && o.QueryID == "":
		return transcript.Fate{Kind: transcript.NotRun}
	case o.Gone || o.Network:
		return transcript.Fate{Kind: transcript.Open, ID: o.QueryID}
	}
	return transcript.Fate{Kind: transcript.Local}
}

// strangersWord is the fate of a statement of an inner driver that sends HTTP and is no
// gosnowflake that is known: of what it sends nothing can be read. Its own errors are the
// caller's, but where they may be a loss; those of one that speaks as gosnowflake does,
// such as a copy of it under another name, may all be.
func strangersWord(o transcript.Outcome, saw transcript.Transcript, commits bool) transcript.Fate {
	switch {
	case o.Local && saw.Silent():
		return transcript.Fate{Kind: transcript.Local}
	case o.Gone || o.Network || commits || saw.Shows():
		return transcript.Fate{Kind: transcript.Open}
	}
	return transcript.Fate{Kind: transcript.Answered}
}

// oldestTried is the oldest gosnowflake v1 that the tests were run with.
var oldestTried = [3]int{1, 14, 1}

// older reports whether a version is older than the oldest that was tried. Of one that is no
// release of v1's, or is not known, nobody can say so.
func older(version string) bool {
	var v [3]int
	if n, err := fmt.Sscanf(version, "v%d.%d.%d", &v[0], &v[1], &v[2]); n != len(v) || err != nil {
		return false
	}
	return slices.Compare(v[:], oldestTried[:]) < 0
}

// versionIn is the version of a module in a program, or "" where that is not known.
func versionIn(program *debug.BuildInfo, module string) string {
	for _, dep := range program.Deps {
		if dep.Path == module && dep.Replace == nil {
			return dep.Version
		}
	}
	return ""
}

// tellVersion has it logged, once for each connector, that the gosnowflake inside is older
// than what was tried.
func (c *Connector) tellVersion(d *transcript.Dialect) {
	if c.inner == nil || d == nil || c.versionTold.Swap(true) {
		return
	}
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return
	}
	if version := versionIn(build, d.Module()); older(version) {
		c.tell(slog.LevelWarn, versionOld, slog.String("version", version))
	}
}

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
