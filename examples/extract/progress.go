package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// This file says how far it is: with a bar on a terminal, with a line every few
// seconds elsewhere.

const reportEvery = 5 * time.Second

// A progress is also where the log goes, so that its lines do not end up in the
// middle of the bar.
type progress struct {
	w        io.Writer
	terminal bool

	mu          sync.Mutex
	bar         *progressbar.ProgressBar // nil until the number of rows is known, and where there is no terminal
	done, total int64
	begun, said time.Time
	waiting     string // what stands in the terminal's line while the query runs
}

func newProgress(w io.Writer) *progress {
	f, ok := w.(*os.File)
	return &progress{w: w, terminal: ok && term.IsTerminal(int(f.Fd()))}
}

// running says, from the first second on, that the query runs, which can take much
// longer than the rows do.
func (p *progress) running(since time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.begun != (time.Time{}): // another partition's rows are there
	case p.terminal:
		p.waiting = fmt.Sprintf("running the query … %d s", int(since.Seconds()))
		fmt.Fprint(p.w, "\r", p.waiting)
	case p.said.IsZero() && since >= time.Second || !p.said.IsZero() && time.Since(p.said) >= reportEvery:
		p.said = time.Now()
		fmt.Fprintf(p.w, "extract: running the query … %d s\n", int(since.Seconds()))
	}
}

// start begins to count, when it is known how many rows there will be.
func (p *progress) start(total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	p.total, p.begun, p.said = total, time.Now(), time.Now()
	if p.terminal && total > 0 {
		p.bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(p.w), progressbar.OptionSetWidth(30),
			progressbar.OptionShowCount(), progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionOnCompletion(func() { fmt.Fprintln(p.w) }))
	}
}

// clear takes away the line that says that the query runs.
func (p *progress) clear() {
	if p.waiting != "" {
		fmt.Fprintf(p.w, "\r%*s\r", len(p.waiting), "")
		p.waiting = ""
	}
}

// add counts rows that were written.
func (p *progress) add(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += n
	took := time.Since(p.begun)
	rate := float64(p.done) / took.Seconds()
	switch {
	case p.bar != nil:
		if took > time.Second { // before that the rate is nonsense
			p.bar.Describe(fmt.Sprintf("%.0f rows/s", rate))
		}
		_ = p.bar.Add64(n) // a bar that cannot be drawn is no reason to stop
	case !p.terminal && p.total > 0 && time.Since(p.said) >= reportEvery:
		p.said = time.Now()
		left := time.Duration(float64(p.total-p.done) / rate * float64(time.Second))
		fmt.Fprintf(p.w, "extract: %d of %d rows, %.0f rows/s, %v left\n", p.done, p.total, rate, left.Round(time.Second))
	}
}

// finish fills the bar where all rows are there, and else leaves it where it is.
func (p *progress) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	switch {
	case p.bar == nil:
	case p.bar.IsFinished():
	case p.done == p.total:
		_ = p.bar.Finish()
	default:
		_ = p.bar.Exit()
		fmt.Fprintln(p.w)
	}
	p.bar = nil
}

// Write writes a line of the log above the bar.
func (p *progress) Write(line []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar == nil {
		p.clear()
		return p.w.Write(line)
	}
	_ = p.bar.Clear()
	defer func() { _ = p.bar.RenderBlank() }()
	return p.w.Write(line)
}
