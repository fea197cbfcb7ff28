package snowtest_test

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/snowtether/snowtether/snowtest"
)

// A file that is fetched is encrypted, and is the same again when it comes back with its key; so
// are files of all lengths around a block.
func TestEncryptedFilesCanBeRead(t *testing.T) {
	for n := range 34 {
		content := bytes.Repeat([]byte("x"), n)
		sealed, key := snowtest.Encrypted(content, "0123456789abcdef0123456789abcdef")
		if bytes.Equal(sealed, content) || len(sealed)%16 != 0 {
			t.Errorf("%d bytes are sent as %q", n, sealed)
		}
		if got, ok := snowtest.Decrypted(sealed, key); !ok || !bytes.Equal(got, content) {
			t.Errorf("%d bytes came back as %q, %v", n, got, ok)
		}
	}
}

// A file that cannot be decrypted is refused, and one without a key is taken as it is.
func TestFilesThatCannotBeDecryptedAreRefused(t *testing.T) {
	sealed, key := snowtest.Encrypted([]byte("content"), "0123456789abcdef0123456789abcdef")
	changed := func(name, value string) http.Header {
		h := http.Header{}
		if name != "" {
			h = http.Header{"X-Amz-Meta-X-Amz-Key": key["X-Amz-Meta-X-Amz-Key"], "X-Amz-Meta-X-Amz-Iv": key["X-Amz-Meta-X-Amz-Iv"]}
			h.Set(name, value)
		}
		return h
	}
	for _, tc := range []struct {
		content []byte
		key     http.Header
		ok      bool
	}{
		{sealed, key, true},
		{sealed, changed("", ""), true},
		{nil, key, false},
		{sealed[1:], key, false},
		{sealed, changed("X-Goog-Meta-Encryptiondata", "{"), false},
		{sealed, changed("X-Amz-Meta-X-Amz-Key", "AA=="), false},
		{sealed, changed("X-Amz-Meta-X-Amz-Key", "?"), false},
		{sealed, changed("X-Amz-Meta-X-Amz-Iv", "AA=="), false},
		{sealed, changed("X-Amz-Meta-X-Amz-Iv", "?"), false},
	} {
		if _, ok := snowtest.Decrypted(tc.content, tc.key); ok != tc.ok {
			t.Errorf("%q with %v: %v", tc.content, tc.key, ok)
		}
	}
}
