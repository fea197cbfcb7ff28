package snowtest_test

import (
	"os"
	"testing"

	"github.com/snowflakedb/gosnowflake/v2"
)

func TestMain(m *testing.M) {
	// gosnowflake logs each error that the tests provoke.
	if err := gosnowflake.GetLogger().SetLogLevel("off"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
