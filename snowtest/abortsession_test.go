package snowtest_test

import (
	"fmt"
	"testing"

	"github.com/snowtether/snowtether/snowtest"
)

func TestUserEndsTheirOwnSession(t *testing.T) {
	inMemory(t, func(t *testing.T, srv *snowtest.Server) {
		one, other := newRaw(t, srv), newRaw(t, srv)
		in := one.logIn("Go", "", nil)
		other.logIn("Go", "", nil)
		id := fmt.Sprintf("%.0f", in.Data["sessionId"])
		if a := other.run("SELECT SYSTEM$ABORT_SESSION("+id+")", "r1"); !a.Success {
			t.Errorf("%+v", a)
		}
		if a := one.run("SELECT 1", "r2"); a.Code != "390111" {
			t.Errorf("the session: %+v", a)
		}
		for _, none := range []string{id, "99999999999999999999"} {
			if a := other.run("SELECT SYSTEM$ABORT_SESSION("+none+")", "again"+none); a.Success {
				t.Errorf("a session that there is not: %+v", a)
			}
		}
	})
}
