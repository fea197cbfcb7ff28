// Verify asks a Snowflake account whether it behaves as snowtether believes, and prints a
// report that can be pasted into an issue.
//
//	go run ./cmd/verify                     # what it would ask, and what that costs
//	go run ./cmd/verify -dsn 'user:password@account/database?warehouse=xs'
//
// Without -dsn it takes SNOWFLAKE_DSN; with neither it asks nothing. By default it takes at most
// a quarter of an hour and 0.3 credits of an XS warehouse. All that it makes stands in a schema of its own, which is
// dropped in the end, also after Ctrl-C. The report has no value, token or name in it.
//
// The exit status is 0 if all on which safety rests is as believed, or was not asked; 1 if
// some of it is wrong; 2 if the account could not be asked, or something was left behind that
// -cleanup has to drop; 130 after Ctrl-C.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/verify"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait for the clean-up
	os.Exit(run(ctx, os.Args[1:], os.Getenv("SNOWFLAKE_DSN"), os.Stdout, os.Stderr))
}

// settings are what the flags say.
type settings struct {
	options  verify.Options
	dsn      string
	adminDSN string
	json     string
	ca       string
	cleanup  bool
}

// run is main, for the tests as well. It returns the exit status.
func run(ctx context.Context, args []string, dsn string, stdout, stderr io.Writer) int {
	_ = gosnowflake.GetLogger().SetLogLevel("off") // it logs each error that it returns, with names
	s, err := parse(args, dsn, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err == nil && s.dsn == "" && !s.cleanup:
		err = s.plan(stdout)
		if err == nil {
			err = errors.New("no account was asked: give -dsn, or set SNOWFLAKE_DSN")
		}
	case err == nil:
		err = s.open()
	}
	if err != nil {
		fmt.Fprintln(stderr, "verify:", err)
		return 2
	}
	if s.cleanup {
		return cleanup(ctx, s.options, stdout, stderr)
	}
	return s.ask(ctx, stdout, stderr)
}

func parse(args []string, dsn string, stderr io.Writer) (s settings, err error) {
	flags := flag.NewFlagSet("verify", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // a wrong flag gets one line, not the usage
	flags.StringVar(&s.dsn, "dsn", dsn, "the account, user, database and warehouse to ask with; SNOWFLAKE_DSN without it")
	flags.StringVar(&s.adminDSN, "admin-dsn", "", "an administrator of the same account: also ask with a throw-away user, policies and a warehouse of its own")
	flags.BoolVar(&s.options.Slow, "slow", false, "also ask what takes an hour")
	only := flags.String("only", "", "ask only these `checks`, separated by commas")
	flags.StringVar(&s.json, "json", "", "also write the report as JSON to this `file`")
	flags.StringVar(&s.ca, "ca", "", "a PEM `file` with the root certificates for the tlsConfigName of the DSN")
	flags.BoolVar(&s.cleanup, "cleanup", false, "ask nothing; drop what runs that were killed have left behind. No other run may be under way")
	flags.Usage = func() {}
	err = flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stderr, "Asks a Snowflake account whether it behaves as snowtether believes.\nWithout a DSN it prints what it would ask.\n\nusage: go run ./cmd/verify [flags]\n")
		flags.SetOutput(stderr)
		if dsn != "" {
			flags.Lookup("dsn").DefValue = "" // it may have a password in it
		}
		flags.PrintDefaults()
	case err != nil:
		err = errors.New("a flag is wrong; -h lists them") // the flag package repeats the value
		for _, arg := range args {
			if name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "="); strings.HasPrefix(arg, "-") && flags.Lookup(name) == nil && isName(name) {
				err = fmt.Errorf("there is no flag -%s; -h lists them", name)
			}
		}
	case flags.NArg() > 0:
		err = errors.New("there are no arguments, only flags")
	case s.cleanup && s.dsn == "":
		err = errors.New("-cleanup needs an account: give -dsn, or set SNOWFLAKE_DSN")
	}
	for name := range strings.SplitSeq(*only, ",") {
		if name = strings.TrimSpace(name); name != "" {
			s.options.Only = append(s.options.Only, name)
		}
	}
	return s, err
}

// isName reports whether a text is harmless enough to be repeated in an error.
func isName(text string) bool {
	return text != "" && len(text) < 20 && strings.Trim(text, "abcdefghijklmnopqrstuvwxyz-") == ""
}

// plan says what would be asked. With -admin-dsn that is also what only administrators can.
func (s *settings) plan(stdout io.Writer) error {
	o := s.options
	if s.adminDSN != "" {
		o.Admin = &gosnowflake.Config{}
	}
	return verify.Plan(stdout, o)
}

// open reads the DSNs.
func (s *settings) open() (err error) {
	if s.options.Config, err = s.config(s.dsn, "the DSN"); err == nil && s.adminDSN != "" {
		s.options.Admin, err = s.config(s.adminDSN, "-admin-dsn")
	}
	return err
}

// config reads a DSN as the driver does, whose errors repeat no value.
func (s *settings) config(dsn, what string) (*gosnowflake.Config, error) {
	if err := s.registerTLS(dsn); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if _, err := (snowtether.Driver{}).OpenConnector(dsn); err != nil {
		return nil, fmt.Errorf("%s: %s", what, strings.TrimPrefix(err.Error(), "snowtether: "))
	}
	cfg, err := gosnowflake.ParseDSN(dsn)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be parsed", what)
	}
	for name := range cfg.Params {
		if strings.HasPrefix(name, "tether") { // the driver's own settings are none of a session
			delete(cfg.Params, name)
		}
	}
	return cfg, nil
}

// registerTLS gives the DSN's tlsConfigName a meaning, which only a program can.
func (s *settings) registerTLS(dsn string) error {
	_, query, _ := strings.Cut(dsn, "?")
	params, _ := url.ParseQuery(query)
	name := params.Get("tlsConfigName")
	switch {
	case name == "":
		return nil
	case s.ca == "":
		return errors.New("it has a tlsConfigName, which only a program can register; give its root certificates with -ca")
	}
	pem, err := os.ReadFile(s.ca)
	if err != nil {
		return errors.New("the file of -ca cannot be read")
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return errors.New("the file of -ca has no certificate in PEM form")
	}
	s.options.TLS = &tls.Config{RootCAs: roots}
	return gosnowflake.RegisterTLSConfig(name, s.options.TLS)
}

// ask asks, and prints the report.
func (s *settings) ask(ctx context.Context, stdout, stderr io.Writer) int {
	fmt.Fprintln(stderr, "verify:", verify.Unchecked)
	bar := newBar(stderr)
	s.options.Progress = bar.show
	report, err := verify.Run(ctx, s.options)
	bar.clear()
	status := 0
	if report != nil {
		if len(report.Unsafe()) > 0 {
			status = 1
		}
		if writeErr := report.Text(stdout); writeErr != nil {
			err = errors.Join(err, errors.New("the report could not be written"))
		}
		if s.json != "" {
			if writeErr := writeJSON(s.json, report); writeErr != nil {
				err = errors.Join(err, errors.New("the file of -json could not be written"))
			}
		}
	}
	switch {
	case err == nil:
		return status
	case ctx.Err() != nil && !errors.Is(err, verify.ErrLeft):
		fmt.Fprintln(stderr, "verify: interrupted; what it had made is dropped")
		return 130
	}
	fmt.Fprintln(stderr, "verify:", strings.ReplaceAll(err.Error(), "\n", "; "))
	if status == 1 {
		return 1
	}
	return 2
}

func writeJSON(file string, report *verify.Report) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return report.JSON(f)
}

// cleanup drops what is left of runs that were killed.
func cleanup(ctx context.Context, o verify.Options, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	dropped, err := verify.Cleanup(ctx, o)
	for _, what := range dropped {
		fmt.Fprintln(stdout, "dropped:", what)
	}
	if len(dropped) == 0 && err == nil {
		fmt.Fprintln(stdout, "nothing was left behind")
	}
	if err != nil {
		fmt.Fprintln(stderr, "verify:", strings.ReplaceAll(err.Error(), "\n", "; "))
		return 2
	}
	return 0
}
