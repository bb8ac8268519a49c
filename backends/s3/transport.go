package s3

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"time"

	"github.com/kura-backup/kura/backends"
)

const (
	dialTimeout = 30 * time.Second
	idleTimeout = 90 * time.Second
	ioBuffer    = 64 << 10
)

// newTransport returns connections over HTTP/1.1 that are kept, at most as many as the options say: a
// request waits for a free one and gives up with its context.
func newTransport(o Options) (*http.Transport, error) {
	t := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout: dialTimeout,
		MaxConnsPerHost:     o.connections(),
		MaxIdleConns:        o.connections(),
		MaxIdleConnsPerHost: o.connections(),
		IdleConnTimeout:     idleTimeout,
		DisableCompression:  true, // objects are what they are
		WriteBufferSize:     ioBuffer,
		ReadBufferSize:      ioBuffer,
		Protocols:           new(http.Protocols),
	}
	// One connection for each transfer: HTTP/2 would run them all through one.
	t.Protocols.SetHTTP1(true)
	var err error
	t.TLSClientConfig, err = tlsConfig(o)
	return t, err
}

func tlsConfig(o Options) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: o.InsecureTLS}
	ca := o.CACert
	if ca == "" {
		ca = os.Getenv("AWS_CA_BUNDLE")
	}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("%w: certificate authorities: %w", ErrOptions, err)
		}
		if c.RootCAs, err = x509.SystemCertPool(); err != nil {
			c.RootCAs = x509.NewCertPool()
		}
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%w: certificate authorities: %s has no certificate", ErrOptions, ca)
		}
	}
	if o.ClientCert != "" {
		key := o.ClientKey
		if key == "" {
			key = o.ClientCert
		}
		cert, err := tls.LoadX509KeyPair(o.ClientCert, key)
		if err != nil {
			return nil, fmt.Errorf("%w: client certificate: %w", ErrOptions, err)
		}
		c.Certificates = []tls.Certificate{cert}
	}
	return c, nil
}

// watched tells how requests come along, and looks into answers where the client does not.
type watched struct{ next http.RoundTripper }

func (w watched) RoundTrip(req *http.Request) (*http.Response, error) {
	p := backends.ProgressOf(req.Context())
	trace := &httptrace.ClientTrace{
		GetConn: func(string) { p.Waiting() },
		GotConn: func(httptrace.GotConnInfo) { p.Moved(0) },
	}
	resp, err := w.next.RoundTrip(req.WithContext(httptrace.WithClientTrace(req.Context(), trace)))
	if err != nil {
		return nil, err
	}
	resp.Body = &watchedBody{resp.Body, p}
	if err := lookInside(req, resp); err != nil {
		resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

type watchedBody struct {
	io.ReadCloser
	progress backends.Progress
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.progress.Moved(n)
	return n, err
}

// maxRoot is how far into a document its first element is looked for.
const maxRoot = 1 << 10

// lookInside finds errors in answers of success: some servers begin to answer before they are done. What
// should be a list and is not must not look like an empty one, nor the page of a proxy like a put that was
// done, or like an object that is not there.
func lookInside(req *http.Request, resp *http.Response) error {
	query := req.URL.Query()
	missing := resp.StatusCode == http.StatusNotFound
	moved := movedTo(resp)
	isObject := req.Method == http.MethodGet && len(query) == 0 && !missing
	switch {
	case moved != "":
	case req.Method == http.MethodHead || isObject:
		return nil
	case req.Method == http.MethodPut && resp.StatusCode/100 == 2 && resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%w: it says %s to a put", ErrServer, resp.Status)
	case resp.StatusCode != http.StatusOK && !missing:
		return nil
	}
	head := make([]byte, maxRoot)
	n, err := io.ReadFull(resp.Body, head)
	head = head[:n]
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF { // those say that all is there
		return err
	}
	resp.Body = &struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), resp.Body), resp.Body}
	root := rootElement(head)
	want := ""
	switch blank := len(bytes.TrimSpace(head)) == 0; {
	case moved != "":
		if root != "Error" {
			return fmt.Errorf("%w: %s says %s and sends us to %s: is it that what the location should name?", ErrMoved, req.URL.Host, resp.Status, moved)
		}
		return nil
	case missing:
		if root != "Error" && !blank {
			return fmt.Errorf("%w: what says %s is no S3 server, but perhaps a proxy before it", ErrServer, resp.Status)
		}
		return nil
	case req.Method == http.MethodPut && root != "Error":
		if !blank {
			return fmt.Errorf("%w: it has a text for a put; perhaps it is the page of a proxy", ErrServer)
		}
		return nil
	case query.Has("list-type"):
		want = "ListBucketResult"
	case query.Has("versions"):
		want = "ListVersionsResult"
	case query.Has("delete"):
		want = "DeleteResult"
	}
	switch {
	case root == "Error":
		resp.StatusCode = http.StatusInternalServerError
	case want != "" && root != want:
		return fmt.Errorf("%w: it has the element %q for %q", ErrServer, root, want)
	}
	return nil
}

// movedTo is where an answer sends clients, without what may be secret of it. It is empty for those of Amazon,
// which name the region of a bucket.
func movedTo(resp *http.Response) string {
	if resp.StatusCode/100 != 3 || resp.Header.Get("X-Amz-Bucket-Region") != "" {
		return ""
	}
	u, err := resp.Location()
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// rootElement returns the name of a document's first element, without its namespace.
func rootElement(doc []byte) string {
	for {
		_, rest, ok := bytes.Cut(doc, []byte("<"))
		if !ok || len(rest) == 0 {
			return ""
		}
		if rest[0] != '?' && rest[0] != '!' {
			name, _, _ := bytes.Cut(rest, []byte(">"))
			if i := bytes.IndexAny(name, " \t\r\n/"); i >= 0 {
				name = name[:i]
			}
			_, local, ok := bytes.Cut(name, []byte(":"))
			if ok {
				name = local
			}
			return string(name)
		}
		doc = rest
	}
}
