package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kura-backup/kura/internal/testserver"
	"github.com/kura-backup/kura/internal/treecmp"
)

// block is what docs have between two fences: the words behind the first are its kind and name.
type block struct{ kind, name, text string }

var fence = regexp.MustCompile("(?ms)^```(\\w+) (\\w+)\n(.*?)^```$")

// blocks returns the blocks of a page that have a name.
func blocks(t *testing.T, page string) []block {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", page))
	if err != nil {
		t.Fatal(err)
	}
	var out []block
	for _, m := range fence.FindAllStringSubmatch(string(b), -1) {
		out = append(out, block{m[1], m[2], m[3]})
	}
	return out
}

// hosts are several users of one repository, each with a home and a cache of its own, and files that all see.
type hosts struct {
	t    *testing.T
	dir  string
	env  []string
	also []string // pairs of what the page has, and what that is here
}

// newHosts makes hosts for which what a page says lies at the root of the file system lies in a folder.
func newHosts(t *testing.T, env []string, also ...string) *hosts {
	t.Helper()
	h := &hosts{t: t, dir: t.TempDir(), env: env}
	h.also = append(also, "/srv/", h.dir+"/srv/", "/restore/", h.dir+"/restore/", "/root/", h.dir+"/root/")
	for i, name := range []string{"www", "db"} {
		for n := range 5 {
			write(t, filepath.Join(h.dir, "srv", name, fmt.Sprintf("sub%d", n%2), fmt.Sprint(n)), strings.Repeat(fmt.Sprint(name, n, "\n"), 40_000*(i+1)))
		}
	}
	if err := errors.Join(os.Mkdir(filepath.Join(h.dir, "root"), 0o700), os.Mkdir(filepath.Join(h.dir, "restore"), 0o755)); err != nil {
		t.Fatal(err)
	}
	return h
}

// here puts what there is here in the place of the page's examples.
func (h *hosts) here(text string) string { return strings.NewReplacer(h.also...).Replace(text) }

// run runs a script on a host and returns what it printed.
func (h *hosts) run(host, script string, env ...string) (string, error) {
	h.t.Helper()
	home := filepath.Join(h.dir, "home-"+host)
	if err := os.MkdirAll(home, 0o700); err != nil {
		h.t.Fatal(err)
	}
	cmd := exec.CommandContext(h.t.Context(), "bash", "-euo", "pipefail", "-c", h.here(script))
	cmd.Dir = home
	cmd.Env = slices.Concat([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + h.t.TempDir(), "TZ=UTC"}, h.env, env)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (h *hosts) must(host, script string, env ...string) string {
	h.t.Helper()
	out, err := h.run(host, script, env...)
	if err != nil {
		h.t.Fatalf("%s: %s\n%v\n%s", host, h.here(script), err, out)
	}
	return out
}

// walk runs the commands of a page's first section, and looks at what came of them.
func (h *hosts) walk(page string) {
	t := h.t
	t.Helper()
	setup := ""
	ran := 0
	for _, b := range blocks(t, page) {
		switch {
		case b.kind != "sh" || b.name == "lock":
			continue
		case b.name == "setup":
			setup = b.text
			continue
		}
		host := b.name
		if host == "first" {
			host = "www"
		}
		out := h.must(host, setup+b.text)
		ran += strings.Count(b.text, "kura ")
		t.Logf("%s:\n%s%s", host, h.here(b.text), out)
	}
	if ran < 10 {
		t.Fatalf("%s: only %d commands", page, ran)
	}
	h.same("db", "restore/db")

	// The second time around, with something to free: a host's files change, and all but the last snapshots go.
	write(t, filepath.Join(h.dir, "srv/www/sub0/0"), "changed")
	h.must("www", setup+"kura backup --host www /srv/www")
	h.must("db", setup+"kura backup --host db /srv/db")
	out := h.must("db", setup+"kura forget --keep-last 1 && kura prune && kura check --read-data")
	if !strings.Contains(out, "forgot") || !strings.Contains(out, "no damage was found") {
		t.Errorf("in the end: %s", out)
	}
	if out := h.must("www", setup+"kura snapshots"); !strings.Contains(out, "2 snapshots") {
		t.Errorf("left: %s", out)
	}
	h.must("db", setup+"kura restore latest:/srv/www --host www --target /restore/www")
	h.same("www", "restore/www")
}

// same compares a restored folder with what was backed up.
func (h *hosts) same(source, restored string) {
	h.t.Helper()
	differ, err := treecmp.Compare(filepath.Join(h.dir, "srv", source), filepath.Join(h.dir, restored), treecmp.Options{})
	if err != nil || len(differ) > 0 {
		h.t.Errorf("%s: %v, %v", restored, differ, err)
	}
}

const exampleBucket = "https://s3.eu-central-1.amazonaws.com/example-backups"

// inS3 returns hosts that use a bucket of their own.
func inS3(t *testing.T, s *testserver.S3) (h *hosts, bucket string) {
	t.Helper()
	bucket = s.Bucket(t)
	return newHosts(
		t, s.Env(), exampleBucket, s.Endpoint+"/"+bucket, "example-backups", bucket, "AKIAEXAMPLE", s.AccessKey, "example-secret", s.SecretKey,
	), bucket
}

func TestDocs_S3_CommandsWorkAsWritten(t *testing.T) {
	t.Parallel()
	for name, server := range map[string]func(testing.TB) *testserver.S3{"versitygw": testserver.Versitygw, "MinIO": testserver.MinIO} {
		t.Run(name, func(t *testing.T) {
			h, _ := inS3(t, server(t))
			h.walk("s3.md")
		})
	}
	t.Run("local", func(t *testing.T) {
		newHosts(t, nil, "s3:"+exampleBucket, filepath.Join(t.TempDir(), "backups")).walk("s3.md")
	})
}

func TestDocs_SFTP_CommandsWorkAsWritten(t *testing.T) {
	t.Parallel()
	s := testserver.Sshd(t)
	h := newHosts(
		t, nil, "export KURA_REPOSITORY=sftp:backup@vault.example.com:/srv/backup",
		"function kura { command kura -o sftp.args='-F "+s.Config+"' \"$@\"; }\nexport KURA_REPOSITORY=sftp:kura-test:"+s.Dir,
	)
	h.walk("sftp.md")
}
