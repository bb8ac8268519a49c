package s3proxy_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kura-backup/kura/internal/s3proxy"
)

// folder is a server that keeps what is put, as S3 does with If-None-Match, and wants no signature.
type folder struct {
	mu      sync.Mutex
	objects map[string]string
	deletes int
	hosts   map[string]bool
}

func newFolder(t *testing.T) (*folder, string) {
	f := &folder{objects: map[string]string{}, hosts: map[string]bool{}}
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return f, s.URL
}

func (f *folder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // cut off: nothing is stored
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hosts[r.Host] = true
	data, there := f.objects[r.URL.Path]
	switch {
	case r.Method == http.MethodPut && there && r.Header.Get("If-None-Match") != "":
		w.WriteHeader(http.StatusPreconditionFailed)
	case r.Method == http.MethodPut:
		f.objects[r.URL.Path] = string(body)
	case r.Method == http.MethodDelete:
		f.deletes++
		delete(f.objects, r.URL.Path)
		w.WriteHeader(http.StatusNoContent)
	case !there:
		w.WriteHeader(http.StatusNotFound)
	default:
		_, _ = io.WriteString(w, data)
	}
}

func (f *folder) get(name string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.objects[name]
}

// request returns the status and the body of an answer, and what went wrong with the connection.
func request(t *testing.T, method, url, body string) (int, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if method == http.MethodPut {
		req.Header.Set("If-None-Match", "*")
	}
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(got), err
}

const object = "/bucket/repo/data/aa-bb"

func TestProxy_WithoutRules_PassesAllOn(t *testing.T) {
	f, target := newFolder(t)
	p := s3proxy.New(t, target)
	large := strings.Repeat("0123456789abcdef", 1<<17)
	for _, c := range []struct {
		method, body string
		status       int
		answer       string
	}{
		{http.MethodGet, "", 404, ""},
		{http.MethodPut, large, 200, ""},
		{http.MethodPut, "other", 412, ""},
		{http.MethodGet, "", 200, large},
		{http.MethodDelete, "", 204, ""},
		{http.MethodGet, "", 404, ""},
	} {
		if status, got, err := request(t, c.method, p.URL+object, c.body); err != nil || status != c.status || got != c.answer {
			t.Errorf("%s: %d, %d bytes, %v", c.method, status, len(got), err)
		}
	}
	if !f.hosts[strings.TrimPrefix(p.URL, "http://")] || len(f.hosts) != 1 {
		t.Errorf("the server saw the hosts %v: a signature would be wrong", f.hosts)
	}
	p.Close()
	sum := s3proxy.Sum(p.Requests(), nil)
	want := s3proxy.Totals{
		Requests: 6, ByOp: map[s3proxy.Op]int{s3proxy.Get: 3, s3proxy.Put: 2, s3proxy.Delete: 1},
		In: int64(len(large) + len("other")), Out: int64(len(large)),
	}
	if diff := cmp.Diff(want, sum); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if n := s3proxy.Chain(p.Requests(), nil); n != 6 {
		t.Errorf("a chain of %d", n)
	}
	if n := s3proxy.Chain(p.Requests(), s3proxy.NotBulk); n != 1 {
		t.Errorf("a chain of %d besides packs", n)
	}
}

func TestRule_EachEffect_IsWhatItSays(t *testing.T) {
	const old, data = "old bytes", "0123456789"
	type outcome struct {
		status int
		answer string
		broken bool
		stored string
	}
	for name, c := range map[string]struct {
		rule   s3proxy.Rule
		method string
		want   outcome
	}{
		"answer":               {s3proxy.On().Answer(503, "SlowDown"), "PUT", outcome{503, "SlowDown", false, ""}},
		"answer after":         {s3proxy.On().AnswerAfter(500, ""), "PUT", outcome{500, "InternalError", false, data}},
		"reset":                {s3proxy.On().Reset(), "PUT", outcome{broken: true}},
		"reset after":          {s3proxy.On().ResetAfter(), "PUT", outcome{broken: true, stored: data}},
		"request cut":          {s3proxy.On().CutRequest(4), "PUT", outcome{broken: true}},
		"request cut at once":  {s3proxy.On().CutRequest(0), "PUT", outcome{broken: true}},
		"request cut at last":  {s3proxy.On().CutRequest(1000), "PUT", outcome{broken: true}},
		"request corrupt":      {s3proxy.On().CorruptRequest(), "PUT", outcome{200, "", false, "01234%6789"}},
		"claim":                {s3proxy.On().Claim(), "PUT", outcome{200, "", false, ""}},
		"create-only refused":  {s3proxy.On().RefuseCreateOnly(), "PUT", outcome{501, "NotImplemented", false, ""}},
		"stall":                {s3proxy.On().Stall(time.Millisecond), "PUT", outcome{200, "", false, data}},
		"response cut":         {s3proxy.On().CutResponse(4), "GET", outcome{200, "old ", true, old}},
		"response cut at last": {s3proxy.On().CutResponse(1000), "GET", outcome{200, "old byte", true, old}},
		"short":                {s3proxy.On().Short(3), "GET", outcome{200, "old by", false, old}},
		"response corrupt":     {s3proxy.On().CorruptResponse(), "GET", outcome{200, "old rytes", false, old}},
		"response stalls":      {s3proxy.On().StallResponse(time.Millisecond), "GET", outcome{200, old, false, old}},
		"reset of a delete":    {s3proxy.On(s3proxy.Delete).Reset(), "DELETE", outcome{broken: true, stored: old}},
		"delete done":          {s3proxy.On(s3proxy.Delete).AnswerAfter(500, "x"), "DELETE", outcome{500, "x", false, ""}},
		"other operation":      {s3proxy.On(s3proxy.Put, s3proxy.List).Reset(), "GET", outcome{200, old, false, old}},
		"other key":            {s3proxy.On().Key("/log/").Reset(), "GET", outcome{200, old, false, old}},
	} {
		t.Run(name, func(t *testing.T) {
			f, target := newFolder(t)
			p := s3proxy.New(t, target)
			p.Add(c.rule)
			if c.method != "PUT" {
				f.objects[object] = old
			}
			status, answer, err := request(t, c.method, p.URL+object, data)
			if strings.HasPrefix(answer, "<?xml") {
				_, answer, _ = strings.Cut(answer, "<Code>")
				answer, _, _ = strings.Cut(answer, "</Code>")
			}
			got := outcome{status, answer, err != nil, f.get(object)}
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(outcome{})); diff != "" {
				t.Errorf("-want +got:\n%s\n%v", diff, err)
			}
		})
	}
}

func TestRule_NthTimesRate_CountRequests(t *testing.T) {
	pattern := func(r s3proxy.Rule) string {
		_, target := newFolder(t)
		p := s3proxy.New(t, target)
		p.Add(r.Answer(500, ""))
		out := ""
		for i := range 12 {
			status, _, err := request(t, "GET", fmt.Sprintf("%s/b/%s/%d", p.URL, []string{"log", "data"}[i%2], i), "")
			if err != nil {
				t.Fatal(err)
			}
			out += map[int]string{404: ".", 500: "!"}[status]
		}
		if n := strings.Count(out, "!"); n != p.Fired() {
			t.Errorf("%s: fired %d times", out, p.Fired())
		}
		return out
	}
	for _, c := range []struct {
		rule s3proxy.Rule
		want string
	}{
		{s3proxy.On(), "!..........."},
		{s3proxy.On().Key("/data/").Nth(3).Times(2), ".....!.!...."},
		{s3proxy.On(s3proxy.Get).Nth(9).Always(), "........!!!!"},
	} {
		if got := pattern(c.rule); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
	rate := s3proxy.On().Rate(0.5, 3)
	if a, b := pattern(rate), pattern(rate); a != b || strings.Count(a, "!") == 0 || strings.Count(a, ".") == 0 {
		t.Errorf("a rate of a half gives %s and %s", a, b)
	}
}

// eventually waits until something that happens in the background has happened.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for !ok() {
		select {
		case <-t.Context().Done():
			t.Fatal(what)
		case <-time.After(time.Millisecond):
		}
	}
}

func TestRule_LateAndAgain_RequestsArriveLater(t *testing.T) {
	f, target := newFolder(t)
	p := s3proxy.New(t, target)
	p.Add(s3proxy.On(s3proxy.Put).Late(time.Millisecond), s3proxy.On(s3proxy.Delete).Again(time.Millisecond))
	if _, _, err := request(t, "PUT", p.URL+object, "x"); err == nil {
		t.Error("a late request was answered")
	}
	p.Flush()
	if got := f.get(object); got != "x" {
		t.Errorf("it never came: %q", got)
	}
	if status, _, err := request(t, "DELETE", p.URL+object, ""); status != 204 || err != nil {
		t.Errorf("%d, %v", status, err)
	}
	p.Flush()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.deletes != 2 {
		t.Errorf("%d deletions", f.deletes)
	}
}

func TestLatency_EachRequestAndConnection_TakesARoundTrip(t *testing.T) {
	_, target := newFolder(t)
	p := s3proxy.New(t, target)
	const rtt = 20 * time.Millisecond
	p.SetLatency(rtt)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for i := range 4 {
		start := time.Now()
		resp, err := client.Get(p.URL + "/b/log/1")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		want := rtt
		if i == 0 {
			want *= 2
		}
		if d := time.Since(start); d < want {
			t.Errorf("request %d took %v, want %v at least", i, d, want)
		}
	}
	if n := s3proxy.Chain(p.Requests(), nil); n < 3 { // the last may not have been noted yet
		t.Errorf("a chain of %d", n)
	}
}

func TestChain_IsTheLongestOfDisjointIntervals(t *testing.T) {
	at := func(start, end int) s3proxy.Request {
		return s3proxy.Request{Start: time.Unix(int64(start), 0), End: time.Unix(int64(end), 0)}
	}
	for _, c := range []struct {
		requests []s3proxy.Request
		want     int
	}{
		{nil, 0},
		{[]s3proxy.Request{at(0, 5), at(5, 6), at(7, 8)}, 3},
		{[]s3proxy.Request{at(0, 5), at(1, 6), at(2, 7), at(4, 9)}, 1},
		{[]s3proxy.Request{at(0, 100), at(1, 2), at(3, 4), at(3, 5), at(4, 6), at(99, 101)}, 4},
	} {
		if n := s3proxy.Chain(c.requests, nil); n != c.want {
			t.Errorf("%v: %d, want %d", c.requests, n, c.want)
		}
	}
}

func TestHideNew_ListingLeavesOutWhatWasJustPut(t *testing.T) {
	f, target := newFolder(t)
	p := s3proxy.New(t, target)
	entry := func(key string) string { return "<Contents>\n<Key>" + key + "</Key><Size>1</Size></Contents>" }
	f.objects["/bucket"] = "<R>" + entry("repo/data/aa-bb") + entry("repo/data/old") + "</R>"
	if status, _, err := request(t, "PUT", p.URL+object, "x"); status != 200 || err != nil {
		t.Fatal(status, err)
	}
	eventually(t, "the put is not noted", func() bool { return len(p.Requests()) == 1 })
	p.Add(s3proxy.On(s3proxy.List).HideNew().Always())
	for i, want := range []string{"<R>" + entry("repo/data/old") + "</R>", f.objects["/bucket"]} {
		if _, got, err := request(t, "GET", p.URL+"/bucket?list-type=2", ""); got != want || err != nil {
			t.Errorf("listing %d: %q, %v", i, got, err)
		}
	}
}

func TestStart_TargetIsNoServer_Refused(t *testing.T) {
	for _, target := range []string{"", "127.0.0.1:80", "https://127.0.0.1", "http://127.0.0.1/x", "http://[::1"} {
		if p, err := s3proxy.Start(target); err == nil {
			p.Close()
			t.Errorf("%q is a target", target)
		}
	}
}

func TestClose_WithLateRequests_DoesNotWait(t *testing.T) {
	f, target := newFolder(t)
	p := s3proxy.New(t, target)
	p.Add(s3proxy.On().Late(time.Hour))
	if _, _, err := request(t, "PUT", p.URL+object, "x"); err == nil {
		t.Error("a late request was answered")
	}
	p.Close()
	if f.get(object) != "" {
		t.Error("it was sent early")
	}
	if _, _, err := request(t, "GET", p.URL+object, ""); err == nil {
		t.Error("a closed proxy answers")
	}
}
