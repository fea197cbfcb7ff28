package transcript

import (
	"testing"
	"time"
)

// read makes a transcript of marks. R is a P of another length than the statement's, S
// one that took 4 s; d is a look for a network connection, and ! an abandoned statement.
func read(text string) (t Transcript) {
	var at time.Duration
	for _, c := range text {
		m := mark{kind: byte(c), at: at}
		switch c {
		case 'P':
			m.size = 100
		case 'R':
			m.kind, m.size = post, 60
		case 'S':
			m.kind, m.size = post, 100
			at += 4 * time.Second
		case 'i':
			m.id = "01b2"
		case 'j':
			m.kind, m.id = accepted, "inner"
		case 'd':
			t.dials++
			continue
		case '!':
			t.abandoned = true
			continue
		}
		t.marks = append(t.marks, m)
	}
	t.end = at
	return t
}

// What errors say.
var (
	gone         = Outcome{Failed: true, Gone: true}
	unauthorized = Outcome{Failed: true, Gone: true, Refused: true}
	network      = Outcome{Failed: true, Network: true}
	own          = Outcome{Failed: true}
	sql          = Outcome{Failed: true, Answer: true, QueryID: "01b2", SQLState: "42000"}
	bareSQL      = Outcome{Failed: true, Answer: true, SQLState: "42000"}
	foreignSQL   = Outcome{Failed: true, Answer: true, QueryID: "other", SQLState: "42000"}
	gateway      = Outcome{Failed: true, Answer: true}
)

func TestFateFollowsFromTheTranscript(t *testing.T) {
	for _, tt := range []struct {
		what  string
		marks string
		o     Outcome
		want  Kind
	}{
		{"plain", "qP.i", Outcome{}, Done},
		{"refused at once", "qP.o", gone, NotRun},
		{"refused by the renewal", "qP.qR.", gone, NotRun},
		{"HTTP 401", "qP.", unauthorized, NotRun},
		{"refused after a renewal of its own", "qP.qR.P.o", gone, NotRun},
		{"401 after a renewal of its own", "qP.qR.P.", unauthorized, NotRun},
		{"renewed twice, then refused", "qP.qR.P.qR.P.o", gone, NotRun},
		{"renewed, then refused by the next renewal", "qP.qR.P.qR.", gone, NotRun},
		{"a renewal that is never answered", "qP.qRRR", network, NotRun},
		{"a renewal that is repeated", "qP.qR.R.R.P.o", gone, NotRun},
		{"a renewal that finds no network", "qP.qddd", network, NotRun},
		{"one renewal too many", "qP.qR.P.qR.P.", unauthorized, NotRun},
		{"no network connection", "qddd", network, NotRun},
		{"the session is gone before anything is sent", "q", gone, NotRun},

		{"accepted, lost while polled", "qP.iG.", gone, Accepted},
		{"a poll that a gateway answers", "qP.iG.", gateway, Accepted},
		{"a poll that answers about another statement", "qP.iG.", foreignSQL, Accepted},
		{"reply lost, then expiry", "qPP.qR.", gone, Open},
		{"503 after execution, then expiry", "qP.P.qR.", gone, Open},
		{"503 after execution, then 390111", "qP.P.o", gone, Open},
		{"503 after execution, then 401", "qP.P.", unauthorized, Open},
		{"reply lost", "qP", network, Open},
		{"refused, and then something else", "qP.o", own, Open},
		{"a retry behind the heartbeat's renewal", "qP.P.o", gone, Open},
		{"cut, repeated, refused", "qP.tP.o", gone, Open},
		{"cut, repeated, refused by the renewal", "qP.tP.qR.", gone, Open},
		{"a renewal of the statement's own length", "qP.qP.P.o", gone, Open},
		{"a renewal without a request, then the statement", "qP.qP.o", gone, Open},
		{"an early reply and a second one", "qP..o", gone, Open},
		{"a redirect to another host", "qP.x.o", gone, Open},
		{"a redirect that makes a GET", "qP.G.o", gone, Open},
		{"an upload in the own segment", "qP.qR.xP.o", gone, Open},
		{"an answer that took long", "qS.o", gone, Open},
		{"a request that nobody began", "P.o", gone, Open},
		{"a look-up of the channel that nothing came of", "qP.?", gone, Open},
		{"a look-up of the channel before the request", "q?P.o", gone, Open},
		{"a 401 that took long", "qS.", unauthorized, Open},
		{"a renewal behind an answer that took long", "qS.qR.P.o", gone, Open},
		{"a request that nobody began, and no reply", "P", gone, Open},
		{"something else in the request's place", "qx.o", gone, Open},
		{"neither of two requests has a reply", "qPPo", gone, Open},
		{"something follows the answer", "qP.oP.", gone, Open},
		{"a renewal behind an answer that took long, and no more", "qS.qR.", gone, Open},
		{"a renewal of which there is a reply only", "qP.q.", gone, Open},
		{"an answer that was not read", "qP.", gone, Open},
		{"an ID behind an answer that had none", "qP.oqP.i", gone, Open},
		{"the caller left", "qP.!", own, Open},
		{"the caller left before anything was seen", "q!", own, Open},

		{"bad bind", "q", own, Local},
		{"unsupported isolation level", "", own, Local},
		{"an inner statement is refused for what it is", "qqP.j", foreignSQL, Local},

		{"SQL error", "qP.i", sql, Answered},
		{"SQL error without an ID", "qP.o", bareSQL, Answered},
		{"SQL error after polling", "qP.iG.G.", sql, Answered},
		{"SQL error without an ID after a renewal", "qP.qR.P.o", bareSQL, Answered},
		{"SQL error without an ID that took long", "qS.o", bareSQL, Answered},
		{"SQL error without an ID to a retry", "qP.P.o", bareSQL, Open},
		{"SQL error without an ID to a cut reply's repetition", "qP.tP.o", bareSQL, Open},
		{"SQL error with its ID to a retry", "qP.P.i", sql, Answered},
		{"a gateway's JSON", "qP.o", gateway, Open},
		{"a number without a state where an ID came", "qP.i", bareSQL, Accepted},

		{"array bind", "qqP.jqP.jqP.jx.P.i", Outcome{}, Done},
		{"array bind: its INSERT is refused", "qqP.jqP.jx.P.o", gone, NotRun},
		{"array bind: its INSERT is refused by the renewal", "qqP.jqP.jx.P.qR.", gone, NotRun},
		{"array bind: its INSERT is accepted", "qqP.jqP.jx.P.iG.", gone, Accepted},
		{"array bind: an inner statement is answered without an ID", "qqP.oP.i", gone, Accepted},
		{"an upload that nobody began", "x.", gone, NotRun},
		{"array bind: the stage is refused", "qqP.o", gone, NotRun},
		{"array bind: the stage is refused by its renewal", "qqP.qR.", gone, NotRun},
		{"array bind: the stage's reply is lost", "qqPdPd", Outcome{Failed: true, Network: true}, NotRun},
		{"array bind: 503 for the stage, then refused", "qqP.P.o", gone, NotRun},
		{"array bind: the upload's statement is refused, and the error hides it", "qqP.jqP.jqP.o", own, NotRun},
		{"array bind: an upload fails", "qqP.jqP.jx.", own, Local},
		{"array bind: the stage is polled", "qqP.jG.G.qP.jx.P.o", gone, NotRun},
		{"array bind: the stage is polled and dies", "qqP.jG.", gone, NotRun},
		{"array bind: a renewal while the stage is polled", "qqP.jG.qR.G.P.", network, Open},
		{"array bind: a redirect of an inner statement", "qqP.jqP.G.P.i", gone, Open},
		{"array bind: its INSERT's reply is lost", "qqP.jqP.jx.P", network, Open},
	} {
		if got := read(tt.marks).Judge(tt.o, true); got.Kind != tt.want {
			t.Errorf("%s, %s: %v, want %v", tt.what, tt.marks, got.Kind, tt.want)
		} else if got.ID == "inner" || got.Kind == Accepted && got.ID != "01b2" {
			t.Errorf("%s, %s: the ID is %q", tt.what, tt.marks, got.ID)
		}
		if got := read(tt.marks).Judge(tt.o, false); got.Kind == NotRun {
			t.Errorf("%s: NotRun, although the traffic is hidden", tt.what)
		}
	}
}

// TestHiddenTrafficStillHasItsID: the look-ups are seen all the same.
func TestHiddenTrafficStillHasItsID(t *testing.T) {
	for _, tt := range []struct {
		marks string
		o     Outcome
		want  Kind
	}{
		{"qi", gone, Accepted}, {"qo", gone, Open}, {"q", gone, Open}, {"qi", sql, Answered}, {"qo", bareSQL, Open},
		{"qqjqji", gone, Accepted}, {"qqji", gone, Accepted}, {"qqjqj", gone, Open}, {"", own, Open}, {"", sql, Answered},
	} {
		if got := read(tt.marks).Judge(tt.o, false); got.Kind != tt.want || got.ID == "inner" {
			t.Errorf("%s: %v, want %v", tt.marks, got, tt.want)
		}
	}
}

// TestWithoutTrafficTheErrorIsAllThereIs: an inner driver that sends no HTTP, or whose HTTP is
// not gosnowflake's.
func TestWithoutTrafficTheErrorIsAllThereIs(t *testing.T) {
	const id = "01b2"
	for _, tt := range []struct {
		o    Outcome
		want Fate
	}{
		{Outcome{Failed: true, Gone: true}, Fate{NotRun, ""}},
		{Outcome{Failed: true, Gone: true, QueryID: id}, Fate{Open, id}},
		{Outcome{Failed: true, Network: true}, Fate{Open, ""}},
		{Outcome{Failed: true, Network: true, QueryID: id}, Fate{Open, id}},
		{Outcome{Failed: true, QueryID: id}, Fate{Kind: Local}},
		{Outcome{Failed: true}, Fate{Kind: Local}},
	} {
		if got := tt.o.Word(); got != tt.want {
			t.Errorf("%+v: %v, want %v", tt.o, got, tt.want)
		}
	}
	for _, tt := range []struct {
		marks   string
		o       Outcome
		commits bool
		want    Kind
	}{
		{"", Outcome{Failed: true, Local: true}, false, Local},
		{"", Outcome{Failed: true, Local: true}, true, Local},
		{"", Outcome{Failed: true, Local: true, Gone: true}, false, Local},
		{"d", Outcome{Failed: true, Local: true}, false, Answered},
		{"x.", Outcome{Failed: true, Local: true}, false, Answered},
		{"", own, false, Answered},
		{"x.", own, false, Answered},
		{"x.", own, true, Open},
		{"x.", gone, false, Open},
		{"x.", network, false, Open},
		{"P.", own, false, Open},
		{"G.", own, false, Open},
	} {
		if got := read(tt.marks).StrangersWord(tt.o, tt.commits); got != (Fate{Kind: tt.want}) {
			t.Errorf("%q, %+v, %v: %v, want %v", tt.marks, tt.o, tt.commits, got, tt.want)
		}
	}
}

// TestWhatWasSentIsSeen: each question about a transcript, in each kind of one.
func TestWhatWasSentIsSeen(t *testing.T) {
	for _, tt := range []struct {
		marks                                    string
		unsent, transferred, sent, shows, silent bool
	}{
		{marks: "", silent: true},
		{marks: "d", unsent: true},
		{marks: "dd", unsent: true},
		{marks: "d!"},
		{marks: "q"},
		{marks: "qd", unsent: true},
		{marks: "dqP", sent: true, shows: true},
		{marks: "dG.", sent: true, shows: true},
		{marks: "dx.", sent: true, transferred: true},
		{marks: "x", sent: true, transferred: true},
		{marks: "qP.i", sent: true, shows: true},
	} {
		seen := read(tt.marks)
		for _, q := range []struct {
			what      string
			got, want bool
		}{
			{"Unsent", seen.Unsent(), tt.unsent}, {"Transferred", seen.Transferred(), tt.transferred},
			{"Sent", seen.Sent(), tt.sent}, {"Shows", seen.Shows(), tt.shows}, {"Silent", seen.Silent(), tt.silent},
		} {
			if q.got != q.want {
				t.Errorf("%q: %s is %v", tt.marks, q.what, q.got)
			}
		}
	}
}

// TestKindsHaveTheirNames: they are in errors and logs.
func TestKindsHaveTheirNames(t *testing.T) {
	for k, want := range map[Kind]string{Open: "open", Local: "local", NotRun: "not run", Accepted: "accepted", Answered: "answered", Done: "done"} {
		if k.String() != want {
			t.Errorf("%d is %q, not %q", k, k.String(), want)
		}
	}
}

// TestSilentErrorsAreTakenAtTheirWord: only where nothing at all was seen.
func TestSilentErrorsAreTakenAtTheirWord(t *testing.T) {
	local := Outcome{Failed: true, Local: true}
	for _, tt := range []struct {
		what    string
		marks   string
		o       Outcome
		visible bool
		want    Fate
	}{
		{"nothing was sent", "", local, false, Fate{Kind: Local}},
		{"nothing was sent, as far as can be seen", "", local, true, Fate{Kind: Local}},
		{"something was sent, so the error is wrong", "qP", local, true, Fate{Kind: Open}},
		{"an error of no kind", "", own, false, Fate{Kind: Open}},
		{"Snowflake's error", "", sql, false, Fate{Answered, "01b2"}},
		{"Snowflake's error, seen", "", sql, true, Fate{Answered, "01b2"}},
		{"its number is none of Snowflake's", "", Outcome{Failed: true, QueryID: "01b2", SQLState: "42000"}, false, Fate{Kind: Open}},
		{"it has no ID", "", bareSQL, false, Fate{Kind: Open}},
		{"it has no state", "", Outcome{Failed: true, Answer: true, QueryID: "01b2"}, false, Fate{Kind: Open}},
		{"it has an ID where none came", "qP.o", sql, true, Fate{Answered, "01b2"}},
		{"its ID, but its number is none of Snowflake's", "qP.i", Outcome{Failed: true, QueryID: "01b2", SQLState: "42000"}, true, Fate{Accepted, "01b2"}},
		{"a state, but a number that is none of Snowflake's", "qP.o", Outcome{Failed: true, SQLState: "42000"}, true, Fate{Kind: Open}},
		{"a state that is none", "qP.o", Outcome{Failed: true, Answer: true, SQLState: "4200"}, true, Fate{Kind: Open}},
		{"a bare error where the traffic is hidden", "qP.o", bareSQL, false, Fate{Kind: Open}},
		{"no network, and none was looked for", "q", network, true, Fate{Kind: Local}},
		{"no network, looked for once", "qd", network, true, Fate{Kind: NotRun}},
		{"looked for, and failed for what it is", "qd", own, true, Fate{Kind: Local}},
		{"looked for and hidden", "qd", local, false, Fate{Kind: Open}},
		{"looked for", "d", local, true, Fate{Kind: Local}},
		{"looked for and hidden, without a mark", "d", local, false, Fate{Kind: Open}},
		{"the caller left a statement that a network was looked for", "qd!", network, true, Fate{Kind: Open}},
	} {
		seen := read(tt.marks)
		if got := seen.Judge(tt.o, tt.visible); got != tt.want {
			t.Errorf("%s, %q: %v, want %v", tt.what, tt.marks, got, tt.want)
		}
	}
	late := read("qP.o")
	for at, want := range map[time.Duration]Kind{slow: NotRun, slow + 1: Open} {
		late.marks[3].at = at
		if got := late.Judge(gone, true); got.Kind != want {
			t.Errorf("refused after %v: %v, want %v", at, got, want)
		}
	}
	stopped := read("qqP.jqP.jx")
	stopped.short = true
	if !stopped.Short() || late.Short() {
		t.Error("whether the repetition of an upload was stopped is not what was seen")
	}
	if got := stopped.Judge(own, true); got.Kind != NotRun {
		t.Errorf("the repetition of an upload was stopped: %v", got)
	}
}

// FuzzJudge: whatever was seen, a statement is called NotRun only where each request for
// it was answered before anything could have been accepted.
func FuzzJudge(f *testing.F) {
	for _, seed := range []string{"qP.o", "qP.qR.P.o", "qqP.jqP.jx.P.i", "qP.tP.o", "qqP.jG.qR.G.P.", "qPP.qR."} {
		f.Add(seed, true, false)
	}
	f.Fuzz(func(t *testing.T, text string, gone, refused bool) {
		seen := read(text)
		got := seen.Judge(Outcome{Failed: true, Gone: gone, Refused: refused, Network: !gone}, true)
		if got.Kind != NotRun {
			return
		}
		own, posts, replies := seen.own(len(seen.marks)), 0, 0
		if own < 0 {
			return // nothing of the caller's was sent
		}
		for i, m := range seen.marks[own:] {
			switch {
			case m.kind == post && m.size == seen.marks[own].size:
				posts++
				if i+own+1 == len(seen.marks) || seen.marks[i+own+1].kind != reply {
					t.Errorf("%s: a request was not answered", text)
				}
			case m.kind == reply:
				replies++
			case m.kind == accepted, m.kind == cut, m.kind == other, m.kind == get:
				t.Errorf("%s: %c", text, m.kind)
			}
		}
		if posts == 0 || replies < posts {
			t.Errorf("%s: %d requests, %d replies", text, posts, replies)
		}
	})
}
