package s3proxy

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/kura-backup/kura/internal/clock"
)

// Proxy is a running proxy. It is safe for concurrent use.
type Proxy struct {
	URL string // for clients: http://127.0.0.1:port

	target    *url.URL
	transport *http.Transport
	server    *http.Server
	ctx       context.Context
	cancel    context.CancelFunc
	running   sync.WaitGroup // the server
	serving   sync.WaitGroup // requests

	mu       sync.Mutex
	closed   bool
	putOff   int        // requests that are to be sent in the background
	sent     *sync.Cond // told of each of them
	rules    []*armed
	requests []Request
	latency  time.Duration
	keys     *keys
	put      map[string]bool // the paths of objects that are there
	unlisted map[string]bool // of those, the ones that HideNew has not hidden yet
	racing   map[string]*race
}

// New starts a proxy in front of the server at target, which is stopped when the test ends.
func New(t testing.TB, target string) *Proxy {
	t.Helper()
	p, err := Start(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// Start starts a proxy in front of the server at target (http://host:port) until Close.
func Start(target string) (*Proxy, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "http" || u.Host == "" || u.Path != "" {
		return nil, fmt.Errorf("s3proxy: %q is not http://host:port", target)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{
		URL:    "http://" + listener.Addr().String(),
		target: u,
		transport: &http.Transport{
			MaxIdleConns: 256, MaxIdleConnsPerHost: 256, IdleConnTimeout: time.Minute,
			DisableCompression: true, WriteBufferSize: 64 << 10, ReadBufferSize: 64 << 10,
		},
		put:      map[string]bool{},
		unlisted: map[string]bool{},
		racing:   map[string]*race{},
	}
	p.sent = sync.NewCond(&p.mu)
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.server = &http.Server{
		Handler:     http.HandlerFunc(p.serve),
		BaseContext: func(net.Listener) context.Context { return p.ctx },
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, new(sync.Once))
		},
	}
	p.running.Go(func() { _ = p.server.Serve(listener) }) // until it is closed
	return p, nil
}

// connKey is that of a connection's Once, which its first request takes.
type connKey struct{}

// Close ends the proxy, all connections, and what would still be sent. All requests are recorded then.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	_ = p.server.Close()
	p.running.Wait()
	p.serving.Wait()
	p.Flush()
	p.transport.CloseIdleConnections()
}

// Add adds rules. Of several that could fire on a request the first does; the others do not count it as theirs.
func (p *Proxy) Add(rules ...Rule) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range rules {
		p.rules = append(p.rules, &armed{r, r.when.Arm()})
	}
}

// Clear removes all rules. What they have put off is still sent.
func (p *Proxy) Clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = nil
}

// Flush waits until all that rules have put off was sent.
func (p *Proxy) Flush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.putOff > 0 {
		p.sent.Wait()
	}
}

// Fired returns how often the rules have fired since they were added.
func (p *Proxy) Fired() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, r := range p.rules {
		n += r.Fired()
	}
	return n
}

// SetLatency sets the round trip that is added to each request from now on.
func (p *Proxy) SetLatency(roundTrip time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.latency = roundTrip
}

// Sign gives the proxy the client's keys, for rules that change what was signed.
func (p *Proxy) Sign(accessKey, secretKey, region string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = &keys{accessKey, secretKey, region}
}

// Requests returns all requests since the last Reset that have ended, in the order in which they ended.
func (p *Proxy) Requests() []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.requests)
}

// Reset forgets the requests so far. Rules keep their counts.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = nil
}

// begin returns the rule that fires on a request, and the round trip that is in force. It is false when the proxy was
// closed; otherwise serving is to be told when the request has ended.
func (p *Proxy) begin(op Op, req *http.Request) (Rule, time.Duration, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return Rule{}, 0, false
	}
	p.serving.Add(1)
	for _, a := range p.rules {
		if a.fires(op, req) {
			return a.Rule, p.latency, true
		}
	}
	return Rule{}, p.latency, true
}

func (p *Proxy) record(r Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case r.Op == Put && r.Status == http.StatusOK:
		p.put[r.Path], p.unlisted[r.Path] = true, true
	case r.Op == Delete:
		for _, m := range []map[string]bool{p.put, p.unlisted} {
			delete(m, r.Path)
		}
		delete(p.racing, r.Path)
	}
	p.requests = append(p.requests, r)
}

// sleep waits for d, or less if the request or the proxy ends.
func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func now() time.Time { return clock.Now() }
