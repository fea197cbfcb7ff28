package snowtest

import (
	"encoding/xml"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const chunkPath = "/chunks/"

// ExpireChunkURLs makes the URLs of chunks that were given out so far expire
// now: the store answers 403, as it does when [WithChunkLife] is over. Whoever
// asks for the result once more, by its query ID, gets new ones.
func (s *Server) ExpireChunkURLs() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.grants {
		g.expired = true
	}
}

// grant lets the holder of its path fetch the chunks of one result, as the
// signature of a presigned URL does.
type grant struct {
	chunks  []chunk
	expires time.Time
	expired bool // made to expire
}

type chunkMeta struct {
	URL              string `json:"url"`
	RowCount         int    `json:"rowCount"`
	UncompressedSize int    `json:"uncompressedSize"`
	CompressedSize   int    `json:"compressedSize"`
}

// grant gives out new URLs for the chunks of a result.
func (s *Server) grant(chunks []chunk, base string) []chunkMeta {
	path := randomHex(16)
	s.mu.Lock()
	s.grants[path] = &grant{chunks: chunks, expires: time.Now().Add(s.chunkLife)}
	s.mu.Unlock()
	list := make([]chunkMeta, len(chunks))
	for i, c := range chunks {
		list[i] = chunkMeta{base + chunkPath + path + "/" + strconv.Itoa(i), c.rows, c.size, c.packed}
	}
	return list
}

// chunk answers GET /chunks/<grant>/<n>. As on the object stores that hold real
// chunks, the URL is the permission, whatever became of the session.
func (s *Server) chunk(path string) *reply {
	name, number, _ := strings.Cut(strings.TrimPrefix(path, chunkPath), "/")
	n, err := strconv.Atoi(number)
	s.mu.Lock()
	g := s.grants[name]
	valid := g != nil && !g.expired && time.Now().Before(g.expires)
	s.mu.Unlock()
	switch {
	case g == nil || err != nil || n < 0 || n >= len(g.chunks):
		return denied("Access Denied")
	case !valid:
		return denied("Request has expired")
	}
	packed, err := s.spill.read(g.chunks[n])
	if err != nil {
		return &reply{status: http.StatusInternalServerError, raw: []byte(err.Error())}
	}
	return &reply{raw: packed, encoding: "gzip", mime: "application/octet-stream"}
}

// denied is how S3 refuses a presigned URL.
func denied(message string) *reply {
	text, err := xml.Marshal(struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
	}{Code: "AccessDenied", Message: message})
	if err != nil {
		panic(err) // strings always marshal
	}
	return &reply{status: http.StatusForbidden, raw: append([]byte(xml.Header), text...), mime: "application/xml"}
}
