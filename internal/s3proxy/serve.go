package s3proxy

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// exchange is one request on its way. It belongs to the goroutine that serves it.
type exchange struct {
	p       *Proxy
	w       http.ResponseWriter
	in      *http.Request
	rule    Rule
	latency time.Duration
	body    []byte // of the request, once it was read as a whole
	rec     Request
}

func (p *Proxy) serve(w http.ResponseWriter, req *http.Request) {
	op := opOf(req)
	rule, latency, ok := p.begin(op, req)
	if !ok {
		panic(http.ErrAbortHandler)
	}
	defer p.serving.Done()
	x := &exchange{p: p, w: w, in: req, rule: rule, latency: latency, rec: Request{
		Op: op, Method: req.Method, Path: req.URL.Path, Query: req.URL.RawQuery, Start: now(), Tampered: rule.effect != nothing,
	}}
	in := &counter{ReadCloser: req.Body}
	req.Body = in
	defer func() {
		if x.rec.End.IsZero() {
			x.rec.End = now()
		}
		x.rec.In = in.n.Load()
		p.record(x.rec)
	}()
	if latency > 0 {
		if once, ok := req.Context().Value(connKey{}).(*sync.Once); ok {
			once.Do(func() { sleep(req.Context(), latency) }) // the handshake
		}
		sleep(req.Context(), latency/2)
	}
	x.tamper()
}

// tamper does to the request what the rule says.
func (x *exchange) tamper() {
	r := x.rule
	switch r.effect {
	case answer:
		x.read()
		x.fail(r.status, r.code)
	case reset:
		x.reset()
	case refuseCreateOnly:
		x.read()
		x.fail(http.StatusNotImplemented, "NotImplemented")
	case claim:
		x.claim()
	case late:
		x.read()
		x.p.later(x.in, x.body, r.delay)
		x.reset()
	case cutRequest:
		x.read()
		if n := min(int(r.bytes), len(x.body)-1); n >= 0 {
			cut := io.MultiReader(bytes.NewReader(x.body[:n]), failing{})
			if resp, err := x.p.send(x.in.Context(), x.in, cut); err == nil {
				resp.Body.Close()
			}
		}
		x.reset()
	default:
		x.passOn()
	}
}

// passOn forwards the request and then does to the answer what the rule says. The body is read first: to go on reading
// it while it is answered, as when the server does so early, is more than the connection would survive.
func (x *exchange) passOn() {
	r := x.rule
	in := x.in
	x.read()
	body := bytes.NewReader(x.body)
	switch r.effect {
	case corruptRequest:
		corrupt(x.body)
	case stall:
		sleep(in.Context(), r.delay)
	}
	if r.effect == ignoreCreateOnly || r.effect == severalWinners && x.p.race(x.in) {
		signed, plain, err := x.p.overwriting(x.in, x.body)
		if err != nil {
			x.fail(http.StatusInternalServerError, err.Error())
			return
		}
		in, body = signed, bytes.NewReader(plain)
	}
	resp, err := x.p.send(in.Context(), in, body)
	if err != nil {
		x.reset()
		return
	}
	defer resp.Body.Close()
	switch r.effect {
	case again:
		x.p.later(x.in, x.body, r.delay)
	case resetAfter:
		_, _ = io.Copy(io.Discard, resp.Body)
		x.reset()
		return
	case answerAfter:
		_, _ = io.Copy(io.Discard, resp.Body)
		x.fail(r.status, r.code)
		return
	}
	x.respond(resp)
}

// respond sends the answer on.
func (x *exchange) respond(resp *http.Response) {
	body, err := x.mangle(resp)
	if err != nil {
		x.reset()
		return
	}
	sleep(x.in.Context(), x.latency/2)
	x.rec.Status = resp.StatusCode
	for name, values := range resp.Header {
		x.w.Header()[name] = values
	}
	x.rec.End = now()
	x.w.WriteHeader(resp.StatusCode)
	x.stream(body)
}

// mangle returns the body of the answer as the rule wants it.
func (x *exchange) mangle(resp *http.Response) (io.Reader, error) {
	r := x.rule
	switch r.effect {
	case cutResponse, short, corruptResponse, hideNew, stallResponse:
	default:
		return resp.Body, nil
	}
	whole, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	n := len(whole)
	switch r.effect {
	case cutResponse:
		return io.MultiReader(bytes.NewReader(whole[:max(0, min(int(r.bytes), n-1))]), failing{}), nil
	case stallResponse:
		stalled := &delayed{Reader: bytes.NewReader(whole[n/2:]), wait: func() { sleep(x.in.Context(), r.delay) }}
		return io.MultiReader(bytes.NewReader(whole[:n/2]), stalled), nil
	case corruptResponse:
		corrupt(whole)
	case hideNew:
		whole = x.p.hide(whole, x.in)
	case short:
		whole = whole[:max(0, n-int(r.bytes))]
	}
	if resp.ContentLength >= 0 {
		resp.Header.Set("Content-Length", strconv.Itoa(len(whole)))
	}
	return bytes.NewReader(whole), nil
}

// stream copies a body. The request ends for its client when the last bytes come, so that is noted before they go.
func (x *exchange) stream(body io.Reader) {
	buf := make([]byte, 64<<10)
	for {
		n, err := body.Read(buf)
		if n > 0 {
			x.rec.End = now()
			if _, werr := x.w.Write(buf[:n]); werr != nil {
				return
			}
			x.rec.Out += int64(n)
			if x.rule.effect == stallResponse {
				_ = http.NewResponseController(x.w).Flush()
			}
		}
		switch {
		case err == io.EOF:
			return
		case err != nil:
			_ = http.NewResponseController(x.w).Flush() // so that some bytes do arrive
			x.reset()
			return
		}
	}
}

// read reads the request's body. What a client does not send to its end is not passed on.
func (x *exchange) read() {
	body, err := io.ReadAll(x.in.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	x.body = body
}

// fail answers with an error of S3.
func (x *exchange) fail(status int, code string) {
	if code == "" {
		code = map[int]string{500: "InternalError", 503: "SlowDown", 409: "ConditionalRequestConflict", 412: "PreconditionFailed"}[status]
	}
	sleep(x.in.Context(), x.latency/2)
	x.rec.Status, x.rec.End = status, now()
	x.w.Header().Set("Content-Type", "application/xml")
	x.w.WriteHeader(status)
	if x.in.Method != http.MethodHead {
		fmt.Fprintf(x.w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>made by a test</Message></Error>`, code)
	}
}

// claim answers a Put as a server does that has stored it.
func (x *exchange) claim() {
	x.read()
	sleep(x.in.Context(), x.latency/2)
	sum := md5.Sum(x.body)
	x.w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:])+`"`)
	x.rec.Status, x.rec.End = http.StatusOK, now()
	x.w.WriteHeader(http.StatusOK)
}

// reset ends the client's connection as a network does, not as a server.
func (x *exchange) reset() {
	conn, _, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // then closing sends a reset
	}
	x.rec.End = now()
	_ = conn.Close()
}

func corrupt(b []byte) {
	if len(b) > 0 {
		b[len(b)/2] ^= 0x10
	}
}

// hop are headers between two neighbours, which are not passed on.
var hop = []string{"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

// send passes a request on, with the host that the client has signed.
func (p *Proxy) send(ctx context.Context, in *http.Request, body io.Reader) (*http.Response, error) {
	out, err := http.NewRequestWithContext(ctx, in.Method, p.target.String(), body)
	if err != nil {
		return nil, err
	}
	u := *in.URL
	u.Scheme, u.Host = p.target.Scheme, p.target.Host
	out.URL, out.Host = &u, in.Host
	out.Header = in.Header.Clone()
	for _, name := range hop {
		out.Header.Del(name)
	}
	if len(out.Header["User-Agent"]) == 0 {
		out.Header["User-Agent"] = nil // not Go's
	}
	out.ContentLength = in.ContentLength
	if in.ContentLength == 0 {
		out.Body = http.NoBody
	}
	return p.transport.RoundTrip(out)
}

// later sends a request after d, and nobody waits for the answer.
func (p *Proxy) later(in *http.Request, body []byte, d time.Duration) {
	in = in.Clone(p.ctx) // the server has it back when it was answered
	p.mu.Lock()
	p.putOff++
	p.mu.Unlock()
	go func() {
		defer func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.putOff--
			p.sent.Broadcast()
		}()
		sleep(p.ctx, d)
		if resp, err := p.send(p.ctx, in, bytes.NewReader(body)); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	}()
}

// counter counts what is read of a body.
type counter struct {
	io.ReadCloser
	n atomic.Int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.ReadCloser.Read(b)
	c.n.Add(int64(n))
	return n, err
}

var errCut = errors.New("s3proxy: cut off")

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errCut }

// delayed waits before its first byte.
type delayed struct {
	io.Reader
	wait func()
	once sync.Once
}

func (d *delayed) Read(b []byte) (int, error) {
	d.once.Do(d.wait)
	return d.Reader.Read(b)
}
