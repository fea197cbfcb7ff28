package sferr

import (
	"errors"
	"testing"

	"github.com/snowflakedb/gosnowflake/v2"
)

// TestHowFarAStatementIs: a word that is not known to be final ends nothing.
func TestHowFarAStatementIs(t *testing.T) {
	said := func(number int, message string, args ...any) error {
		return &gosnowflake.SnowflakeError{Number: number, Message: message, MessageArgs: args}
	}
	for _, tt := range []struct {
		err  error
		want State
	}{
		{nil, Unsaid},
		{errors.New("no answer"), Unsaid},
		{said(gosnowflake.ErrQueryIsRunning, "the status: [RUNNING]"), Running},
		{said(gosnowflake.ErrQueryIsRunning, "the status: [BLOCKED]"), Running},
		{said(gosnowflake.ErrQueryReportedError, "the status: [FAILED_WITH_ERROR]"), Ended},
		{said(gosnowflake.ErrQueryReportedError, "the status: [DISCONNECTED]"), Vague},
		{said(gosnowflake.ErrQueryReportedError, "the status: [SOMETHING_NEW]"), Vague},
		{said(gosnowflake.ErrQueryStatus, "", "001003", "bad"), Ended},
		{said(gosnowflake.ErrQueryStatus, "", "0", ""), Vague},
		{said(gosnowflake.ErrQueryStatus, ""), Unsaid},
	} {
		if got := StateOf(tt.err); got != tt.want {
			t.Errorf("%v: %d, want %d", tt.err, got, tt.want)
		}
	}
	var own *gosnowflake.SnowflakeError
	if err := OwnError(said(gosnowflake.ErrQueryStatus, "", "001003", "bad"), "01b2"); !errors.As(err, &own) || own.Number != 1003 || own.Message != "bad" || own.QueryID != "01b2" {
		t.Errorf("the statement's own error is %v", err)
	}
	if other := errors.New("other"); OwnError(other, "01b2") != other {
		t.Error("an error that says nothing of the statement became another")
	}
}
