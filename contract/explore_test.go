package contract_test

import (
	"context"
	"errors"
	"flag"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/explore"
	"github.com/snowtether/snowtether/internal/testpool"
)

// Exactly once (docs/guarantees.md): each kind of operation under every sequence of faults that
// can strike its first six requests. The engine is in package explore.

var exploring explore.Options

// TestEverySequence runs each kind of operation under every sequence of faults that can
// strike its first six requests: see package explore.
func TestEverySequence(t *testing.T) {
	if testpool.Quick() {
		exploring.OneOf = 10
	}
	explore.Run(t, &explore.Inner{
		Connector:      snowtether.NewConnector,
		QueryIDChan:    gosnowflake.WithQueryIDChan,
		AsyncMode:      gosnowflake.WithAsyncMode,
		MultiStatement: func(ctx context.Context, n int) context.Context { return gosnowflake.WithMultiStatement(ctx, n) },
		Array:          func(values *[]int) (any, error) { return gosnowflake.Array(values) },
		Number: func(err error) int {
			if own := new(gosnowflake.SnowflakeError); errors.As(err, &own) {
				return own.Number
			}
			return 0
		},
	}, &exploring)
}

func init() {
	flag.IntVar(&exploring.Faults, "explore.faults", 1, "how many faults a sequence of TestEverySequence has at most: 1, 2 or 3")
	flag.DurationVar(&exploring.For, "explore.for", time.Hour, "for how long TestEverySequence runs sequences of three faults, after all others; it needs a -timeout that is longer")
	flag.Uint64Var(&exploring.Seed, "explore.seed", 0, "the order of the sequences of three faults; 0 takes one of its own")
	flag.StringVar(&exploring.Only, "explore.only", "", `the one sequence to run, by its name: "exec/1:lost after; 2:390114"`)
}
