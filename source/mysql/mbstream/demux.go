package mbstream

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path"
	"strings"
)

// Limits of streams.
const (
	maxPath = 4096
	maxOpen = 1024 // files whose end is still to come
	step    = 256 << 10
)

const magic = "XBSTCK01"

// What can be wrong with a stream.
var (
	// ErrFormat is what mariadb-backup does not write.
	ErrFormat = errors.New("mbstream: not a stream of mariadb-backup")
	// ErrTruncated is a stream that ends in the middle of a chunk or file.
	ErrTruncated = errors.New("mbstream: it ends in the middle")
	// ErrChecksum is a piece that is not what was written.
	ErrChecksum = errors.New("mbstream: wrong checksum")
)

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
}

// demuxer is at work on a stream.
type demuxer struct {
	r     *bufio.Reader
	begin func(path string) (io.WriteCloser, error)
	open  map[string]*file
	ended map[string]bool
	buf   []byte
}

type file struct {
	w    io.WriteCloser
	size uint64
}

// Demux reads a stream to its end. It calls begin for each file, whose path is relative and clean, writes its content to what that
// returns, and closes that when the file is complete. Several are open at a time. When it fails, all are closed all the same.
func Demux(r io.Reader, begin func(path string) (io.WriteCloser, error)) (err error) {
	d := &demuxer{r: bufio.NewReaderSize(r, step), begin: begin, open: map[string]*file{}, ended: map[string]bool{}, buf: make([]byte, step)}
	for err == nil {
		err = d.chunk()
	}
	if err == io.EOF { // between chunks
		err = nil
		if n := len(d.open); n > 0 {
			err = fmt.Errorf("%w: %d files have no end", ErrTruncated, n)
		}
	}
	for _, f := range d.open {
		err = errors.Join(err, f.w.Close())
	}
	return err
}

// full reads all of p.
func (d *demuxer) full(p []byte) error {
	_, err := io.ReadFull(d.r, p)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return ErrTruncated
	}
	return err
}

// chunk takes a chunk. It returns io.EOF where the stream ends in front of it.
func (d *demuxer) chunk() error {
	if _, err := d.r.Peek(1); err != nil {
		return err
	}
	var head [len(magic) + 6]byte
	if err := d.full(head[:]); err != nil {
		return err
	}
	if string(head[:len(magic)]) != magic {
		return bad("no chunk begins where one should")
	}
	kind, length := head[9], binary.LittleEndian.Uint32(head[10:])
	if length == 0 || length > maxPath {
		return bad("a path of %d bytes", length)
	}
	name := make([]byte, length)
	if err := d.full(name); err != nil {
		return err
	}
	p, err := clean(name)
	if err != nil {
		return err
	}
	switch kind {
	case 'P':
		return d.piece(p)
	case 'E':
		return d.end(p)
	}
	return bad("a chunk of type %q", kind) // one that may be skipped has a content of unknown length
}

// clean returns a path that leads nowhere but below the folder of the backup.
func clean(name []byte) (string, error) {
	p := path.Clean(string(name))
	if path.IsAbs(p) || p == "." || p == ".." || strings.HasPrefix(p, "../") || bytes.IndexByte(name, 0) >= 0 {
		return "", bad("the path %q", name)
	}
	return p, nil
}

func (d *demuxer) file(p string) (*file, error) {
	if f := d.open[p]; f != nil {
		return f, nil
	}
	switch {
	case d.ended[p]:
		return nil, bad("%s goes on behind its end", p)
	case len(d.open) == maxOpen:
		return nil, bad("more than %d files at a time", maxOpen)
	}
	w, err := d.begin(p)
	if err != nil {
		return nil, err
	}
	f := &file{w: w}
	d.open[p] = f
	return f, nil
}

func (d *demuxer) piece(p string) error {
	var head [20]byte
	if err := d.full(head[:]); err != nil {
		return err
	}
	length, offset, sum := binary.LittleEndian.Uint64(head[:]), binary.LittleEndian.Uint64(head[8:]), binary.LittleEndian.Uint32(head[16:])
	f, err := d.file(p)
	if err != nil {
		return err
	}
	if offset != f.size || f.size+length < f.size {
		return bad("a piece of %s for %d, where %d was next", p, offset, f.size)
	}
	f.size += length
	crc := crc32.NewIEEE()
	for length > 0 {
		b := d.buf[:min(length, step)]
		if err := d.full(b); err != nil {
			return err
		}
		crc.Write(b)
		if _, err := f.w.Write(b); err != nil {
			return err
		}
		length -= uint64(len(b))
	}
	if crc.Sum32() != sum {
		return fmt.Errorf("%w: %s, before %d", ErrChecksum, p, f.size)
	}
	return nil
}

func (d *demuxer) end(p string) error {
	f, err := d.file(p) // an empty file has an end alone
	if err != nil {
		return err
	}
	delete(d.open, p)
	d.ended[p] = true
	return f.w.Close()
}
