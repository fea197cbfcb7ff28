package snowtether

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"

	"github.com/snowtether/snowtether/internal/transcript"
)

// This file is about what is inside a session: gosnowflake v2, gosnowflake v1, or
// something that is neither. Under whose keys a caller puts things into a context depends
// on it, and whether what is seen of a statement can be read.

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
