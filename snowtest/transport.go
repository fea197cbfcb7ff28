package snowtest

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
)

// memoryListener hands the server one end of a pipe for each dial. It needs no
// network, so that everything it blocks on belongs to the synctest bubble that
// it was made in.
type memoryListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newMemoryListener() *memoryListener {
	return &memoryListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *memoryListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, errors.New("snowtest: connection refused, the server is closed")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memoryListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *memoryListener) Addr() net.Addr { return memoryAddr{} }

type memoryAddr struct{}

func (memoryAddr) Network() string { return "memory" }
func (memoryAddr) String() string  { return memoryHost }

// memoryHost stands in URLs that never leave the process.
const memoryHost = "127.0.0.1"

func newMemoryTransport(l *memoryListener) *http.Transport {
	return &http.Transport{DialContext: l.dial, MaxIdleConnsPerHost: 64}
}

// connTracker lets Close wait for the goroutines that net/http starts, one for
// each connection. Without it they could outlive Close for a moment.
type connTracker struct{ open sync.WaitGroup }

func (t *connTracker) state(_ net.Conn, s http.ConnState) {
	switch s {
	case http.StateNew:
		t.open.Add(1)
	case http.StateClosed, http.StateHijacked:
		t.open.Done()
	}
}
