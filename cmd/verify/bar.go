package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/snowtether/snowtether/internal/verify"
)

// This file shows on a terminal how far a run has come, and elsewhere says so in lines.

// A bar is one line on a terminal that is written again and again.
type bar struct {
	w        io.Writer
	terminal bool
	width    int

	mu   sync.Mutex
	last verify.Progress
	at   time.Time
	stop chan struct{}
	done sync.WaitGroup
}

// newBar makes a bar that also moves while nothing happens.
func newBar(w io.Writer) *bar {
	b := &bar{w: w, width: 30, stop: make(chan struct{})}
	if f, ok := w.(*os.File); ok {
		info, err := f.Stat()
		b.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
	}
	if b.terminal {
		b.done.Go(b.tick)
	}
	return b
}

func (b *bar) tick() {
	ticks := time.NewTicker(time.Second)
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
			b.mu.Lock()
			b.draw()
			b.mu.Unlock()
		case <-b.stop:
			return
		}
	}
}

// show is told of each change.
func (b *bar) show(p verify.Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	finished := p.Done > b.last.Done
	b.last, b.at = p, time.Now()
	switch {
	case b.terminal:
		b.draw()
	case finished:
		fmt.Fprintf(b.w, "verify: %s\n", line(p, p.Left))
	}
}

func (b *bar) draw() {
	p := b.last
	if p.All == 0 {
		return
	}
	full := b.width * p.Done / p.All
	fmt.Fprintf(b.w, "\r\x1b[K[%s%s] %s", strings.Repeat("█", full), strings.Repeat("░", b.width-full), line(p, p.Left-time.Since(b.at)))
}

// line says it in words.
func line(p verify.Progress, left time.Duration) string {
	text := fmt.Sprintf("%d of %d checks", p.Done, p.All)
	if len(p.Running) > 0 {
		text += fmt.Sprintf(", at most %v more: %s", max(left, 0).Round(time.Second), strings.Join(p.Running, " "))
	}
	return text
}

// clear takes the bar away.
func (b *bar) clear() {
	if !b.terminal {
		return
	}
	close(b.stop)
	b.done.Wait()
	fmt.Fprint(b.w, "\r\x1b[K")
}
