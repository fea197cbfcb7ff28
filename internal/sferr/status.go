package sferr

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/snowflakedb/gosnowflake/v2"
)

// This file reads what gosnowflake says of how far a statement is.

// A State is how far a statement is.
type State int

// The states.
const (
	Unsaid State = iota // nothing was said
	Vague               // a word that says neither that it has ended nor that it runs
	Running
	Succeeded
	Ended
)

// alive are the status words that show that a statement is alive, final those that end
// it. Any other word means: go on waiting, but not for ever.
var (
	alive = []string{"[RUNNING]", "[QUEUED]", "[QUEUED_REPAIRING_WAREHOUSE]", "[RESUMING_WAREHOUSE]", "[NO_DATA]", "[BLOCKED]"}
	final = []string{"[FAILED_WITH_ERROR]", "[FAILED_WITH_INCIDENT]", "[ABORTED]"}
)

// StateOf reads what GetQueryStatus makes of a statement that has not succeeded.
func StateOf(err error) State {
	said, _ := Of(err)
	has := func(words []string) bool {
		return slices.ContainsFunc(words, func(word string) bool { return strings.HasSuffix(said.Message, word) })
	}
	switch said.Number {
	case gosnowflake.ErrQueryIsRunning, gosnowflake.ErrQueryReportedError:
		switch {
		case has(alive):
			return Running
		case has(final):
			return Ended
		}
		return Vague
	case gosnowflake.ErrQueryStatus:
		if len(said.Args) != 2 {
			return Unsaid
		}
		if code, err := strconv.Atoi(fmt.Sprint(said.Args[0])); err == nil && code != 0 {
			return Ended
		}
		return Vague
	}
	return Unsaid
}

// OwnError is the error that the statement itself ended with, as gosnowflake
// would have returned it to a caller whose session had lived.
func OwnError(err error, id string) error {
	said, _ := Of(err)
	if said.Number == gosnowflake.ErrQueryStatus {
		if code, atoiErr := strconv.Atoi(fmt.Sprint(said.Args[0])); atoiErr == nil {
			return Like(err, Said{Number: code, Message: fmt.Sprint(said.Args[1]), QueryID: id})
		}
	}
	return err
}
