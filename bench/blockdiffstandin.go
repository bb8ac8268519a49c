package main

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// Where blockdiff's Perl programs are not on PATH this program stands in for them, called by the same names: the same files come out, by the same arithmetic.
// Like theirs, reading ends at an error as at the end of the file, and nothing of a patch is verified.
const (
	blockdiffDump  = "blockdiff_dump"
	blockdiffMerge = "blockdiff_merge"
)

// standIn runs one of blockdiff's programs, if that is what the arguments ask for.
func standIn(args []string) (asked bool, err error) {
	switch {
	case len(args) == 2 && args[0] == blockdiffDump:
		return true, standInDump(args[1])
	case len(args) == 2 && args[0] == blockdiffMerge:
		return true, standInMerge(args[1], os.Stdin)
	}
	return false, nil
}

// standInDump writes the blocks whose digests are not those of file descriptor 5, and all digests to 6.
func standInDump(path string) (err error) {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	gzip := exec.Command("gzip", "-f")
	gzip.Stdout, gzip.Stderr = os.Stdout, os.Stderr
	pipe, err := gzip.StdinPipe()
	if err != nil {
		return err
	}
	if err := gzip.Start(); err != nil {
		return err
	}
	out, digests := bufio.NewWriterSize(pipe, 1<<20), bufio.NewWriter(os.NewFile(6, "new digests"))
	err = dumpBlocks(in, out, oldDigests(), digests)
	return errors.Join(err, out.Flush(), pipe.Close(), digests.Flush(), gzip.Wait())
}

// oldDigests are those of the generation before, or nil. Whether there is one the environment says: if nobody has opened the file descriptor, the runtime
// may have.
func oldDigests() *bufio.Reader {
	if os.Getenv("PREV") == "" {
		return nil
	}
	return bufio.NewReader(os.NewFile(5, "old digests"))
}

func dumpBlocks(in io.Reader, out io.Writer, old *bufio.Reader, digests io.Writer) error {
	head := binary.LittleEndian.AppendUint32(nil, pageSize)
	if old != nil {
		if _, err := io.ReadFull(old, make([]byte, len(head))); err != nil {
			return fmt.Errorf("old digest data is corrupt: %w", err)
		}
	}
	for _, w := range []io.Writer{out, digests} {
		if _, err := w.Write(head); err != nil {
			return err
		}
	}
	block, was := make([]byte, pageSize), make([]byte, md5.Size)
	for offset := uint64(0); ; {
		n, _ := io.ReadFull(in, block) // an error is an end
		if n == 0 {
			return nil
		}
		digest := md5.Sum(block[:n])
		same := false
		if old != nil {
			_, err := io.ReadFull(old, was)
			same = err == nil && bytes.Equal(was, digest[:])
		}
		if !same {
			if _, err := out.Write(append(binary.LittleEndian.AppendUint64(nil, offset), block[:n]...)); err != nil {
				return err
			}
		}
		if _, err := digests.Write(digest[:]); err != nil {
			return err
		}
		offset += uint64(n)
	}
}

// standInMerge applies a patch.
func standInMerge(path string, patch io.Reader) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	in := bufio.NewReaderSize(patch, 1<<20)
	head := make([]byte, 8)
	if _, err := io.ReadFull(in, head[:4]); err != nil {
		return fmt.Errorf("invalid input: %w", err)
	}
	block := make([]byte, binary.LittleEndian.Uint32(head)%(64<<20))
	for {
		if _, err := io.ReadFull(in, head); err != nil {
			return nil // wherever it ends
		}
		n, _ := io.ReadFull(in, block)
		if n == 0 {
			return errors.New("unexpected eof while reading input")
		}
		if _, err := f.WriteAt(block[:n], int64(binary.LittleEndian.Uint64(head))); err != nil {
			return err
		}
	}
}
