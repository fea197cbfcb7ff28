package snowtether

import (
	"os"
	"strings"
	"testing"

	"github.com/snowtether/snowtether/internal/transcript"
)

// situations are all that there are.
func situations(yield func(situation) bool) {
	both := []bool{false, true}
	for n := range 1 << 9 {
		bit := func(i int) bool { return both[n>>i&1] }
		for c := range calls {
			for fate := transcript.Open; fate <= transcript.Done; fate++ {
				for tx := range txStates {
					s := situation{
						call: c, fate: fate, tx: tx, gone: bit(0), held: bit(1), left: bit(2), proven: bit(3),
						text: traits{repeatable: bit(4), undone: bit(5), commits: bit(6), begins: bit(7), carriable: bit(8)},
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
		v := decide(s)
		sure := s.fate == transcript.NotRun // it did not run
		twice := s.text.repeatable || s.call == callBegin || s.call == callPing || s.call == callPrepare || s.call == callFetch
		commit := s.call == callCommit || s.text.commits
		open := s.tx != noTx || s.text.begins && s.fate != transcript.Local && !sure
		fresh := s.gone || v.end // the next try needs a new session
		undone := s.tx != lastingTx && (s.text.undone || sure)
		may := func(holds bool, promise string) {
			if !holds {
				t.Errorf("%s: %+v gives %+v", promise, s, v)
			}
		}
		if v.action == again {
			may(sure || twice && s.fate != transcript.Done && s.fate != transcript.Answered, "it is sent again only if it did not run or may run twice")
			may(!commit || sure && !fresh, "a COMMIT is never sent again, unless it was never sent and its session lives")
			may(!open || sure && !fresh, "nothing is sent again across an open transaction")
			may(!s.held || !fresh, "nothing is sent again over this holder's lost state")
			may(!s.left, "nothing is sent for a caller who has left")
			may(s.call != callBegin || sure || v.end, "a BEGIN that may have run is not sent again on its session")
		}
		if v.action == carryOver {
			may(s.fate == transcript.Accepted && s.text.carriable, "only what was accepted is carried over")
			may(s.call == callStatement, "a BEGIN is not carried out of its transaction")
			may(!open && !commit, "a transaction is not continued on another session")
			may(!s.left, "nobody waits for a caller who has left")
		}
		if v.action == asItIs && s.fate == transcript.Done {
			may(!commit || s.proven, "a COMMIT succeeds only if a transaction was there")
		}
		if v.action == rolled {
			may(s.call == callRollback && v.end, "only a ROLLBACK is done because its session ends")
		}
		if !v.ran && v.action != asItIs && v.action != rolled {
			may(sure || s.fate == transcript.Local, "\"did not run\" is said only where that is known")
		}
		if !v.lasts && v.action != asItIs && v.action != rolled {
			may(sure || s.fate == transcript.Local || open && undone || twice && !open, "\"nothing lasts\" is said only where nothing does")
		}
		if v.action == sessLost && (open || commit) {
			may(undone, "a transaction that holds something lasting is in doubt")
		}
		if open && v.action != asItIs && v.action != rolled && (s.gone || s.fate == transcript.Open || s.fate == transcript.Accepted) {
			may(v.end, "a transaction that is given up has its session ended")
		}
		if s.left && s.fate != transcript.Local && s.fate != transcript.Answered && s.fate != transcript.Done {
			may(v.action == depart || v.action == sessLost || v.action == inDoubt || v.action == rolled, "a caller who has left gets their error at once")
		}
	}
	if n != 1<<9*int(calls)*6*int(txStates) {
		t.Errorf("%d situations", n)
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
	text, err := os.ReadFile("docs/how-it-works.md")
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
