package tarfile

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/source/stream"
	"github.com/kura-backup/kura/tree"
)

// Kind is what manifests call snapshots of archives.
const Kind = "tar"

var (
	// ErrTruncated is returned for an archive that ends before its end mark.
	ErrTruncated = errors.New("tarfile: the archive is cut off")
	// ErrMore is returned for an archive behind which there is something else, such as another archive.
	ErrMore = errors.New("tarfile: there is more behind the end of the archive")
	// ErrUnknown is wrapped where an archive uses what is not understood here.
	ErrUnknown = errors.New("tarfile: not supported")
)

// Source backs up an archive. It implements source.Source.
type Source struct {
	// Warn is told of what is in the archive and not taken over. Nil: nobody is.
	Warn func(message string)

	in     io.Reader
	prefix string // empty, or an absolute path
	out    source.Writer
	raw    *counter // what of the archive was read
	files  map[string]struct{}
	warned map[string]bool
}

var _ source.Replacing = (*Source)(nil)

// New returns the source of an archive, all of which is put below prefix.
func New(in io.Reader, prefix string) (*Source, error) {
	s := &Source{in: in, files: map[string]struct{}{}, warned: map[string]bool{}}
	if s.prefix = path.Clean("/" + prefix); s.prefix == "/" {
		s.prefix = ""
		return s, nil
	}
	return s, source.CheckPath(s.prefix)
}

// Kind is of source.Source.
func (s *Source) Kind() string { return Kind }

// Replaces is of source.Replacing.
func (s *Source) Replaces() bool { return true }

// Paths is of source.Source.
func (s *Source) Paths() []string {
	if s.prefix == "" {
		return []string{"/"}
	}
	return []string{s.prefix}
}

// Write is of source.Source.
func (s *Source) Write(ctx context.Context, out source.Writer) error {
	s.out = out
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // lets the goroutine of the reader go
	err := s.readAll(stream.NewReader(ctx, s.in))
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (s *Source) readAll(r io.Reader) error {
	plain, err := decompress(r)
	if err != nil {
		return err
	}
	defer plain.Close()
	in := &counter{r: plain}
	s.raw = in
	archive := tar.NewReader(in)
	entries := 0
	for ; ; entries++ {
		start := (in.n + blockSize - 1) / blockSize * blockSize
		h, err := archive.Next()
		if err == io.EOF {
			if !in.endsAfter(start) {
				return fmt.Errorf("%w after %d entries, at byte %d", ErrTruncated, entries, in.n)
			}
			break
		}
		if err == nil {
			err = s.entry(h, archive)
		}
		if err == nil {
			_, err = io.Copy(io.Discard, archive) // what was not of interest
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%w in entry %d, at byte %d: %w", ErrTruncated, entries+1, in.n, err)
		}
		if err != nil {
			return fmt.Errorf("tarfile: entry %d: %w", entries+1, err)
		}
	}
	return in.onlyZeros()
}

// warn tells about something once.
func (s *Source) warn(message string) {
	if s.Warn != nil && !s.warned[message] {
		s.warned[message] = true
		s.Warn(message)
	}
}

// path returns where an entry lies in the snapshot, or nothing for the topmost folder, of which a snapshot says nothing.
func (s *Source) path(name string) string {
	clean := path.Clean("/" + name)
	if clean == "/" {
		return s.prefix
	}
	return s.prefix + clean
}

// entry backs up an entry.
func (s *Source) entry(h *tar.Header, content io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return checkGlobal(h)
	}
	p := s.path(h.Name)
	if p == "" {
		return nil
	}
	n, err := s.node(h)
	if err != nil {
		return fmt.Errorf("%s: %w", h.Name, err)
	}
	if err := source.CheckPath(p); err != nil {
		s.out.Miss(p, err)
		return nil
	}
	switch {
	case h.Typeflag == tar.TypeLink:
		return s.link(p, s.path(h.Linkname))
	case n.Type == 0:
		return nil
	case n.Type != tree.File:
		delete(s.files, p)
		return s.out.Add(p, n)
	}
	return s.file(p, h, n, content)
}

func (s *Source) link(p, to string) error {
	if _, ok := s.files[to]; !ok {
		s.out.Miss(p, fmt.Errorf("it is another name of %s, which is no file of the archive", to))
		return nil
	}
	if p == to {
		return nil
	}
	s.files[strings.Clone(p)] = struct{}{}
	return s.out.Link(p, to)
}

func (s *Source) file(p string, h *tar.Header, n tree.Node, content io.Reader) error {
	f, err := s.out.Create(p, n)
	if err != nil {
		return err
	}
	if isSparse(h) {
		err = (&sparseWriter{f: f}).copy(content, s.raw)
	} else {
		_, err = f.ReadFrom(content)
	}
	if err != nil {
		return err
	}
	if f.Size() != h.Size {
		return fmt.Errorf("%s: %d of %d bytes: %w", h.Name, f.Size(), h.Size, io.ErrUnexpectedEOF)
	}
	s.files[strings.Clone(p)] = struct{}{}
	return f.Close()
}
