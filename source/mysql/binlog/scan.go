package binlog

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"strconv"
	"strings"
	"time"
)

// Limits of events.
const (
	headSize = 19
	maxEvent = 1<<30 + 1<<20 // a row may have a gigabyte
	maxKept  = 1 << 20       // of the events that are looked into
)

// magic is what a file begins with.
const magic = "\xfebin"

// Begin is where the first event of a file begins.
const Begin = int64(len(magic))

// Types of events that are looked into.
const (
	stop     = 3
	rotate   = 4
	format   = 15
	gtid     = 162
	gtidList = 163
)

// What can be wrong with a log.
var (
	// ErrFormat is what is no binary log of MariaDB.
	ErrFormat = errors.New("binlog: not a binary log of MariaDB")
	// ErrTruncated is a file that ends in the middle of an event.
	ErrTruncated = errors.New("binlog: it ends in the middle of an event")
	// ErrChecksum is an event that is not as it was written.
	ErrChecksum = errors.New("binlog: wrong checksum")
	// ErrGap is a file in front of which something else was than what is known.
	ErrGap = errors.New("binlog: it does not follow what came before")
)

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
}

// GTID names a transaction.
type GTID struct {
	Domain, Server uint32
	Number         uint64
}

func (g GTID) String() string { return fmt.Sprintf("%d-%d-%d", g.Domain, g.Server, g.Number) }

// ParseGTID reads domain-server-number.
func ParseGTID(text string) (g GTID, err error) {
	parts := strings.Split(text, "-")
	if len(parts) != 3 {
		return g, bad("the GTID %q", text)
	}
	var n [3]uint64
	for i, bits := range []int{32, 32, 64} {
		if n[i], err = strconv.ParseUint(parts[i], 10, bits); err != nil {
			return g, bad("the GTID %q", text)
		}
	}
	return GTID{uint32(n[0]), uint32(n[1]), n[2]}, nil
}

// Event is an event of a file, as far as it is looked into.
type Event struct {
	Time   time.Time
	Start  int64 // in the file
	End    int64
	GTID   *GTID  // of the transaction that begins
	Before []GTID // the last ones before the file
	Next   string // name of the next file
	Last   bool   // the server has ended the file with it; there is none where it was killed
}

// Scan reads a file from its begin to its end, compares checksums, and calls each for every event. What each returns ends it.
func Scan(r io.Reader, each func(*Event) error) error {
	s := scanner{r: bufio.NewReaderSize(r, 256<<10), crc: crc32.NewIEEE()}
	var begin [len(magic)]byte
	if _, err := io.ReadFull(s.r, begin[:]); err != nil && truncated(err) != ErrTruncated {
		return err
	}
	if string(begin[:]) != magic {
		return bad("it does not begin as one")
	}
	for s.at = int64(len(magic)); ; {
		e, err := s.next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = each(e)
		}
		if err != nil {
			return err
		}
	}
}

type scanner struct {
	r        *bufio.Reader
	at       int64
	checksum bool
	known    bool // the format was seen
	crc      hash.Hash32
}

// next reads an event. It returns io.EOF where the file ends in front of one.
func (s *scanner) next() (*Event, error) {
	var head [headSize]byte
	if n, err := io.ReadFull(s.r, head[:]); err != nil {
		if err == io.EOF && n == 0 {
			return nil, io.EOF
		}
		return nil, truncated(err)
	}
	kind, length, end := head[4], int64(binary.LittleEndian.Uint32(head[9:])), int64(binary.LittleEndian.Uint32(head[13:]))
	if length < headSize || length > maxEvent {
		return nil, bad("an event of %d bytes at %d", length, s.at)
	}
	e := &Event{Time: time.Unix(int64(binary.LittleEndian.Uint32(head[:])), 0).UTC(), Start: s.at, End: s.at + length}
	if end != 0 && end != int64(uint32(e.End)) {
		return nil, bad("the event at %d says that it ends at %d and has %d bytes", s.at, end, length)
	}
	if !s.known && kind != format {
		return nil, bad("its first event is of type %d", kind)
	}
	s.crc.Reset()
	s.crc.Write(head[:])
	body, sum, err := s.body(kind, length-headSize)
	if err != nil {
		return nil, err
	}
	s.at = e.End
	if s.checksum && s.crc.Sum32() != sum {
		return nil, fmt.Errorf("%w: the event at %d", ErrChecksum, e.Start)
	}
	return e, e.look(kind, binary.LittleEndian.Uint32(head[5:]), body)
}

func truncated(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return ErrTruncated
	}
	return err
}

// body reads the rest of an event. It keeps those that are looked into.
func (s *scanner) body(kind byte, length int64) (body []byte, sum uint32, err error) {
	if kind == format && !s.known {
		return s.format(length)
	}
	if s.checksum {
		if length -= crc32.Size; length < 0 {
			return nil, 0, bad("an event without its checksum at %d", s.at)
		}
	}
	if kind == rotate || kind == gtid || kind == gtidList {
		if length > maxKept {
			return nil, 0, bad("an event of type %d with %d bytes at %d", kind, length, s.at)
		}
		body = make([]byte, length)
		if _, err := io.ReadFull(s.r, body); err != nil {
			return nil, 0, truncated(err)
		}
		s.crc.Write(body)
	} else if _, err := io.CopyN(s.crc, s.r, length); err != nil {
		return nil, 0, truncated(err)
	}
	if !s.checksum {
		return body, 0, nil
	}
	var last [crc32.Size]byte
	if _, err := io.ReadFull(s.r, last[:]); err != nil {
		return nil, 0, truncated(err)
	}
	return body, binary.LittleEndian.Uint32(last[:]), nil
}

// format reads the event that describes the format. It always has room for a checksum.
func (s *scanner) format(length int64) ([]byte, uint32, error) {
	if length < 1+crc32.Size || length > maxKept {
		return nil, 0, bad("a description of %d bytes", length)
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(s.r, body); err != nil {
		return nil, 0, truncated(err)
	}
	s.known = true
	rest := body[:length-crc32.Size]
	switch alg := rest[len(rest)-1]; alg {
	case 0:
	case 1:
		s.checksum = true
	default:
		return nil, 0, bad("checksums of the kind %d", alg)
	}
	s.crc.Write(rest)
	return nil, binary.LittleEndian.Uint32(body[length-crc32.Size:]), nil
}

// look looks into an event.
func (e *Event) look(kind byte, server uint32, body []byte) error {
	switch kind {
	case gtid:
		if len(body) < 13 {
			return bad("a GTID of %d bytes at %d", len(body), e.Start)
		}
		e.GTID = &GTID{binary.LittleEndian.Uint32(body[8:]), server, binary.LittleEndian.Uint64(body)}
	case gtidList:
		if len(body) < 4 {
			return bad("a list of GTIDs of %d bytes at %d", len(body), e.Start)
		}
		n, list := int(binary.LittleEndian.Uint32(body)&(1<<28-1)), body[4:]
		if n > len(list)/16 {
			return bad("a list of %d GTIDs with %d bytes at %d", n, len(list), e.Start)
		}
		e.Before = make([]GTID, n)
		for i := range e.Before {
			b := list[16*i:]
			e.Before[i] = GTID{binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint64(b[8:])}
		}
	case rotate:
		if len(body) < 8 {
			return bad("a rotation of %d bytes at %d", len(body), e.Start)
		}
		e.Next, e.Last = string(body[8:]), true
	case stop:
		e.Last = true
	}
	return nil
}
