// Command mutants shows what the tests of the packages that decide do not see: it changes their
// code in one place at a time, and runs their tests.
//
//	go run ./contract/mutants                                    # all mutants of what decides
//	go run ./contract/mutants -sample 200 -seed 7                # some of them
//	go run ./contract/mutants internal/verdict                   # those of one package
//	go run ./contract/mutants internal/transcript/judge.go       # those of one file
//
// A mutant that no test kills is printed and fails the run, unless decisions.txt gives the reason
// why it may live. An entry of that file fails the run where its mutant is killed by now, or is
// no longer made.
//
// A condition or a part of it always or never holds; a comparison has its boundary on the other
// side; a whole number is one more or one less; a statement is left out; a value of a switch is
// left out; a result is zero. All mutants of a package are in one binary, and the environment
// says which one is on, because to compile a binary for each would take most of the time. The
// tree is not touched: the changed files are an overlay.
//
// Without arguments it takes the packages that decide: internal/verdict, internal/transcript and
// internal/sqltext.
//
// It is not go-gremlins, which leaves no statement and no part of a condition out, does not take
// samples, and tells a mutant by its line, which a list of decisions would not outlive.
package main

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

//go:embed decisions.txt
var decisionsText string

func main() {
	sample := flag.Int("sample", 0, "how many mutants are tried; 0 is all")
	seed := flag.Uint64("seed", 1, "which ones -sample takes")
	flag.Parse()
	dirs := flag.Args()
	if len(dirs) == 0 {
		dirs = []string{"internal/verdict", "internal/transcript", "internal/sqltext"}
	}
	if err := run(os.Stdout, decisionsText, dirs, *sample, *seed); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run tries the mutants of these packages and files, or a sample of them, and prints what is
// wrong. decidedText is what decisions.txt says.
func run(out io.Writer, decidedText string, dirs []string, sample int, seed uint64) error {
	decided, err := decisions(decidedText)
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	var all []mutant
	suites := map[string]suite{}
	for _, dir := range dirs {
		file := ""
		if filepath.Ext(dir) == ".go" {
			file, dir = dir, filepath.Dir(dir)
		}
		mutants, files, err := mutate(dir)
		if err != nil {
			return err
		}
		if _, built := suites[dir]; !built { // several files may be of one package
			if suites[dir], err = build(dir, files, filepath.Join(tmp, filepath.Base(dir))); err != nil {
				return err
			}
		}
		mutants = slices.DeleteFunc(mutants, func(m mutant) bool { return file != "" && m.file != file })
		all = append(all, mutants...)
	}
	problems := unmatched(decided, all, dirs)
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	if sample > 0 {
		all = all[:min(sample, len(all))]
	}
	killed := try(all, suites)

	slices.SortFunc(all, func(a, b mutant) int { return cmp.Or(cmp.Compare(a.pkg, b.pkg), cmp.Compare(a.n, b.n)) })
	counts := map[string]*[3]int{}
	for _, m := range all {
		if counts[m.pkg] == nil {
			counts[m.pkg] = new([3]int)
		}
		_, known := decided[m.name]
		switch {
		case killed[m] && known:
			problems = append(problems, "killed, but decisions.txt says that it lives: "+m.name)
			fallthrough
		case killed[m]:
			counts[m.pkg][0]++
		case known:
			counts[m.pkg][1]++
		default:
			counts[m.pkg][2]++
			problems = append(problems, fmt.Sprintf("%s: survives:\n%s", m.at, m.name))
		}
	}
	for _, p := range problems {
		fmt.Fprintln(out, p)
	}
	for _, pkg := range slices.Sorted(maps.Keys(counts)) {
		c := counts[pkg]
		fmt.Fprintf(out, "%s: %d mutants, %d killed, %d explained, %d survivors\n", pkg, c[0]+c[1]+c[2], c[0], c[1], c[2])
	}
	if len(problems) > 0 {
		return fmt.Errorf("%d problems; the seed was %d", len(problems), seed)
	}
	return nil
}

// decisions reads decisions.txt: a line is a mutant's name, and the indented one below it is the
// reason why it may live.
func decisions(text string) (map[string]string, error) {
	decided := map[string]string{}
	name := ""
	for i, line := range strings.Split(text+"\n", "\n") {
		reason, indented := strings.CutPrefix(line, "\t")
		switch {
		case indented && name != "" && strings.TrimSpace(reason) != "":
			decided[name], name = reason, ""
		case name != "" || indented:
			return nil, fmt.Errorf("decisions.txt:%d: each name needs one line with a reason below it", i+1)
		case line == "" || strings.HasPrefix(line, "#"):
		case decided[line] != "":
			return nil, fmt.Errorf("decisions.txt:%d: the name is there twice", i+1)
		default:
			name = line
		}
	}
	return decided, nil
}

// unmatched are the entries, of packages that are looked at, whose mutants are no longer made.
func unmatched(decided map[string]string, all []mutant, dirs []string) (problems []string) {
	made := map[string]bool{}
	for _, m := range all {
		made[m.name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(decided)) {
		file := strings.Fields(name)[0]
		if !made[name] && (slices.Contains(dirs, file) || slices.Contains(dirs, filepath.Dir(file))) {
			problems = append(problems, "no such mutant, but decisions.txt has it: "+name)
		}
	}
	return problems
}

// A suite is a package's test binary, and how long a mutant may take.
type suite struct {
	binary string
	limit  time.Duration
}

// build compiles a package's tests with its mutants. They have to pass while none is on.
func build(dir string, files map[string][]byte, tmp string) (suite, error) {
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return suite{}, err
	}
	var overlay struct{ Replace map[string]string }
	overlay.Replace = map[string]string{}
	for path, text := range files {
		abs, err := filepath.Abs(path)
		if err != nil {
			return suite{}, err
		}
		changed := filepath.Join(tmp, filepath.Base(path))
		if err := os.WriteFile(changed, text, 0o600); err != nil {
			return suite{}, err
		}
		overlay.Replace[abs] = changed
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		return suite{}, err
	}
	list := filepath.Join(tmp, "overlay.json")
	if err := os.WriteFile(list, text, 0o600); err != nil {
		return suite{}, err
	}
	s := suite{filepath.Join(tmp, "tests"), time.Minute}
	if out, err := exec.Command("go", "test", "-c", "-overlay", list, "-o", s.binary, "./"+dir).CombinedOutput(); err != nil {
		return suite{}, fmt.Errorf("%s with its mutants does not compile: %w\n%s", dir, err, out)
	}
	start := time.Now()
	if out, pass := s.passes(dir, 0); !pass {
		return suite{}, fmt.Errorf("the tests of %s fail without a mutant:\n%s", dir, out)
	}
	s.limit = max(5*time.Second, 20*time.Since(start))
	return s, nil
}

// passes runs a package's tests with a mutant on. One that makes them run on and on has failed
// them; the limit makes it collect its garbage until then.
func (s suite) passes(dir string, n int) (out []byte, pass bool) {
	ctx, stop := context.WithTimeout(context.Background(), s.limit)
	defer stop()
	c := exec.CommandContext(ctx, s.binary, "-test.short", "-test.failfast")
	c.Dir = dir
	c.Env = append(os.Environ(), fmt.Sprintf("MUTANT=%d", n), "GOMEMLIMIT=1GiB")
	var b bytes.Buffer
	c.Stdout, c.Stderr = &b, &b
	err := c.Run()
	return b.Bytes(), err == nil
}

// try says which mutants are killed.
func try(all []mutant, suites map[string]suite) map[mutant]bool {
	var mu sync.Mutex
	killed := map[mutant]bool{}
	next := make(chan mutant)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for m := range next {
				_, pass := suites[m.pkg].passes(m.pkg, m.n)
				mu.Lock()
				killed[m] = !pass
				mu.Unlock()
			}
		})
	}
	for _, m := range all {
		next <- m
	}
	close(next)
	wg.Wait()
	return killed
}
