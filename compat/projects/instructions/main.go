// Command instructions counts the instructions of a statement through each of what a user would
// put around gosnowflake, in the client alone: valgrind's callgrind counts, and the server is
// another process. Times depend on the machine and on what else it does; these hardly do.
//
//	go run ./instructions
//
// Each peer runs twice, with few statements and with many; the difference by their number is what
// one takes, the login and the start of the process left out. It prints the median of the
// repetitions, the least and the most: Go's scheduler does some of its work by the clock.
package main

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"github.com/snowtether/snowtether/compat/projects/peers"
	"github.com/snowtether/snowtether/snowtest"
)

const few, many = 100, 400

func main() {
	repeat := flag.Int("repeat", 3, "how often each is counted")
	peer := flag.String("peer", "", "run statements through this peer, on the server of $DSN, and end: what callgrind looks at")
	n := flag.Int("n", few, "how many statements -peer runs")
	flag.Parse()
	err := error(nil)
	if *peer != "" {
		err = statements(*peer, os.Getenv("DSN"), *n)
	} else {
		err = table(*repeat)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "instructions:", err)
		os.Exit(1)
	}
}

// statements are those that are counted: one connection, one at a time, contexts that can end.
func statements(name, dsn string, n int) error {
	i := slices.IndexFunc(peers.All, func(p peers.Peer) bool { return p.Name == name })
	if i < 0 {
		return fmt.Errorf("there is no peer %q", name)
	}
	c, err := peers.All[i].Open(dsn)
	if err != nil {
		return err
	}
	db := sql.OpenDB(c)
	defer db.Close()
	db.SetMaxOpenConns(1)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for range n {
		if _, err := db.ExecContext(ctx, "INSERT INTO t VALUES (?)", 1); err != nil {
			return err
		}
	}
	return nil
}

// table counts, and prints what one statement takes through each peer.
func table(repeat int) error {
	dir, err := os.MkdirTemp("", "instructions-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "peer")
	// Without the tag the runtime's own stacks are not valgrind's, and it warns of each.
	if out, err := exec.Command("go", "build", "-tags", "valgrind", "-o", program, "github.com/snowtether/snowtether/compat/projects/instructions").CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	fmt.Println("| | instructions of a statement | least, most | more than gosnowflake |\n|---|---|---|---|")
	var yardstick float64
	for _, peer := range peers.All {
		var each []float64
		for range repeat {
			less, err := count(program, peer.Name, few)
			if err != nil {
				return err
			}
			more, err := count(program, peer.Name, many)
			if err != nil {
				return err
			}
			each = append(each, float64(more-less)/(many-few))
		}
		slices.Sort(each)
		median := each[len(each)/2]
		if yardstick == 0 {
			yardstick = median
		}
		fmt.Printf("| %s | %.0f | %.0f, %.0f | %.1f %% |\n", peer.Name, median, each[0], each[len(each)-1], 100*(median/yardstick-1))
	}
	return nil
}

var collected = regexp.MustCompile(`Collected : (\d+)`)

// count is how many instructions a process takes for n statements, on a server of its own.
func count(program, peer string, n int) (int64, error) {
	srv, err := snowtest.Start(snowtest.AllowRepeats(), snowtest.AllowOpenSessions())
	if err != nil {
		return 0, err
	}
	defer srv.Close()
	cmd := exec.Command("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program, "-peer", peer, "-n", strconv.Itoa(n))
	// One thread, no garbage collector, whose turns are a matter of luck, and no signals between
	// threads, at which callgrind ends.
	cmd.Env = append(os.Environ(), "DSN="+srv.DSN(), "GOMAXPROCS=1", "GOGC=off", "GODEBUG=asyncpreemptoff=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", peer, err, out)
	}
	found := collected.FindSubmatch(out)
	if found == nil {
		return 0, fmt.Errorf("callgrind has counted nothing:\n%s", out)
	}
	return strconv.ParseInt(string(found[1]), 10, 64)
}
