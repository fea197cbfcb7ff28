//go:debug x509usefallbackroots=1
package unchanged

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"
)

// This file is the way to the test server for programs that know nothing but an account:
// golang-migrate's URL has no host. They go to https://snowtest.snowflakecomputing.com through
// the proxy that the environment names, which is this one, and it ends their TLS.

const accountHost = "snowtest.snowflakecomputing.com"

// account is the server that the account's host is, at the moment.
var account = &proxy{}

func TestMain(m *testing.M) {
	if err := account.start(); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

type proxy struct {
	listener    net.Listener
	certificate tls.Certificate

	mu sync.Mutex
	to string // host and port of a test server
}

// leadsTo makes the account's host that of a server, by its URL.
func (p *proxy) leadsTo(address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to = address
}

// start makes a certificate that this process trusts, and the proxy that it uses.
func (p *proxy) start() (err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: accountHost}, DNSNames: []string{accountHost},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	x509.SetFallbackRoots(roots)
	p.certificate = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	if p.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return err
	}
	go p.serve()
	return os.Setenv("HTTPS_PROXY", "http://"+p.listener.Addr().String())
}

func (p *proxy) serve() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		go p.tunnel(conn)
	}
}

// tunnel answers a CONNECT, ends TLS and passes on what is said.
func (p *proxy) tunnel(conn net.Conn) {
	defer conn.Close()
	req, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil || req.Method != http.MethodConnect || req.Host != accountHost+":443" {
		_, _ = io.WriteString(conn, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
		return
	}
	if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	secure := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{p.certificate}, MinVersion: tls.VersionTLS12})
	defer secure.Close()
	p.mu.Lock()
	to := p.to
	p.mu.Unlock()
	server, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer server.Close()
	go func() { defer server.Close(); _, _ = io.Copy(server, secure) }()
	_, _ = io.Copy(secure, server)
}
