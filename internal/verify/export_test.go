package verify

import (
	"crypto/tls"
	"net/http"
	"net/url"

	"github.com/snowflakedb/gosnowflake/v2"
)

// What tests need of what is not exported.

// Blank blanks a text, and with it the names.
func Blank(text string, names ...string) string { return newBlanker(names...).blank(text) }

// Read reads a reply and returns what would be shown of it.
func Read(status int, body string) (x Exchange, refused, gone bool) {
	r := read(status, []byte(body))
	return newBlanker("acme", "orders").exchange(askStatement, r), r.refused(), isGone(r)
}

// Transport is the transport of a Config; its proxy says where a request would go through.
func Transport(cfg *gosnowflake.Config, trust *tls.Config) (transport *http.Transport, proxy func(*http.Request) (*url.URL, error)) {
	t := newTransport(cfg, trust).(*http.Transport)
	return t, t.Proxy
}

// Name writes a name.
func Name(text string) string { return name(text) }
