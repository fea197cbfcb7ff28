package explore

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/snowtether/snowtether/snowtest"
)

// This file has what can become of one request, and the sequences of that.

// A fault is what becomes of one request in place of what should.
type fault struct {
	name    string
	death   bool // it ends or refuses a session and does no other harm
	refuses bool // it answers in the place of the server, which knows of no session that ended
	garbles bool // the answer cannot be read
	leaves  bool // the caller's context ends
	late    bool // a gateway passes the request on although its sender has gone
	make    func(x *trial, r *snowtest.Request) snowtest.Fault
}

// always is a fault that is the same for every request.
func always(f snowtest.Fault) func(*trial, *snowtest.Request) snowtest.Fault {
	return func(*trial, *snowtest.Request) snowtest.Fault { return f }
}

// before does something to the sessions and lets the request meet what it meets.
func before(do func(*snowtest.Server)) func(*trial, *snowtest.Request) snowtest.Fault {
	return func(x *trial, _ *snowtest.Request) snowtest.Fault {
		do(x.srv)
		return snowtest.Fault{}
	}
}

const page = "<html><body>The service is unavailable.</body></html>"

// passes is how long a held request is held after its caller left, where the network
// is not to blame; slowly is for a gateway that takes its time.
const (
	passes = time.Second
	slowly = 30 * time.Second
)

var faults = []*fault{
	{name: "dropped", make: always(snowtest.Fault{Drop: true})},
	{name: "lost after", make: always(snowtest.Fault{Run: true, Drop: true})},
	{name: "503 before", make: always(snowtest.Fault{Status: http.StatusServiceUnavailable, Body: page})},
	{name: "503 after", make: always(snowtest.Fault{Run: true, Status: http.StatusServiceUnavailable, Body: page})},
	{name: "403 before", make: always(snowtest.Fault{Status: http.StatusForbidden, Body: page})},
	{name: "403 after", make: always(snowtest.Fault{Run: true, Status: http.StatusForbidden, Body: page})},
	{name: "html after", garbles: true, make: always(snowtest.Fault{Run: true, Body: page})},
	{name: "cut after", garbles: true, make: always(snowtest.Fault{Cut: 20})},
	{name: "429", make: always(snowtest.Fault{Status: http.StatusTooManyRequests, Body: page})},
	{name: "390112", death: true, refuses: true, make: always(snowtest.Fault{Code: "390112", Message: "Session token has expired."})},
	{name: "390111", death: true, refuses: true, make: always(snowtest.Fault{Code: "390111", Message: "Session no longer exists."})},
	{name: "390114", death: true, refuses: true, make: always(snowtest.Fault{Code: "390114", Message: "Authentication token has expired."})},
	{name: "401", death: true, refuses: true, make: always(snowtest.Fault{Status: http.StatusUnauthorized, Body: page})},
	{name: "session tokens expired", death: true, make: before(func(s *snowtest.Server) { s.ExpireSessionTokens() })},
	{name: "master tokens expired", death: true, make: before(func(s *snowtest.Server) { s.ExpireMasterTokens() })},
	{name: "aborted before", death: true, make: before(func(s *snowtest.Server) { s.AbortSessions() })},
	{name: "aborted after", death: true, make: func(x *trial, _ *snowtest.Request) snowtest.Fault {
		return snowtest.Fault{Run: true, After: func() { x.srv.AbortSessions() }}
	}},
	{name: "caller leaves before", leaves: true, make: func(x *trial, _ *snowtest.Request) snowtest.Fault {
		return x.leaveAndHold(passes)
	}},
	{name: "caller leaves after", leaves: true, make: func(x *trial, r *snowtest.Request) snowtest.Fault {
		return snowtest.Fault{Run: true, After: func() {
			x.leave()
			// The reply must not win a race against the caller. Some requests, logins for
			// one, are not the caller's own, and wait for their reply all the same.
			select {
			case <-r.HTTP.Context().Done():
			case <-time.After(passes):
			}
		}}
	}},
	{name: "caller leaves, arrives late", leaves: true, late: true, make: func(x *trial, _ *snowtest.Request) snowtest.Fault {
		return x.leaveAndHold(slowly)
	}},
}

// leaveAndHold holds a request, and while it is held its caller leaves.
func (x *trial) leaveAndHold(rest time.Duration) snowtest.Fault {
	gate := make(chan struct{})
	go func() {
		time.Sleep(time.Second)
		x.leave()
		time.Sleep(rest)
		close(gate)
	}()
	return snowtest.Fault{Hold: gate}
}

// suits reports whether the fault can happen to a request of this kind after the
// sequence: an object store does not answer in Snowflake's words, and nobody leaves
// twice, or whose context cannot end.
func (f *fault) suits(k *kind, before sequence, request snowtest.RequestKind) bool {
	switch {
	case f.leaves && (k.endless || before.any(func(b *fault) bool { return b.leaves })):
		return false
	case f.refuses && (request == snowtest.RequestOther || request == snowtest.RequestChunk):
		return false
	}
	return true
}

// A step is one fault of a sequence.
type step struct {
	at    int // the request that it happens to; the first is 1
	fault *fault
}

// A sequence is what becomes of the requests of one operation, in their order. A
// request that has no step is answered as it should.
type sequence []step

func (s sequence) String() string {
	parts := make([]string, len(s))
	for i, st := range s {
		parts[i] = fmt.Sprintf("%d:%s", st.at, st.fault.name)
	}
	return strings.Join(parts, "; ")
}

// then is the sequence with one more step.
func (s sequence) then(st step) sequence { return append(slices.Clip(s), st) }

func (s sequence) any(is func(*fault) bool) bool {
	return slices.ContainsFunc(s, func(st step) bool { return is(st.fault) })
}

// parse reads the name of a sequence, "exec/2:lost after; 3:390114".
func parse(name string) (*kind, sequence, error) {
	kindName, rest, _ := strings.Cut(name, "/")
	i := slices.IndexFunc(kinds, func(k *kind) bool { return k.name == kindName })
	if i < 0 {
		return nil, nil, fmt.Errorf("there is no kind of operation %q", kindName)
	}
	var seq sequence
	for part := range strings.SplitSeq(rest, "; ") {
		if part == "" {
			continue
		}
		number, faultName, _ := strings.Cut(part, ":")
		at, err := strconv.Atoi(number)
		if err != nil {
			return nil, nil, fmt.Errorf("%q does not begin with the number of a request", part)
		}
		f := slices.IndexFunc(faults, func(f *fault) bool { return f.name == faultName })
		if f < 0 {
			return nil, nil, fmt.Errorf("there is no fault %q", faultName)
		}
		seq = append(seq, step{at, faults[f]})
	}
	return kinds[i], seq, nil
}
