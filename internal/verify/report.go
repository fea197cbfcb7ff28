package verify

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
)

// This file is what a run found, for people and for programs.

// A Verdict is what became of a belief.
type Verdict string

// The verdicts.
const (
	AsBelieved Verdict = "as believed"
	Wrong      Verdict = "wrong"
	NotAsked   Verdict = "not asked"
)

// An Outcome is what an account answered to a belief.
type Outcome struct {
	Belief    Belief     `json:"belief"`
	Verdict   Verdict    `json:"verdict"`
	Answer    string     `json:"answer"` // or why it was not asked; without a value or a name
	Exchanges []Exchange `json:"exchanges,omitempty"`
	Seconds   float64    `json:"seconds"` // that its check took; 0 if it was not among those asked for
	Credits   float64    `json:"credits"` // that its check is estimated to take of an XS warehouse
}

// A Report is what a run found. Nothing in it is a value, a token or a name.
type Report struct {
	Driver   string    `json:"driver"` // gosnowflake's version
	Seconds  float64   `json:"seconds"`
	Credits  float64   `json:"credits"` // an estimate: of an XS warehouse that was on all the time
	Logins   int       `json:"logins"`
	Outcomes []Outcome `json:"outcomes"` // in the order of Beliefs
}

// Count says how many beliefs have a verdict.
func (r *Report) Count(v Verdict) (n int) {
	for _, o := range r.Outcomes {
		if o.Verdict == v {
			n++
		}
	}
	return n
}

// Unsafe are the beliefs that are wrong and on which safety rests.
func (r *Report) Unsafe() (names []string) {
	for _, o := range r.Outcomes {
		if o.Verdict == Wrong && o.Belief.Safety {
			names = append(names, o.Belief.Name)
		}
	}
	return names
}

// JSON writes the report for programs.
func (r *Report) JSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// Text writes the report for people, in Markdown, so that it can be pasted into an issue.
func (r *Report) Text(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "### snowtether verify\n\n%d as believed, %d wrong, %d not asked; %v, about %.2f credits (XS), %d logins; gosnowflake %s.\n%s.\n",
		r.Count(AsBelieved), r.Count(Wrong), r.Count(NotAsked), time.Duration(r.Seconds*float64(time.Second)).Round(time.Second), r.Credits, r.Logins, r.Driver, Unchecked)
	for _, o := range r.Outcomes {
		if o.Verdict == Wrong {
			weight := "Safety does not rest on it."
			if o.Belief.Safety {
				weight = "**Safety rests on it.**"
			}
			fmt.Fprintf(&b, "\n**Wrong: %s.** %s %s\nBelieved: %s\nAnswered: %s\n", o.Belief.Name, weight, o.Belief.IfWrong, o.Belief.Claim, o.Answer)
		}
	}
	for _, v := range []Verdict{AsBelieved, Wrong, NotAsked} {
		r.table(&b, v)
	}
	r.costs(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Report) table(b *strings.Builder, v Verdict) {
	if !slices.ContainsFunc(r.Outcomes, func(o Outcome) bool { return o.Verdict == v && o.Seconds > 0 }) {
		return
	}
	fmt.Fprintf(b, "\n| %s | answer | replies |\n|---|---|---|\n", v)
	for _, o := range r.Outcomes {
		if o.Verdict != v || o.Seconds == 0 {
			continue
		}
		var replies []string
		for _, x := range o.Exchanges {
			replies = append(replies, x.String())
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", o.Belief.Name, cell(o.Answer), cell(strings.Join(replies, "; ")))
	}
}

// costs says which checks were not asked for, and what the others took.
func (r *Report) costs(b *strings.Builder) {
	var left []string
	for _, o := range r.Outcomes {
		if o.Seconds == 0 && !slices.Contains(left, o.Belief.Check) {
			left = append(left, o.Belief.Check)
		}
	}
	if len(left) > 0 {
		fmt.Fprintf(b, "\nChecks that were not asked for: %s.\n", strings.Join(left, ", "))
	}
	b.WriteString("\n| check | seconds | credits |\n|---|---|---|\n")
	seen := map[string]bool{}
	for _, o := range r.Outcomes {
		if check := o.Belief.Check; o.Seconds > 0 && !seen[check] {
			seen[check] = true
			fmt.Fprintf(b, "| %s | %.0f | %.3f |\n", check, o.Seconds, o.Credits)
		}
	}
}

func cell(text string) string { return strings.ReplaceAll(text, "|", "¦") }

// String is an exchange in a line.
func (x Exchange) String() string {
	text := fmt.Sprintf("%s: %d, code %s", x.Request, x.Status, cmp.Or(x.Code, "none"))
	if len(x.Keys) > 0 {
		text += ", data {" + strings.Join(x.Keys, " ") + "}"
	}
	if x.Message != "" {
		text += ", “" + x.Message + "”"
	}
	return text
}

// Plan writes what a run with these options would ask, and what it costs.
func Plan(w io.Writer, o Options) error {
	list, err := o.chosen()
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%-14s %8s %8s  asks\n", "check", "minutes", "credits")
	for _, c := range list {
		fmt.Fprintf(&b, "%-14s %8.1f %8.3f  %s\n", c.name, c.wait.Minutes(), c.credits(), c.asks)
		for _, belief := range Beliefs {
			if belief.Check == c.name {
				mark := " "
				if belief.Safety {
					mark = "!"
				}
				fmt.Fprintf(&b, "%34s %s %s: %s\n", "", mark, belief.Name, belief.Claim)
			}
		}
	}
	wait, credits := total(list)
	fmt.Fprintf(&b, "Long checks run side by side: about %.0f minutes and %.2f credits of an XS warehouse in all, and what it rests before it suspends itself.\nSafety rests on those marked with !.\n", wait.Minutes(), credits)
	_, err = io.WriteString(w, b.String())
	return err
}

// total is what checks cost together. The long ones run side by side, and a warehouse that any
// of them needs is on all the time.
func total(list []check) (wait time.Duration, credits float64) {
	var long, short time.Duration
	busy := false
	for _, c := range list {
		busy = busy || c.busy > 0
		if c.wait < time.Minute {
			short += c.wait
		} else {
			long = max(long, c.wait)
		}
	}
	wait = max(long, short)
	if busy {
		credits = wait.Hours()
	}
	return wait, credits
}

// rounded is a figure as people read it.
func rounded(x float64) float64 { return math.Round(x*1000) / 1000 }

func (r *run) report(list []check, took time.Duration) *Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, credits := total(list)
	if credits > 0 {
		credits = took.Hours()
	}
	rep := &Report{Driver: driverVersion, Seconds: rounded(took.Seconds()), Credits: rounded(credits), Logins: int(r.own.logins.Load())}
	if r.admin != nil {
		rep.Logins += int(r.admin.logins.Load())
	}
	for _, a := range r.thrown {
		rep.Logins += int(a.logins.Load())
	}
	for _, b := range Beliefs {
		o, ok := r.outcomes[b.Name]
		if !ok {
			o = Outcome{Belief: b, Verdict: NotAsked, Answer: "the check " + b.Check + " was not among those that were asked for"}
		}
		rep.Outcomes = append(rep.Outcomes, o)
	}
	return rep
}
