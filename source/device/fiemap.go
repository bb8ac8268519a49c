package device

import (
	"fmt"
	"math"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What linux/fiemap.h says, and x/sys does not.
const (
	fsIocFiemap = 0xC020660B

	fiemapSync = 1

	extentLast      = 0x1
	extentUnwritten = 0x800
	// Where any of these is set the address does not say which bytes are meant: it is unknown, or not yet given, or that of more than them.
	extentVague = 0x2 | 0x4 | 0x8 | 0x80 | 0x100 | 0x200 | 0x400
)

const extentsPerCall = 1024

type fiemapExtent struct {
	logical, physical, length uint64
	_                         [2]uint64
	flags                     uint32
	_                         [3]uint32
}

type fiemapRequest struct {
	start, length          uint64
	flags, mapped, room, _ uint32
	extents                [extentsPerCall]fiemapExtent
}

// extents calls visit for each extent of a file, in order.
func extents(f *os.File, visit func(*fiemapExtent) error) error {
	req := &fiemapRequest{flags: fiemapSync, room: extentsPerCall}
	for {
		req.length, req.mapped = math.MaxUint64-req.start, 0
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fsIocFiemap, uintptr(unsafe.Pointer(req)))
		if errno != 0 {
			return fmt.Errorf("device: where %s lies: %w", f.Name(), errno)
		}
		for i := range min(req.mapped, extentsPerCall) {
			e := &req.extents[i]
			if e.length == 0 || e.logical < req.start && e.logical+e.length <= req.start || e.logical+e.length < e.logical {
				return fmt.Errorf("device: where %s lies: an extent of %d bytes at %d", f.Name(), e.length, e.logical)
			}
			if err := visit(e); err != nil {
				return err
			}
			req.start = e.logical + e.length
			if e.flags&extentLast != 0 {
				return nil
			}
		}
		if req.mapped == 0 {
			return nil
		}
	}
}
