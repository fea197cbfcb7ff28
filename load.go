package snowtether

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"github.com/snowtether/snowtether/internal/http2"
	"github.com/snowtether/snowtether/internal/sferr"
)

// This file is about a server that has too much to do: what it shows of that, and what the
// gate (gate.go) makes of it. A gate is polite, but a thousand of them whose sessions ended
// in the same second are a storm, and none knows of the others.

// A load is what the server shows of its load. Its zero value is a server that shows none.
type load struct {
	spread    time.Duration // the first login after a loss of sessions waits for a random part of this
	throttled bool          // logins were turned away: one is under way at a time
	seen      time.Time     // when a login was last turned away or slow
}

// The bounds of the spread. It doubles with each login that is turned away, grows to what a
// slow one takes, and shrinks by a quarter with each that succeeds. It stays well below the
// connect budget, as a caller without a deadline waits it out, perhaps long after the storm.
// After an hour it is forgotten, after ten minutes if it was no more than a slow login.
const (
	firstSpread = time.Second
	maxSpread   = 30 * time.Second
	slowLogin   = 3 * time.Second // a login takes less than a second, as a rule
	noSpread    = 100 * time.Millisecond
	forgetAfter = time.Hour
	forgetSlow  = 10 * time.Minute
)

// maxRest bounds the wait after a login that was turned away. A longer one leaves the server
// idle at the end, when most of a fleet has been served.
const maxRest = 12 * time.Second

// after is the load after a login.
func (l load) after(took time.Duration, err error) load {
	switch {
	case isThrottled(err):
		return load{min(max(2*l.spread, firstSpread), maxSpread), true, time.Now()}
	case err != nil:
		return l
	}
	if l.spread = l.spread * 3 / 4; l.spread < noSpread {
		l = load{}
	}
	if took >= slowLogin {
		l.spread, l.seen = min(max(l.spread, took), maxSpread), time.Now()
	}
	return l
}

// remembered is the load when sessions are lost.
func (l load) remembered() load {
	if age := time.Since(l.seen); age >= forgetAfter || !l.throttled && age >= forgetSlow {
		return load{}
	}
	return l
}

// wait draws the wait of the first login after a loss.
func (l load) wait() time.Duration {
	if l.spread <= 0 {
		return 0
	}
	return rand.N(l.spread)
}

// rest draws the wait after a login that failed, which is step by the back-off. A back-off
// begins anew with each login that succeeds, the spread does not: who was turned away five
// times before is not to knock again in half a second. The server's own word is added to what
// is shorter, so that those who got it in the same moment do not come back in the same moment.
func (l load) rest(step, after time.Duration) time.Duration {
	if l.throttled {
		half := min(l.spread/2, maxRest*2/3)
		step = max(step, half/2+rand.N(half))
	}
	if step < after {
		step += after
	}
	return step
}

// isThrottled reports whether a login was turned away because there are too many.
func isThrottled(err error) bool {
	if err == nil {
		return false
	}
	if _, ok := as[*throttledError](err); ok {
		return true
	}
	said, _ := sferr.Of(err)
	if m := lastStatus.FindStringSubmatch(err.Error()); m != nil && said.Status == 0 {
		said.Status, _ = strconv.Atoi(m[1])
	}
	return said.Status == http.StatusTooManyRequests
}

// lastStatus is in gosnowflake's words after its last try (retry.go).
var lastStatus = regexp.MustCompile(`^timeout after .* HTTP Status: (\d{3})\b`)

// A throttledError is a login that was answered 429 or 503 with the time after which it may
// be sent again.
type throttledError struct {
	after time.Duration
	err   error
}

func (e *throttledError) Error() string { return e.err.Error() }
func (e *throttledError) Unwrap() error { return e.err }

// retryAfter is how long a login that failed is not sent again by the server's own word.
func retryAfter(err error) time.Duration {
	if e, ok := as[*throttledError](err); ok {
		return e.after
	}
	return 0
}

// maxRetryAfter is the longest Retry-After that is honoured: what stands in a header must
// not stop a pool for ever.
const maxRetryAfter = 5 * time.Minute

// advised is the program's own transport, looked over for Retry-After. That of gosnowflake's
// own transport, which it makes where the Config has none, cannot be seen.
func advised(by http.RoundTripper) http.RoundTripper {
	if t, ok := by.(*http.Transport); ok {
		return &http2.Transport{Transport: t, Look: readAdvice}
	}
	return adviceReader{by}
}

// loginKey finds a login's context in that of its request.
type loginKey struct{}

// readAdvice tells a login of the Retry-After in its reply.
func readAdvice(req *http.Request, res *http.Response) {
	if res.StatusCode != http.StatusTooManyRequests && res.StatusCode != http.StatusServiceUnavailable {
		return
	}
	if l, ok := req.Context().Value(loginKey{}).(*loginContext); ok {
		l.advise(res.Header.Get("Retry-After"))
	}
}

// An adviceReader is a transport of another kind.
type adviceReader struct{ http.RoundTripper }

func (a adviceReader) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := a.RoundTripper.RoundTrip(req)
	if err == nil && res != nil {
		readAdvice(req, res)
	}
	return res, err
}

// CloseIdleConnections is what http.Client looks for.
func (a adviceReader) CloseIdleConnections() {
	if c, ok := a.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// readRetryAfter reads the header: seconds, or a date.
func readRetryAfter(text string, now time.Time) (time.Duration, error) {
	var d time.Duration
	if n, err := strconv.ParseInt(text, 10, 32); err == nil {
		d = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		d = at.Sub(now)
	} else {
		return 0, errors.New("neither seconds nor a date")
	}
	return min(max(d, 0), maxRetryAfter), nil
}
