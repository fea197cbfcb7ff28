package adopting_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/snowflakedb/gosnowflake/v2"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about who logs in. Each way is tried with a secret that changes while
// the pool is open.

// readKey reads an unencrypted PKCS#8 key.
func readKey(file string) (*rsa.PrivateKey, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("the key file holds no PEM block")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	private, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("the key is not an RSA key")
	}
	return private, nil
}

func withKeyPair(cfg *gosnowflake.Config, file string) (*snowtether.Connector, error) {
	cfg.Authenticator = gosnowflake.AuthTypeJwt
	connector, err := snowtether.NewConnector(cfg, snowtether.WithBeforeConnect(
		func(_ context.Context, cfg *gosnowflake.Config) (err error) {
			cfg.PrivateKey, err = readKey(file) // before each login: a new file is a new key
			return err
		}))
	return connector, err
}

// A tokenSource fetches a new token whenever it is asked; snowtether keeps it until
// a minute before its expiry.
type tokenSource struct{ clientcredentials.Config }

func (s *tokenSource) Token() (*oauth2.Token, error) {
	return s.Config.Token(context.Background())
}

func withOAuth(cfg *gosnowflake.Config, id, secret, tokenURL string) (*snowtether.Connector, error) {
	source := &tokenSource{clientcredentials.Config{ClientID: id, ClientSecret: secret, TokenURL: tokenURL}}
	connector, err := snowtether.NewConnector(cfg, snowtether.WithTokenSource(source))
	return connector, err
}

func withAccessToken(cfg *gosnowflake.Config, file string) (*snowtether.Connector, error) {
	cfg.Authenticator = gosnowflake.AuthTypePat
	cfg.TokenFilePath = file // read at each login
	connector, err := snowtether.NewConnector(cfg)
	return connector, err
}

func withWorkloadIdentity(cfg *gosnowflake.Config, file string) (*snowtether.Connector, error) {
	cfg.Authenticator = gosnowflake.AuthTypeWorkloadIdentityFederation
	cfg.WorkloadIdentityProvider = "OIDC" // or AWS, AZURE, GCP, without a token
	cfg.TokenFilePath = file              // the projected service account token
	connector, err := snowtether.NewConnector(cfg)
	return connector, err
}

func withVault(cfg *gosnowflake.Config, read func(context.Context) (string, error)) (*snowtether.Connector, error) {
	connector, err := snowtether.NewConnector(cfg, snowtether.WithBeforeConnect(
		func(ctx context.Context, cfg *gosnowflake.Config) (err error) {
			cfg.Password, err = read(ctx)
			return err
		}))
	return connector, err
}

// rotate opens the pool with the first secret, lets the server accept nothing but
// the second and ends all sessions: the next login must be sent with the second, and
// the first is not sent again.
func rotate(t *testing.T, srv *snowtest.Server, c *snowtether.Connector, err error, use func(n int)) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	db := closing(t, sql.OpenDB(c))
	use(1)
	if err := db.PingContext(t.Context()); err != nil {
		t.Fatalf("with the first secret: %v", err)
	}
	use(2)
	if err := db.PingContext(t.Context()); err != nil {
		t.Errorf("the open session after the rotation: %v", err)
	}
	srv.AbortSessions()
	if err := db.PingContext(t.Context()); err != nil {
		t.Errorf("with the second secret: %v", err)
	}
	if s := srv.Stats(); s.Logins != 2 || s.LoginFailures != 0 {
		t.Errorf("%d logins, %d refused", s.Logins, s.LoginFailures)
	}
}

// only accepts the token that good holds.
func only(good *atomic.Value) snowtest.Option {
	return snowtest.WithToken(func(token string) error {
		if token != good.Load() {
			return errors.New("another token")
		}
		return nil
	})
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Error(err)
	}
}

func nobody(srv *snowtest.Server) *gosnowflake.Config {
	cfg := srv.Config()
	cfg.Password = ""
	return cfg
}

func TestKeyPairRotates(t *testing.T) {
	file, registered := filepath.Join(t.TempDir(), "key.p8"), atomic.Pointer[rsa.PublicKey]{}
	srv := snowtest.New(t, snowtest.WithToken(func(token string) error {
		i := strings.LastIndexByte(token, '.')
		signature, err := base64.RawURLEncoding.DecodeString(token[i+1:])
		digest := sha256.Sum256([]byte(token[:i]))
		return errors.Join(err, rsa.VerifyPKCS1v15(registered.Load(), crypto.SHA256, digest[:], signature))
	}))
	c, err := withKeyPair(nobody(srv), file)
	rotate(t, srv, c, err, func(int) {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		registered.Store(&key.PublicKey)
		write(t, file, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	})
}

func TestOAuthTokenRotates(t *testing.T) {
	var good atomic.Value
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": good.Load(), "token_type": "bearer", "expires_in": 30})
	}))
	defer issuer.Close()
	srv := snowtest.New(t, only(&good))
	c, err := withOAuth(nobody(srv), "id", "secret", issuer.URL)
	rotate(t, srv, c, err, func(n int) { good.Store([]string{"", "oauth-token-1", "oauth-token-2"}[n]) })
}

func TestProgrammaticAccessTokenRotates(t *testing.T) {
	var good atomic.Value
	file, srv := filepath.Join(t.TempDir(), "token"), snowtest.New(t, only(&good))
	c, err := withAccessToken(nobody(srv), file)
	rotate(t, srv, c, err, func(n int) {
		good.Store([]string{"", "access-token-1", "access-token-2"}[n])
		write(t, file, good.Load().(string))
	})
}

func TestWorkloadIdentityRotates(t *testing.T) {
	var good atomic.Value
	file, srv := filepath.Join(t.TempDir(), "token"), snowtest.New(t, only(&good))
	c, err := withWorkloadIdentity(nobody(srv), file)
	encode := base64.RawURLEncoding.EncodeToString
	rotate(t, srv, c, err, func(n int) {
		good.Store(strings.Join([]string{
			encode([]byte(`{"alg":"RS256","typ":"JWT"}`)),
			encode([]byte(`{"iss":"https://issuer.example","sub":"loader"}`)),
			encode([]byte{byte(n)}),
		}, "."))
		write(t, file, good.Load().(string))
	})
}

func TestPasswordIsReadFromTheVaultForEachLogin(t *testing.T) {
	srv := snowtest.New(t)
	asked := 0
	c, err := withVault(nobody(srv), func(context.Context) (string, error) {
		asked++
		return srv.Password(), nil
	})
	rotate(t, srv, c, err, func(int) {})
	if asked != 2 {
		t.Errorf("the vault was asked %d times, want once for each login", asked)
	}
}
