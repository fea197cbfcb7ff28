// Package explore is the engine of TestEverySequence: it runs each kind of operation under
// every sequence of faults that can strike its first six requests, in a bubble of virtual
// time with a server of its own, and counts what came of it. Which gosnowflake is inside is
// up to the test.
package explore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// An Inner is the gosnowflake inside, and what programs use of it.
type Inner struct {
	Connector      func(cfg *gosnowflake.Config, opts ...snowtether.Option) (*snowtether.Connector, error)
	QueryIDChan    func(ctx context.Context, ids chan<- string) context.Context
	AsyncMode      func(ctx context.Context) context.Context
	MultiStatement func(ctx context.Context, n int) context.Context
	Array          func(values *[]int) (any, error)
	Number         func(err error) int // of its own error, or 0
	Limits         []Limit             // of this gosnowflake
	Short          string              // why an array bind may insert fewer rows than were bound, and its error says that it may have run; "": it never does
}

// A Limit is a reason why programs get errors, although only sessions had died, that
// another gosnowflake spares them.
type Limit struct {
	Reason string
	Kind   string // of operation; "" is all
	Holds  func(err error) bool
}

// Options say which sequences are run. Its zero value has no faults at all.
type Options struct {
	Faults int           // how many a sequence has at most: 1, 2 or 3
	For    time.Duration // for how long sequences of three faults are run, after all others
	Seed   uint64        // the order of those; 0 takes one of its own
	Only   string        // the one sequence to run, by its name
	OneOf  int           // runs one of so many sequences; 0 is all
}

// reach is how many of an operation's requests can be struck.
const reach = 6

// shown is how many failed sequences of a kind are in the log. All are counted.
const shown = 20

// Run runs the sequences. A statement that succeeded took effect exactly once, one in doubt
// at most once, any other never; half a transaction never lasts; the next user of the pool
// is served and nothing is left open. That failing is unsafe. An error is needless if only
// sessions had died. There must be neither.
func Run(t *testing.T, in *Inner, o *Options) {
	if o.Only != "" {
		only(t, in, o.Only)
		return
	}
	var total tally
	var pairs frontier
	t.Run("kinds", func(t *testing.T) {
		for _, k := range kinds {
			t.Run(k.name, func(t *testing.T) {
				t.Parallel()
				e := explorer{t: t, in: in, oneOf: max(o.OneOf, 1)}
				last := e.exhaust(k, min(o.Faults, 2))
				total.add(&e.tally)
				pairs.add(last)
				t.Logf("%s: %s", k.name, &e.tally)
			})
		}
	})
	if o.Faults > 2 {
		t.Run("triples", func(t *testing.T) { total.add(triples(t, in, o, pairs.list)) })
	}
	t.Logf("explorer: %s", &total)
	for reason, n := range total.excused {
		t.Logf("not counted, %d sequences: %s", n, reason)
	}
	if total.unsafe > 0 || total.needless > 0 {
		t.Error("both figures must be 0")
	}
}

// only runs one sequence and tells all about it.
func only(t *testing.T, in *Inner, name string) {
	k, seq, err := parse(name)
	if err != nil {
		t.Fatal(err)
	}
	e := explorer{t: t, in: in}
	x := e.run(k, seq)
	if !t.Failed() {
		t.Log(x.report())
	}
	t.Logf("%s", &e.tally)
}

// An explorer runs sequences, one after the other, and counts.
type explorer struct {
	t  *testing.T
	in *Inner
	tally
	oneOf, nth int // one of so many is run; this is the nth
}

// A reached sequence is one that was run, with the kinds of the requests that its
// operation caused.
type reached struct {
	kind     *kind
	seq      sequence
	requests []snowtest.RequestKind
}

// exhaust runs every sequence of up to most faults, and returns those of exactly so
// many. A sequence goes on only where a further request was seen: what has not been
// reached cannot be struck.
func (e *explorer) exhaust(k *kind, most int) []reached {
	level := []reached{e.reach(k, nil)}
	for range most {
		var next []reached
		for _, r := range level {
			r.extend(func(st step) {
				if e.nth++; e.nth%e.oneOf == 0 {
					next = append(next, e.reach(k, r.seq.then(st)))
				}
			})
		}
		level = next
	}
	return level
}

// extend calls f with each step that can come after r.
func (r reached) extend(f func(step)) {
	first := 1
	if n := len(r.seq); n > 0 {
		first = r.seq[n-1].at + 1
	}
	for at := first; at <= min(len(r.requests), reach); at++ {
		kind := r.requests[at-1]
		if kind == snowtest.RequestAbort && at > 1 && r.requests[at-2] == kind {
			continue // gosnowflake repeats it as often, whatever the answer
		}
		for _, fault := range faults {
			if fault.suits(r.kind, r.seq, kind) {
				f(step{at, fault})
			}
		}
	}
}

func (e *explorer) reach(k *kind, seq sequence) reached {
	x := e.run(k, seq)
	r := reached{kind: k, seq: seq}
	for _, seen := range x.requests() {
		r.requests = append(r.requests, seen.kind)
	}
	return r
}

// run runs one sequence and counts what came of it.
func (e *explorer) run(k *kind, seq sequence) *trial {
	x := try(e.t, e.in, k, seq)
	e.sequences++
	what := ""
	switch {
	case len(x.problems) > 0:
		e.unsafe++
		what = "unsafe"
	case x.limit != "":
		e.excuse(x.limit)
	case !x.needless():
	case x.excuse() != "":
		e.excuse(x.excuse())
	default:
		e.needless++
		what = "needless"
	}
	if what == "" {
		return x
	}
	if e.unsafe+e.needless <= shown {
		e.t.Errorf("%s: %s", what, x.report())
	} else {
		e.t.Fail()
	}
	return x
}

// triples runs sequences of three faults in a random order until the time is over.
func triples(t *testing.T, in *Inner, o *Options, pairs []reached) *tally {
	seed := o.Seed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-explore.seed %d", seed)
	type triple struct {
		pair int // there are millions, which share their pairs
		last step
	}
	var all []triple
	for i, r := range pairs {
		r.extend(func(st step) { all = append(all, triple{i, st}) })
	}
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	var total tally
	end := time.Now().Add(o.For)
	workers := runtime.GOMAXPROCS(0)
	t.Run("workers", func(t *testing.T) {
		for w := range workers {
			t.Run(fmt.Sprint(w), func(t *testing.T) {
				t.Parallel()
				e := explorer{t: t, in: in}
				for i := w; i < len(all) && time.Now().Before(end); i += workers {
					pair := pairs[all[i].pair]
					e.run(pair.kind, pair.seq.then(all[i].last))
				}
				total.add(&e.tally)
			})
		}
	})
	t.Logf("%d of %d sequences of three faults were run", total.sequences, len(all))
	return &total
}

// A frontier collects the longest sequences of all kinds.
type frontier struct {
	mu   sync.Mutex
	list []reached
}

func (f *frontier) add(list []reached) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, list...)
}

// A tally counts sequences and what came of them.
type tally struct {
	mu        sync.Mutex
	sequences int
	unsafe    int
	needless  int
	excused   map[string]int // by the reason
}

func (s *tally) excuse(reason string) {
	if s.excused == nil {
		s.excused = map[string]int{}
	}
	s.excused[reason]++
}

func (s *tally) add(o *tally) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sequences += o.sequences
	s.unsafe += o.unsafe
	s.needless += o.needless
	for reason, n := range o.excused {
		if s.excused == nil {
			s.excused = map[string]int{}
		}
		s.excused[reason] += n
	}
}

func (s *tally) String() string {
	unavoidable := 0
	for _, n := range s.excused {
		unavoidable += n
	}
	return fmt.Sprintf("%d sequences, %d unsafe, %d needless (and %d that nobody can avoid)", s.sequences, s.unsafe, s.needless, unavoidable)
}
