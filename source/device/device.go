package device

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// BlockSize is what a device is read and hashed in.
const BlockSize = 1 << 20

// align is what offsets, lengths and memory of direct reads are multiples of. No device has larger sectors.
const align = 4096

// Device is a block device or an image that is open for reading. It is safe for concurrent use.
type Device struct {
	path   string
	f      *os.File
	block  bool
	size   int64
	direct atomic.Bool // reads go past the page cache
}

// Open opens a block device or an image.
func Open(path string) (*Device, error) {
	// A FIFO or a terminal must not be opened to find out what it is.
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !isDevice(info) {
		return nil, fmt.Errorf("%w: %s", ErrKind, path)
	}
	f, direct, err := openDirect(path)
	if err != nil {
		return nil, err
	}
	d := &Device{path: path, f: f}
	d.direct.Store(direct)
	if info, err = f.Stat(); err == nil && !isDevice(info) {
		err = fmt.Errorf("%w: %s", ErrKind, path)
	}
	if err == nil {
		d.block = info.Mode()&os.ModeDevice != 0
		d.size, err = d.Now()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return d, nil
}

func isDevice(info os.FileInfo) bool {
	return info.Mode().IsRegular() || info.Mode()&(os.ModeDevice|os.ModeCharDevice) == os.ModeDevice
}

// openDirect opens for reading past the page cache: what is read once is not worth what it would push out of it. Not
// all file systems can.
func openDirect(path string) (f *os.File, direct bool, err error) {
	f, err = os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0)
	if errors.Is(err, unix.EINVAL) {
		f, err = os.Open(path)
		return f, false, err
	}
	return f, err == nil, err
}

// Path is what the device was opened as.
func (d *Device) Path() string { return d.path }

// Size is how many bytes the device had when it was opened.
func (d *Device) Size() int64 { return d.size }

// IsBlock reports whether it is a block device, and not an image.
func (d *Device) IsBlock() bool { return d.block }

// Now is how many bytes the device has now.
func (d *Device) Now() (int64, error) { return d.f.Seek(0, io.SeekEnd) }

// Check returns ErrResized if the device has another size than when it was opened.
func (d *Device) Check() error {
	now, err := d.Now()
	if err == nil && now != d.size {
		err = fmt.Errorf("%w: %s had %d bytes and has %d", ErrResized, d.path, d.size, now)
	}
	return err
}

// Close closes the device.
func (d *Device) Close() error { return d.f.Close() }

// Resolved is where the device lies without symlinks, such as /dev/dm-3, or its path if that is not known.
func (d *Device) Resolved() string {
	if p, err := filepath.EvalSymlinks(d.path); err == nil {
		return p
	}
	return d.path
}

// ReadAt reads len(p) bytes, or up to the end that the device had when it was opened: then the error is io.EOF. Any other
// error is a [ReadError].
func (d *Device) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("device: read at %d", off)
	}
	want := int(min(int64(len(p)), max(d.size-off, 0)))
	for n < want && err == nil {
		var m int
		m, err = d.readSome(p[n:want], off+int64(n))
		n += m
	}
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

// readSome reads at least one byte.
func (d *Device) readSome(p []byte, off int64) (n int, err error) {
	if !d.direct.Load() {
		return d.pread(p, off)
	}
	if len(p)%align == 0 && off%align == 0 && uintptr(unsafe.Pointer(&p[0]))%align == 0 {
		return d.pread(p, off)
	}
	if len(p) >= align && off%align == 0 && uintptr(unsafe.Pointer(&p[0]))%align == 0 {
		return d.pread(p[:len(p)&^(align-1)], off)
	}
	skip := int(off % align)
	buf := alignedBuffer(min(BlockSize, (skip+len(p)+align-1)&^(align-1)))
	n, err = d.pread(buf, off-int64(skip))
	if err != nil {
		return 0, err
	}
	if n <= skip {
		return 0, &ReadError{d.path, off, ErrEnded}
	}
	return copy(p, buf[skip:n]), nil
}

// pread is one read, of at least one byte.
func (d *Device) pread(p []byte, off int64) (int, error) {
	for {
		direct := d.direct.Load() // before, as others may find out that it can not be at the same time
		n, err := d.f.ReadAt(p, off)
		switch {
		case n > 0:
			return n, nil // the rest, and what is wrong with it, is read next
		case err == nil || err == io.EOF:
			return 0, &ReadError{d.path, off, ErrEnded}
		case errors.Is(err, unix.EINVAL) && direct:
			if err := d.indirect(); err != nil {
				return 0, err
			}
		default:
			return d.narrow(p, off, err)
		}
	}
}

// indirect makes reads go through the page cache.
func (d *Device) indirect() error {
	d.direct.Store(false)
	return d.setFlags(func(flags int) int { return flags &^ unix.O_DIRECT })
}

// setDirect makes reads go past the page cache, where that is possible.
func (d *Device) setDirect() error {
	err := d.setFlags(func(flags int) int { return flags | unix.O_DIRECT })
	d.direct.Store(err == nil)
	if errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}

func (d *Device) setFlags(change func(int) int) error {
	flags, err := unix.FcntlInt(d.f.Fd(), unix.F_GETFL, 0)
	if err == nil {
		_, err = unix.FcntlInt(d.f.Fd(), unix.F_SETFL, change(flags))
	}
	return err
}

// narrow returns what is readable in front of the place that can not be read, or which place that is. What can be read the second time has
// been read.
func (d *Device) narrow(p []byte, off int64, why error) (int, error) {
	at := 0
	for at < len(p) {
		n, err := d.f.ReadAt(p[at:min(at+align, len(p))], off+int64(at))
		if n == 0 {
			why = err
			break
		}
		at += n
	}
	if at > 0 {
		return at, nil
	}
	if path := (*os.PathError)(nil); errors.As(why, &path) {
		why = path.Err // which has a path of its own
	}
	return 0, &ReadError{d.path, off, why}
}

// alignedBuffer returns memory that direct reads can be made into.
func alignedBuffer(n int) []byte {
	b := make([]byte, n+align)
	skip := int(-uintptr(unsafe.Pointer(&b[0])) % align)
	return b[skip : skip+n : skip+n]
}
