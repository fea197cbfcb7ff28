package main

import (
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// Progress shows how far the staging of a file has come: with a bar on a
// terminal, else with a line for each tenth. It is where the log goes as well,
// so that a log line and the bar do not end up in one line.
type progress struct {
	w        io.Writer
	terminal bool

	mu          sync.Mutex
	bar         *progressbar.ProgressBar // nil when none is shown
	name        string
	done, total int
}

func newProgress(w io.Writer) *progress {
	f, ok := w.(*os.File)
	return &progress{w: w, terminal: ok && term.IsTerminal(int(f.Fd()))}
}

// start begins with a file of which some lines are there already.
func (p *progress) start(name string, done, total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.name, p.done, p.total = name, done, total
	if p.terminal && done < total {
		p.bar = progressbar.NewOptions(total, progressbar.OptionSetWriter(p.w), progressbar.OptionSetDescription(name),
			progressbar.OptionShowCount(), progressbar.OptionSetWidth(30), progressbar.OptionUseANSICodes(true))
		_ = p.bar.Set(done)
	}
}

func (p *progress) add(lines int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.done
	p.done += lines
	switch {
	case p.bar != nil:
		_ = p.bar.Set(p.done)
	case !p.terminal && before*10/p.total != p.done*10/p.total:
		fmt.Fprintf(p.w, "%s: %d of %d lines are staged\n", p.name, p.done, p.total)
	}
}

// stop leaves the bar as it stands.
func (p *progress) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		p.bar = nil
		fmt.Fprintln(p.w)
	}
}

func (p *progress) Write(line []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar == nil {
		return p.w.Write(line)
	}
	_ = p.bar.Clear()
	n, err := p.w.Write(line)
	_ = p.bar.RenderBlank()
	return n, err
}
