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
}

func newProgress(w io.Writer) *progress {
	f, ok := w.(*os.File)
	return &progress{w: w, terminal: ok && term.IsTerminal(int(f.Fd()))}
}

// start begins to count, when it is known how many rows there will be.
func (p *progress) start(total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total, p.begun, p.said = total, time.Now(), time.Now()
	if p.terminal && total > 0 {
		p.bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(p.w), progressbar.OptionSetWidth(30),
			progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("rows"),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionOnCompletion(func() { fmt.Fprintln(p.w) }))
	}
}

// add counts rows that were written.
func (p *progress) add(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += n
	switch {
	case p.bar != nil:
		_ = p.bar.Add64(n) // a bar that cannot be drawn is no reason to stop
	case !p.terminal && p.total > 0 && time.Since(p.said) >= reportEvery:
		p.said = time.Now()
		rate := float64(p.done) / time.Since(p.begun).Seconds()
		left := time.Duration(float64(p.total-p.done) / rate * float64(time.Second))
		fmt.Fprintf(p.w, "extract: %d of %d rows, %.0f rows/s, %v left\n", p.done, p.total, rate, left.Round(time.Second))
	}
}

// finish leaves the bar where it is.
func (p *progress) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil && !p.bar.IsFinished() {
		_ = p.bar.Exit()
	}
	p.bar = nil
}

// Write writes a line of the log above the bar.
func (p *progress) Write(line []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar == nil {
		return p.w.Write(line)
	}
	_ = p.bar.Clear()
	defer func() { _ = p.bar.RenderBlank() }()
	return p.w.Write(line)
}
