package contract_test

import (
	"context"
	"errors"
	"testing"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/explore"
)

var exploring = explore.Flags()

// TestEverySequence runs each kind of operation under every sequence of faults that can
// strike its first six requests: see package explore.
func TestEverySequence(t *testing.T) {
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
	}, exploring)
}
