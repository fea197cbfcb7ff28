package http2

import (
	"errors"
	"net/http"
	"strconv"
	"time"
)

// This file is about Retry-After: whatever a program's transport is, the reply is looked at,
// and the header is read.

// Looked is the program's own transport with look, which sees each reply. That of gosnowflake's
// own transport, which it makes where the Config has none, cannot be seen.
func Looked(by http.RoundTripper, look func(*http.Request, *http.Response)) http.RoundTripper {
	if t, ok := by.(*http.Transport); ok {
		return &Transport{Transport: t, Look: look}
	}
	return looked{by, look}
}

// A looked is a transport of another kind.
type looked struct {
	http.RoundTripper
	look func(*http.Request, *http.Response)
}

func (a looked) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := a.RoundTripper.RoundTrip(req)
	if err == nil && res != nil {
		a.look(req, res)
	}
	return res, err
}

// CloseIdleConnections is what http.Client looks for.
func (a looked) CloseIdleConnections() {
	if c, ok := a.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// MaxRetryAfter is the longest Retry-After that is honoured: what stands in a header must
// not stop a pool for ever.
const MaxRetryAfter = 5 * time.Minute

// ReadRetryAfter reads the header: seconds, or a date.
func ReadRetryAfter(text string, now time.Time) (time.Duration, error) {
	var d time.Duration
	if n, err := strconv.ParseInt(text, 10, 32); err == nil {
		d = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		d = at.Sub(now)
	} else {
		return 0, errors.New("neither seconds nor a date")
	}
	return min(max(d, 0), MaxRetryAfter), nil
}
