package transcript

import (
	"context"
	"fmt"
	"net/http/httptrace"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"
)

// This file plays net/http and gosnowflake to a recorder, one report at a time.

const (
	token   = `Snowflake Token="t"`
	channel = gosnowflake.ContextKey("QUERY_ID_CHANNEL")
)

// headers reports a request, whose headers are names and values in turn.
func headers(r *Recorder, fields ...string) {
	trace := httptrace.ContextClientTrace(r)
	for i := 0; i < len(fields); i += 2 {
		trace.WroteHeaderField(fields[i], []string{fields[i+1]})
	}
	trace.WroteHeaders()
}

func written(r *Recorder) { httptrace.ContextClientTrace(r).WroteRequest(httptrace.WroteRequestInfo{}) }

// play reports marks, a second apart, where d is a look for a network connection.
func play(r *Recorder, marks string) {
	trace := httptrace.ContextClientTrace(r)
	for _, c := range marks {
		switch c {
		case 'q':
			r.lookedUp(V2)
		case 'd':
			trace.GetConn("")
		case post:
			headers(r, "Authorization", token, "Content-Length", "100")
			written(r)
		case get:
			headers(r, "Authorization", token)
			written(r)
		case other:
			headers(r, "Content-Length", "100")
			written(r)
		case reply:
			trace.GotFirstResponseByte()
		case accepted, answered:
			ch := r.Value(channel).(chan<- string)
			if c == accepted {
				ch <- "01b2"
			} else {
				ch <- ""
			}
			close(ch)
		case odd:
			_ = r.Value(channel)
		case cut:
			_ = r.Value(gosnowflake.ContextKey("TRUNCATED_RESPONSE_RETRY"))
		}
		time.Sleep(time.Second)
	}
}

// TestRequestsAreKnownByTheirHeaders: whose they are, and how long. What is not surely
// gosnowflake's spoils the proof, and is never part of it.
func TestRequestsAreKnownByTheirHeaders(t *testing.T) {
	for _, tt := range []struct {
		name   string
		fields []string
		kind   byte
		size   int64
	}{
		{"statement", []string{"Authorization", token, "Content-Length", "100"}, post, 100},
		{"in the names of HTTP/2", []string{"authorization", token, "content-length", "100"}, post, 100},
		{"the shortest", []string{"Authorization", token, "Content-Length", "1"}, post, 1},
		{"the longest", []string{"Authorization", token, "Content-Length", "9223372036854775807"}, post, 1<<63 - 1},
		{"of a length that is not told", []string{"Authorization", token, "Transfer-Encoding", "chunked"}, post, -1},
		{"the same in HTTP/2", []string{"authorization", token, "transfer-encoding", "chunked"}, post, -1},
		{"poll", []string{"Authorization", token}, get, 0},
		{"without a byte", []string{"Authorization", token, "Content-Length", "0"}, get, 0},
		{"of no number", []string{"Authorization", token, "Content-Length", "many"}, get, 0},
		{"of nothing", nil, other, 0},
		{"another token", []string{"Authorization", "Bearer t", "Content-Length", "100"}, other, 100},
		{"the token elsewhere", []string{"X-Other-Token", token, "Content-Length", "100"}, other, 100},
		{"the length elsewhere", []string{"Authorization", token, "X-Other-Length", "100"}, get, 0},
		{"the encoding elsewhere", []string{"Authorization", token, "X-Another-Coding.", "chunked"}, get, 0},
	} {
		r := New(t.Context())
		headers(r, "Authorization", token, "Content-Length", "7") // whose headers say nothing of the next
		headers(r, tt.fields...)
		if m := r.End(false).marks[1]; m.kind != tt.kind || m.size != tt.size {
			t.Errorf("%s: %c of %d bytes, want %c of %d", tt.name, m.kind, m.size, tt.kind, tt.size)
		}
	}
	r := New(t.Context())
	httptrace.ContextClientTrace(r).WroteHeaderField("Authorization", nil)
	if headers(r); r.End(false).String() != "x" {
		t.Error("a header without a value says something")
	}
}

// TestMarksAreAsOldAsWhatTheyStandFor: a request is as old as its last byte, because a large
// body takes its time, but never younger than what came behind it.
func TestMarksAreAsOldAsWhatTheyStandFor(t *testing.T) {
	for _, tt := range []struct {
		name string
		run  func(r *Recorder)
		want string
	}{
		{"a second apart", func(r *Recorder) { play(r, "qP.qP.P.iG.") }, "q0 P1 .2 q3 P4 .5 P6 .7 i8 G9 .10 end 11"},
		{"a large statement", func(r *Recorder) {
			play(r, "q")
			headers(r, "Authorization", token, "Content-Length", "100")
			time.Sleep(5 * time.Second)
			written(r)
			play(r, ".")
		}, "q0 P6 .6 end 7"},
		{"a poll, and a file", func(r *Recorder) {
			headers(r, "Authorization", token)
			time.Sleep(time.Second)
			written(r)
			headers(r)
			time.Sleep(time.Second)
			written(r)
		}, "G1 x2 end 2"},
		{"a reply before the end of the body", func(r *Recorder) {
			play(r, "q")
			headers(r, "Authorization", token, "Content-Length", "100")
			play(r, ".")
			written(r)
		}, "q0 P1 .1 end 2"},
		{"the end of the body while the next request is on its way", func(r *Recorder) {
			headers(r, "Authorization", token, "Content-Length", "100")
			play(r, ".")
			headers(r, "Authorization", token, "Content-Length", "100")
			time.Sleep(time.Second)
			written(r)
		}, "P0 .0 P1 end 2"},
		{"a request without headers", func(r *Recorder) { play(r, "q"); written(r) }, "q0 end 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := New(t.Context())
				tt.run(r)
				saw, got := r.End(false), ""
				for _, m := range saw.marks {
					got += fmt.Sprintf("%c%d ", m.kind, m.at/time.Second)
				}
				if got += fmt.Sprintf("end %d", saw.end/time.Second); got != tt.want {
					t.Errorf("%s, want %s", got, tt.want)
				}
			})
		})
	}
}

// TestNothingIsWrittenDownAfterTheEnd: what becomes of a statement that its caller left, and
// of the chunks of its result, changes nothing of what was said.
func TestNothingIsWrittenDownAfterTheEnd(t *testing.T) {
	for _, abandoned := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := New(t.Context())
			play(r, "qd")
			headers(r, "Authorization", token, "Content-Length", "100")
			saw := r.End(abandoned)
			sent := saw.marks[1].at
			time.Sleep(time.Second)
			written(r)
			if play(r, "dG.dG.qio"); saw.marks[1].at != sent || saw.String() != "qP" || saw.abandoned != abandoned {
				t.Errorf("abandoned: %v; %v", abandoned, saw)
			}
			if r.String() != "qP" || r.Answers() != 0 || !r.Unanswered().IsZero() {
				t.Errorf("it goes on: %s; %d answers; waits since %v", r, r.Answers(), r.Unanswered())
			}
			if r.lookedUp(V2) {
				t.Error("a look-up after the end is the statement's")
			}
		})
	}
	r := New(t.Context())
	if r.End(false); r.lookedUp(V2) {
		t.Error("a look-up after the end is the first")
	}
}

func (r *Recorder) String() string { return r.t.String() }

// TestUnansweredSinceTheFirstTry: a request that is repeated has been without an answer since
// it was sent first, and a reply is none until what follows says that it was read.
func TestUnansweredSinceTheFirstTry(t *testing.T) {
	for marks, want := range map[string]int{
		"q": -1, "qd": 1, "qdP": 1, "qdd": 1, "qdPdP": 1,
		"qdP.": 1, "qdP.dP": 1, "qdP.o": -1, "qdP.q": -1, "qdP.qd": 5, "qdP.qdP": 5,
		"qdP.i": -1, "qdP.idG": 5, "qdP.idG.": -1, "qdP.idG.dG": 8, "qdP.idGdG": 5,
		"qdP.idG.qdP.": 9, "qdP.idG.qdP.dG.": -1,
		"qdP.idx": 5, "qdP.idx.": -1, "qdP.idx.dx": 8,
	} {
		synctest.Test(t, func(t *testing.T) {
			r, start := New(t.Context()), time.Now()
			play(r, marks)
			now := r.Unanswered()
			if saw := r.End(false); now != saw.Unanswered() {
				t.Errorf("%s: without an answer since %v, at the end %v", marks, now, saw.Unanswered())
			}
			switch {
			case want < 0 && !now.IsZero():
				t.Errorf("%s: without an answer since second %d", marks, now.Sub(start)/time.Second)
			case want >= 0 && now.Sub(start) != time.Duration(want)*time.Second:
				t.Errorf("%s: without an answer since %v, want second %d", marks, now, want)
			}
		})
	}
}

// TestSnowflakeIsHeardInItsOwnReplies: to the statement, a renewal or a poll, and not in those of
// the store that a file goes to.
func TestSnowflakeIsHeardInItsOwnReplies(t *testing.T) {
	for marks, want := range map[string]int{
		"qdP": -1, "qdx.": -1, "qdP.": 3, "qdP.i": 3, "qdP.idG": 3, "qdP.idG.": 7, "qdP.idx.": 3, "qdP.idx.dP.": 10,
	} {
		synctest.Test(t, func(t *testing.T) {
			r, start := New(t.Context()), time.Now()
			play(r, marks)
			switch heard := r.End(false).Heard(); {
			case want < 0 && !heard.IsZero():
				t.Errorf("%s: heard in second %d", marks, heard.Sub(start)/time.Second)
			case want >= 0 && heard.Sub(start) != time.Duration(want)*time.Second:
				t.Errorf("%s: heard at %v, want second %d", marks, heard, want)
			}
		})
	}
}

// TestRecorderTellsHowFarItIs: whether anything was sent, and how often it had an answer.
func TestRecorderTellsHowFarItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(t.Context())
		play(r, "qd")
		if r.Sent() || r.Answers() != 0 {
			t.Errorf("%s: sent %v, %d answers", r, r.Sent(), r.Answers())
		}
		play(r, "P.iG.")
		if !r.Sent() || r.Answers() != 2 {
			t.Errorf("%s: sent %v, %d answers", r, r.Sent(), r.Answers())
		}
	})
}

// TestShortUploadsAreStopped: a file whose upload is repeated with fewer bytes would lose rows.
func TestShortUploadsAreStopped(t *testing.T) {
	const digest = "X-Goog-Meta-Sfc-Digest"
	file := func(length string) []string { return []string{digest, "h", "Content-Length", length} }
	for _, tt := range []struct {
		name  string
		run   [][]string // nil: the next statement
		short bool
	}{
		{"once", [][]string{file("100")}, false},
		{"again in full", [][]string{file("100"), file("100")}, false},
		{"again with one byte less", [][]string{file("100"), file("99")}, true},
		{"again in full, then with less", [][]string{file("100"), file("100"), file("99")}, true},
		{"again with nothing", [][]string{file("100"), file("0")}, true},
		{"again with nothing, and no length", [][]string{file("100"), {digest, "h"}}, true},
		{"a file of one byte", [][]string{file("1"), file("1")}, false},
		{"nothing at once", [][]string{file("0")}, true},
		{"in the names of HTTP/2", [][]string{file("100"), {"x-goog-meta-sfc-digest", "h", "content-length", "99"}}, true},
		{"the next statement's file", [][]string{file("100"), nil, file("1")}, false},
		{"of no length that is told", [][]string{file("100"), {digest, "h", "Transfer-Encoding", "chunked"}}, false},
		{"to another store", [][]string{{"Content-Length", "100"}, {"Content-Length", "99"}}, false},
		{"another store's behind Google's", [][]string{file("100"), {"Content-Length", "99"}}, false},
		{"another header of that length", [][]string{file("100"), {"X-Another-Meta-Digest.", "h", "Content-Length", "99"}}, false},
	} {
		play := func(r *Recorder) {
			for _, fields := range tt.run {
				if fields == nil {
					r.lookedUp(V2)
					continue
				}
				headers(r, fields...)
			}
		}
		r := New(t.Context())
		done := r.StopShortUploads()
		play(r)
		if stopped := r.Err() != nil; stopped != tt.short || r.End(false).Short() != tt.short {
			t.Errorf("%s: stopped: %v", tt.name, stopped)
		}
		if done(); r.Err() == nil {
			t.Errorf("%s: the context lives on", tt.name)
		}
		r = New(t.Context())
		play(r)
		if r.Err() != nil || r.End(false).Short() {
			t.Errorf("%s: stopped where nobody asked for it", tt.name)
		}
	}
}

// TestRenewalsInVainEnd: what a server makes gosnowflake do for ever. The renewals of a long
// statement, which has replies of its own, never end.
func TestRenewalsInVainEnd(t *testing.T) {
	renewals := func(r *Recorder, between int) (n int) {
		for n < 100 {
			play(r, strings.Repeat(".", between))
			if !r.MayRenew() {
				break
			}
			n++
		}
		return n
	}
	for between, want := range map[int]int{0: maxRenewals, 1: maxRenewals, 2: maxRenewals, 3: 100, 4: 100} {
		synctest.Test(t, func(t *testing.T) {
			r := New(t.Context())
			if got := renewals(r, between); got != want {
				t.Errorf("%d replies between: %d renewals, want %d", between, got, want)
			}
			renewals(r, 0)
			play(r, "...")
			if got := renewals(r, 0); got != maxRenewals {
				t.Errorf("after a statement that came on: %d renewals", got)
			}
		})
	}
}

// TestProgramsAndRecorderSeeTheSameTraffic: a trace that the caller has in the context goes on
// to be told.
func TestProgramsAndRecorderSeeTheSameTraffic(t *testing.T) {
	told := ""
	r := New(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		GetConn:              func(string) { told += "d" },
		WroteHeaders:         func() { told += "P" },
		GotFirstResponseByte: func() { told += "." },
	}))
	Traffic(r)
	if saw := r.End(false); told != "dP." || saw.String() != "P." || saw.dials != 1 {
		t.Errorf("the program saw %s, the recorder %s", told, saw)
	}
}

// TestRecorderAnswersLikeItsContext: with what the caller has put there, and nothing else.
func TestRecorderAnswersLikeItsContext(t *testing.T) {
	type key string
	r := New(context.WithValue(t.Context(), key("a"), 1))
	if r.Value(key("a")) != 1 || r.Value(key("b")) != nil || r.Value(nil) != nil {
		t.Errorf("%v, %v, %v", r.Value(key("a")), r.Value(key("b")), r.Value(nil))
	}
	tagged := New(gosnowflake.WithQueryTag(t.Context(), "tag"))
	if got := tagged.Value(gosnowflake.ContextKey("QUERY_TAG")); got != "tag" {
		t.Errorf("the tag is %v", got)
	}
}

// TestIdleIsWhatRunsNothing: to describe a statement, or to fetch a result.
func TestIdleIsWhatRunsNothing(t *testing.T) {
	for _, tt := range []struct {
		key   gosnowflake.ContextKey
		value any
		want  bool
	}{
		{"DESCRIBE_ONLY", true, true}, {"DESCRIBE_ONLY", false, false}, {"DESCRIBE_ONLY", nil, false},
		{"SF_FETCH_RESULT_BY_ID", "01b2", true}, {"SF_FETCH_RESULT_BY_ID", nil, false},
		{"ASYNC_MODE_QUERY", true, false}, {"TRUNCATED_RESPONSE_RETRY", true, false},
	} {
		r := New(context.WithValue(t.Context(), tt.key, tt.value))
		if got := r.Value(tt.key); got != tt.value {
			t.Errorf("%s is %v", tt.key, got)
		}
		if saw := r.End(false); saw.Idle() != tt.want {
			t.Errorf("%s, %v: idle: %v", tt.key, tt.value, saw.Idle())
		}
	}
}

// TestRequestIsKnownOnlyWhereItIsSent: gosnowflake v1 has request IDs of a type of its own, and
// does not take ours.
func TestRequestIsKnownOnlyWhereItIsSent(t *testing.T) {
	const key = gosnowflake.ContextKey("SNOWFLAKE_REQUEST_ID")
	r := New(t.Context())
	if v := r.requestID(key, V2); v == nil || v != any(r.End(false).Request()) {
		t.Errorf("v2 is handed out %v", v)
	}
	r = New(t.Context())
	if v := r.requestID(key, new(Dialect)); v != nil || r.End(false).Request() != nil {
		t.Errorf("v1 is handed out %v", v)
	}
	id := gosnowflake.NewUUID()
	r = New(gosnowflake.WithRequestID(t.Context(), id))
	if v := r.requestID(key, new(Dialect)); v != any(id) || r.End(false).Request() != any(id) {
		t.Errorf("the caller's ID is %v", v)
	}
}
