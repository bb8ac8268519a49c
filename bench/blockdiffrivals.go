package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// rival is a program that backs up the generations of an image.
type rival struct {
	name, version string
	folder        string // with all that it stores
	// backup and restore are command lines for sh, with the variables $GEN, $PREV (the generation before, or nothing), $FROM (what is read), and $TO.
	init, backup, restore string
	env                   []string
	// largest is the largest file that each generation has added.
	largest map[int]string
	known   map[string]bool
	// chain says that a generation is made of all before it, whose files are read one after the other.
	chain bool
}

// rivals are kura, blockdiff and, where it is on PATH or told by a flag, restic.
func rivals(ctx context.Context, o *options, work string) ([]*rival, error) {
	path, err := filepath.Abs(o.programs[kura.name])
	if err != nil {
		return nil, err
	}
	k, err := kura.at(ctx, path, work)
	if err != nil {
		return nil, err
	}
	out := []*rival{{
		name: "kura", version: k.version, init: `"$PROGRAM" init -q`,
		backup:  `exec "$PROGRAM" device backup "$FROM" --as /image --tag "gen-$GEN"`,
		restore: `exec "$PROGRAM" restore latest:/image --tag "gen-$GEN" --target "$TO"`,
		env:     []string{"PROGRAM=" + k.path, "KURA_PASSWORD=" + password},
	}}
	b, err := blockdiffRival()
	if err != nil {
		return nil, err
	}
	out = append(out, b)
	program, given := o.programs[restic.name]
	r, err := restic.at(ctx, or(program, restic.name), work)
	if err != nil && (given || !errors.Is(err, exec.ErrNotFound)) {
		return nil, err
	}
	if err == nil {
		out = append(out, &rival{
			name: "restic", version: r.version, init: `"$PROGRAM" init -q`,
			backup:  `cat "$FROM" | "$PROGRAM" backup --stdin --stdin-filename image --tag "gen-$GEN"`,
			restore: `exec "$PROGRAM" dump latest image --tag "gen-$GEN" > "$TO/image"`,
			env:     []string{"PROGRAM=" + r.path, "RESTIC_PASSWORD=" + password},
		})
	}
	for _, r := range out {
		r.folder, r.largest, r.known = filepath.Join(work, r.name), map[int]string{}, map[string]bool{}
		repo, cache := filepath.Join(r.folder, "repo"), filepath.Join(r.folder, "cache")
		r.env = append(r.env, "PATH="+os.Getenv("PATH"), "HOME="+r.folder, "KURA_REPOSITORY="+repo, "KURA_CACHE_DIR="+cache,
			"RESTIC_REPOSITORY="+repo, "RESTIC_CACHE_DIR="+cache, "REPO="+repo)
		if err := os.MkdirAll(repo, 0o755); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// blockdiffRival is the real one, or this program in its stead.
func blockdiffRival() (*rival, error) {
	dump, merge, version := blockdiffDump, blockdiffMerge, "its arithmetic; the Perl programs are not on PATH"
	flags := ""
	if real, err := exec.LookPath(blockdiffDump); err == nil {
		version, flags = "Perl, "+real, "--gzip "
	} else {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		dump, merge = `"$SELF" `+dump, `"$SELF" `+merge
		return newBlockdiff(dump, merge, flags, version, "SELF="+self), nil
	}
	return newBlockdiff(dump, merge, flags, version), nil
}

func newBlockdiff(dump, merge, flags, version string, env ...string) *rival {
	return &rival{
		name: "blockdiff", version: version, chain: true,
		backup: `if test -n "$PREV"; then exec 5< "$REPO/$PREV.md5"; fi
exec 6> "$REPO/$GEN.md5.new" > "$REPO/$GEN.gz.new"
` + dump + " " + flags + `"$FROM" && mv "$REPO/$GEN.md5.new" "$REPO/$GEN.md5" && mv "$REPO/$GEN.gz.new" "$REPO/$GEN.gz"`,
		restore: `set -o pipefail 2> /dev/null
g=1; while test $g -le $GEN; do gzip -dc "$REPO/$g.gz" | ` + merge + ` "$TO/image" || exit 1; g=$((g + 1)); done`,
		env: append(env, "BLOCKSIZE=16384"),
	}
}

func (r *rival) repo() string { return filepath.Join(r.folder, "repo") }

// run runs one of the command lines for a generation.
func (r *rival) run(ctx context.Context, line string, gen int, from, to string) (usage, error) {
	prev := ""
	if gen > 1 {
		prev = fmt.Sprint(gen - 1)
	}
	return measure(ctx, call{
		program: "bash", args: []string{"-c", line}, dir: r.folder, stderr: filepath.Join(r.folder, "stderr"),
		env: append(r.env, "GEN="+fmt.Sprint(gen), "PREV="+prev, "FROM="+from, "TO="+to, "BACKUP="+r.backup),
	})
}

// note finds out what a generation has added.
func (r *rival) note(gen int) error {
	var most int64
	return filepath.WalkDir(r.repo(), func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || r.known[path] {
			return err
		}
		r.known[path] = true
		info, err := e.Info()
		if err == nil && info.Size() > most {
			most, r.largest[gen] = info.Size(), path
		}
		return err
	})
}

// chainBytes is how many bytes a chain has up to a generation.
func (r *rival) chainBytes(gen int) (sum int64, err error) {
	for g := 1; g <= gen; g++ {
		info, err := os.Stat(filepath.Join(r.repo(), fmt.Sprintf("%d.gz", g)))
		if err != nil {
			return 0, err
		}
		sum += info.Size()
	}
	return sum, nil
}

// said is the last line of what the rival has said.
func (r *rival) said() string {
	lines := strings.Split(tail(filepath.Join(r.folder, "stderr")), "\n")
	return lines[len(lines)-1]
}
