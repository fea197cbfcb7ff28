package transcript

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"
)

// waiting is what there is in a channel: an ID, closed, or open and empty. It waits for nobody.
func waiting(ch <-chan string) string {
	synctest.Wait()
	select {
	case id, open := <-ch:
		if !open {
			return "closed"
		}
		return id
	default:
		return "open"
	}
}

// alone runs a test in a bubble, whose goroutines all have to end, and sees that no caller's
// channel is kept.
func alone(t *testing.T, f func(t *testing.T, ctx context.Context)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f(t, context.WithoutCancel(t.Context())) // else the end of the test would end everything
		synctest.Wait()
		delivering.Range(func(_, _ any) bool {
			t.Error("a caller's channel is kept")
			return true
		})
		delivering.Clear()
	})
}

// TestCallerHearsTheirQueryIDOnce: while the statement still runs, and the channel is closed as
// gosnowflake would close it. IDs of what an array bind sends before it are not the caller's.
func TestCallerHearsTheirQueryIDOnce(t *testing.T) {
	for _, tt := range []struct {
		marks string // all but the reply to the caller's statement
		reply string
		want  string // what is heard before the end of the statement
		seen  string
		told  string // what is heard at the end, if nothing before
	}{
		{"qP.", "i", "01b2", "qP.i", ""},
		{"qP.", "i?", "01b2", "qP.i?", ""}, // a look-up of somebody else's
		{"qP.", "o", "open", "qP.o", ""},
		{"qP.", "?", "open", "qP.?", ""},
		{"qP.", "", "open", "qP.", "open"}, // gosnowflake leaves it open where there is no reply
		{"qP.q", "", "open", "qP.q", "open"},
		{"qqP.iqP.ix.", "P.i", "01b2", "qqP.iqP.ix.P.i", ""},
		{"qqP.iqP.o", "", "open", "qqP.iqP.o", ""},
		{"qqP.iqP.?", "", "open", "qqP.iqP.?", ""},
	} {
		t.Run(tt.seen, func(t *testing.T) {
			alone(t, func(t *testing.T, ctx context.Context) {
				to := make(chan string, 1)
				r := New(gosnowflake.WithQueryIDChan(ctx, to))
				play(r, tt.marks)
				if got := waiting(to); got != "open" {
					t.Errorf("before their reply the caller hears %s", got)
				}
				play(r, tt.reply)
				heard := waiting(to)
				if heard != tt.want {
					t.Errorf("with their reply the caller hears %s, want %s", heard, tt.want)
				}
				saw := r.End(false)
				if saw.String() != tt.seen {
					t.Errorf("%s, want %s", saw, tt.seen)
				}
				if id := saw.ID(); (id == heard) != (heard != "open") {
					t.Errorf("the ID is %q, the caller has heard %s", id, heard)
				}
				if heard == "open" && waiting(to) != "open" { // it may be run again
					t.Error("the caller hears something before they are told")
				}
				r.Tell(ctx)
				if told := waiting(to); heard == "open" && told != tt.told || heard != "open" && told != "closed" {
					t.Errorf("the caller is told %q", told)
				}
				if end := waiting(to); end != "closed" && tt.told != "open" {
					t.Errorf("at the end the channel is %s", end)
				}
				if r.Answers() == 0 {
					t.Error("the recorder has forgotten the answers")
				}
			})
		})
	}
}

// TestRepeatedStatementsIDIsTheCallers: a try that will be repeated leaves the channel to the
// next one.
func TestRepeatedStatementsIDIsTheCallers(t *testing.T) {
	alone(t, func(t *testing.T, ctx context.Context) {
		to := make(chan string, 1)
		ctx = gosnowflake.WithQueryIDChan(ctx, to)
		for _, marks := range []string{"qP.o", "qP.i"} {
			r := New(ctx)
			play(r, marks)
			r.End(false)
		}
		if got := waiting(to); got != "01b2" {
			t.Errorf("the caller hears %s", got)
		}
	})
}

// TestQueryIDIsReadThoughTheStatementEndsAtOnce: a reply and the end may come together.
func TestQueryIDIsReadThoughTheStatementEndsAtOnce(t *testing.T) {
	for range 200 {
		for id, want := range map[string]string{"01b2": "i", "": "o"} {
			to := make(chan string, 1)
			r := New(gosnowflake.WithQueryIDChan(t.Context(), to))
			r.lookedUp(V2)
			headers(r, "Authorization", token, "Content-Length", "100")
			ch := r.Value(channel).(chan<- string)
			ch <- id
			close(ch)
			if saw := r.End(false); saw.String() != "qP"+want || saw.ID() != id {
				t.Fatalf("%s with the ID %q, want %q", saw, saw.ID(), id)
			}
		}
	}
}

// TestChannelThatBroughtNothingProvesNothing: neither where it was closed, nor where it was not.
func TestChannelThatBroughtNothingProvesNothing(t *testing.T) {
	for _, closed := range []bool{false, true} {
		for _, ctx := range []context.Context{t.Context(), gosnowflake.WithQueryIDChan(t.Context(), make(chan string, 1))} {
			r := New(ctx)
			r.lookedUp(V2)
			headers(r, "Authorization", token, "Content-Length", "100")
			r.note(reply)
			if ch := r.Value(channel).(chan<- string); closed {
				close(ch)
			}
			saw := r.End(false)
			if got := saw.Judge(gone, true); saw.String() != "qP.?" || got.Kind != Open {
				t.Errorf("closed: %v; %s is %s", closed, saw, got.Kind)
			}
		}
	}
}

// TestStatementWithoutAChannelTellsNobody: and neither does one that is over.
func TestStatementWithoutAChannelTellsNobody(t *testing.T) {
	alone(t, func(t *testing.T, ctx context.Context) {
		r := New(ctx)
		play(r, "qP.i")
		if saw := r.End(false); saw.ID() != "01b2" {
			t.Errorf("the ID is %q", saw.ID())
		}
		r.Tell(ctx)
	})
	alone(t, func(t *testing.T, ctx context.Context) {
		to := make(chan string, 1)
		r := New(gosnowflake.WithQueryIDChan(ctx, to))
		play(r, "qP.")
		r.End(true)
		ch := r.Value(channel).(chan<- string)
		select {
		case ch <- "01b2": // gosnowflake would wait for ever
		default:
			t.Error("the channel for a late reply takes nothing")
		}
		if got := waiting(to); got != "open" {
			t.Errorf("the caller hears %s after the end", got)
		}
	})
}

// TestLookUpOfAnotherGosnowflakesKeepsTheCallersChannel: a program's own wrapper may be of one.
func TestLookUpOfAnotherGosnowflakesKeepsTheCallersChannel(t *testing.T) {
	forgets(t)
	alone(t, func(t *testing.T, ctx context.Context) {
		to := make(chan string, 1)
		r := New(gosnowflake.WithQueryIDChan(ctx, to))
		play(r, "qP.o")
		_ = r.Value(gosnowflake.QueryStatus(channel))
		r.End(false)
		if r.Tell(ctx); waiting(to) != "" || waiting(to) != "closed" {
			t.Error("the caller is not told the end")
		}
	})
}

// TestCallerIsToldThatNothingWasSent: a channel without an ID is closed all the same.
func TestCallerIsToldThatNothingWasSent(t *testing.T) {
	alone(t, func(t *testing.T, ctx context.Context) {
		to := make(chan string, 1)
		r := New(ctx)
		r.Expect((chan<- string)(to))
		if r.Tell(ctx); waiting(to) != "" || waiting(to) != "closed" {
			t.Error("the caller is not told")
		}
		r = New(ctx)
		r.Expect(nil)
		r.Tell(ctx)
	})
}

// TestNobodyWaitsForACallerWhoDoesNotRead: the ID is kept for them until their context ends, also
// where the statement's own, that of an array bind, has ended with it.
func TestNobodyWaitsForACallerWhoDoesNotRead(t *testing.T) {
	alone(t, func(t *testing.T, ctx context.Context) {
		to := make(chan string)
		r := New(gosnowflake.WithQueryIDChan(ctx, to))
		done := r.StopShortUploads()
		play(r, "qP.i")
		r.End(false)
		done()
		synctest.Wait()
		r.Tell(ctx)
		if got := waiting(to); got != "01b2" {
			t.Errorf("the caller hears %s", got)
		}
		if got := waiting(to); got != "closed" {
			t.Errorf("the caller hears %s at the end", got)
		}
	})
	alone(t, func(t *testing.T, ctx context.Context) {
		ctx, stop := context.WithTimeout(ctx, time.Minute)
		defer stop()
		to := make(chan string)
		deliver(ctx, to, "01b2")
		time.Sleep(time.Hour)
		if got := waiting(to); got != "open" {
			t.Errorf("after their context the caller hears %s", got)
		}
	})
}

// TestOneChannelForTwoStatementsGetsTheFirstID: and neither of them fails for the other, nor for a
// caller who closes the channel.
func TestOneChannelForTwoStatementsGetsTheFirstID(t *testing.T) {
	alone(t, func(t *testing.T, ctx context.Context) {
		to := make(chan string)
		deliver(ctx, to, "first")
		synctest.Wait()
		deliver(ctx, to, "second")
		synctest.Wait()
		if id := <-to; id != "first" {
			t.Errorf("the ID is %s", id)
		}
		if id, open := <-to; open {
			t.Errorf("the channel brings %s as well", id)
		}
		deliver(ctx, to, "third")
	})
	alone(t, func(t *testing.T, ctx context.Context) {
		to := make(chan string)
		deliver(ctx, to, "01b2")
		synctest.Wait()
		close(to)
	})
}
