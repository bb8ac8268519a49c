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
	// ErrEmpty is returned for an archive without entries: that is hardly ever what was meant.
	ErrEmpty = errors.New("tarfile: there is nothing in the archive, nothing was saved")
	// ErrMore is returned for an archive behind which there is something else, such as another archive.
	ErrMore = errors.New("tarfile: there is more behind the end of the archive")
	// ErrTooLong is wrapped for what is longer than any system takes it.
	ErrTooLong = errors.New("tarfile: too long")
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
	names  map[string]*name
	warned map[string]bool
	some   bool // there was an entry of which a snapshot says something
}

// name is what is known of the entry at a path. Folders are not; files that do not lead out have nothing to be known.
type name struct {
	node *tree.Node // of what is no file
	out  string     // the part of its name that leads out of the archive, such as / or ../
}

var _ source.Replacing = (*Source)(nil)

// New returns the source of an archive, all of which is put below prefix.
func New(in io.Reader, prefix string) (*Source, error) {
	s := &Source{in: in, names: map[string]*name{}, warned: map[string]bool{}}
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
	if err := in.onlyZeros(); err != nil {
		return err
	}
	if !s.some {
		return ErrEmpty
	}
	return nil
}

// warn tells about something once.
func (s *Source) warn(message string) {
	if s.Warn != nil && !s.warned[message] {
		s.warned[message] = true
		s.Warn(message)
	}
}

// path returns where an entry lies in the snapshot, or nothing for the topmost folder, of which a snapshot says nothing; and what
// was taken off its name.
func (s *Source) path(name string) (p, out string) {
	clean := path.Clean("/" + name)
	out, _ = strings.CutSuffix(path.Clean(name), clean[1:])
	if clean == "/" {
		return s.prefix, ""
	}
	return s.prefix + clean, out
}

// entry backs up an entry.
func (s *Source) entry(h *tar.Header, content io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return checkGlobal(h)
	}
	p, led := s.path(h.Name)
	if p == "" {
		return nil
	}
	n, err := s.node(h)
	if err != nil {
		return fmt.Errorf("%s: %w", h.Name, err)
	}
	if n.Type == 0 {
		return nil
	}
	s.some = true
	if err := check(p, &n); err != nil {
		s.out.Miss(p[:min(len(p), maxShown)], err)
		return nil
	}
	if h.Typeflag == tar.TypeLink {
		return s.link(p, led, h.Linkname)
	}
	if err := checkAttributes(n.XAttrs); err != nil {
		s.out.Miss(p[:min(len(p), maxShown)], err)
		n.XAttrs = nil
	}
	if n.Type == tree.File {
		err = s.file(p, h, n, content)
	} else {
		err = s.out.Add(p, n)
	}
	if err == nil {
		s.note(p, led, &n)
	}
	return err
}

// note keeps what has to be known of an entry, and says so if another one was there that only looked different.
func (s *Source) note(p, out string, n *tree.Node) {
	old, isThere := s.names[p]
	was := ""
	if old != nil {
		was = old.out
	}
	if rest := p[min(len(s.prefix)+1, len(p)):]; isThere && was != out {
		s.out.Miss(p, fmt.Errorf("%q and %q are both in the archive, and are the same here: only the later one is taken over", was+rest, out+rest))
	}
	switch {
	case n.Type == tree.Folder:
		delete(s.names, p)
	case n.Type != tree.File:
		own := *n
		s.names[strings.Clone(p)] = &name{node: &own, out: out}
	case out != "":
		s.names[strings.Clone(p)] = &name{out: out}
	default:
		s.names[strings.Clone(p)] = nil
	}
}

// link adds another name of what is in the archive. What is no file becomes an entry of its own, which is as good.
func (s *Source) link(p, out, target string) error {
	to, _ := s.path(target)
	first, ok := s.names[to]
	if !ok {
		s.out.Miss(p, fmt.Errorf("it is another name of %s, which is not in the archive before it", to[:min(len(to), maxShown)]))
		return nil
	}
	if p == to {
		return nil
	}
	n, err := &tree.Node{Type: tree.File}, error(nil)
	if first != nil && first.node != nil {
		n = first.node
		err = s.out.Add(p, *n)
	} else {
		err = s.out.Link(p, to)
	}
	if err == nil {
		s.note(p, out, n)
	}
	return err
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
	return f.Close()
}
