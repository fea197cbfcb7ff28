// Package verify asks a Snowflake account whether it behaves as snowtether believes. What
// is believed is a table ([Beliefs]); a check asks one or more of its rows and settles
// them. The command is cmd/verify, and examples/verify asks the test server.
//
// All that a run makes stands in a schema of its own (with an administrator also a user, a
// role, a policy and a warehouse), whose name begins with [Prefix]; it is dropped in the end.
// Only sessions, statements and transactions of the run's own are ended. Nothing that is
// shown has a value, a token or a name in it.
package verify

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"
)

// Prefix begins the name of everything that a run makes.
const Prefix = "SNOWTETHER_VERIFY_"

// Options say what a run asks. The zero value but for Config asks the default checks.
type Options struct {
	Config *gosnowflake.Config // of the caller's own user; a copy is used
	Admin  *gosnowflake.Config // of an administrator; nil leaves out what needs one
	TLS    *tls.Config         // of connections to the account; nil is the system's roots
	Only   []string            // names of checks; empty for all
	Slow   bool                // also what takes an hour
	// Progress is called as checks begin and end, from one goroutine at a time; nil for none.
	Progress func(Progress)
}

// Progress is how far a run has come.
type Progress struct {
	Done, All int           // checks
	Running   []string      // their names, sorted
	Left      time.Duration // that those which run may still take
}

// chosen are the checks that the options ask for, in the order of the table.
func (o *Options) chosen() ([]check, error) {
	for _, name := range o.Only {
		if !slices.ContainsFunc(checks, func(c check) bool { return c.name == name }) {
			return nil, fmt.Errorf("there is no check of that name; there are %s", strings.Join(Names(), ", "))
		}
	}
	var list []check
	for _, c := range checks {
		named := slices.Contains(o.Only, c.name)
		wanted := len(o.Only) == 0 && (!c.slow || o.Slow) && (!c.admin || o.Admin != nil)
		if named && c.admin && o.Admin == nil {
			return nil, fmt.Errorf("the check %q needs an administrator: -admin-dsn", c.name)
		}
		if named || wanted {
			list = append(list, c)
		}
	}
	return list, nil
}

// askForPersons are the authenticators that need somebody for each login, or take a secret
// only once: a second login would be refused.
var askForPersons = map[gosnowflake.AuthType]string{
	gosnowflake.AuthTypeExternalBrowser:        "a browser",
	gosnowflake.AuthTypeUsernamePasswordMFA:    "a second factor",
	gosnowflake.AuthTypeOAuthAuthorizationCode: "a browser",
	gosnowflake.AuthTypeTokenAccessor:          "tokens of one session",
}

// admissible refuses Configs with which a run's some thirty logins could not all succeed.
func admissible(cfg *gosnowflake.Config, what string) error {
	switch need := askForPersons[cfg.Authenticator]; {
	case need != "":
		return fmt.Errorf("%s logs in with %s, and verify needs about thirty logins; use a key pair, a programmatic access token or a password", what, need)
	case cfg.Passcode != "" || cfg.PasscodeInPassword:
		return fmt.Errorf("%s has a passcode, which is good for one login, and verify needs about thirty; use a key pair or a programmatic access token", what)
	case cfg.Database == "":
		return fmt.Errorf("%s names no database; verify makes a schema of its own in it", what)
	}
	return nil
}

// A run is one call of Run.
type run struct {
	Options
	own    *account
	admin  *account // nil without
	name   string   // of all that it makes
	schema string   // with its database
	store  *session // of the schema

	mu       sync.Mutex
	outcomes map[string]Outcome
	thrown   []*account           // throw-away users
	left     []string             // statements that would drop what is left
	running  map[string]time.Time // the end of each check that runs, at the latest
	done     int
	all      int
}

// ErrLeft is in the chain of an error that says what a run could not drop.
var ErrLeft = errors.New("not everything that was made could be dropped")

// Run asks. An error means that the account could not be asked, or, if it Is [ErrLeft], that
// something was left behind; the report then has what was settled. When ctx ends, the run
// ends what it has begun and drops what it has made, for at most a minute, and the error is
// the context's.
func Run(ctx context.Context, o Options) (*Report, error) {
	list, err := o.chosen()
	if err != nil {
		return nil, err
	}
	r := &run{Options: o, outcomes: map[string]Outcome{}, running: map[string]time.Time{}, all: len(list)}
	if err := r.open(ctx); err != nil {
		return nil, errors.Join(err, r.close(ctx))
	}
	begun := time.Now()
	r.ask(ctx, list)
	report := r.report(list, time.Since(begun))
	return report, errors.Join(ctx.Err(), r.close(ctx))
}

// open logs in, once as each user before anything else, and makes the schema.
func (r *run) open(ctx context.Context) error {
	if err := admissible(r.Config, "the DSN"); err != nil {
		return err
	}
	r.own = newAccount(r.Config, r.TLS)
	r.name = Prefix + time.Now().UTC().Format("20060102T150405") + "_" + rand.Text()[:8]
	r.schema = name(r.Config.Database) + "." + r.name
	if r.Admin != nil {
		if err := admissible(r.Admin, "the administrator's DSN"); err != nil {
			return err
		}
		r.admin = newAccount(r.Admin, r.TLS)
		if _, err := r.admin.login(ctx, nil); err != nil {
			return fmt.Errorf("as the administrator: %w", err)
		}
	}
	store, err := r.own.login(ctx, nil)
	if err != nil {
		return err
	}
	r.store = store // from here on there may be a schema
	made, err := store.run(ctx, "CREATE TRANSIENT SCHEMA "+r.schema)
	if err == nil && !made.Success {
		r.store = nil // Snowflake says that there is none of this run's, so nothing is dropped
		err = store.unexpected("a statement", made)
	}
	if err != nil {
		return fmt.Errorf("the schema of the run's own could not be made: %w", err)
	}
	return nil
}

// close ends all sessions of the run's and drops what it has made, also where ctx has ended.
func (r *run) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	var err error
	if r.store != nil {
		r.own.closeOthers(ctx, r.store) // what runs would keep the schema
		if dropErr := r.own.drop(ctx, r.store, "DROP SCHEMA IF EXISTS "+r.schema); dropErr != nil {
			err = fmt.Errorf("%w: the schema %s: %w", ErrLeft, r.name, dropErr)
		}
	}
	for _, a := range append(r.thrown, r.own, r.admin) {
		if a != nil {
			a.closeAll(ctx)
		}
	}
	if len(r.left) > 0 {
		err = errors.Join(err, fmt.Errorf("%w: %s", ErrLeft, strings.Join(r.left, "; ")))
	}
	return err
}

// quotedName is a name in double quotes, and nothing behind it.
var quotedName = regexp.MustCompile(`^"([^"]|"")+"$`)

// name writes a name as statements need it. One that is not plain is quoted.
func name(text string) string {
	plain := text != "" && strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_$") == "" &&
		!strings.Contains("0123456789$", text[:1])
	if plain || quotedName.MatchString(text) {
		return text
	}
	return `"` + strings.ReplaceAll(text, `"`, `""`) + `"`
}

// ask runs the checks: those that take minutes side by side, and the short ones one after
// another beside them.
func (r *run) ask(ctx context.Context, list []check) {
	var wg sync.WaitGroup
	var short []check
	for _, c := range list {
		if c.wait < time.Minute {
			short = append(short, c)
			continue
		}
		wg.Go(func() { r.one(ctx, c) })
	}
	for _, c := range short {
		r.one(ctx, c)
	}
	wg.Wait()
}

// one runs a check, and says of what it did not settle that it was not asked.
func (r *run) one(ctx context.Context, c check) {
	r.progress(func() { r.running[c.name] = time.Now().Add(c.wait) })
	begun := time.Now()
	e := &env{run: r, check: c, table: r.schema + "." + strings.ToUpper(c.name)}
	bounded, cancel := context.WithTimeout(ctx, 2*c.wait+5*time.Minute)
	defer cancel()
	err := e.guard(bounded)
	reason := "the check did not come to it"
	if err != nil {
		reason = err.Error()
	}
	switch {
	case ctx.Err() != nil:
		reason = "interrupted"
	case bounded.Err() != nil:
		reason = "it took far longer than it should"
	}
	r.mu.Lock()
	for _, b := range Beliefs {
		if o, settled := r.outcomes[b.Name]; b.Check == c.name {
			if !settled {
				o = Outcome{Verdict: NotAsked, Answer: reason}
			}
			o.Belief, o.Seconds, o.Credits = b, max(rounded(time.Since(begun).Seconds()), 0.001), rounded(c.credits())
			r.outcomes[b.Name] = o
		}
	}
	r.mu.Unlock()
	r.progress(func() { delete(r.running, c.name); r.done++ })
}

// guard runs a check. A panic of one takes nothing of the others along, nor the clean-up.
func (e *env) guard(ctx context.Context) (err error) {
	guarded(&err, func() error { return e.check.ask(ctx, e) })()
	return err
}

// guarded is what a check runs, also side by side: a panic in it is its error.
func guarded(err *error, fn func() error) func() {
	return func() {
		defer func() {
			if recover() != nil {
				*err = errors.New("the check failed by a mistake of its own")
			}
		}()
		*err = fn()
	}
}

// together runs parts of a check side by side, and waits for all.
func together(parts ...func() error) error {
	errs := make([]error, len(parts))
	var wg sync.WaitGroup
	for i, part := range parts {
		wg.Go(guarded(&errs[i], part))
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (r *run) progress(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
	if r.Progress == nil {
		return
	}
	p := Progress{Done: r.done, All: r.all}
	for name, end := range r.running {
		p.Running = append(p.Running, name)
		p.Left = max(p.Left, time.Until(end))
	}
	slices.Sort(p.Running)
	r.Options.Progress(p)
}

// An env is what a check works with.
type env struct {
	*run
	check check
	table string // of the check's own; makeTable makes it
}

// settle records what an account answered to a belief, once. The answer is a sentence without
// a value or a name in it. Of a belief that was found wrong nothing else is heard.
func (e *env) settle(belief string, asBelieved bool, exchanges []Exchange, answer string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if before, settled := e.outcomes[belief]; settled && before.Verdict == Wrong || !e.check.settles(belief) {
		return
	}
	o := Outcome{Verdict: AsBelieved, Answer: fmt.Sprintf(answer, args...), Exchanges: exchanges}
	if !asBelieved {
		o.Verdict = Wrong
	}
	e.outcomes[belief] = o
}

// skip records why a belief was not asked.
func (e *env) skip(belief, reason string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, settled := e.outcomes[belief]; !settled && e.check.settles(belief) {
		e.outcomes[belief] = Outcome{Verdict: NotAsked, Answer: reason}
	}
}

// seen are exchanges of one form.
func (e *env) seen(form string, replies ...*reply) (list []Exchange) {
	for _, r := range replies {
		if r != nil {
			list = append(list, e.own.blank.exchange(form, r))
		}
	}
	return list
}

// session logs the caller's user in, into the schema of the run's own.
func (e *env) session(ctx context.Context) (*session, error) { return e.own.login(ctx, nil) }

// pair is two sessions, one to be disturbed and one beside it.
func (e *env) pair(ctx context.Context) (one, beside *session, err error) {
	if one, err = e.session(ctx); err == nil {
		beside, err = e.session(ctx)
	}
	return one, beside, err
}

// makeTable makes the check's table, with a text M and a number N.
func (e *env) makeTable(ctx context.Context, s *session) error {
	_, err := s.must(ctx, "CREATE TABLE "+e.table+" (M VARCHAR, N NUMBER)")
	return err
}

// insert is an INSERT of one row that is known by its mark.
func (e *env) insert(mark string) string {
	return fmt.Sprintf("INSERT INTO %s VALUES ('%s', 1)", e.table, mark)
}

// slow is an INSERT of one row that takes so long.
func (e *env) slow(mark string, d time.Duration) string {
	return fmt.Sprintf("INSERT INTO %s SELECT '%s', COUNT(*) FROM TABLE(GENERATOR(TIMELIMIT => %d))", e.table, mark, int(d.Seconds()))
}

// count counts the rows of a mark.
func (e *env) count(ctx context.Context, s *session, mark string) (int, error) {
	r, err := s.must(ctx, fmt.Sprintf("SELECT COUNT(*) FROM %s WHERE M = '%s'", e.table, mark))
	if err != nil {
		return 0, err
	}
	if n := number(r.cell()); n >= 0 {
		return n, nil
	}
	return 0, errors.New("a count was answered with no number")
}
