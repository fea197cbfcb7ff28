package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// A live shows faults and counters while the run goes on: on a terminal in lines
// that are written over four times a second, elsewhere in plain lines, the counters
// every two seconds.
type live struct {
	w        io.Writer
	terminal bool
	begun    time.Time
	lanes    []*lane

	mu      sync.Mutex
	shown   bool // the counters stand in the terminal's last lines
	done    chan struct{}
	stopped sync.WaitGroup
}

func newLive(w io.Writer, begun time.Time, lanes []*lane) *live {
	l := &live{w: w, terminal: wideTerminal(w), begun: begun, lanes: lanes, done: make(chan struct{})}
	every := 2 * time.Second
	if l.terminal {
		every = 250 * time.Millisecond
	}
	l.stopped.Go(func() {
		ticks := time.NewTicker(every)
		defer ticks.Stop()
		for {
			select {
			case <-ticks.C:
				l.print("")
			case <-l.done:
				l.print("")
				return
			}
		}
	})
	return l
}

// wideTerminal reports whether the lines can be written over: one that a narrow
// terminal breaks would not be.
func wideTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	return err == nil && width >= 80
}

// struck says that a fault strikes.
func (l *live) struck(f fault) { l.print(fmt.Sprintf("%6.1fs  %v", f.at.Seconds(), f.kind)) }

// stop shows the counters a last time.
func (l *live) stop() {
	close(l.done)
	l.stopped.Wait()
}

// print prints the line, if there is one, and the counters. Without a terminal a
// line comes alone.
func (l *live) print(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.terminal && l.shown {
		fmt.Fprintf(l.w, "\x1b[%dA\x1b[J", len(l.lanes)) // up, and clear what is below
	}
	if line != "" {
		fmt.Fprintln(l.w, line)
		if !l.terminal {
			return
		}
	}
	for _, lane := range l.lanes {
		fmt.Fprintf(l.w, "%6.1fs  %-12s", time.Since(l.begun).Seconds(), lane.name)
		for f := range fates {
			fmt.Fprintf(l.w, "%6d %v", lane.counts[f].Load(), f)
		}
		fmt.Fprintf(l.w, "%4d ran twice\n", len(lane.srv.Doubles()))
	}
	l.shown = true
}
