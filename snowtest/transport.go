package snowtest

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
)

// memoryListener hands the server one end of a pipe for each dial. It needs no
// network, so that everything it blocks on belongs to the synctest bubble that
// it was made in.
type memoryListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	cut    *atomic.Bool
}

func newMemoryListener(cut *atomic.Bool) *memoryListener {
	return &memoryListener{conns: make(chan net.Conn), closed: make(chan struct{}), cut: cut}
}

func (l *memoryListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	if l.cut.Load() {
		return nil, errors.New("snowtest: no route to host, the server is disconnected")
	}
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
func (memoryAddr) String() string  { return host }

func newMemoryTransport(l *memoryListener) *http.Transport {
	return &http.Transport{DialContext: l.dial, MaxIdleConnsPerHost: 64}
}

// connTracker knows the connections that are open. Close waits for the goroutines
// that net/http starts for each: without that they could outlive it for a moment.
type connTracker struct {
	open sync.WaitGroup
	cut  atomic.Bool // new connections are closed at once

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

func (t *connTracker) state(c net.Conn, s http.ConnState) {
	switch s {
	case http.StateNew:
		t.open.Add(1)
		t.mu.Lock()
		t.conns[c] = struct{}{}
		t.mu.Unlock()
		if t.cut.Load() {
			reset(c)
		}
	case http.StateClosed, http.StateHijacked:
		t.mu.Lock()
		delete(t.conns, c)
		t.mu.Unlock()
		t.open.Done() // the last that the goroutine does
	}
}

// Disconnect cuts the network between the server and its clients: open
// connections break, and new ones fail, until [Server.Reconnect]. Sessions and
// running statements know nothing of it. In memory a client that dials gets an
// error; on loopback its connection is reset as soon as it is made.
func (s *Server) Disconnect() {
	s.conns.cut.Store(true)
	s.mu.Lock()
	for _, ses := range s.open {
		ses.excused = ses.excused || ses.unanswered
	}
	s.mu.Unlock()
	s.conns.mu.Lock()
	defer s.conns.mu.Unlock()
	for c := range s.conns.conns {
		reset(c)
	}
}

// Reconnect ends what [Server.Disconnect] began.
func (s *Server) Reconnect() { s.conns.cut.Store(false) }

func reset(c net.Conn) {
	if secured, ok := c.(*tls.Conn); ok {
		c = secured.NetConn() // without a farewell
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}
