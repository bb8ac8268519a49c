package sshrun

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/klauspost/compress/gzip"
)

// Binary is a program for another machine. It is safe for concurrent use.
type Binary struct {
	data         []byte
	hash         string
	system, arch string // as Go names them; empty: unknown
}

// Own returns the running program.
func Own() (*Binary, error) {
	path, err := os.Executable()
	if runtime.GOOS == "linux" {
		path, err = "/proc/self/exe", nil // whatever has its name by now
	}
	if err != nil {
		return nil, err
	}
	b, err := load(path)
	if err != nil {
		return nil, err
	}
	b.system, b.arch = runtime.GOOS, runtime.GOARCH
	return b, nil
}

// FromFile returns the program in a file.
func FromFile(path string) (*Binary, error) {
	b, err := load(path)
	if err != nil {
		return nil, err
	}
	if f, err := elf.NewFile(bytes.NewReader(b.data)); err == nil {
		b.arch = arches[f.Machine]
	}
	return b, nil
}

// arches are those for which Go makes programs for one machine and no other.
var arches = map[elf.Machine]string{
	elf.EM_X86_64: "amd64", elf.EM_386: "386", elf.EM_AARCH64: "arm64", elf.EM_ARM: "arm", elf.EM_RISCV: "riscv64",
	elf.EM_S390: "s390x", elf.EM_LOONGARCH: "loong64",
}

func load(path string) (*Binary, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("sshrun: the program to send: %w", err)
	}
	sum := sha256.Sum256(data)
	return &Binary{data: data, hash: hex.EncodeToString(sum[:])}, nil
}

// packed is the program, packed by gzip: fast, since the line may be, too.
func (b *Binary) packed() ([]byte, error) {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(b.data); err != nil {
		return nil, err
	}
	err = w.Close()
	return out.Bytes(), err
}

// fits reports whether the program is for a machine of which uname says this.
func (b *Binary) fits(system, machine string) bool {
	s, a := systems[system], machines[machine]
	return (b.system == "" || b.system == s) && (b.arch == "" || b.arch == a)
}

// What uname -s and uname -m say, and how Go names that.
var (
	systems  = map[string]string{"Linux": "linux", "Darwin": "darwin", "FreeBSD": "freebsd", "OpenBSD": "openbsd", "NetBSD": "netbsd"}
	machines = map[string]string{
		"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64", "i386": "386", "i586": "386", "i686": "386",
		"armv6l": "arm", "armv7l": "arm", "armv8l": "arm", "riscv64": "riscv64", "s390x": "s390x", "ppc64le": "ppc64le", "loongarch64": "loong64",
	}
)

// send writes the program, packed or not.
func (b *Binary) send(w io.Writer, pack bool) error {
	verb, data := "plain", b.data
	if pack {
		var err error
		if data, err = b.packed(); err != nil {
			return err
		}
		verb = "gzip"
	}
	if _, err := fmt.Fprintf(w, "%s %d\n", verb, len(data)); err != nil {
		return err
	}
	_, err := w.Write(data)
	return err
}
