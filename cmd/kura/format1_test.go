package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/zeebo/blake3"

	"github.com/kura-backup/kura/internal/testrand"
	"github.com/kura-backup/kura/internal/testserver"
)

// Repositories of format 1, made by the first kura that wrote it. They are never made anew: every later kura reads them, and goes on with them.
//
//	NAME/repo        the repository
//	NAME/key         its owner's key file
//	NAME/want.json   what is restored from it
var formatMake = flag.String("format1.make", "", "make the repository of this name, which must not be there (see makeOfFormat1)")

const ofFormat1 = "testdata/format1"

// wanted is a command that restores something, and what comes of it.
type wanted struct {
	Args   []string          `json:"args"`
	Target string            `json:"target,omitempty"` // the flag behind them, for a new path, or a new MariaDB's; none: it prints
	Out    map[string]string `json:"out"`              // of each path, quoted, what list says; "." alone: what it prints, or the file's content
}

// makeOfFormat1 has what makes each of the repositories, through the program.
var makeOfFormat1 = map[string]func(*box) []wanted{
	"files":   makeFiles,
	"sources": makeSources,
}

func TestFormat1_RepositoriesOfThen_AreReadAndGoOn(t *testing.T) {
	t.Parallel()
	if *formatMake != "" {
		makeRepository(t, *formatMake)
	}
	for _, name := range slices.Sorted(maps.Keys(makeOfFormat1)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kept := filepath.Join(ofFormat1, name)
			b := emptyBox(t)
			if err := os.CopyFS(b.dir, os.DirFS(kept)); err != nil {
				t.Fatal(err)
			}
			var all []wanted
			text, err := os.ReadFile(filepath.Join(kept, "want.json"))
			if err := errors.Join(err, json.Unmarshal(text, &all)); err != nil || len(all) == 0 {
				t.Fatal(len(all), err)
			}
			b.kura("check", "--read-data")
			b.wantAll(all)

			// A backup of today, in whose packs old and new are beside each other, and a prune that writes the old ones again.
			b.write(testrand.New(t), 10, 30, 50_000)
			id, tree := b.backup(), list(t, b.tree)
			b.kura("key", "rotate")
			b.kura("forget", id, "--prune")
			b.kura("prune", "--max-unused", "0")
			id = b.backup()
			b.kura("check", "--read-data")
			b.wantRestored(id, tree)
			b.wantAll(all)
		})
	}
}

// wantAll runs what is wanted, each with a new target, and compares.
func (b *box) wantAll(all []wanted) {
	b.t.Helper()
	for _, w := range all {
		if diff := cmp.Diff(w.Out, b.outcome(w)); diff != "" {
			b.t.Errorf("%q (-want +got):\n%s", w.Args, diff)
		}
	}
}

// outcome runs a command and returns what comes of it.
func (b *box) outcome(w wanted) map[string]string {
	b.t.Helper()
	sum := func(data []byte) map[string]string {
		return map[string]string{".": fmt.Sprintf("%d %x", len(data), blake3.Sum256(data))}
	}
	if w.Target == "" {
		return sum([]byte(b.kura(w.Args...)))
	}
	if w.Target == "--socket" {
		return b.served(w)
	}
	target := filepath.Join(b.t.TempDir(), "x")
	if w.Target == "--dir" { // of a server's data, which has to be there
		if err := os.Mkdir(target, 0o755); err != nil {
			b.t.Fatal(err)
		}
	}
	b.kura(append(slices.Clone(w.Args), w.Target, target)...)
	if w.Target == "--dir" {
		target = filepath.Join(target, "dump.rdb")
	}
	if data, err := os.ReadFile(target); err == nil {
		return sum(data)
	}
	out := map[string]string{}
	for name, line := range list(b.t, target) {
		if name != "." { // whose time is that of the restore
			out[strconv.Quote(name)] = line
		}
	}
	return out
}

// served restores into a server and returns the checksum of each table. Without a server it is as wanted.
func (b *box) served(w wanted) map[string]string {
	b.t.Helper()
	if !testserver.HasMariaDB() {
		b.t.Log("there is no MariaDB to restore into")
		return w.Out
	}
	server := testserver.NewMariaDB(b.t)
	b.kura(append(slices.Clone(w.Args), w.Target, server.Socket, "--user", "root", "--verify")...)
	out := map[string]string{}
	for _, table := range []string{"shop.orders", "wiki.pages"} {
		out[table] = strings.TrimSpace(server.SQL(b.t, "CHECKSUM TABLE "+table))
	}
	return out
}

// makeRepository makes a repository that is kept from then on.
func makeRepository(t *testing.T, name string) {
	t.Helper()
	kept := filepath.Join(ofFormat1, name)
	if _, err := os.Lstat(kept); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("%s is there, and stays as it is (%v)", kept, err)
	}
	b := emptyBox(t)
	b.kura("init", "--key-file", filepath.Join(b.dir, "key"))
	all := makeOfFormat1[name](b)
	for i := range all {
		all[i].Out = b.outcome(all[i])
	}
	text, err := json.MarshalIndent(all, "", "\t")
	err = errors.Join(err, os.RemoveAll(filepath.Join(b.dir, "repo", "tmp")), os.MkdirAll(kept, 0o755))
	for _, part := range []string{"key", "repo"} {
		err = errors.Join(err, exec.Command("cp", "-r", filepath.Join(b.dir, part), kept).Run())
	}
	if err := errors.Join(err, os.WriteFile(filepath.Join(kept, "want.json"), append(text, '\n'), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// makeFiles makes four generations of a tree, with three keys, two epochs, deltas, parity, pages of a large folder, and packs that
// were written again.
func makeFiles(b *box) []wanted {
	var ids []string
	for generation := range 4 {
		b.tend(generation)
		ids = append(ids, b.backup())
		switch generation {
		case 0:
			b.kura("key", "add", "--role", "writer", "--name", "web1", "--new-key-file", filepath.Join(b.dir, "web1"))
			b.kura("key", "add", "--role", "maintainer", "--name", "desk", "--new-key-file", filepath.Join(b.dir, "desk"))
		case 1:
			b.kura("forget", ids[0])
			b.kura("--key-file", filepath.Join(b.dir, "desk"), "prune", "--max-unused", "0")
			b.kura("key", "remove", "desk")
			b.kura("key", "rotate")
			b.env = append(b.env, "KURA_KEY_FILE="+filepath.Join(b.dir, "web1"))
		case 2:
			b.env = append(b.env, "KURA_KEY_FILE="+filepath.Join(b.dir, "key"))
			b.kura("pin", ids[1])
			b.kura("tag", "--add", "kept", ids[2])
			b.kura("forget", ids[2])
			b.kura("unforget", ids[2])
		}
	}
	b.kura("check", "--read-data")
	all := []wanted{{Args: []string{"dump", ids[3] + ":" + filepath.Join(b.tree, "grown")}}}
	for _, id := range ids[1:] {
		all = append(all, wanted{Args: []string{"restore", id + ":" + b.tree}, Target: "--target"})
	}
	return all
}

// tend makes a generation of the tree.
func (b *box) tend(generation int) {
	b.t.Helper()
	write := func(name string, data []byte) {
		b.t.Helper()
		path := filepath.Join(b.tree, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o644)); err != nil {
			b.t.Fatal(err)
		}
	}
	write("text", fmt.Appendf(nil, "the text of generation %d\n", generation))
	write("empty", nil)
	write("not UTF-8 \xff\xfe", []byte("fine\n"))
	write("folder/zeros", append(make([]byte, 1<<20), "and a tail"...))
	write("long", bytes.Repeat(fmt.Appendf(nil, "%063d\n", generation/2), 9<<14)) // of two chunks at least
	grown := randomBytes(90<<10, 1)
	for g := range generation {
		copy(grown[9000*g:], randomBytes(500, uint64(2+g))) // each is stored as a delta of the one before
	}
	write("grown", grown)
	for i := range 330 { // several pages
		write(fmt.Sprintf("many/entry-%03d", i), nil)
	}
	write(fmt.Sprintf("many/new-%d", generation), []byte("new"))
	err := errors.Join(os.Chmod(filepath.Join(b.tree, "text"), 0o640), os.Chmod(filepath.Join(b.tree, "folder"), 0o750))
	if generation == 0 {
		err = errors.Join(err, os.Link(filepath.Join(b.tree, "text"), filepath.Join(b.tree, "the same")),
			os.Symlink("folder/nothing \xf0", filepath.Join(b.tree, "link")))
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// makeSources makes a snapshot or two of each other source.
func makeSources(b *box) []wanted {
	backup := func(args ...string) string {
		b.t.Helper()
		return snapshotID(b.t, b.kura(append([]string{"--json"}, args...)...))
	}
	path := func(name string) string { return filepath.Join(b.dir, name) }
	run := func(name string, args ...string) {
		b.t.Helper()
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			b.t.Fatalf("%s: %v\n%s", name, err, out)
		}
	}

	stream := backup("backup", "--stdin-from-command", "--stdin-filename", "numbers", "--", "seq", "20000")
	b.tend(0)
	run("tar", "-C", b.tree, "-cf", path("in.tar"), ".")
	imported := backup("import-tar", path("in.tar"), "--prefix", "/www")

	image := make([]byte, 24<<20)
	copy(image[1<<20:], randomBytes(200<<10, 7))
	if err := os.WriteFile(path("image"), image, 0o600); err != nil {
		b.t.Fatal(err)
	}
	first := backup("device", "backup", path("image"))
	copy(image[1<<20+40_000:], "another page")
	copy(image[20<<20:], randomBytes(8<<10, 8))
	if err := os.WriteFile(path("image"), image, 0o600); err != nil {
		b.t.Fatal(err)
	}
	second := backup("device", "backup", path("image"))

	cache := testserver.NewRedis(b.t)
	run("redis-cli", "-s", cache.Socket, "debug", "populate", "2000", "key", "40")
	run("redis-cli", "-s", cache.Socket, "zadd", "scores", "1", "a", "2.5", "b")
	redis := backup("redis", "backup", "--socket", cache.Socket)

	server := testserver.NewMariaDB(b.t)
	server.SQL(b.t, `CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY, t TEXT, at DATETIME(6), b BLOB);
USE shop;
INSERT INTO shop.orders SELECT seq, CONCAT('order ', seq), '2026-01-02 03:04:05.000006', UNHEX(MD5(seq)) FROM seq_1_to_500;
CREATE DATABASE wiki; CREATE TABLE wiki.pages (id INT PRIMARY KEY, t TEXT); INSERT INTO wiki.pages VALUES (1, 'héllo');
CREATE VIEW shop.few AS SELECT id FROM shop.orders WHERE id < 10;`)
	mysql := backup("mysql", "backup", "--socket", server.Socket, "--user", "root")
	b.kura("check", "--read-data")
	return []wanted{
		{Args: []string{"dump", stream + ":/numbers"}},
		{Args: []string{"restore", imported + ":/www"}, Target: "--target"},
		{Args: []string{"device", "restore", first}, Target: "--to"},
		{Args: []string{"device", "restore", second}, Target: "--to"},
		{Args: []string{"redis", "restore", redis}, Target: "--dir"},
		{Args: []string{"mysql", "dump", mysql}},
		{Args: []string{"mysql", "restore", mysql}, Target: "--socket"},
	}
}
