package http2_test

import (
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/snowtether/snowtether/internal/http2"
)

// TestClientHasNoGoroutineForEachRequest: as with the transport that is looked at.
func TestClientHasNoGoroutineForEachRequest(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	defer srv.Close()
	seen := 0
	client := &http.Client{Timeout: time.Hour, Transport: &http2.Transport{
		Transport: new(http.Transport),
		Look:      func(_ *http.Request, res *http.Response) { seen = res.StatusCode },
	}}
	res, err := client.Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	stacks := make([]byte, 1<<20)
	if text := string(stacks[:runtime.Stack(stacks, true)]); strings.Contains(text, "net/http.setRequestCancel") {
		t.Error("http.Client has a goroutine that waits for its time-out")
	}
	if seen != http.StatusTeapot {
		t.Errorf("it saw %d", seen)
	}
	client.CloseIdleConnections()
}
