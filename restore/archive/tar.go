package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/tree"
)

const (
	// xattrRecord is how the keys of extended attributes in pax headers begin.
	xattrRecord = "SCHILY.xattr."
	// maxRecords is how many bytes of attributes an entry may have: readers take no more than 1 MiB of records, of
	// which some are of other things.
	maxRecords = 1<<20 - 64<<10
)

// tarSink writes tar archives in the pax format.
type tarSink struct {
	*tar.Writer
	ctx  context.Context // of the call
	repo *repo.Repository
}

func newTar(ctx context.Context, r *repo.Repository, w io.Writer) *tarSink {
	return &tarSink{Writer: tar.NewWriter(w), ctx: ctx, repo: r}
}

// tarTypes are the types that there are in archives.
var tarTypes = map[tree.Type]byte{
	tree.File: tar.TypeReg, tree.Folder: tar.TypeDir, tree.Symlink: tar.TypeSymlink, tree.FIFO: tar.TypeFifo,
	tree.CharDevice: tar.TypeChar, tree.BlockDevice: tar.TypeBlock,
}

func (s *tarSink) header(name string, n *tree.Node) (*tar.Header, error) {
	kind, ok := tarTypes[n.Type]
	if !ok {
		return nil, ErrNoPlace
	}
	h := &tar.Header{
		Format: tar.FormatPAX, Typeflag: kind, Name: name, Mode: int64(n.Mode),
		Uid: int(n.UID), Gid: int(n.GID), Uname: n.User, Gname: n.Group, ModTime: mtime(n),
	}
	switch n.Type {
	case tree.Folder:
		h.Name += "/"
	case tree.Symlink:
		h.Linkname = n.Target
	case tree.CharDevice, tree.BlockDevice:
		h.Devmajor, h.Devminor = int64(n.Device>>32), int64(uint32(n.Device))
	}
	return h, nil
}

// attributes returns the records of extended attributes. Those that there can be no record of are omitted: nobody loses a
// file for them.
func (s *tarSink) attributes(n *tree.Node) (records map[string]string, omitted, err error) {
	records = map[string]string{}
	size := 0
	for _, a := range n.XAttrs {
		value := a.Value
		if !a.Blob.IsZero() {
			if value, err = s.repo.LoadBlob(s.ctx, object.TreeBlob, a.Blob); err != nil {
				return nil, nil, err
			}
		}
		record := len(xattrRecord) + len(a.Name) + len(value) + len("1234567 =\n")
		if strings.ContainsAny(a.Name, "=\x00") || a.Name == "" || size+record > maxRecords {
			omitted = errors.Join(omitted, fmt.Errorf("its extended attribute %q: %w", a.Name, ErrNoPlace))
			continue
		}
		size += record
		records[xattrRecord+a.Name] = string(value)
	}
	return records, omitted, nil
}

// mtime returns the time of an entry; an unknown one is the beginning of 1970.
func mtime(n *tree.Node) time.Time {
	if n.MTime.IsZero() {
		return time.Unix(0, 0)
	}
	return n.MTime.Time()
}

func (s *tarSink) add(name string, n *tree.Node, content io.Reader) (omitted, err error) {
	h, err := s.header(name, n)
	if err != nil {
		return nil, err
	}
	if h.PAXRecords, omitted, err = s.attributes(n); err != nil {
		return nil, err
	}
	if n.Type == tree.File {
		h.Size = n.Size
	}
	if err := s.writeHeader(h); err != nil || n.Type != tree.File {
		return omitted, err
	}
	_, err = io.Copy(s.Writer, content)
	return omitted, err
}

// writeHeader writes a header. What the format can not say of an entry is no reason to end.
func (s *tarSink) writeHeader(h *tar.Header) error {
	err := s.WriteHeader(h)
	if err != nil && tar.NewWriter(io.Discard).WriteHeader(h) != nil { // it was not the writing that failed
		return fmt.Errorf("%w: %w", ErrNoPlace, err)
	}
	return err
}

func (s *tarSink) link(name, first string, n *tree.Node) (bool, error) {
	h, err := s.header(name, n)
	if err != nil {
		return true, err
	}
	h.Typeflag, h.Linkname = tar.TypeLink, first
	return true, s.writeHeader(h)
}
