package contract_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/snowtether/snowtether/internal/testpool"
	"github.com/snowtether/snowtether/snowtest"
)

// Exactly once (docs/guarantees.md): through HTTP/2 proxies that give streams back. net/http's
// client repeats a request by itself where a proxy says that it did not process it: by
// REFUSED_STREAM, by a GOAWAY that names an earlier stream, and by PROTOCOL_ERROR.

// A givenBack is what a proxy does with a stream instead of answering it.
type givenBack struct {
	name   string
	passed bool          // the request has been passed on before, whatever the proxy says
	goAway bool          // by a GOAWAY that names the stream before it; else by RST_STREAM
	code   http2.ErrCode // of it
}

var givenBacks = []givenBack{
	{"GOAWAY before it", false, true, http2.ErrCodeNo},
	{"GOAWAY with an error before it", false, true, http2.ErrCodeEnhanceYourCalm},
	{"REFUSED_STREAM", false, false, http2.ErrCodeRefusedStream},
	{"INTERNAL_ERROR", false, false, http2.ErrCodeInternal},
	{"INTERNAL_ERROR after it was passed on", true, false, http2.ErrCodeInternal},
	{"REFUSED_STREAM after it was passed on", true, false, http2.ErrCodeRefusedStream},
	{"PROTOCOL_ERROR after it was passed on", true, false, http2.ErrCodeProtocol},
	{"GOAWAY before it, after it was passed on", true, true, http2.ErrCodeNo},
}

// A proxy speaks HTTP/2 frame by frame, because net/http's server can do none of this.
type proxy struct {
	next  http.RoundTripper
	meets func(query string) *givenBack // what a request meets; query is its body. nil: it is passed on
	after func(query string)            // is called before a stream is given back
}

// behindProxy is a configuration that goes through the proxy.
func behindProxy(t *testing.T, srv *snowtest.Server, p *proxy) *gosnowflake.Config {
	t.Helper()
	cfg := srv.Config()
	p.next = cfg.Transporter
	pipes := newPipes()
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := pipes.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { p.serve(conn) })
		}
	})
	var h2 http.Protocols
	h2.SetUnencryptedHTTP2(true)
	transport := &http.Transport{DialContext: pipes.dial, Protocols: &h2}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = pipes.Close()
		serving.Wait()
	})
	cfg.Transporter = transport
	return cfg
}

// A stream is a request that is being read or answered.
type stream struct {
	header *http2.MetaHeadersFrame
	body   []byte
	cancel context.CancelFunc
}

// serve serves one network connection until its client closes it or it has sent a GOAWAY
// and answered what came before.
func (p *proxy) serve(conn net.Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	var answering sync.WaitGroup
	defer func() {
		cancel()
		_ = conn.Close()
		answering.Wait()
	}()
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	// Writing waits for the client to read, who may be writing: it has a goroutine of its own.
	frames := make(chan func(), 1000)
	answering.Go(func() {
		for {
			select {
			case write := <-frames:
				write()
			case <-ctx.Done():
				return
			}
		}
	})
	frames <- func() {
		_ = framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
		_ = framer.WriteWindowUpdate(0, 1<<30)
	}
	var mu sync.Mutex
	streams := map[uint32]*stream{}
	away := false // nothing is taken any more
	end := func(id uint32) {
		mu.Lock()
		defer mu.Unlock()
		delete(streams, id)
		if away && len(streams) == 0 {
			frames <- func() { _ = conn.Close() }
		}
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return
		}
		id, ended := frame.Header().StreamID, false
		mu.Lock()
		s := streams[id]
		mu.Unlock()
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				frames <- func() { _ = framer.WriteSettingsAck() }
			}
		case *http2.PingFrame:
			if data := f.Data; !f.IsAck() {
				frames <- func() { _ = framer.WritePing(true, data) }
			}
		case *http2.MetaHeadersFrame:
			mu.Lock()
			if !away {
				s, ended = &stream{header: f, cancel: func() {}}, f.StreamEnded()
				streams[id] = s
			}
			mu.Unlock()
		case *http2.DataFrame:
			if s != nil {
				s.body, ended = append(s.body, f.Data()...), f.StreamEnded()
			}
		case *http2.RSTStreamFrame:
			if s != nil {
				s.cancel()
				end(id)
			}
		}
		if !ended {
			continue
		}
		under, leave := context.WithCancel(ctx)
		s.cancel = leave
		answering.Go(func() {
			defer leave()
			defer end(id)
			p.answer(under, id, s, framer, frames, func() {
				mu.Lock()
				defer mu.Unlock()
				away = true
			})
		})
	}
}

// answer passes a request on, or gives its stream back.
func (p *proxy) answer(ctx context.Context, id uint32, s *stream, framer *http2.Framer, frames chan<- func(), leaves func()) {
	query := ""
	if strings.HasPrefix(s.header.PseudoValue("path"), "/queries/v1/query-request") {
		query = string(s.body)
	}
	back := p.meets(query)
	var status int
	var header http.Header
	var body []byte
	if back == nil || back.passed {
		req, err := http.NewRequestWithContext(ctx, s.header.PseudoValue("method"), "http://127.0.0.1:80"+s.header.PseudoValue("path"), bytes.NewReader(s.body))
		if err != nil {
			panic(err)
		}
		for _, field := range s.header.RegularFields() {
			req.Header.Add(field.Name, field.Value)
		}
		res, err := p.next.RoundTrip(req)
		if err == nil {
			status, header = res.StatusCode, res.Header
			body, err = io.ReadAll(res.Body)
			_ = res.Body.Close()
		}
		if err != nil && back == nil {
			back = &givenBack{code: http2.ErrCodeInternal}
		}
	}
	if back == nil {
		frames <- func() {
			var block bytes.Buffer
			encoder := hpack.NewEncoder(&block)
			_ = encoder.WriteField(hpack.HeaderField{Name: ":status", Value: fmt.Sprint(status)})
			for name, values := range header {
				for _, value := range values {
					if name != "Transfer-Encoding" && name != "Connection" {
						_ = encoder.WriteField(hpack.HeaderField{Name: strings.ToLower(name), Value: value})
					}
				}
			}
			_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true})
			for len(body) > 16<<10 {
				_ = framer.WriteData(id, false, body[:16<<10])
				body = body[16<<10:]
			}
			_ = framer.WriteData(id, true, body)
		}
		return
	}
	if p.after != nil {
		p.after(query)
	}
	if back.goAway {
		leaves()
		frames <- func() { _ = framer.WriteGoAway(id-2, back.code, nil) }
		return
	}
	frames <- func() { _ = framer.WriteRSTStream(id, back.code) }
}

// TestStreamThatAProxyGivesBackIsNotRunTwice: whether the proxy had passed it on or not, and
// whatever it says. Where the session ends meanwhile, the repetition of net/http's own is
// refused, and that proves nothing.
func TestStreamThatAProxyGivesBackIsNotRunTwice(t *testing.T) {
	for _, back := range givenBacks {
		for _, gone := range []bool{false, true} {
			for _, use := range forms {
				t.Run(fmt.Sprintf("%s/session gone %v/%s", back.name, gone, use.name), func(t *testing.T) {
					inBubble(t, func(t *testing.T, srv *snowtest.Server) {
						var mu sync.Mutex
						given := false
						p := &proxy{
							meets: func(query string) *givenBack {
								mu.Lock()
								defer mu.Unlock()
								if given || !isSQL(query, row(1)) {
									return nil
								}
								given = true
								return &back
							},
							after: func(string) {
								if gone {
									srv.AbortSessions()
								}
							},
						}
						db := poolOf(t, behindProxy(t, srv, p), 1)
						n := 1
						if err := use.run(t.Context(), db, row(1)); gone {
							if n = 0; back.passed {
								n = 1
							}
							isInDoubt(t, err, false)
						} else if err != nil {
							t.Error(err)
						}
						checkRan(t, srv, row(1), n, n)
						if !given {
							t.Error("no stream was given back")
						}
						nextUser(t, srv, db)
					})
				})
			}
		}
	}
}

// TestExactlyOnceThroughProxiesThatGiveStreamsBack: statements, transactions and logins, any of
// which may meet it, on a pool whose sessions end meanwhile.
func TestExactlyOnceThroughProxiesThatGiveStreamsBack(t *testing.T) {
	each := 25
	if testpool.Quick() {
		each = 8
	}
	for _, back := range givenBacks {
		t.Run(back.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := snowtest.New(t, snowtest.InMemory(), snowtest.WithLatency(time.Millisecond))
				takingTheirTime(srv, func() time.Duration {
					if rand.IntN(8) > 0 {
						return 0
					}
					return rand.N(5 * time.Minute)
				})
				var mu sync.Mutex
				over, met := false, 0
				p := &proxy{
					meets: func(string) *givenBack {
						mu.Lock()
						defer mu.Unlock()
						if over || rand.IntN(10) > 0 {
							return nil
						}
						met++
						return &back
					},
					after: func(string) {
						if open := srv.Sessions(); rand.IntN(3) == 0 && len(open) > 0 {
							srv.EndSessions(ways[rand.IntN(len(ways))].End, open[rand.IntN(len(open))].ID)
						}
					},
				}
				db, _ := connect(t, behindProxy(t, srv, p))
				db.SetMaxOpenConns(6)
				db.SetMaxIdleConns(6)
				var outcomes []outcome
				var wg sync.WaitGroup
				for worker := range 12 {
					wg.Go(func() {
						for i := range each {
							kind := rand.IntN(15)
							limit := time.Minute + rand.N(30*time.Minute)
							query := randomText(kind, worker, i)
							ctx, cancel := context.WithTimeout(t.Context(), limit)
							begun := time.Now()
							err := randomUse(ctx, db, kind, query, snowtetherItself)
							if late := time.Since(begun) - limit; late > 0 {
								t.Errorf("%s: kind %d waited %v past its deadline %v: %v", query, kind, late, limit, err)
							}
							cancel()
							mu.Lock()
							outcomes = append(outcomes, outcome{kind: kind, sql: query, err: err})
							mu.Unlock()
						}
					})
				}
				wg.Wait()
				mu.Lock()
				over = true
				mu.Unlock()
				time.Sleep(24 * time.Hour) // what was left behind ends
				if err := db.Close(); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Hour)
				var sum tally
				for _, o := range outcomes {
					sum.check(t, srv, o)
				}
				t.Logf("%d statements: %d succeeded, %d in doubt, %d failed otherwise; %d ran twice, %d were lost; %d streams were given back",
					len(outcomes), sum.nils, sum.doubts, sum.errs, sum.doubles, sum.losses, met)
				if met == 0 || sum.nils < len(outcomes)/3 {
					t.Error("the proxy does not do what it should")
				}
			})
		})
	}
}
