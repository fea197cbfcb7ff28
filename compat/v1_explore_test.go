package compat

import (
	"context"
	"errors"
	"flag"
	"io"
	"testing"
	"time"

	v1 "github.com/snowflakedb/gosnowflake"
	v2 "github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/explore"
)

var exploring explore.Options

func init() {
	flag.IntVar(&exploring.Faults, "explore.faults", 1, "how many faults a sequence of TestEverySequence has at most: 1, 2 or 3")
	flag.DurationVar(&exploring.For, "explore.for", time.Hour, "for how long TestEverySequence runs sequences of three faults, after all others; it needs a -timeout that is longer")
	flag.Uint64Var(&exploring.Seed, "explore.seed", 0, "the order of the sequences of three faults; 0 takes one of its own")
	flag.StringVar(&exploring.Only, "explore.only", "", `the one sequence to run, by its name: "exec/1:lost after; 2:390114"`)
	v1.GetLogger().SetOutput(io.Discard) // it logs to stderr what it is about to return anyway
}

// TestEverySequenceWithGosnowflakeV1 is TestEverySequence of package contract with v1 inside.
func TestEverySequenceWithGosnowflakeV1(t *testing.T) {
	number := func(err error) int {
		if own := new(v1.SnowflakeError); errors.As(err, &own) {
			return own.Number
		}
		return 0
	}
	explore.Run(t, &explore.Inner{
		Connector: func(cfg *v2.Config, opts ...snowtether.Option) (*snowtether.Connector, error) {
			return snowtether.WrapConnector(v1To(cfg), opts...)
		},
		QueryIDChan: v1.WithQueryIDChan,
		AsyncMode:   v1.WithAsyncMode,
		MultiStatement: func(ctx context.Context, n int) context.Context {
			ctx, _ = v1.WithMultiStatement(ctx, n) // it has no error
			return ctx
		},
		Array:  func(values *[]int) (any, error) { return v1.Array(values), nil },
		Number: number,
		Short:  "v1 uploads nothing where it repeats the upload of an array bind, in a context of its own, where nobody can stop it; the INSERT counts fewer rows, and is in doubt",
		Limits: []explore.Limit{{
			Reason: "v1 overlooks that its question where to upload an array bind was refused: it uploads nothing and sends the INSERT, which Snowflake refuses; a session that has really ended refuses it as gone",
			Kind:   "array bind through a stage",
			Holds:  func(err error) bool { return number(err) == 2003 },
		}},
	}, &exploring)
}
