package snowtest_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/snowtest"
)

// This file holds what an engine without SQL can hand out: the transfers of PUT and GET, with
// the real client, through each kind of object store.

// A shelf is a place in memory, and the engine that hands it out.
type shelf struct {
	put, get snowtest.Transfer

	mu    sync.Mutex
	files map[string][]byte
}

func (s *shelf) ReadFile(name string) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	content, ok := s.files[name]
	return content, ok
}

func (s *shelf) WriteFile(name string, content []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[name] = content
}

// Run answers every PUT with the transfer of the shelf's, and so every GET.
func (s *shelf) Run(_ context.Context, st *snowtest.Statement) (*snowtest.Result, error) {
	res, moved := snowtest.Status(snowtest.KindSelect, "done"), s.get
	if strings.HasPrefix(st.SQL, "PUT") {
		moved = s.put
	}
	moved.Place, res.Transfer = s, &moved
	return res, nil
}

func (s *shelf) OpenSession(context.Context, snowtest.SessionConfig) (snowtest.EngineSession, error) {
	return s, nil
}

func (s *shelf) Close() error { return nil }

// shelved is a server whose PUT and GET move the files of a shelf: the client's, given by their
// paths, and those of the names, into the folder.
func shelved(t *testing.T, put []string, get []string, folder string, opts ...snowtest.Option) (*sql.DB, *shelf) {
	t.Helper()
	s := &shelf{files: map[string][]byte{}, put: snowtest.Transfer{Files: put, SourceCompression: "NONE"}, get: snowtest.Transfer{Files: get, Local: folder}}
	srv := snowtest.New(t, append(opts, snowtest.WithEngine(s))...)
	db, err := sql.Open("snowflake", srv.DSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db, s
}

// TestFilesArriveWholeInEachStore: small ones, empty ones, and those that are sent and fetched
// in parts; and they come back. So do those that the client encrypts.
func TestFilesArriveWholeInEachStore(t *testing.T) {
	contents := map[string][]byte{"small.bin": []byte("1\n2\n"), "empty.bin": {}, "large.bin": bytes.Repeat([]byte("0123456789abcdef"), 20<<16)}
	for name, opts := range map[string][]snowtest.Option{
		"Google's URLs":   nil,
		"Google's tokens": {snowtest.WithTLS(), snowtest.WithStore(snowtest.GoogleTokens)},
		"S3":              {snowtest.WithTLS(), snowtest.WithStore(snowtest.S3)},
		"Azure":           {snowtest.WithTLS(), snowtest.WithStore(snowtest.Azure)},
	} {
		for file, want := range contents {
			t.Run(name+" "+file, func(t *testing.T) {
				from, back := t.TempDir(), t.TempDir()
				path := filepath.Join(from, file)
				if err := os.WriteFile(path, want, 0o600); err != nil {
					t.Fatal(err)
				}
				db, s := shelved(t, []string{path}, []string{file}, back, opts...)
				for _, encrypted := range []bool{false, true} {
					s.put.Encrypted, s.get.Encrypted = encrypted, encrypted
					exec(t, db, fmt.Sprintf("PUT file://%s @s_%v", path, encrypted))
					if got, ok := s.ReadFile(file); !ok || !bytes.Equal(got, want) {
						t.Errorf("encrypted %v: %d bytes of %d arrived: %v", encrypted, len(got), len(want), ok)
					}
					exec(t, db, "GET @s file://"+back)
					if got, err := os.ReadFile(filepath.Join(back, file)); err != nil || !bytes.Equal(got, want) {
						t.Errorf("encrypted %v: %d bytes of %d came back: %v", encrypted, len(got), len(want), err)
					}
					delete(s.files, file)
				}
			})
		}
	}
}

// TestStreamsArriveWholeInEachStore: what is read from a stream is sent in parts, too.
func TestStreamsArriveWholeInEachStore(t *testing.T) {
	want := bytes.Repeat([]byte("0123456789abcdef"), 20<<16)
	for _, kind := range []snowtest.Store{snowtest.GoogleTokens, snowtest.S3, snowtest.Azure} {
		db, s := shelved(t, []string{"/none/stream.bin"}, nil, "", snowtest.WithTLS(), snowtest.WithStore(kind))
		s.put.Encrypted = true
		if _, err := db.ExecContext(gosnowflake.WithFilePutStream(t.Context(), bytes.NewReader(want)), "PUT file:///none/stream.bin @s"); err != nil {
			t.Error(err)
		}
		if got, _ := s.ReadFile("stream.bin"); !bytes.Equal(got, want) {
			t.Errorf("store %d: %d bytes of %d arrived", kind, len(got), len(want))
		}
	}
}

// TestFilesSentToS3InPartsAreDecrypted: their key comes with the first request, before the parts,
// which begin at 64 MB.
func TestFilesSentToS3InPartsAreDecrypted(t *testing.T) {
	path, want := filepath.Join(t.TempDir(), "large.bin"), bytes.Repeat([]byte("0123456789abcdef"), 65<<16)
	if err := os.WriteFile(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	db, s := shelved(t, []string{path}, nil, "", snowtest.WithTLS(), snowtest.WithStore(snowtest.S3))
	s.put.Encrypted = true
	exec(t, db, "PUT file://"+path+" @s")
	if got, _ := s.ReadFile("large.bin"); !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d arrived", len(got), len(want))
	}
}

// TestFileThatIsNotThereIsAnError: the client says so.
func TestFileThatIsNotThereIsAnError(t *testing.T) {
	for _, opts := range [][]snowtest.Option{nil, {snowtest.WithTLS(), snowtest.WithStore(snowtest.Azure)}} {
		db, _ := shelved(t, nil, []string{"none.bin"}, t.TempDir(), opts...)
		if _, err := db.ExecContext(t.Context(), "GET @s file:///none"); err == nil {
			t.Error("a file that is not there was fetched")
		}
	}
}
