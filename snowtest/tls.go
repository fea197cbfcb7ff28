package snowtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"
)

// This file is the server over TLS: its certificate, and how clients come to trust it.

// WithTLS makes the server speak https, with a certificate that is made when it starts, for
// 127.0.0.1, ::1 and localhost, good for a year. It is for programs that speak nothing else;
// faults and virtual time need none of it, and it cannot be had with [InMemory].
//
// [Server.DSN] and [Server.Config] name a TLS configuration that [Start] registers with
// gosnowflake v2, so they reach the server as they are, with gosnowflake's revocation checks
// in any mode: OCSP, which is its default, failing open or closed, or CRLs. The certificate is its own root,
// which neither asks anybody about. But disableOCSPChecks without CRLs makes gosnowflake
// v2.1.0 ignore the configuration, and the certificate is refused. gosnowflake v1 has a
// register of its own:
//
//	v1.RegisterTLSConfig(srv.TLSConfigName(), srv.TLSConfig())
//
// Other programs trust the certificate by a file: see [Server.CertificatePEM].
func WithTLS() Option { return func(o *options) { o.tls = true } }

// secured is what a server over TLS has.
type secured struct {
	name        string // by which gosnowflake knows the configuration of clients
	certificate tls.Certificate
	client      *tls.Config
}

// newSecured makes a certificate and registers the configuration that trusts it.
func newSecured() (*secured, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(now.UnixNano()),
		Subject:               pkix.Name{CommonName: account},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.AddDate(1, 0, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true, // some clients take nothing else for a root
		DNSNames:              []string{"localhost"},
		IPAddresses:           []net.IP{net.ParseIP(host), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	s := &secured{
		name:        "snowtest-" + randomHex(8),
		certificate: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf},
		client:      &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
	}
	return s, gosnowflake.RegisterTLSConfig(s.name, s.client)
}

// listen puts TLS around a listener.
func (s *secured) listen(l net.Listener) net.Listener {
	return tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{s.certificate}, MinVersion: tls.VersionTLS12})
}

// forget takes the configuration back from gosnowflake.
func (s *secured) forget() error {
	if s == nil {
		return nil
	}
	return gosnowflake.DeregisterTLSConfig(s.name)
}

// scheme is the one of the server's URLs.
func (s *Server) scheme() string {
	if s.secured == nil {
		return "http"
	}
	return "https"
}

// TLSConfigName returns the name under which gosnowflake v2 knows [Server.TLSConfig] until
// the server is closed; it is the tlsConfigName of [Server.DSN]. It is empty without [WithTLS].
func (s *Server) TLSConfigName() string {
	if s.secured == nil {
		return ""
	}
	return s.secured.name
}

// TLSConfig returns a configuration for clients that trusts the server's certificate, and no
// other. It is nil without [WithTLS].
func (s *Server) TLSConfig() *tls.Config {
	if s.secured == nil {
		return nil
	}
	return s.secured.client.Clone()
}

// CertificatePEM returns the server's certificate for a file that programs are told to trust;
// for those in Go, on Linux, the variable SSL_CERT_FILE names it. It is nil without [WithTLS].
func (s *Server) CertificatePEM() []byte {
	if s.secured == nil {
		return nil
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.secured.certificate.Certificate[0]})
}
