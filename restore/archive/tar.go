package archive

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/tree"
)

// xattrRecord is how the keys of extended attributes in pax headers begin.
const xattrRecord = "SCHILY.xattr."

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
		Uid: int(n.UID), Gid: int(n.GID), Uname: n.User, Gname: n.Group, ModTime: mtime(n), PAXRecords: map[string]string{},
	}
	switch n.Type {
	case tree.Folder:
		h.Name += "/"
	case tree.Symlink:
		h.Linkname = n.Target
	case tree.CharDevice, tree.BlockDevice:
		h.Devmajor, h.Devminor = int64(n.Device>>32), int64(uint32(n.Device))
	}
	for _, a := range n.XAttrs {
		value := a.Value
		if !a.Blob.IsZero() {
			var err error
			if value, err = s.repo.LoadBlob(s.ctx, object.TreeBlob, a.Blob); err != nil {
				return nil, err
			}
		}
		h.PAXRecords[xattrRecord+a.Name] = string(value)
	}
	return h, nil
}

// mtime returns the time of an entry; an unknown one is the beginning of 1970.
func mtime(n *tree.Node) time.Time {
	if n.MTime.IsZero() {
		return time.Unix(0, 0)
	}
	return n.MTime.Time()
}

func (s *tarSink) add(name string, n *tree.Node, content io.Reader) error {
	h, err := s.header(name, n)
	if err != nil {
		return err
	}
	if n.Type == tree.File {
		h.Size = n.Size
	}
	if err := s.writeHeader(h); err != nil || n.Type != tree.File {
		return err
	}
	_, err = io.Copy(s.Writer, content)
	return err
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
	h.Typeflag, h.Linkname, h.PAXRecords = tar.TypeLink, first, nil
	return true, s.writeHeader(h)
}
