// Package http2 has a transport that net/http takes for golang.org/x/net/http2's.
//
// http.Client has a goroutine for each request under its time-out, until the reply's body is
// closed, unless it knows that the transport ends with the request's context: it knows that
// of *http.Transport, and of a *Transport of a package of this name (knownRoundTripperImpl in
// net/http's client.go, which says why). Around an *http.Transport that is so. If net/http
// stops looking at the name, the goroutine is back, and nothing else.
package http2

import "net/http"

// A Transport is an *http.Transport whose replies are looked at.
type Transport struct {
	*http.Transport
	Look func(*http.Request, *http.Response)
}

// RoundTrip sends a request, and shows the reply to Look.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := t.Transport.RoundTrip(req)
	if err == nil {
		t.Look(req, res)
	}
	return res, err
}
