package frames

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/kura-backup/kura/internal/zst"
)

// Type says what a frame is.
type Type uint8

// The types of frames. Those behind Data belong to who uses the connection.
const (
	Data Type = 1 // a piece of a row

	lastType = 8
)

// Flags say how a payload is to be read.
type Flags uint8

// The flags.
const (
	Compressed Flags = 1 // the payload is zstd
	Abort      Flags = 2 // of a Data frame without payload: the rest of the row does not come

	knownFlags = Compressed | Abort
)

const (
	// HeaderSize is the size of a frame's header.
	HeaderSize = 10
	// MaxPayload is the most bytes of a payload, also when it is decompressed.
	MaxPayload = 64 << 10
)

var (
	// ErrCut is wrapped by every error of a connection that has ended.
	ErrCut = errors.New("remote: the connection was cut")

	// ErrProtocol is wrapped by the errors of a connection whose other side sends what it must not.
	ErrProtocol = errors.New("remote: the other side does not keep to the protocol")
)

// Header is the beginning of a frame.
type Header struct {
	Type   Type
	Flags  Flags
	ID     uint32
	Length int // of the payload as it is sent
}

// Append appends the header's bytes.
func (h Header) Append(dst []byte) []byte {
	dst = append(dst, byte(h.Type), byte(h.Flags))
	dst = binary.LittleEndian.AppendUint32(dst, h.ID)
	return binary.LittleEndian.AppendUint32(dst, uint32(h.Length))
}

// DecodeHeader reads a header. What is out of bounds is an error that wraps ErrProtocol.
func DecodeHeader(b [HeaderSize]byte) (Header, error) {
	h := Header{Type: Type(b[0]), Flags: Flags(b[1]), ID: binary.LittleEndian.Uint32(b[2:])}
	length := binary.LittleEndian.Uint32(b[6:])
	switch {
	case h.Type < Data || h.Type > lastType:
		return h, fmt.Errorf("%w: frame of type %d", ErrProtocol, h.Type)
	case h.Flags&^knownFlags != 0, h.Flags&Abort != 0 && (h.Type != Data || length > 0 || h.Flags != Abort):
		return h, fmt.Errorf("%w: flags %#x of a frame of type %d", ErrProtocol, h.Flags, h.Type)
	case length > MaxPayload:
		return h, fmt.Errorf("%w: frame of %d bytes", ErrProtocol, length)
	}
	h.Length = int(length)
	return h, nil
}

// DecodePayload returns the bytes of a payload that has come with a header, in the memory of scratch if they were compressed.
func DecodePayload(h Header, payload, scratch []byte) ([]byte, error) {
	if h.Flags&Compressed == 0 {
		return payload, nil
	}
	plain, err := zst.Decode(scratch[:0], payload, MaxPayload)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	return plain, nil
}

// leastGain is what compressing has to save.
const leastGain = 16

// encode returns a payload as it is sent, in the memory of scratch if it was compressed.
func encode(payload, scratch []byte) ([]byte, Flags) {
	if len(payload) < 2*leastGain {
		return payload, 0
	}
	if out := zst.Encode(scratch[:0], payload, zst.Fastest); len(out)+leastGain <= len(payload) {
		return out, Compressed
	}
	return payload, 0
}
