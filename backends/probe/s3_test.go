package probe_test

import (
	"context"
	"flag"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/probe"
	"github.com/kura-backup/kura/backends/retry"
	"github.com/kura-backup/kura/backends/s3"
	"github.com/kura-backup/kura/internal/s3proxy"
	"github.com/kura-backup/kura/internal/testserver"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil { // they wait most of the time
		panic(err)
	}
	defer testserver.Keep()()
	m.Run()
}

// throughProxy returns a proxy before a real server, and what opens a store behind it, as patiently as users do.
func throughProxy(t *testing.T, server *testserver.S3) (*s3proxy.Proxy, func(context.Context) (backends.Store, error)) {
	t.Helper()
	p := s3proxy.New(t, server.Endpoint)
	p.Sign(server.AccessKey, server.SecretKey, server.Region)
	loc, err := s3.ParseLocation(p.URL + "/" + server.Bucket(t) + "/some/path")
	if err != nil {
		t.Fatal(err)
	}
	made, err := s3.Create(t.Context(), loc, s3.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := made.Close(); err != nil {
		t.Fatal(err)
	}
	return p, func(ctx context.Context) (backends.Store, error) {
		s, err := s3.Open(ctx, loc, s3.Options{})
		if err != nil {
			return nil, err
		}
		return retry.New(s, retry.Options{Tries: 8, Pause: time.Millisecond, MaxPause: 10 * time.Millisecond}), nil
	}
}

func TestRun_RealServerWithOneRuleBroken_IsNamed(t *testing.T) {
	for name, server := range map[string]func(testing.TB) *testserver.S3{"versitygw": testserver.Versitygw, "minio": testserver.MinIO} {
		t.Run(name, func(t *testing.T) {
			s := server(t)
			s.Setenv(t)
			brokenRules(t, s)
		})
	}
}

func brokenRules(t *testing.T, server *testserver.S3) {
	for _, c := range []struct {
		name string
		rule s3proxy.Rule
		want []probe.ID
	}{
		{"none", s3proxy.On(), nil},
		{"ignores If-None-Match", s3proxy.On(s3proxy.Put).Always().IgnoreCreateOnly(), []probe.ID{probe.CreateOnly}},
		{"refuses If-None-Match", s3proxy.On(s3proxy.Put).Always().RefuseCreateOnly(), []probe.ID{probe.NoCreateOnly}},
		{"several racers win", s3proxy.On(s3proxy.Put).Key("-race-").Always().SeveralWinners(), []probe.ID{probe.CreateOnlyRace}},
		{"lists late", s3proxy.On(s3proxy.List).Always().HideNew(), []probe.ID{probe.ListAfterPut}},
		{"truncates on the way back", s3proxy.On(s3proxy.Get).Always().Short(7), []probe.ID{probe.Unreadable}},
		{"corrupts on the way back", s3proxy.On(s3proxy.Get).Always().CorruptResponse(), []probe.ID{probe.Bytes}},
		{"corrupts on the way there", s3proxy.On(s3proxy.Put).Always().CorruptRequest(), []probe.ID{probe.Failed}},
		{"success for a write that failed", s3proxy.On(s3proxy.Put).Always().Claim(), []probe.ID{probe.LostWrite}},
		{"success for some writes that failed", s3proxy.On(s3proxy.Put).Nth(4).Claim(), []probe.ID{probe.LostWrite}},
		{"success for large writes that failed", s3proxy.On(s3proxy.Put).Key("-large").Always().Claim(), []probe.ID{probe.LostWrite}},
		{"denies deleting", s3proxy.On(s3proxy.Delete, s3proxy.Batch).Always().Answer(403, "AccessDenied"), []probe.ID{probe.DeleteDenied, probe.LeftBehind}},
		{"always fails", s3proxy.On().Always().Answer(500, "InternalError"), []probe.ID{probe.Failed}},
		{"fails now and then", s3proxy.On().Rate(0.05, 1).Answer(503, "SlowDown"), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // most of the time is waiting for what does not come
			p, open := throughProxy(t, server)
			s, err := open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			p.Add(c.rule)
			r, err := probe.Run(t.Context(), s, probe.Options{Second: open, Large: 2 << 20}, probe.Events{})
			if err != nil {
				t.Fatal(err)
			}
			if got := ids(r); !slices.Equal(got, c.want) {
				t.Errorf("%v, want %v: %+v", got, c.want, r.Findings)
			}
			p.Clear()
			if left := names(t, s); !slices.Equal(left, r.Left) {
				t.Errorf("left %q, and said %q", left, r.Left)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			for _, f := range r.Findings {
				t.Logf("%v %s: %s", f.Severity, f.ID, strings.ReplaceAll(f.Seen, "\n", " "))
			}
		})
	}
}

func TestCreateOnlyAt_RealServer_TellsThemApart(t *testing.T) {
	server := testserver.Versitygw(t)
	server.Setenv(t)
	for name, c := range map[string]struct {
		rule s3proxy.Rule
		want []probe.ID
	}{
		"sound":   {s3proxy.On(), nil},
		"ignores": {s3proxy.On(s3proxy.Put).Always().IgnoreCreateOnly(), []probe.ID{probe.CreateOnly}},
		"refuses": {s3proxy.On(s3proxy.Put).Always().RefuseCreateOnly(), []probe.ID{probe.NoCreateOnly}},
	} {
		p, open := throughProxy(t, server)
		s, err := open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p.Add(c.rule)
		r, err := probe.CreateOnlyAt(t.Context(), s, probe.Options{Second: open})
		if err != nil || !slices.Equal(ids(r), c.want) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		if n := len(p.Requests()); n > 45 {
			t.Errorf("%s: %d requests", name, n)
		}
	}
}
