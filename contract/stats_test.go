package contract_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/DATA-DOG/go-sqlmock"
	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about the counts and the look at a connector.

// TestStatsCountWhatHappened: by reason and by class, with the lives of sessions and
// tokens.
func TestStatsCountWhatHappened(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db, c := connect(t, srv.Config())
		outage(srv, time.Millisecond, unavailable)
		mustPing(t, db)
		time.Sleep(10 * time.Minute)
		srv.ExpireSessionTokens()
		mustPing(t, db)
		time.Sleep(20 * time.Minute)
		srv.ExpireSessionTokens()
		mustPing(t, db)
		srv.AbortSessions() // its life was about 30 minutes
		mustPing(t, db)
		time.Sleep(time.Hour)
		srv.EndSessions(snowtest.Refusal{Status: 401})
		mustPing(t, db)
		at := time.Now()
		synctest.Wait() // for the log-out of the old session

		s := c.Stats()
		for what, got := range map[string][2]any{
			"Open":                 {s.Open, int64(1)},
			"Logins":               {s.Logins, int64(3)},
			"LoginFailures":        {s.LoginFailures, int64(1)},
			"LoginFailuresByClass": {s.LoginFailuresByClass[snowtether.ClassTransient], int64(1)},
			"Lost":                 {s.Lost, int64(2)},
			"Reconnects":           {s.Reconnects, int64(2)},
			"LastReconnect":        {s.LastReconnect, at},
			"LastSessionLife":      {s.LastSessionLife.Round(time.Minute), time.Hour},
			"MeanSessionLife":      {s.MeanSessionLife.Round(time.Minute), 45 * time.Minute},
			"InDoubt":              {s.InDoubt, int64(0)},
			"Suspensions":          {s.Suspensions, int64(0)},
		} {
			if got[0] != got[1] {
				t.Errorf("%s is %v, want %v", what, got[0], got[1])
			}
		}
		if want := (map[string]int64{"390111": 1, "261000": 1}); !maps.Equal(s.ReconnectsByReason, want) {
			t.Errorf("reconnects by reason: %v, want %v", s.ReconnectsByReason, want)
		}
		// The third session's token may have been renewed by its heartbeat as well.
		if n := int64(srv.Stats().Renewals); s.Renewals != n || n < 2 {
			t.Errorf("%d renewals, the server saw %d", s.Renewals, n)
		}
		if s.MeanTokenLife < 15*time.Minute || s.LastTokenLife < 20*time.Minute {
			t.Errorf("tokens lived for %v on average, the last for %v", s.MeanTokenLife, s.LastTokenLife)
		}
		s.ReconnectsByReason["390111"] = 99
		if c.Stats().ReconnectsByReason["390111"] != 1 {
			t.Error("the caller was given the connector's own map")
		}
	})
}

// TestRefusedCredentialThatIsReplacedCountsAsAFailure: a login was sent and failed,
// though the next one, with a fresh token, went well.
func TestRefusedCredentialThatIsReplacedCountsAsAFailure(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		tokens := []string{"stale-t0ken", srv.Token()}
		cfg := srv.Config()
		cfg.Authenticator = gosnowflake.AuthTypeOAuth
		var j journal
		db, c := connect(t, cfg, snowtether.WithEventHook(j.hook), snowtether.WithBeforeConnect(func(_ context.Context, cfg *gosnowflake.Config) error {
			cfg.Token, tokens = tokens[0], tokens[1:]
			return nil
		}))
		mustPing(t, db)
		s := c.Stats()
		if s.Logins != 1 || s.LoginFailures != 1 || s.LoginFailuresByClass[snowtether.ClassCredential] != 1 || s.Suspensions != 0 {
			t.Errorf("%+v", s)
		}
		if got := j.tally(); got != "login_failed 1, opened 1" {
			t.Errorf("events: %s", got)
		}
	})
}

// TestConnectorOfAPoolThatWasOpenedByName: also while all of its connections are in
// use, and without a login.
func TestConnectorOfAPoolThatWasOpenedByName(t *testing.T) {
	srv := snowtest.New(t)
	db, err := sql.Open(snowtether.DriverName, srv.DSN()+"&tetherPoolName=nightly")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	c, err := snowtether.ConnectorOf(db)
	if err != nil {
		t.Fatal(err)
	}
	if n := c.Stats().Logins; n != 0 || srv.Stats().Requests[snowtest.RequestLogin] != 0 {
		t.Errorf("%d logins before the first use", n)
	}
	db.SetMaxOpenConns(1)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if again, err := snowtether.ConnectorOf(db); err != nil || again != c || again.Stats().Logins != 1 || again.Snapshot().Pool != "nightly" {
		t.Errorf("of a pool in use: %v, %+v", err, again)
	}
	other, mock, err := sqlmock.New()
	if err != nil {
		t.Fatal(err)
	}
	mock.ExpectClose()
	defer other.Close()
	for db, says := range map[*sql.DB]string{nil: "db is nil", other: "use the connector that NewConnector or WrapConnector returned"} {
		if _, err := snowtether.ConnectorOf(db); err == nil || !strings.HasPrefix(err.Error(), "snowtether: ConnectorOf: ") || !strings.Contains(err.Error(), says) {
			t.Errorf("error is %v", err)
		}
	}
	var driver, same any = snowtether.Driver{}, snowtether.Driver{}
	if driver != same || c.Driver() != c.Driver() {
		t.Error("a Driver cannot be compared")
	}
}

// TestSnapshotShowsTheSessions: as they are, the oldest first.
func TestSnapshotShowsTheSessions(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db, c := connect(t, srv.Config())
		db.SetMaxIdleConns(3)
		var pinned []*sql.Conn
		for range 3 {
			conn, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			pinned = append(pinned, conn)
			time.Sleep(10 * time.Minute)
		}
		srv.ExpireSessionTokens(srv.Sessions()[0].ID)
		if err := pinned[0].PingContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		s := c.Snapshot()
		var ids, want []int64
		for _, info := range s.Sessions {
			ids = append(ids, info.ID)
		}
		for _, e := range s.Events {
			if e.Kind == snowtether.EventOpened {
				want = append(want, e.SessionID)
			}
		}
		if !slices.Equal(ids, want) || len(ids) != 3 {
			t.Fatalf("sessions %v, opened %v", ids, want)
		}
		first, second, third := s.Sessions[0], s.Sessions[1], s.Sessions[2]
		if first.Age.Round(time.Minute) != 31*time.Minute || first.TokenAge.Round(time.Minute) != time.Minute {
			t.Errorf("the first: %+v", first)
		}
		if third.State != snowtether.SessionUsed || third.Idle != 0 || third.TokenAge != third.Age {
			t.Errorf("the third: %+v", third)
		}
		if err := errors.Join(pinned[0].Close(), pinned[2].Close()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		for i, want := range []snowtether.SessionState{snowtether.SessionIdle, snowtether.SessionUsed, snowtether.SessionIdle} {
			if info := c.Snapshot().Sessions[i]; info.State != want || (info.Idle == time.Minute) != (want == snowtether.SessionIdle) {
				t.Errorf("session %d, to be %s: %+v", i, want, info)
			}
		}
		srv.AbortSessions(second.ID)
		if err := pinned[1].PingContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // for the log-out of the old session
		if s := c.Snapshot(); s.Sessions[0].State != snowtether.SessionSuspect || s.Stats.Suspect != 2 || s.Stats.Idle != 2 {
			t.Errorf("after a younger one was lost: %+v", s)
		}
		second = c.Snapshot().Sessions[2]
		stall(srv, snowtest.RequestLogout, time.Second)
		db.SetMaxIdleConns(2)
		if err := pinned[1].Close(); err != nil {
			t.Fatal(err)
		}
		if info := c.Snapshot().Sessions[2]; info.ID != second.ID || info.State != snowtether.SessionClosing {
			t.Errorf("the second: %+v", info)
		}
		if s.Pool != "snowtether" || s.Gate != (snowtether.GateInfo{State: snowtether.GateFree}) {
			t.Errorf("pool %q, gate %+v", s.Pool, s.Gate)
		}
	})
}

// TestLookingAtAConnectorStopsNobody: sessions come and go meanwhile, in use and in
// the pool.
func TestLookingAtAConnectorStopsNobody(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db, c := connect(t, srv.Config(), snowtether.WithIdlePing(20*time.Millisecond))
		db.SetMaxIdleConns(8)
		stop := make(chan struct{})
		var looking sync.WaitGroup
		for range 2 {
			looking.Go(func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(100 * time.Microsecond):
						if s := c.Snapshot(); len(s.Sessions) > int(s.Stats.Open)+1 || s.Stats.Idle > s.Stats.Open {
							t.Errorf("%+v", s)
						}
					}
				}
			})
		}
		begun := time.Now()
		for i := range 20 {
			everyone(t, db, 8, 1)
			srv.EndSessions(ways[1+i%5].End, srv.Sessions()[i%8].ID)
		}
		if took := time.Since(begun); took > time.Second {
			t.Errorf("160 statements and 20 logins of 1 ms took %v", took)
		}
		time.Sleep(100 * time.Millisecond)
		close(stop)
		looking.Wait()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour) // gosnowflake's cancelling of the ping that was under way
	}, snowtest.WithLatency(time.Millisecond))
}

// TestSnapshotShowsTheGate: in an outage, after a refusal, and while logins are
// spaced out.
func TestSnapshotShowsTheGate(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db, c := connect(t, srv.Config())
		outage(srv, time.Minute, unavailable)
		outage(srv, time.Minute, snowtest.Fault{Code: "390422", Message: "Not from this address."})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		begun := time.Now()
		_ = db.PingContext(ctx)
		gate := c.Snapshot().Gate
		if gate.State != snowtether.GateProbing || gate.Since.Sub(begun) > time.Second || !gate.Until.After(time.Now()) || gate.Failures < 2 || gate.Class != snowtether.ClassTransient {
			t.Errorf("in an outage: %+v", gate)
		}
		time.Sleep(time.Minute)
		mustPing(t, db)
		if gate := c.Snapshot().Gate; gate != (snowtether.GateInfo{State: snowtether.GateFree}) {
			t.Errorf("after it: %+v", gate)
		}
	})
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		cfg := srv.Config()
		cfg.Password = "wrong"
		db, c := connect(t, cfg)
		_ = db.PingContext(t.Context())
		gate := c.Snapshot().Gate
		if gate.State != snowtether.GateSuspended || gate.Until != time.Now().Add(30*time.Second) || gate.Code != 390100 || gate.Failures != 1 || gate.Class != snowtether.ClassPermanent {
			t.Errorf("after a refusal: %+v", gate)
		}
		time.Sleep(30 * time.Second)
		if gate := c.Snapshot().Gate; gate.State != snowtether.GateFree {
			t.Errorf("after the cool-down: %+v", gate)
		}
	})
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db, c := connect(t, srv.Config())
		srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
			if r.Kind == snowtest.RequestQuery {
				srv.AbortSessions()
			}
			return snowtest.Fault{}, false
		})
		for range 4 {
			_ = db.PingContext(t.Context())
		}
		if gate := c.Snapshot().Gate; gate.State != snowtether.GatePaced || gate.Since.IsZero() || gate.Until.IsZero() {
			t.Errorf("while sessions do not last: %+v", gate)
		}
	})
}

// TestDoubtStaysUntilADayHasPassed: whatever happens to sessions meanwhile. Before, 64
// sessions that expired together made the page green 2 s after a doubt.
func TestDoubtStaysUntilADayHasPassed(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db, c := connect(t, srv.Config())
		db.SetMaxIdleConns(64)
		begun := time.Now()
		doubt := func() {
			once(srv, insert, snowtest.Fault{Run: true, Drop: true, After: func() { srv.AbortSessions() }})
			if _, err := db.ExecContext(t.Context(), insert); !errors.Is(err, snowtether.ErrInDoubt) {
				t.Fatalf("the statement is not in doubt: %v", err)
			}
		}
		doubt()
		remembered := func() (n int) {
			for _, e := range c.Snapshot().Events {
				if e.Kind == snowtether.EventInDoubt {
					n++
				}
			}
			return n
		}
		for range 3 {
			if err := snowtether.Warm(t.Context(), db, 64); err != nil {
				t.Fatal(err)
			}
			srv.AbortSessions()
		}
		if s := c.Snapshot(); remembered() != 1 || s.InDoubt.Count != 1 || s.InDoubt.Since.Before(begun) || s.InDoubt.Since.After(begun.Add(time.Minute)) {
			t.Errorf("after some hundred sessions %d in doubt, %+v", remembered(), s.InDoubt)
		}
		for range 120 {
			doubt()
		}
		if got := c.Snapshot().InDoubt; remembered() != 100 || got.Count != 121 || got.Since.After(begun.Add(time.Minute)) {
			t.Errorf("after 120 more %d in doubt, %+v", remembered(), got)
		}
		time.Sleep(24 * time.Hour)
		if got := c.Snapshot().InDoubt; remembered() != 0 || got.Count != 0 || !got.Since.IsZero() {
			t.Errorf("a day later %d in doubt, %+v", remembered(), got)
		}
	}, snowtest.AllowRepeats())
}

// TestWarningsAreNotDisplaced: by what the log has at Info or Debug. What ends a state
// that a warning speaks of is remembered as long.
func TestWarningsAreNotDisplaced(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db, c := connect(t, srv.Config())
		outage(srv, time.Second, unavailable)
		for range 100 {
			mustPing(t, db)
			srv.AbortSessions()
		}
		var kinds []snowtether.EventKind
		var before time.Time
		for _, e := range c.Snapshot().Events {
			if kinds = append(kinds, e.Kind); e.Time.Before(before) {
				t.Errorf("%s of %v comes after one of %v", e.Kind, e.Time, before)
			}
			before = e.Time
		}
		for _, kind := range []snowtether.EventKind{snowtether.EventOutageBegan, snowtether.EventOutageEnded} {
			if n := len(kinds) - len(slices.DeleteFunc(slices.Clone(kinds), func(k snowtether.EventKind) bool { return k == kind })); n != 1 {
				t.Errorf("%d events %s among %v", n, kind, kinds)
			}
		}
	})
}

// TestSnapshotRemembersTheLast100Events: in their order, and as JSON, without the
// texts of errors, which may name hosts.
func TestSnapshotRemembersTheLast100Events(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var j journal
		db, c := connect(t, srv.Config(), snowtether.WithEventHook(j.hook))
		outage(srv, time.Second, unavailable)
		for i := range 40 {
			mustPing(t, db)
			synctest.Wait()
			if got, want := len(c.Snapshot().Events), min(len(j.heard()), 100); got < want || got > want+25 {
				t.Fatalf("%d of %d events after %d sessions", got, want, i+1)
			}
			srv.AbortSessions()
		}
		// Two goroutines that have something to tell at the same time may come in
		// either order, also across the edge.
		last := make(map[snowtether.Event]bool)
		for _, e := range j.heard()[len(j.heard())-101:] {
			e.Error = ""
			last[e] = true
		}
		events := c.Snapshot().Events
		for i, e := range events[len(events)-100:] { // before them are those that stay longer
			if !last[e] {
				t.Errorf("event %d is %+v, which is none of the last", i, e)
			}
			delete(last, e)
		}
	})
	happen(t, index("outage"), func(srv *snowtest.Server, c *snowtether.Connector, j *journal) {
		text, err := json.Marshal(c.Snapshot())
		if err != nil {
			t.Fatal(err)
		}
		cfg := srv.Config()
		for _, name := range []string{cfg.Account, cfg.Host, cfg.User} {
			if strings.Contains(string(text), name) {
				t.Errorf("%q is in %s", name, text)
			}
		}
		if !strings.Contains(string(text), `"outage_began"`) {
			t.Errorf("no outage in %s", text)
		}
		if j.of(snowtether.EventOutageBegan)[0].Error == "" {
			t.Error("the hook is not told the error")
		}
		for _, e := range c.Snapshot().Events {
			if e.Error != "" {
				t.Errorf("the snapshot has the text of an error: %+v", e)
			}
		}
	})
}
