package debugpage

import (
	"fmt"
	"time"

	"github.com/snowtether/snowtether"
)

// This file draws the last hour, minute by minute: a person wants to see when it began.

// A minute is one of the last hour in which something happened.
type minute struct {
	Time    time.Time `json:"time"`
	Logins  int       `json:"logins"`
	Lost    int       `json:"lost"`
	InDoubt int       `json:"in_doubt"`
	Waited  bool      `json:"waited"`
}

// A track is one line of the chart: an SVG of 60 by 10, a minute wide each.
type track struct {
	Name, Class string
	Bars        []bar
}

type bar struct{ X, Y, Height float64 }

// Begun is when the chart begins.
func (p pool) Begun() time.Time { return p.now.Truncate(time.Minute).Add(-59 * time.Minute) }

// Tracks are the lines of the chart. Bars of one line are as high as their counts, the
// highest being 10.
func (p pool) Tracks() []track {
	count := func(of func(minute) int) (counts [60]int, total int) {
		for _, m := range p.Hour {
			if at := int(m.Time.Sub(p.Begun()) / time.Minute); at >= 0 && at < 60 {
				counts[at] += of(m)
				total += of(m)
			}
		}
		return counts, total
	}
	line := func(name, class string, of func(minute) int) track {
		counts, total := count(of)
		return track{fmt.Sprintf("%s: %d", name, total), class, bars(counts)}
	}
	waits, _ := count(func(m minute) int {
		if m.Waited {
			return 1
		}
		return 0
	})
	p.waitingNow(&waits)
	n := 0
	for _, w := range waits {
		n += min(w, 1)
	}
	return []track{
		line("Logins", "logins", func(m minute) int { return m.Logins }),
		line("Sessions lost", "losses", func(m minute) int { return m.Lost }),
		{"Minutes without an answer: " + fmt.Sprint(n), "waits", bars(waits)},
		line("In doubt", "doubts", func(m minute) int { return m.InDoubt }),
	}
}

// waitingNow adds what has not ended.
func (p pool) waitingNow(waits *[60]int) {
	since := p.now
	if p.Gate.State == snowtether.GateProbing {
		since = p.Gate.Since
	}
	if d := time.Duration(p.Waiting.Oldest); p.Waiting.Unanswered+p.Waiting.Logins > 0 && p.now.Add(-d).Before(since) {
		since = p.now.Add(-d)
	}
	for at := since; at.Before(p.now); at = at.Truncate(time.Minute).Add(time.Minute) {
		if i := int(at.Sub(p.Begun()) / time.Minute); i >= 0 && i < 60 {
			waits[i] = 1
		} else if at.Before(p.Begun()) {
			at = p.Begun().Add(-time.Minute)
		}
	}
}

func bars(counts [60]int) (bars []bar) {
	highest := 1
	for _, n := range counts {
		highest = max(highest, n)
	}
	for i, n := range counts {
		if n > 0 {
			h := max(10*float64(n)/float64(highest), 1.5)
			bars = append(bars, bar{float64(i), 10 - h, h})
		}
	}
	return bars
}
