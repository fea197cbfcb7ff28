package snowtest

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync"
)

// This file is the object store of the stages: what a client is told in answer to a PUT or a
// GET, and the requests that it then makes, in the words of each store.

// A Store is the kind of object store that the server's stages are in.
type Store int

// The stores. What gosnowflake v2 does with each differs. To [GoogleURLs] it asks again for
// each file of a PUT, to have a URL for it, and sends files that are there already also
// without OVERWRITE; the others it asks whether a file is there, and skips it.
const (
	GoogleURLs   Store = iota // Google Cloud Storage, by a URL for each file; the default
	GoogleTokens              // Google Cloud Storage, by an access token
	S3                        // Amazon S3
	Azure                     // Azure Blob Storage
)

// WithStore sets the kind of object store of the stages, those of array binds included. The
// default is [GoogleURLs]. Clients speak to the others over https only, so they need [WithTLS].
func WithStore(kind Store) Option { return func(o *options) { o.store = kind } }

// A Transfer is what the client does with the files of a stage after the answer to a PUT or
// a GET. An engine sets it in the [Result] of such a statement.
type Transfer struct {
	Place Place
	// Files are, for a PUT, the client's as the statement names them: paths, in which * and ?
	// are the client's to expand. For a GET they are names in the place.
	Files    []string
	Local    string // the folder to which a GET downloads; empty for a PUT
	Parallel int    // how many at a time; 0 is Snowflake's default, 4 for a PUT and 10 for a GET

	// Of a PUT: the compression that the files have, such as GZIP or NONE, in any case; empty
	// lets the client find out. Then it compresses the others with gzip, if AutoCompress is set.
	SourceCompression       string
	AutoCompress, Overwrite bool

	// Encrypted has the client encrypt what it sends and decrypt what it fetches, as in a stage
	// without an ENCRYPTION of its own. The place has the files in the clear.
	Encrypted bool
}

// A Place is a stage with a path in it. Its methods are called from several goroutines.
type Place interface {
	// ReadFile returns a file of the place, or false if it is not there.
	ReadFile(name string) ([]byte, bool)
	// WriteFile creates a file or replaces it. It keeps the content.
	WriteFile(name string, content []byte)
}

const uploadPath = "/stages/"

// An opened place is one that a client has been told of, by a secret part of its URLs.
type opened struct {
	place  Place
	query  *query
	secret string // by which files are encrypted; empty where they are not

	mu    sync.Mutex
	parts map[string][]byte      // of files that are sent in parts, by the file and the part
	keys  map[string]http.Header // of files that S3 is sent in parts: what came with the first request
}

// transferData is what the reply to a PUT or a GET tells besides its result.
func (s *Server) transferData(q *query, t *Transfer, base string) map[string]any {
	token := randomHex(16)
	s.mu.Lock()
	o := &opened{place: t.Place, query: q, parts: map[string][]byte{}, keys: map[string]http.Header{}}
	if s.opened[token] = o; t.Encrypted {
		o.secret = token
	}
	s.mu.Unlock()
	fileURL := func(name string) string { return base + uploadPath + token + "/" + url.PathEscape(name) }
	first, rest, _ := strings.Cut(host, ".")
	port := ":" + strconv.Itoa(s.port)
	info := map[string]any{"location": "stages/" + token + "/", "isClientSideEncrypted": false, "creds": map[string]any{}}
	switch s.store {
	case S3:
		info["locationType"], info["region"], info["endPoint"] = "S3", "us-east-1", host+port
		info["creds"] = map[string]any{"AWS_KEY_ID": token, "AWS_SECRET_KEY": token, "AWS_TOKEN": token}
	case Azure: // whose URLs begin with the account, so that 127 is one
		info["locationType"], info["storageAccount"], info["endPoint"], info["path"] = "AZURE", first, rest+port, "stages"
		info["creds"] = map[string]any{"AZURE_SAS_TOKEN": "?sig=" + token}
	case GoogleTokens:
		info["locationType"], info["region"], info["endPoint"] = "GCS", "US-CENTRAL1", host+port
		info["creds"] = map[string]any{"GCS_ACCESS_TOKEN": token}
	default:
		info["locationType"], info["region"] = "GCS", "US-CENTRAL1" // Node's client fails without a region
		if t.Local == "" {
			info["presignedUrl"] = fileURL(uploadName(t.Files[0]))
		}
	}
	data := map[string]any{"command": "UPLOAD", "operation": "Node", "src_locations": t.Files, "parallel": cmp.Or(t.Parallel, 4), "stageInfo": info,
		"autoCompress": t.AutoCompress, "overwrite": t.Overwrite, "sourceCompression": cmp.Or(strings.ToLower(t.SourceCompression), "auto_detect")}
	if t.Local != "" {
		data["command"], data["localLocation"], data["parallel"] = "DOWNLOAD", t.Local, cmp.Or(t.Parallel, 10)
		urls, materials := []string{}, []any{}
		for _, name := range t.Files {
			urls, materials = append(urls, fileURL(name)), append(materials, encryptionMaterial(q.id))
		}
		if s.store == GoogleURLs {
			data["presignedUrls"] = urls
		}
		if t.Encrypted {
			data["encryptionMaterial"] = materials
		}
	} else if t.Encrypted {
		data["encryptionMaterial"] = encryptionMaterial(q.id)
	}
	return data
}

// uploadName is the name, in the stage, of the file in a PUT. Where a PUT has wildcards,
// gosnowflake asks for each file with its name behind them.
func uploadName(file string) string {
	ends := "/\\*?"
	if strings.Contains(file, "[") {
		ends += "]"
	}
	return path.Clean(file[strings.LastIndexAny(file, ends)+1:])
}

// storeRequest answers a request to the object store.
func (s *Server) storeRequest(in *incoming) *reply {
	r, asks := in.HTTP, in.HTTP.URL.Query()
	if asks.Has("accelerate") {
		return &reply{raw: []byte(`<AccelerateConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"/>`), mime: "application/xml"}
	}
	token, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, uploadPath), "/")
	s.mu.Lock()
	o := s.opened[token]
	s.mu.Unlock()
	if o == nil {
		return &reply{status: http.StatusForbidden}
	}
	switch {
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		return o.download(r, name)
	case asks.Has("uploads"):
		o.mu.Lock()
		o.keys[name] = r.Header
		o.mu.Unlock()
		return &reply{raw: []byte("<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"), mime: "application/xml"}
	case r.Method == http.MethodPut && (asks.Has("partNumber") || asks.Get("comp") == "block"):
		return o.keepPart(name+" "+asks.Get("partNumber")+asks.Get("blockid"), sent(r, in.body))
	case r.Method == http.MethodPost && asks.Has("uploadId") || asks.Get("comp") == "blocklist":
		return s.uploaded(o, name, o.joined(name, in.body), o.keyOf(name, r))
	case r.Method == http.MethodPut:
		return s.uploaded(o, name, sent(r, in.body), r.Header)
	}
	return &reply{status: http.StatusMethodNotAllowed}
}

// keyOf is what came with a file whose parts this request ends.
func (o *opened) keyOf(name string, r *http.Request) http.Header {
	o.mu.Lock()
	defer o.mu.Unlock()
	if h := o.keys[name]; h != nil {
		return h
	}
	return r.Header
}

// uploaded keeps a file that has arrived. Only now has its PUT changed something.
func (s *Server) uploaded(o *opened, name string, content []byte, key http.Header) *reply {
	plain, ok := decrypted(content, key)
	if !ok {
		return &reply{status: http.StatusBadRequest}
	}
	o.place.WriteFile(name, plain)
	s.mu.Lock()
	if e := o.query.entry; e != nil && !o.query.own {
		e.changes = true
	}
	s.mu.Unlock()
	switch s.store {
	case Azure:
		return &reply{status: http.StatusCreated, header: stored(content)}
	case S3: // which reads it after the last of several parts
		return &reply{raw: []byte("<CompleteMultipartUploadResult><Key>" + name + "</Key></CompleteMultipartUploadResult>"), mime: "application/xml", header: stored(content)}
	}
	return &reply{header: stored(content)}
}

func stored(content []byte) http.Header {
	return http.Header{"Etag": {`"` + strconv.Itoa(len(content)) + `"`}, "Last-Modified": {"Mon, 01 Jan 2024 00:00:00 GMT"}}
}

// keepPart keeps one part of a file.
func (o *opened) keepPart(key string, content []byte) *reply {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.parts[key] = content
	return &reply{status: http.StatusCreated, header: stored(content)}
}

// joined puts the parts of a file together, in the order of the list that ends it.
func (o *opened) joined(name string, list []byte) []byte {
	var order struct {
		Part                []struct{ PartNumber string } // S3's
		Latest, Uncommitted []string                      // Azure's
	}
	if xml.Unmarshal(list, &order) != nil {
		return nil
	}
	keys := append(order.Latest, order.Uncommitted...)
	for _, p := range order.Part {
		keys = append(keys, p.PartNumber)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	content := []byte{}
	for _, key := range keys {
		content = append(content, o.parts[name+" "+key]...)
		delete(o.parts, name+" "+key)
	}
	return content
}

// sent is the content of a file, or of a part of one, in a request: Amazon's client may
// cut it into chunks, each behind its length.
func sent(r *http.Request, body []byte) []byte {
	if !strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		return body
	}
	content := []byte{}
	for {
		head, rest, ok := bytes.Cut(body, []byte("\r\n"))
		length, _, _ := strings.Cut(string(head), ";")
		n, err := strconv.ParseInt(length, 16, 64)
		if !ok || err != nil || n <= 0 || int(n) > len(rest) {
			return content
		}
		content, body = append(content, rest[:n]...), bytes.TrimPrefix(rest[n:], []byte("\r\n"))
	}
}

// download answers with a file, or the bytes of it that are asked for.
func (o *opened) download(r *http.Request, name string) *reply {
	content, ok := o.place.ReadFile(name)
	if !ok {
		return &reply{status: http.StatusNotFound, header: http.Header{"X-Ms-Error-Code": {"BlobNotFound"}}}
	}
	key := http.Header{}
	if o.secret != "" {
		content, key = encrypted(content, o.secret)
	}
	rep := &reply{raw: content, mime: "application/octet-stream", header: stored(content)}
	maps.Copy(rep.header, key)
	var from, to int
	asked := cmp.Or(r.Header.Get("X-Ms-Range"), r.Header.Get("Range"))
	if n, _ := fmt.Sscanf(asked, "bytes=%d-%d", &from, &to); n == 0 || r.Method == http.MethodHead {
		return rep
	} else if n == 1 || to >= len(content) {
		to = len(content) - 1
	}
	if from > to { // of an empty file, too
		return &reply{status: http.StatusRequestedRangeNotSatisfiable}
	}
	rep.status, rep.raw = http.StatusPartialContent, content[from:to+1]
	rep.header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(content)))
	return rep
}
