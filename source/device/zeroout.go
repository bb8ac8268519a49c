package device

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// zeroOut asks a block device to make a range zero, which many do without writing it.
func zeroOut(f *os.File, off, length int64) error {
	span := [2]uint64{uint64(off), uint64(length)}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKZEROOUT, uintptr(unsafe.Pointer(&span)))
	if errno != 0 {
		return errno
	}
	return nil
}
