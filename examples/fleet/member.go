package main

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
)

// This file is the processes: how they are started, and what each does.

const (
	poolSize  = 8
	cooldown  = 30 * time.Second
	memberArg = "member" // makes this program one process of the fleet
)

// What a member says after its callers have used the pool.
const (
	saidServed    = "served"
	saidSuspended = "suspended"
	saidFailed    = "failed: "
)

// A fleet is the processes.
type fleet struct{ members []*member }

// A member is one of them. A line to its standard input is a turn, in which it uses its pool,
// and answers with a line. It ends when its input does.
type member struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	stderr bytes.Buffer
}

// launch starts the processes. Secrets come to them in their environment, as arguments can
// be seen by everybody.
func (p plan) launch(ctx context.Context, dsn, password string, guarded bool) (*fleet, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	f := &fleet{}
	for range p.processes {
		m := &member{cmd: exec.CommandContext(ctx, program, memberArg)}
		m.cmd.Env = append(os.Environ(), "FLEET_DSN="+dsn, "FLEET_PASSWORD="+password, "FLEET_KEY="+p.key, "FLEET_RATE="+strconv.Itoa(p.rate))
		if guarded {
			m.cmd.Env = append(m.cmd.Env, "FLEET_REDIS="+p.redis)
		}
		m.cmd.Stderr = &m.stderr
		in, inErr := m.cmd.StdinPipe()
		out, outErr := m.cmd.StdoutPipe()
		if err := errors.Join(inErr, outErr); err != nil {
			return nil, errors.Join(err, f.end())
		}
		m.in, m.out = in, bufio.NewReader(out)
		if err := m.cmd.Start(); err != nil {
			return nil, errors.Join(err, f.end())
		}
		f.members = append(f.members, m)
	}
	for _, m := range f.members { // all are up before the first begins
		if _, err := m.read(); err != nil {
			return nil, errors.Join(err, f.end())
		}
	}
	return f, nil
}

func (m *member) read() (string, error) {
	line, err := m.out.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("a process ended: %w", err)
	}
	return strings.TrimSpace(line), nil
}

// use has all processes use their pools at once, and returns what each said.
func (f *fleet) use() ([]string, error) {
	said, errs := make([]string, len(f.members)), make([]error, len(f.members))
	var all sync.WaitGroup
	for i, m := range f.members {
		all.Go(func() {
			if _, errs[i] = io.WriteString(m.in, "use\n"); errs[i] == nil {
				said[i], errs[i] = m.read()
			}
		})
	}
	all.Wait()
	return said, errors.Join(errs...)
}

// end waits for the processes.
func (f *fleet) end() error {
	var errs []error
	for _, m := range f.members {
		_ = m.in.Close()
	}
	for _, m := range f.members {
		if err := m.cmd.Wait(); err != nil {
			errs = append(errs, fmt.Errorf("a process: %w: %s", err, bytes.TrimSpace(m.stderr.Bytes())))
		}
	}
	return errors.Join(errs...)
}

// beMember is such a process. What it does to have a guard is what your program does.
func beMember(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) int {
	db, stop, err := open()
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	defer stop()
	fmt.Fprintln(stdout, "ready")
	turns := bufio.NewScanner(stdin)
	for turns.Scan() {
		fmt.Fprintln(stdout, use(ctx, db))
	}
	return 0
}

// open opens the pool.
func open() (db *sql.DB, stop func(), err error) {
	cfg, err := gosnowflake.ParseDSN(os.Getenv("FLEET_DSN"))
	if err != nil {
		return nil, nil, err
	}
	cfg.Password = os.Getenv("FLEET_PASSWORD")
	opts := []snowtether.Option{snowtether.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil)))}
	stopRedis := func() {}
	if address := os.Getenv("FLEET_REDIS"); address != "" {
		rate, err := strconv.Atoi(os.Getenv("FLEET_RATE"))
		if err != nil {
			return nil, nil, err
		}
		client := connect(address)
		stopRedis = func() { _ = client.Close() }
		guard, err := NewGuard(client, []byte(os.Getenv("FLEET_KEY")), rate, cooldown)
		if err != nil {
			return nil, nil, err
		}
		opts = append(opts, snowtether.WithLoginGuard(guard))
	}
	connector, err := snowtether.NewConnector(cfg, opts...)
	if err != nil {
		stopRedis()
		return nil, nil, err
	}
	db = sql.OpenDB(connector)
	db.SetMaxOpenConns(poolSize)
	db.SetMaxIdleConns(poolSize)
	return db, func() {
		_ = db.Close()
		stopRedis() // the guard is told of the last logins before
	}, nil
}

// connect makes a client that gives up before snowtether does without the guard: a login
// should not wait for a Redis that is down.
func connect(address string) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: address, DialTimeout: time.Second, ReadTimeout: time.Second, WriteTimeout: time.Second,
		MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true,
	})
}

// use has so many callers as there are connections use the pool, and says what became of it.
func use(ctx context.Context, db *sql.DB) string {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	conns, errs := make([]*sql.Conn, poolSize), make([]error, poolSize)
	var callers sync.WaitGroup
	for i := range poolSize {
		callers.Go(func() {
			if conns[i], errs[i] = db.Conn(ctx); errs[i] == nil {
				_, errs[i] = conns[i].ExecContext(ctx, "SELECT 1")
			}
		})
	}
	callers.Wait()
	for _, conn := range conns { // none before all of them have one
		if conn != nil {
			_ = conn.Close()
		}
	}
	suspended := 0
	for _, err := range errs {
		switch {
		case errors.Is(err, snowtether.ErrLoginSuspended):
			suspended++
		case err != nil:
			return saidFailed + strings.ReplaceAll(err.Error(), "\n", " ")
		}
	}
	if suspended > 0 {
		return saidSuspended
	}
	return saidServed
}
