package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/kura-backup/kura/internal/testserver"
)

// policed is a repository in a bucket, with credentials that may do what the policies of docs/s3.md allow.
type policed struct {
	*hosts
	server   *testserver.S3
	bucket   string
	root     *minio.Client
	policies map[string]json.RawMessage // the statements
}

func newPoliced(t *testing.T, options minio.MakeBucketOptions) *policed {
	t.Helper()
	s := testserver.MinIO(t)
	root, err := minio.New(strings.TrimPrefix(s.Endpoint, "http://"), &minio.Options{Creds: credentials.NewStaticV4(s.AccessKey, s.SecretKey, "")})
	if err != nil {
		t.Fatal(err)
	}
	bucket := s.Bucket(t)
	if err := root.MakeBucket(t.Context(), bucket, options); err != nil {
		t.Fatal(err)
	}
	env := []string{"KURA_REPOSITORY=s3:" + s.Endpoint + "/" + bucket + "/servers", "KURA_PASSWORD=secret"}
	p := &policed{hosts: newHosts(t, env, "example-backups", bucket), server: s, bucket: bucket, root: root, policies: map[string]json.RawMessage{}}
	for _, b := range blocks(t, "s3.md") {
		if b.kind == "json" {
			p.policies[b.name] = json.RawMessage(p.here(b.text))
		}
	}
	p.must("www", "kura init", s.Env()...)
	return p
}

// as returns credentials that may do what all of the named policies allow, and nothing else.
func (p *policed) as(names ...string) testserver.Keys {
	p.t.Helper()
	type policy struct {
		Version   string
		Statement []map[string]any
	}
	var all policy
	for _, name := range names {
		var one policy
		d := json.NewDecoder(bytes.NewReader(p.policies[name]))
		d.DisallowUnknownFields()
		if err := d.Decode(&one); err != nil {
			p.t.Fatalf("policy %q of docs/s3.md: %v", name, err)
		}
		for i := range one.Statement {
			delete(one.Statement[i], "Sid") // one name for each
		}
		all.Version, all.Statement = one.Version, append(all.Statement, one.Statement...)
	}
	text, err := json.Marshal(all)
	if err != nil {
		p.t.Fatal(err)
	}
	c, err := credentials.NewSTSAssumeRole(p.server.Endpoint, credentials.STSAssumeRoleOptions{
		AccessKey: p.server.AccessKey, SecretKey: p.server.SecretKey, Policy: string(text), Location: p.server.Region, DurationSeconds: 3600,
	})
	if err != nil {
		p.t.Fatal(err)
	}
	v, err := c.GetWithContext(p.root.CredContext())
	if err != nil {
		p.t.Fatalf("credentials with %q: %v", names, err)
	}
	return testserver.Keys{AccessKey: v.AccessKeyID, SecretKey: v.SecretAccessKey, Token: v.SessionToken}
}

// fails runs a script that must fail with an exit code and say something.
func (p *policed) fails(code int, script string, says string, env []string) {
	p.t.Helper()
	out, err := p.run("www", script, env...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != code || !strings.Contains(out, says) {
		p.t.Errorf("%s: %v, want exit code %d and %q:\n%s", script, err, code, says, out)
	}
}

// remove tries to delete an object with some credentials.
func (p *policed) remove(k testserver.Keys, name string) error {
	p.t.Helper()
	c, err := minio.New(strings.TrimPrefix(p.server.Endpoint, "http://"), &minio.Options{Creds: credentials.NewStaticV4(k.AccessKey, k.SecretKey, k.Token)})
	if err != nil {
		p.t.Fatal(err)
	}
	return c.RemoveObject(p.t.Context(), p.bucket, name, minio.RemoveObjectOptions{})
}

// objects counts what is stored under a prefix, old versions and markers as well.
func (p *policed) objects(prefix string) (current, others int) {
	p.t.Helper()
	for o := range p.root.ListObjectsIter(p.t.Context(), p.bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true, WithVersions: true}) {
		switch {
		case o.Err != nil:
			p.t.Fatal(o.Err)
		case o.IsLatest && !o.IsDeleteMarker:
			current++
		default:
			others++
		}
	}
	return current, others
}

// fill makes three backups, with some data that only the first one needs.
func (p *policed) fill(env []string) {
	p.t.Helper()
	p.must("www", "head -c 3000000 /dev/urandom > /srv/www/old && kura backup --host www /srv/www && rm /srv/www/old", env...)
	p.must("www", "kura backup --host www /srv/www", env...)
	p.must("db", "kura backup --host db /srv/db", env...)
}

func TestPolicies_Append_BacksUpAndForgets_PruneSaysWhatItNeeds(t *testing.T) {
	p := newPoliced(t, minio.MakeBucketOptions{})
	host, maintainer, reader := p.as("append"), p.as("maintain"), p.as("read")
	p.fill(host.Env())
	p.must("db", "kura snapshots && kura restore latest:/srv/www --host www --target /restore/www", host.Env()...)
	p.same("www", "restore/www")
	p.must("www", "kura tag --add x latest && kura forget --keep-last 1 && kura check --read-data && kura prune --dry-run", host.Env()...)

	before, _ := p.objects("servers/data/")
	p.fails(exitError, "kura prune", "s3:DeleteObject", host.Env())
	if after, _ := p.objects("servers/data/"); after < before {
		t.Errorf("%d packs of %d are left", after, before)
	}
	// Nothing bad has come of it, for anybody.
	p.must("db", "kura check --read-data && kura backup --host db /srv/db", host.Env()...)
	p.fails(exitError, "kura prune", "s3:DeleteObject", host.Env())
	p.must("www", "kura check --read-data", reader.Env()...)
	p.must("www", "kura restore latest:/srv/db --host db --target /restore/db", reader.Env()...)
	p.same("db", "restore/db")
	p.fails(exitError, "kura backup /srv/www", "s3:PutObject", reader.Env())

	p.must("www", "kura prune && kura check --read-data", maintainer.Env()...)
	if after, _ := p.objects("servers/data/"); after >= before {
		t.Errorf("nothing was freed: %d packs of %d", after, before)
	}
	// What the policies keep from their holders.
	for what, err := range map[string]error{
		"a host deletes a pack":           p.remove(host, p.first("servers/data/")),
		"a maintainer deletes of the log": p.remove(maintainer, p.first("servers/log/")),
		"a maintainer deletes the config": p.remove(maintainer, "servers/config"),
		"a reader deletes a pack":         p.remove(reader, p.first("servers/data/")),
	} {
		if minio.ToErrorResponse(err).Code != minio.AccessDenied {
			t.Errorf("%s: %v", what, err)
		}
	}
	elsewhere := append(host.Env(), "KURA_REPOSITORY=s3:"+p.server.Endpoint+"/"+p.bucket+"/others")
	p.fails(exitError, "kura init", "s3:", elsewhere)
}

// first returns the first object under a prefix.
func (p *policed) first(prefix string) string {
	p.t.Helper()
	for o := range p.root.ListObjectsIter(p.t.Context(), p.bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if o.Err != nil {
			p.t.Fatal(o.Err)
		}
		return o.Key
	}
	p.t.Fatalf("nothing under %s", prefix)
	return ""
}

func TestPolicies_Maintain_FreesVersions(t *testing.T) {
	p := newPoliced(t, minio.MakeBucketOptions{})
	if err := p.root.EnableVersioning(t.Context(), p.bucket); err != nil {
		t.Fatal(err)
	}
	p.fill(p.as("append").Env())
	p.must("www", "kura forget --keep-last 1", p.as("append").Env()...)
	before, _ := p.objects("servers/data/")
	p.must("www", "kura prune && kura check --read-data", p.as("maintain").Env()...)
	if current, others := p.objects("servers/data/"); current >= before || others != 0 {
		t.Errorf("%d of %d packs, and %d old versions and markers", current, before, others)
	}
}

func TestPolicies_Lock_KeepsWhatIsLocked(t *testing.T) {
	p := newPoliced(t, minio.MakeBucketOptions{ObjectLocking: true})
	host, maintainer := p.as("append", "lock"), p.as("maintain", "lock")
	lock := ""
	for _, b := range blocks(t, "s3.md") {
		if b.kind == "sh" && b.name == "lock" {
			lock = b.text
		}
	}
	p.must("www", lock+"kura backup --host www /srv/www && date > /srv/www/new && kura backup --host www /srv/www && kura forget --keep-last 1", host.Env()...)
	before, _ := p.objects("servers/data/")
	out := p.must("www", lock+"kura prune", maintainer.Env()...)
	if after, others := p.objects("servers/data/"); after < before || others != 0 || !strings.Contains(out, "lock") {
		t.Errorf("%d packs of %d, %d hidden: %s", after, before, others, out)
	}
	p.must("www", lock+"kura check --read-data", host.Env()...)
	mode, until, err := p.root.GetObjectRetention(t.Context(), p.bucket, p.first("servers/data/"), "")
	if err != nil || *mode != minio.Governance || until.IsZero() {
		t.Errorf("locked: %v, %v, %v", mode, until, err)
	}
	// Without the two actions a host can not lock, and says what it lacks.
	p.fails(exitError, lock+"kura backup --host www --force /srv/www /srv/db", "s3:PutObject", p.as("append").Env())
}
