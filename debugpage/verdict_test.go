package debugpage_test

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/debugpage"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about the sentence: what it says when, of connectors that something
// happened to and of snapshots that are hard to come by.

// verdict is the sentence that an operator sees.
func verdict(t *testing.T, c *snowtether.Connector) string {
	t.Helper()
	_, body := get(t, debugpage.Handler(c), "/?format=json")
	var page struct {
		Pools []struct{ Level, Sentence string }
	}
	if err := json.Unmarshal([]byte(body), &page); err != nil || len(page.Pools) != 1 {
		t.Fatalf("%v in %s", err, body)
	}
	return page.Pools[0].Level + ": " + page.Pools[0].Sentence
}

// down makes the server answer all logins with the fault for a while.
func down(srv *snowtest.Server, d time.Duration, f snowtest.Fault) {
	until := time.Now().Add(d)
	srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
		if r.Kind != snowtest.RequestLogin || !time.Now().Before(until) {
			return snowtest.Fault{}, false
		}
		return f, true
	})
}

// TestSentenceSaysHowThePoolIs: and what needs doing, as it goes from one state to
// the next. The clock begins at midnight UTC of 1 January 2000.
func TestSentenceSaysHowThePoolIs(t *testing.T) {
	for _, tt := range []struct {
		name string
		use  func(t *testing.T, srv *snowtest.Server, says func(c *snowtether.Connector, pattern string))
	}{
		{"from the first use to the end", func(t *testing.T, srv *snowtest.Server, says func(*snowtether.Connector, string)) {
			db, c := open(t, srv.Config(), 0)
			says(c, `^ok: No session has been opened yet; the first use of the pool logs in; nothing needs doing\.$`)
			db.SetMaxIdleConns(8)
			if err := snowtether.Warm(t.Context(), db, 8); err != nil {
				t.Fatal(err)
			}
			says(c, `^ok: All 8 sessions are in order; nothing needs doing\.$`)
			db.SetMaxIdleConns(1)
			synctest.Wait()
			says(c, `^ok: The one session is in order; nothing needs doing\.$`)
			db.SetMaxIdleConns(-1)
			synctest.Wait()
			says(c, `^ok: No session is open; the next use of the pool logs in; nothing needs doing\.$`)
			if err := db.Close(); err != nil {
				t.Error(err)
			}
			says(c, `^closed: The program has closed this pool; it has no sessions and makes no logins\.$`)
		}},
		{"sessions lost", func(t *testing.T, srv *snowtest.Server, says func(*snowtether.Connector, string)) {
			db, c := open(t, srv.Config(), 3)
			tx, err := db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			srv.AbortSessions()
			if _, err := tx.ExecContext(t.Context(), "INSERT INTO t VALUES (1)"); err == nil {
				t.Error("it succeeded")
			}
			says(c, `^ok: 1 of 3 sessions turned out to be dead and will be replaced; 2 of 3 sessions will be checked before the next use, because another turned out to be dead; nothing needs doing\.$`)
			_ = tx.Rollback()
			settle(t, db, 3)
			synctest.Wait()
			says(c, `^ok: All 3 sessions are in order; nothing needs doing\.$`)
		}},
		{"outage", func(t *testing.T, srv *snowtest.Server, says func(*snowtether.Connector, string)) {
			db, c := open(t, srv.Config(), 1)
			srv.AbortSessions()
			time.Sleep(41 * time.Minute)
			down(srv, 9*time.Minute, snowtest.Fault{Status: 503})
			ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
			defer cancel()
			_ = db.PingContext(ctx)
			says(c, `^wait: Snowflake cannot be reached since 00:41 UTC; logins, and statements that were not sent, are tried again, and this program needs nothing\. The cause is in the network`)
			time.Sleep(time.Minute)
			if err := db.PingContext(t.Context()); err != nil {
				t.Error(err)
			}
			says(c, `^ok: The one session is in order; nothing needs doing\. Snowflake could not be reached from 00:41 to 00:50 UTC\.$`)
			time.Sleep(time.Hour)
			says(c, `^ok: The one session is in order; nothing needs doing\.$`)
		}},
		{"login refused", func(t *testing.T, srv *snowtest.Server, says func(*snowtether.Connector, string)) {
			db, c := open(t, srv.Config(), 2)
			conn, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			other, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			down(srv, 50*time.Second, snowtest.Fault{Code: "390100", Message: "Incorrect username or password was specified."})
			_ = db.PingContext(t.Context())
			says(c, `^act: A login was refused with code 390100 \(wrong user name or password\): change the credentials, .* none is sent before 00:00:30 UTC; the 2 sessions that are open can be used meanwhile\.$`)
			time.Sleep(31 * time.Second)
			says(c, `^act: The last login, at 00:00 UTC, was refused with code 390100 .* The next one is sent when somebody needs a session; the 2 sessions`)
			_ = db.PingContext(t.Context())
			says(c, `^act: The last 2 logins were refused, the last one with code 390100 .* none is sent before 00:01:31 UTC`)
			time.Sleep(2 * time.Minute)
			if err := db.PingContext(t.Context()); err != nil {
				t.Error(err)
			}
			says(c, `^ok: All 3 sessions are in order; nothing needs doing\. Logins were refused from 00:00 to 00:02 UTC\.$`)
		}},
		{"set-up fails", func(t *testing.T, srv *snowtest.Server, says func(*snowtether.Connector, string)) {
			srv.Handle("^USE", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
				return nil, &snowtest.Error{Code: "002043", SQLState: "02000", Message: "Object does not exist."}
			})
			db, c := open(t, srv.Config(), 0, snowtether.WithSessionInit("USE SCHEMA s"))
			_ = db.PingContext(t.Context())
			synctest.Wait()
			says(c, `^act: The last new session, at 00:00 UTC, could not be set up and was closed \(code 2043\): correct the statements of WithSessionInit or the hook of WithAfterConnect; no session is open`)
		}},
		{"sessions that do not last", func(t *testing.T, srv *snowtest.Server, says func(*snowtether.Connector, string)) {
			db, c := open(t, srv.Config(), 0)
			srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
				if r.Kind != snowtest.RequestQuery {
					return snowtest.Fault{}, false
				}
				srv.AbortSessions()
				return snowtest.Fault{}, false
			})
			for range 12 {
				_ = db.PingContext(t.Context())
			}
			says(c, `^act: Since 00:00 UTC sessions end before they can be used; logins are spaced out until one lasts\. The last one was lost with code 390111\. Find out`)
		}},
		{"statement in doubt", func(t *testing.T, srv *snowtest.Server, says func(*snowtether.Connector, string)) {
			db, c := open(t, srv.Config(), 1)
			const insert = "INSERT INTO t VALUES (1)"
			srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
				return snowtest.Fault{Run: true, Drop: true, After: func() { srv.AbortSessions() }}, r.Kind == snowtest.RequestQuery && r.SQL == insert
			})
			if _, err := db.ExecContext(t.Context(), insert); err == nil {
				t.Error("it succeeded")
			}
			if err := db.PingContext(t.Context()); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			says(c, `^act: One statement \(exec\) failed at 00:00 UTC and may have run: look in QUERY_HISTORY for what ran in session \d+ at about 00:00 UTC, and at what the statement should have changed; once it is over, run it again only if nothing of it is there\. The one session is in order\.$`)
		}},
		{"log-outs that hang", func(t *testing.T, srv *snowtest.Server, says func(*snowtether.Connector, string)) {
			db, c := open(t, srv.Config(), 2)
			srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
				if r.Kind != snowtest.RequestLogout {
					return snowtest.Fault{}, false
				}
				return snowtest.Fault{Delay: time.Minute}, true
			})
			go func() { _ = db.Close() }()
			synctest.Wait()
			says(c, `^closed: The program has closed this pool; 2 sessions are being logged out\.$`)
			time.Sleep(11 * time.Second)
			says(c, `^closed: The program has closed this pool; 2 sessions were not logged out in time and will be ended by Snowflake\.$`)
			time.Sleep(time.Hour)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := snowtest.New(t, snowtest.InMemory())
				tt.use(t, srv, func(c *snowtether.Connector, pattern string) {
					t.Helper()
					if got := verdict(t, c); !regexp.MustCompile(pattern).MatchString(got) {
						t.Errorf("the page says\n%s\nwant\n%s", got, pattern)
					}
				})
			})
		})
	}
}

// TestSentenceOfASnapshot: the states that are hard to come by.
func TestSentenceOfASnapshot(t *testing.T) {
	now := time.Date(2026, time.March, 4, 0, 30, 0, 0, time.UTC)
	ago := func(d time.Duration, e snowtether.Event) snowtether.Event {
		e.Time = now.Add(-d)
		return e
	}
	sessions := func(states ...snowtether.SessionState) (out []snowtether.SessionInfo) {
		for i, s := range states {
			out = append(out, snowtether.SessionInfo{ID: int64(i + 1), State: s})
		}
		return out
	}
	refused := func(code int) []snowtether.Event {
		return []snowtether.Event{ago(time.Minute, snowtether.Event{Kind: snowtether.EventLoginFailed, Code: code, Class: snowtether.ClassPermanent})}
	}
	idle := sessions(snowtether.SessionIdle)
	doubt := snowtether.Event{Kind: snowtether.EventInDoubt, QueryID: "01-a"}
	for _, tt := range []struct {
		name string
		s    snowtether.Snapshot
		want string
	}{
		{"an outage since yesterday", snowtether.Snapshot{Sessions: idle, Gate: snowtether.GateInfo{State: snowtether.GateProbing, Since: now.Add(-time.Hour)}}, "wait: Snowflake cannot be reached since 3 Mar 23:30 UTC; "},
		{"never reached", snowtether.Snapshot{Gate: snowtether.GateInfo{State: snowtether.GateProbing, Since: now}}, "act: Snowflake cannot be reached since 00:30 UTC, and no login has succeeded yet; logins are tried again. Look at the names"},
		{"paced, and nothing known", snowtether.Snapshot{Gate: snowtether.GateInfo{State: snowtether.GatePaced, Since: now}}, "until one lasts. Find out"},
		{"suspended without a code", snowtether.Snapshot{Gate: snowtether.GateInfo{State: snowtether.GateSuspended, Until: now, Failures: 1}}, "act: A login was refused without a code: look up its text in the log, and change what that names. With the same credentials none is sent before 00:30:00 UTC; no session"},
		{"an unknown code", snowtether.Snapshot{Events: refused(399999)}, "was refused with code 399999: look up its text in the log, and change what that names. The next one"},
		{"not from here", snowtether.Snapshot{Events: refused(390422)}, "code 390422 (address not allowed): let the network policy allow this machine's address. "},
		{"stale key pair", snowtether.Snapshot{Events: refused(390144)}, "RSA_PUBLIC_KEY"},
		{"refused, then accepted", snowtether.Snapshot{Sessions: idle, Events: append(refused(390100), snowtether.Event{Kind: snowtether.EventOpened})}, "ok: The one session is in order; nothing needs doing."},
		{"a login that failed by the network", snowtether.Snapshot{Sessions: idle, Events: []snowtether.Event{{Kind: snowtether.EventLoginFailed, Class: snowtether.ClassTransient}}}, "ok: The one session is in order"},
		{"a credential that stayed stale", snowtether.Snapshot{Events: []snowtether.Event{{Kind: snowtether.EventLoginFailed, Class: snowtether.ClassCredential, Code: 390318}}}, "code 390318 (token expired): change the credentials"},
		{"a session that was lost in its set-up", snowtether.Snapshot{Sessions: idle, Events: []snowtether.Event{{Kind: snowtether.EventSetUpFailed, Class: snowtether.ClassSessionLost}}}, "ok: "},
		{"a set-up that failed beside one that went well", snowtether.Snapshot{Sessions: idle, Events: []snowtether.Event{
			{Kind: snowtether.EventOpened, SessionID: 1}, {Kind: snowtether.EventSetUpFailed, SessionID: 1, Class: snowtether.ClassStatement}, {Kind: snowtether.EventOpened, SessionID: 2},
		}}, "ok: "},
		{"one that is being logged out", snowtether.Snapshot{Sessions: sessions(snowtether.SessionUsed, snowtether.SessionClosing)}, "ok: The one session is in order; 1 session is being logged out; nothing needs doing."},
		{"all dead", snowtether.Snapshot{Sessions: sessions(snowtether.SessionDead, snowtether.SessionDead)}, "ok: 2 of 2 sessions turned out to be dead and will be replaced; nothing needs doing."},
		{"two in doubt", snowtether.Snapshot{Sessions: idle, Events: []snowtether.Event{ago(5*time.Hour, doubt), ago(time.Minute, doubt)}}, "act: 2 statements have failed since 3 Mar 19:30 UTC and may have run. Each of them is listed; for the last one, at 00:29 UTC: look up query 01-a in QUERY_HISTORY, and run the statement again only if it failed there. The one session is in order."},
		{"in doubt in an outage", snowtether.Snapshot{Sessions: idle, Gate: snowtether.GateInfo{State: snowtether.GateProbing, Since: now}, Events: []snowtether.Event{ago(0, doubt)}}, "act: One statement failed at 00:30 UTC and may have run: look up query 01-a in QUERY_HISTORY, and run the statement again only if it failed there. Snowflake cannot be reached since 00:30 UTC"},
		{"seen by somebody", snowtether.Snapshot{Sessions: idle, Events: []snowtether.Event{ago(time.Minute, doubt)}}, "ok: The one session is in order; nothing needs doing."},
		{"in doubt the day before yesterday", snowtether.Snapshot{Sessions: idle, Events: []snowtether.Event{ago(25*time.Hour, doubt)}}, "ok: The one session is in order; nothing needs doing."},
		{"pacing that is over", snowtether.Snapshot{Sessions: idle, Events: []snowtether.Event{ago(time.Minute, snowtether.Event{Kind: snowtether.EventPacingEnded, Duration: time.Hour})}}, "nothing needs doing. From 3 Mar 23:29 to 00:29 UTC sessions ended before they could be used."},
		{"statements that wait", snowtether.Snapshot{Sessions: idle, Waiting: snowtether.WaitingInfo{Statements: 5, Unanswered: 4, Oldest: 17 * time.Second, Silence: 18 * time.Second}}, "wait: 4 statements have waited up to 17s for an answer, and nothing else was answered meanwhile. That is usual while statements run for long"},
		{"a login that waits", snowtether.Snapshot{Waiting: snowtether.WaitingInfo{Logins: 1, Oldest: 17 * time.Second}}, "wait: 1 login has waited 17s for an answer, and nothing"},
		{"statements that wait while others do not", snowtether.Snapshot{Sessions: idle, Waiting: snowtether.WaitingInfo{Unanswered: 2, Logins: 1, Oldest: 17 * time.Second, Silence: time.Second}}, "ok: The one session is in order; 2 statements and 1 login have waited up to 17s for an answer, while others are answered; nothing needs doing."},
		{"statements that nobody will answer", snowtether.Snapshot{Sessions: idle, Waiting: snowtether.WaitingInfo{Unanswered: 4, Oldest: 75 * time.Second, Silence: 80 * time.Second}}, "wait: Snowflake cannot be reached since 00:28 UTC: 4 statements have waited up to 1m 15s for an answer, and nothing else was answered meanwhile."},
		{"a statement that got lost", snowtether.Snapshot{Sessions: idle, Waiting: snowtether.WaitingInfo{Unanswered: 1, Oldest: 75 * time.Second, Silence: time.Second}}, "wait: 1 statement has waited 1m 15s for an answer, while others are answered. Snowflake answers within 45 s"},
		{"a doubt, and statements that wait", snowtether.Snapshot{Sessions: idle, Events: []snowtether.Event{ago(time.Minute, doubt)}, Waiting: snowtether.WaitingInfo{Unanswered: 1, Oldest: 7 * time.Second}}, "act: One statement failed at 00:29 UTC"},
		{"pings that are late", snowtether.Snapshot{Sessions: idle, Events: []snowtether.Event{ago(time.Minute, snowtether.Event{Kind: snowtether.EventPingsLate, Count: 9000})}}, "act: Since 00:29 UTC idle sessions are asked too late whether they are alive, and may end: make"},
		{"pings that were late", snowtether.Snapshot{Sessions: idle, Events: []snowtether.Event{
			ago(time.Hour, snowtether.Event{Kind: snowtether.EventPingsLate}), ago(time.Minute, snowtether.Event{Kind: snowtether.EventPingsInTime, Duration: 59 * time.Minute}),
		}}, "nothing needs doing. From 3 Mar 23:30 to 00:29 UTC idle sessions were asked too late whether they are alive."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.s.Time = now
			if tt.s.Gate.State == "" {
				tt.s.Gate.State = snowtether.GateFree
			}
			if len(tt.s.Sessions) > 0 {
				tt.s.Stats.Logins = 1
			}
			for _, e := range tt.s.Events {
				if age := now.Sub(e.Time); e.Kind == snowtether.EventInDoubt && !strings.HasPrefix(tt.name, "seen") && age < 24*time.Hour {
					if tt.s.InDoubt.Count++; tt.s.InDoubt.Count == 1 {
						tt.s.InDoubt.Since = e.Time
					}
				}
			}
			if got := debugpage.Judge(tt.s); !strings.Contains(got, tt.want) {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// TestSentenceStaysBetweenEvents: a screen reader that reads it aloud when it changes
// is silent while nothing happens.
func TestSentenceStaysBetweenEvents(t *testing.T) {
	s := troubled()
	for _, state := range []snowtether.GateState{snowtether.GateSuspended, snowtether.GateProbing, snowtether.GatePaced, snowtether.GateFree} {
		s.Gate.State = state
		before := debugpage.Judge(s)
		later := s
		later.Time = s.Time.Add(time.Minute)
		later.Gate.Until = s.Gate.Until
		if after := debugpage.Judge(later); after != before {
			t.Errorf("%s, a minute later: %s\nbefore: %s", state, after, before)
		}
	}
}

// TestWhatTheLogWarnsOfStandsOut: each event that docs/observability.md has at Warn, and no other.
func TestWhatTheLogWarnsOfStandsOut(t *testing.T) {
	doc, err := os.ReadFile("../docs/observability.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| (DEBUG|INFO|WARN|ERROR) \\|").FindAllStringSubmatch(string(doc), -1)
	if len(rows) < 20 {
		t.Fatalf("the document has %d kinds of events", len(rows))
	}
	for _, row := range rows {
		now := time.Now()
		w := httptest.NewRecorder()
		unseen := snowtether.InDoubtInfo{Count: 1, Since: now}
		debugpage.Page(snowtether.Snapshot{Time: now, InDoubt: unseen, Events: []snowtether.Event{{Kind: snowtether.EventKind(row[1]), Time: now}}}).
			ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if got, want := strings.Contains(w.Body.String(), `<tr class="grave">`), row[2] == "WARN"; got != want {
			t.Errorf("%s, at %s in the log, stands out: %v", row[1], row[2], got)
		}
	}
}
