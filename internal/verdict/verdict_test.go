package verdict

import (
	"os"
	"strings"
	"testing"

	"github.com/snowtether/snowtether/internal/transcript"
)

// situations are all that there are.
func situations(yield func(Situation) bool) {
	both := []bool{false, true}
	for n := range 1 << 9 {
		bit := func(i int) bool { return both[n>>i&1] }
		for c := range calls {
			for fate := transcript.Open; fate <= transcript.Done; fate++ {
				for tx := range txs {
					s := Situation{
						Call: c, Fate: fate, Tx: tx, Gone: bit(0), Held: bit(1), Left: bit(2), Proven: bit(3),
						Text: Traits{Repeatable: bit(4), Undone: bit(5), Commits: bit(6), Begins: bit(7), Carriable: bit(8)},
					}
					if !yield(s) {
						return
					}
				}
			}
		}
	}
}

// TestVerdictsKeepWhatIsPromised walks the whole domain. A new rule cannot break an
// invariant unnoticed.
func TestVerdictsKeepWhatIsPromised(t *testing.T) {
	n := 0
	for s := range situations {
		n++
		v := Decide(s)
		sure := s.Fate == transcript.NotRun // it did not run
		twice := s.Text.Repeatable || s.Call == Begin || s.Call == Ping || s.Call == Prepare || s.Call == Fetch
		commit := s.Call == Commit || s.Text.Commits
		open := s.Tx != NoTx || s.Text.Begins && s.Fate != transcript.Local && !sure
		fresh := s.Gone || v.End // the next try needs a new session
		undone := s.Tx != LastingTx && (s.Text.Undone || sure)
		may := func(holds bool, promise string) {
			if !holds {
				t.Errorf("%s: %+v gives %+v", promise, s, v)
			}
		}
		if v.Action == Again {
			may(sure || twice && s.Fate != transcript.Done && s.Fate != transcript.Answered, "it is sent again only if it did not run or may run twice")
			may(!commit || sure && !fresh, "a COMMIT is never sent again, unless it was never sent and its session lives")
			may(!open || sure && !fresh, "nothing is sent again across an open transaction")
			may(!s.Held || !fresh, "nothing is sent again over this holder's lost state")
			may(!s.Left, "nothing is sent for a caller who has left")
			may(s.Call != Begin || sure || v.End, "a BEGIN that may have run is not sent again on its session")
		}
		if v.Action == CarryOver {
			may(s.Fate == transcript.Accepted && s.Text.Carriable, "only what was accepted is carried over")
			may(s.Call == Statement, "a BEGIN is not carried out of its transaction")
			may(!open && !commit, "a transaction is not continued on another session")
			may(!s.Left, "nobody waits for a caller who has left")
		}
		if v.Action == AsItIs && s.Fate == transcript.Done {
			may(!commit || s.Proven, "a COMMIT succeeds only if a transaction was there")
		}
		if v.Action == RolledBack {
			may(s.Call == Rollback && v.End, "only a ROLLBACK is done because its session ends")
		}
		if !v.Ran && v.Action != AsItIs && v.Action != RolledBack {
			may(sure || s.Fate == transcript.Local, "\"did not run\" is said only where that is known")
		}
		if !v.Lasts && v.Action != AsItIs && v.Action != RolledBack {
			may(sure || s.Fate == transcript.Local || open && undone || twice && !open, "\"nothing lasts\" is said only where nothing does")
		}
		if v.Action == SessionLost && (open || commit) {
			may(undone, "a transaction that holds something lasting is in doubt")
		}
		if open && v.Action != AsItIs && v.Action != RolledBack && (s.Gone || s.Fate == transcript.Open || s.Fate == transcript.Accepted) {
			may(v.End, "a transaction that is given up has its session ended")
		}
		if s.Left && s.Fate != transcript.Local && s.Fate != transcript.Answered && s.Fate != transcript.Done {
			may(v.Action == Depart || v.Action == SessionLost || v.Action == InDoubt || v.Action == RolledBack, "a caller who has left gets their error at once")
		}
	}
	if n != 1<<9*int(calls)*6*int(txs) {
		t.Errorf("%d situations", n)
	}
}

// TestVerdictsSayAllThatIsKnown: nothing is given up, and nothing is said to be open, that need not be.
func TestVerdictsSayAllThatIsKnown(t *testing.T) {
	for s := range situations {
		v := Decide(s)
		sent := s.Fate != transcript.Local && s.Fate != transcript.NotRun
		twice := s.Text.Repeatable || s.Call == Begin || s.Call == Ping || s.Call == Prepare || s.Call == Fetch
		commit := s.Call == Commit || s.Text.Commits
		open := s.Tx != NoTx || s.Text.Begins && sent
		broken := s.Gone || sent // a transaction that was there is not there any more, or not as it was
		fetched := s.Fate == transcript.Accepted && s.Text.Carriable && s.Call == Statement
		again := s.Fate == transcript.NotRun || (s.Fate == transcript.Open || s.Fate == transcript.Accepted && !fetched) && twice
		fresh := s.Gone || s.Call == Begin && sent

		want := Verdict{InDoubt, sent, true, false}
		switch {
		case s.Fate == transcript.Local, s.Fate == transcript.Answered, s.Fate == transcript.Done && (s.Proven || !commit):
			want = Verdict{AsItIs, sent, sent, false}
		case s.Call == Rollback && broken:
			want = Verdict{RolledBack, false, false, true}
		case commit && sent:
			want.End = true
		case (open || commit) && broken && s.Tx != LastingTx && (s.Text.Undone || !sent):
			want = Verdict{SessionLost, sent, false, true}
		case (open || commit) && broken:
			want.End = true
		case s.Left:
			want = Verdict{Depart, sent, sent && !twice, s.Call == Begin && sent}
		case again && fresh && s.Held:
			want = Verdict{SessionLost, sent, false, true}
		case again:
			want = Verdict{Again, sent, false, fresh}
		case fetched:
			want.Action = CarryOver
		}
		if v != want {
			t.Errorf("%+v gives %+v, not %+v", s, v, want)
		}
	}
}

// TestEveryRuleDecidesSomething: a rule that never holds first is one that nobody needs.
func TestEveryRuleDecidesSomething(t *testing.T) {
	var used [len(rules)]bool
	for s := range situations {
		for i, r := range rules {
			if r.holds(s) {
				used[i] = true
				break
			}
		}
	}
	for i, u := range used {
		if !u {
			t.Errorf("no situation is decided by %q", rules[i].when)
		}
	}
}

// TestDocumentedRulesAreTheRules: docs/how-it-works.md shows the table as it is.
func TestDocumentedRulesAreTheRules(t *testing.T) {
	text, err := os.ReadFile("../../docs/how-it-works.md")
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	want.WriteString("| if | then |\n|---|---|\n")
	for _, r := range rules {
		want.WriteString("| " + r.when + " | " + r.then + " |\n")
	}
	if !strings.Contains(string(text), want.String()) {
		t.Errorf("docs/how-it-works.md lacks the table:\n%s", want.String())
	}
}
