package snowtest_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/snowtest"
)

// The DSN reaches a server over TLS in each mode in which gosnowflake checks whether a
// certificate was revoked: for the statements, for the chunks of a result and for the uploads
// of array binds.
func TestAServerOverTLSIsReachedByItsDSN(t *testing.T) {
	for mode, params := range map[string]string{
		"OCSP, failing open":   "",
		"OCSP, failing closed": "&ocspFailOpen=false",
		"CRL":                  "&disableOCSPChecks=true&certRevocationCheckMode=ENABLED",
	} {
		t.Run(mode, func(t *testing.T) {
			srv := snowtest.New(t, snowtest.WithTLS(), snowtest.WithChunkRows(2), snowtest.WithSessionParameter("CLIENT_STAGE_ARRAY_BINDING_THRESHOLD", 3))
			var bare, uploads atomic.Int64
			srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
				if r.HTTP.TLS == nil {
					bare.Add(1)
				}
				if r.HTTP.Method == http.MethodPut {
					uploads.Add(1)
				}
				return snowtest.Fault{}, false
			})
			srv.Handle("FROM numbers", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
				return snowtest.Rows([]string{"N"}, []any{1}, []any{2}, []any{3}, []any{4}, []any{5}), nil
			})
			if !strings.HasPrefix(srv.URL(), "https://127.0.0.1:") {
				t.Errorf("the URL is %s", srv.URL())
			}
			db, err := sql.Open("snowflake", srv.DSN()+params)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if got := column(t, t.Context(), db, "SELECT n FROM numbers"); len(got) != 5 {
				t.Errorf("got %v", got)
			}
			many := []int{1, 2, 3, 4, 5}
			bound, err := gosnowflake.Array(&many)
			if err != nil {
				t.Fatal(err)
			}
			exec(t, db, "INSERT INTO t VALUES (?)", bound)
			if chunks := srv.Stats().Requests[snowtest.RequestChunk]; chunks == 0 || uploads.Load() == 0 || bare.Load() != 0 {
				t.Errorf("%d chunks, %d uploads, and %d requests without TLS", chunks, uploads.Load(), bare.Load())
			}
		})
	}
}

// Clients that are not gosnowflake v2 are given what they need to trust the server, and those
// that were not are refused.
func TestACertificateIsTrustedByThoseWhoAreTold(t *testing.T) {
	srv := snowtest.New(t, snowtest.WithTLS())
	told := &http.Client{Transport: &http.Transport{TLSClientConfig: srv.TLSConfig()}}
	defer told.CloseIdleConnections()
	for _, name := range []string{"127.0.0.1", "localhost"} {
		resp, err := told.Get(strings.Replace(srv.URL(), "127.0.0.1", name, 1))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_ = resp.Body.Close()
	}
	srv.Disconnect()
	if resp, err := told.Get(srv.URL()); err == nil {
		_ = resp.Body.Close()
		t.Error("the network is not cut")
	}
	srv.Reconnect()
	srv.FaultOnce(func(*snowtest.Request) (snowtest.Fault, bool) { return snowtest.Fault{Drop: true}, true })
	if resp, err := told.Get(srv.URL()); err == nil {
		_ = resp.Body.Close()
		t.Error("a reply that was to be lost came")
	}
	if resp, err := new(http.Client).Get(srv.URL()); err == nil {
		_ = resp.Body.Close()
		t.Error("a client that was not told trusts the server")
	}
	if !strings.Contains(string(srv.CertificatePEM()), "BEGIN CERTIFICATE") || strings.Contains(string(srv.CertificatePEM()), "PRIVATE") {
		t.Errorf("the certificate is %s", srv.CertificatePEM())
	}
	if cfg := srv.Config(); cfg.TLSConfigName == "" || cfg.TLSConfigName != srv.TLSConfigName() || cfg.Protocol != "https" {
		t.Errorf("the Config has %s, TLS configuration %q", cfg.Protocol, cfg.TLSConfigName)
	}

	name := srv.TLSConfigName()
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := gosnowflake.ParseDSN("u:p@h:1/d?account=a&tlsConfigName=" + name); err == nil {
		t.Error("gosnowflake knows the configuration of a server that is closed")
	}
}

func TestAServerWithoutTLSHasNoneOfIt(t *testing.T) {
	srv := snowtest.New(t)
	if srv.TLSConfig() != nil || srv.CertificatePEM() != nil || srv.TLSConfigName() != "" || srv.Config().TLSConfigName != "" {
		t.Error("a server without TLS has a certificate")
	}
	if _, err := snowtest.Start(snowtest.WithTLS(), snowtest.InMemory()); err == nil || !strings.Contains(err.Error(), "WithTLS") {
		t.Errorf("TLS in memory: %v", err)
	}
}

// A server has the port that it is given, or says in one line why not.
func TestAServerHasThePortThatItIsGiven(t *testing.T) {
	first := snowtest.New(t)
	port := first.Config().Port
	if _, err := snowtest.Start(snowtest.WithPort(port)); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a port in use: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := snowtest.New(t, snowtest.WithPort(port))
	if second.Config().Port != port {
		t.Errorf("the port is %d, want %d", second.Config().Port, port)
	}
	for _, opts := range [][]snowtest.Option{{snowtest.WithPort(-1)}, {snowtest.WithPort(65536)}, {snowtest.WithPort(port), snowtest.InMemory()}} {
		if _, err := snowtest.Start(opts...); err == nil || !strings.Contains(err.Error(), "WithPort") {
			t.Errorf("a port that cannot be: %v", err)
		}
	}
}

func ExampleWithTLS() {
	srv, err := snowtest.Start(snowtest.WithTLS())
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	db, err := sql.Open("snowflake", srv.DSN()) // names the TLS configuration that trusts the server
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	fmt.Println(db.Ping())
	// Output: <nil>
}

func ExampleWithStore() {
	srv, err := snowtest.Start(snowtest.WithTLS(), snowtest.WithStore(snowtest.S3))
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	db, err := sql.Open("snowflake", srv.DSN())
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	ctx := gosnowflake.WithFilePutStream(context.Background(), strings.NewReader("1,one\n"))
	_, err = db.ExecContext(ctx, "PUT file:///tmp/one.csv @~ AUTO_COMPRESS = FALSE") // by Amazon's client
	fmt.Println(err)
	// Output: <nil>
}

// Only https can be spoken to the stores that are not Google's with URLs.
func TestStoresThatNeedTLSSayIt(t *testing.T) {
	for _, kind := range []snowtest.Store{snowtest.GoogleTokens, snowtest.S3, snowtest.Azure, 9} {
		if _, err := snowtest.Start(snowtest.WithStore(kind)); err == nil || !strings.Contains(err.Error(), "WithStore") {
			t.Errorf("store %d: %v", kind, err)
		}
	}
}
