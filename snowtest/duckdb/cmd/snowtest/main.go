// Command snowtest is a Snowflake server on this machine, for programs that are not Go tests:
// package snowtest's, with DuckDB for the SQL.
//
//	go run github.com/snowtether/snowtether/snowtest/duckdb/cmd/snowtest
//
// It prints the DSN that reaches it, and the address of its control interface, with which
// sessions are ended, replies lost and the network cut; a GET of that address lists what it
// can do. It listens on 127.0.0.1 only, and keeps everything in memory. -h lists the flags.
//
// The exit status is 0 after Ctrl-C, 1 if the server cannot be started and 2 for wrong flags.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/snowtether/snowtether/snowtest"
	"github.com/snowtether/snowtether/snowtest/duckdb"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait for the clean-up
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is main, for the test as well. It returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "snowtest:", err)
		return 2
	}
	if err := s.serve(ctx, stdout); err != nil {
		fmt.Fprintln(stderr, "snowtest:", err)
		return 1
	}
	return 0
}

// settings are what the flags say.
type settings struct {
	port, control         int
	user, password        string
	tokenLife, masterLife time.Duration
	tls                   bool
	certificate           string // the file that it is written to
}

const usage = `A Snowflake server on 127.0.0.1, with DuckDB for the SQL, until Ctrl-C.
It prints the DSN that reaches it, and the address with which it is controlled.

usage: go run github.com/snowtether/snowtether/snowtest/duckdb/cmd/snowtest [flags]
`

func parse(args []string, stderr io.Writer) (s settings, err error) {
	flags := flag.NewFlagSet("snowtest", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // a wrong flag gets one line, not the usage
	flags.IntVar(&s.port, "port", 0, "the `port` to serve on; 0 is any that is free")
	flags.IntVar(&s.control, "control", 0, "the `port` of the control interface; 0 is any that is free")
	flags.StringVar(&s.user, "user", "tester", "the one `user` that can log in")
	flags.StringVar(&s.password, "password", "secret", "the user's `password`")
	flags.DurationVar(&s.tokenLife, "token-life", time.Hour, "the `duration` for which a session token is valid")
	flags.DurationVar(&s.masterLife, "master-life", 4*time.Hour, "the `duration` for which a master token is valid; it renews session tokens")
	flags.BoolVar(&s.tls, "tls", false, "speak https, with a certificate made at the start")
	flags.StringVar(&s.certificate, "certificate", "", "with -tls, write the certificate to this `file`; the default is a temporary one")
	switch err = flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stderr, usage)
		flags.SetOutput(stderr)
		flags.PrintDefaults()
		fmt.Fprint(stderr, "\nThe control interface:\n", help)
	case err != nil:
		err = fmt.Errorf("%w; -h lists the flags", err)
	case flags.NArg() > 0:
		err = errors.New("there are no arguments, only flags; -h lists them")
	case s.port < 0 || s.port > 65535 || s.control < 0 || s.control > 65535:
		err = errors.New("-port and -control must be from 1 to 65535, or 0 for any that is free")
	case s.port != 0 && s.port == s.control:
		err = errors.New("-port and -control must differ")
	case s.user == "" || s.password == "":
		err = errors.New("-user and -password must not be empty")
	case s.tokenLife <= 0 || s.masterLife <= 0:
		err = errors.New("-token-life and -master-life must be more than 0")
	case s.certificate != "" && !s.tls:
		err = errors.New("-certificate needs -tls")
	}
	return s, err
}

// serve runs the server until the context ends.
func (s *settings) serve(ctx context.Context, stdout io.Writer) (err error) {
	engine, err := duckdb.New()
	if err != nil {
		return err
	}
	opts := []snowtest.Option{
		snowtest.WithEngine(engine), snowtest.WithPort(s.port), snowtest.WithCredentials(s.user, s.password),
		snowtest.WithTokenLife(s.tokenLife, s.masterLife),
	}
	if s.tls {
		opts = append(opts, snowtest.WithTLS())
	}
	srv, err := snowtest.Start(opts...)
	if err != nil {
		return errors.Join(err, engine.Close())
	}
	defer func() { err = errors.Join(err, srv.Close()) }()
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.control)))
	if err != nil {
		return err
	}
	control := newControl(srv)
	web := &http.Server{Handler: control, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- web.Serve(listener) }()
	defer func() {
		_ = web.Close()
		<-served
		control.stop()
	}()

	remove, err := s.trust(srv)
	if err != nil {
		return err
	}
	defer remove()
	s.print(stdout, srv, listener.Addr().String())
	<-ctx.Done()
	fmt.Fprintln(stdout, "stopped")
	return nil
}

// trust writes the certificate to a file, for clients to trust.
func (s *settings) trust(srv *snowtest.Server) (remove func(), err error) {
	if !s.tls {
		return func() {}, nil
	}
	if s.certificate != "" {
		return func() {}, os.WriteFile(s.certificate, srv.CertificatePEM(), 0o644)
	}
	dir, err := os.MkdirTemp("", "snowtest-")
	if err != nil {
		return nil, err
	}
	s.certificate = filepath.Join(dir, "certificate.pem")
	return func() { _ = os.RemoveAll(dir) }, os.WriteFile(s.certificate, srv.CertificatePEM(), 0o644)
}

// print says how to connect.
func (s *settings) print(stdout io.Writer, srv *snowtest.Server, control string) {
	cfg := srv.Config()
	params := url.Values{"account": {cfg.Account}, "protocol": {cfg.Protocol}}
	fmt.Fprintf(stdout, "serving on %s until Ctrl-C\n", srv.URL())
	fmt.Fprintf(stdout, "DSN:     %s:%s@%s:%d/%s/%s?%s\n", url.QueryEscape(s.user), url.QueryEscape(s.password), cfg.Host, cfg.Port, cfg.Database, cfg.Schema, params.Encode())
	if s.tls {
		// Not the DSN's tlsConfigName, which exists in this process only.
		fmt.Fprintf(stdout, "trust:   SSL_CERT_FILE=%s in the environment of a Go program, on Linux\n", s.certificate)
	}
	fmt.Fprintf(stdout, "control: http://%s (curl it: it says what it can do)\n", control)
}
