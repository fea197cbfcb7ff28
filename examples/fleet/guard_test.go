package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

var testKey = []byte("0123456789abcdef0123456789abcdef")

// guarded opens a pool with a guard of its own over the Redis at this address, as one
// process of a fleet would.
func guarded(t *testing.T, cfg *gosnowflake.Config, address string, rate int, cooldown time.Duration, log io.Writer) *sql.DB {
	t.Helper()
	client := connect(address)
	guard, err := NewGuard(client, testKey, rate, cooldown)
	if err != nil {
		t.Fatal(err)
	}
	connector, err := snowtether.NewConnector(cfg, snowtether.WithLoginGuard(guard), snowtether.WithAuthCooldown(0),
		snowtether.WithLogger(slog.New(slog.NewTextHandler(log, nil))))
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(poolSize)
	db.SetMaxIdleConns(poolSize)
	t.Cleanup(func() {
		if err := errors.Join(db.Close(), client.Close()); err != nil {
			t.Error(err)
		}
	})
	return db
}

// TestOneLoginAtATimeUntilTheCredentialHasProvedRight: in all processes together, also
// while the server takes its time.
func TestOneLoginAtATimeUntilTheCredentialHasProvedRight(t *testing.T) {
	address, srv := redisAddress(t), snowtest.New(t)
	logins := watch(srv)
	var all sync.WaitGroup
	for range 8 {
		db := guarded(t, srv.Config(), address, 100, cooldown, io.Discard)
		all.Go(func() {
			if said := use(t.Context(), db); said != saidServed {
				t.Error(said)
			}
		})
	}
	all.Wait()
	if n, _ := logins.count(); n != 64 {
		t.Errorf("%d logins, want 64", n)
	}
	if first := logins.at[1].Sub(logins.at[0]); first < 100*time.Millisecond {
		t.Errorf("the second login came %v after the first, which had not been answered", first)
	}
	if took := logins.at[63].Sub(logins.at[1]); took < 500*time.Millisecond {
		t.Errorf("63 logins in %v are more than 100 a second", took)
	}
}

// TestRefusedCredentialRestsInTheWholeFleet: until the cool-down is over, or there is
// another one.
func TestRefusedCredentialRestsInTheWholeFleet(t *testing.T) {
	address, srv := redisAddress(t), snowtest.New(t)
	wrong := srv.Config()
	wrong.Password = "last month's"
	ping := func(cfg *gosnowflake.Config) error {
		return guarded(t, cfg, address, 100, 2*time.Second, io.Discard).PingContext(t.Context())
	}
	if err := ping(wrong); err == nil || errors.Is(err, snowtether.ErrLoginSuspended) {
		t.Errorf("the first login ended with %v", err)
	}
	time.Sleep(100 * time.Millisecond) // the guard is told in the background
	for range 3 {
		err := ping(wrong)
		if !errors.Is(err, snowtether.ErrLoginSuspended) || !strings.Contains(err.Error(), "the fleet's login was refused") {
			t.Errorf("error is %v, want one that Is ErrLoginSuspended", err)
		}
	}
	if err := ping(srv.Config()); err != nil {
		t.Errorf("the right password: %v", err)
	}
	if n := srv.Stats().LoginFailures; n != 1 {
		t.Errorf("%d logins were refused", n)
	}
	time.Sleep(2 * time.Second)
	if err := ping(wrong); err == nil || errors.Is(err, snowtether.ErrLoginSuspended) {
		t.Errorf("after the cool-down: %v", err)
	}
}

// TestRedisThatIsDownOrHangsDelaysLoginsByItsBound: 2 s, and there is one line in the log.
func TestRedisThatIsDownOrHangsDelaysLoginsByItsBound(t *testing.T) {
	for name, accept := range map[string]bool{"down": false, "hangs": true} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			if !accept {
				listener.Close() // nobody listens any more; else the system takes the connection, and nobody reads
			}
			srv := snowtest.New(t)
			log := &lockedBuffer{}
			db := guarded(t, srv.Config(), listener.Addr().String(), 1, cooldown, log)
			begun := time.Now()
			if said := use(t.Context(), db); said != saidServed {
				t.Error(said)
			}
			if took := time.Since(begun); took > 2*time.Second+500*time.Millisecond {
				t.Errorf("the logins took %v", took)
			}
			if n := log.count("level=WARN"); n != 1 || log.count("the login guard failed") != 1 {
				t.Errorf("%d lines at Warn, want one about the guard", n)
			}
		})
	}
}

// lockedBuffer is a log that is safe for concurrent use.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) count(text string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.buf.String(), text)
}

// TestRedisHoldsNoSecret: neither in its keys nor in their values.
func TestRedisHoldsNoSecret(t *testing.T) {
	address, srv := redisAddress(t), snowtest.New(t)
	wrong := srv.Config()
	wrong.Password = "last-month's"
	for _, cfg := range []*gosnowflake.Config{srv.Config(), wrong} {
		_ = guarded(t, cfg, address, 100, cooldown, io.Discard).PingContext(t.Context()) // one is refused
	}
	time.Sleep(100 * time.Millisecond) // the guard is told in the background
	client := connect(address)
	defer client.Close()
	ctx := context.Background()
	keys, err := client.Keys(ctx, "*").Result()
	if err != nil || len(keys) < 2 {
		t.Fatalf("keys %q: %v", keys, err)
	}
	for _, key := range keys {
		value, err := client.Get(ctx, key).Result()
		if err != nil {
			t.Error(err)
		}
		text := strings.ToLower(key + "=" + value)
		for _, secret := range []string{srv.Password(), wrong.Password, srv.User(), srv.Config().Account, string(testKey)} {
			if strings.Contains(text, strings.ToLower(secret)) {
				t.Errorf("%s holds %q", text, secret)
			}
		}
		if ttl := client.PTTL(ctx, key).Val(); ttl <= 0 {
			t.Errorf("%s stays for ever", key)
		}
	}
}
