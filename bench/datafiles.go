package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// treeMaker copies a real tree of the machine, so that its files can be changed.
type treeMaker struct {
	o       *options
	path    string
	changes int // made so far, in all rounds
}

func newTree(o *options, folder string) maker {
	return &treeMaker{o: o, path: filepath.Join(folder, "tree")}
}

func (t *treeMaker) describe() string {
	return fmt.Sprintf("a copy (cp -a) of %s of this machine; of its files about 1 %% are changed in each generation, chosen with seed %d: "+
		"up to 4 KiB appended, or up to 64 bytes overwritten", t.o.tree, t.o.seed)
}

// make copies the tree once: later rounds begin with what changed in those before.
func (t *treeMaker) make(ctx context.Context) (string, error) {
	if _, err := os.Lstat(t.path); err == nil {
		return t.path, nil
	}
	return t.path, execute(ctx, "cp", "-a", "-T", t.o.tree, t.path)
}

func (t *treeMaker) close() error { return nil }

// changeTree appends to, or overwrites a part of, one in a hundred files.
func changeTree(ctx context.Context, m maker, _ int) error {
	t := m.(*treeMaker)
	t.changes++
	return filepath.WalkDir(t.path, func(path string, d fs.DirEntry, err error) error {
		if err != nil || ctx.Err() != nil || !d.Type().IsRegular() {
			return errors.Join(err, ctx.Err())
		}
		name, err := filepath.Rel(t.path, path)
		if err != nil {
			return err
		}
		h := fnv.New64a()
		fmt.Fprintf(h, "%d %d %s", t.o.seed, t.changes, name)
		rng := rand.New(rand.NewPCG(h.Sum64(), 0))
		if rng.IntN(100) > 0 {
			return nil
		}
		return changeFile(path, rng)
	})
}

func changeFile(path string, rng *rand.Rand) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	part, at := randomBytes(rng, 1+rng.IntN(4096)), info.Size()
	if size := info.Size(); size > 0 && rng.IntN(2) == 0 {
		at = rng.Int64N(size)
		part = part[:min(int64(len(part)), 64, size-at)]
	}
	if _, err := f.WriteAt(part, at); err != nil {
		return err
	}
	return f.Close()
}

// incompressibleMaker writes a file that no program can make smaller, the same one for the same seed.
type incompressibleMaker struct {
	o    *options
	path string
}

func newIncompressible(o *options, folder string) maker {
	return &incompressibleMaker{o, filepath.Join(folder, "incompressible.bin")}
}

func (m *incompressibleMaker) describe() string {
	return fmt.Sprintf("one file of %s from ChaCha8 with seed %d", m.o.size, m.o.seed)
}

func (m *incompressibleMaker) make(ctx context.Context) (string, error) {
	f, err := os.Create(m.path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	stream := noise(m.o.seed)
	buf := make([]byte, 1<<20)
	for left := int64(m.o.size); left > 0; {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		part := buf[:min(left, int64(len(buf)))]
		_, _ = stream.Read(part) // never fails
		if _, err := f.Write(part); err != nil {
			return "", err
		}
		left -= int64(len(part))
	}
	return m.path, f.Close()
}

func (m *incompressibleMaker) close() error { return nil }

// noise is a stream that no program can make smaller.
func noise(seed uint64) *rand.ChaCha8 {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	return rand.NewChaCha8(key)
}

func randomBytes(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint64())
	}
	return b
}

// manyMaker writes many files, the same for the same seed.
type manyMaker struct {
	root        string
	files       int
	perFolder   int
	seed        uint64
	description string
	content     func(rng *rand.Rand, dst []byte) []byte
}

func newFiles(o *options, folder string) maker {
	const files, average = 10_000, 100_000
	return &manyMaker{
		root: filepath.Join(folder, "files"), files: files, perFolder: 100, seed: o.seed,
		description: fmt.Sprintf("%d files of %d bytes on average, half of it incompressible, with seed %d", files, average, o.seed),
		content: func(rng *rand.Rand, dst []byte) []byte {
			dst = append(dst, randomBytes(rng, 1+rng.IntN(average))...)
			return append(dst, bytes.Repeat([]byte("what compresses well; "), 1+len(dst)/22)[:len(dst)]...)
		},
	}
}

// newTiny makes files as folders of mails, sources or settings have them: text with some words that occur nowhere else.
func newTiny(o *options, folder string) maker {
	const least, most = 200, 4096
	return &manyMaker{
		root: filepath.Join(folder, "tiny"), files: o.tiny, perFolder: 100, seed: o.seed,
		description: fmt.Sprintf("%d files of %d to %d bytes, log-uniform, of words and hexadecimal digits, with seed %d", o.tiny, least, most, o.seed),
		content: func(rng *rand.Rand, dst []byte) []byte {
			size := int(least * math.Exp(rng.Float64()*math.Log(float64(most)/least)))
			for len(dst) < size {
				if dst = append(dst, words[rng.IntN(len(words))]...); rng.IntN(12) == 0 {
					dst = append(hex.AppendEncode(append(dst, ' '), randomBytes(rng, 8)), '\n')
				}
				dst = append(dst, ' ')
			}
			return dst[:size]
		},
	}
}

// words are text that compresses about as well as people's.
var words = strings.Fields(`the of and to in is that for it as was with be by on not he his but at are this have from or had
an they which one you were all her she there would their we him been has when who will no more if out so up said what its about
than into them can only other time new some could these two may first then do any like my now over such our man me even most made
after also did many off before must well back through years much where your way down should because long each just state those
people too mister how little good world make very year still see work life men day used between under last great house water
return value error function string public static package import module const index buffer length number client server request
response message config option default version setting enabled disabled timeout connection database account customer order
invoice payment address street country postal delivery`)

func (m *manyMaker) describe() string { return m.description }

func (m *manyMaker) make(ctx context.Context) (string, error) {
	rng := rand.New(rand.NewPCG(m.seed, 0))
	var buf []byte
	for i := range m.files {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		k := i / m.perFolder
		dir := filepath.Join(m.root, fmt.Sprintf("%03d", k%100), fmt.Sprintf("%03d", k/100))
		if i%m.perFolder == 0 {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return "", err
			}
		}
		buf = m.content(rng, buf[:0])
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%06d", i)), buf, 0o644); err != nil {
			return "", err
		}
	}
	return m.root, nil
}

func (m *manyMaker) close() error { return nil }

// execute runs a program to make a part of a data set.
func execute(ctx context.Context, program string, args ...string) error {
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", program, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
