package remote

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/remote/frames"
)

// greeting is what the far side says first: a name, and the number of the protocol.
const greeting = "kura agent 1\n"

// The frames beside frames.Data.
const (
	helloFrame   frames.Type = 2 // → there
	welcomeFrame frames.Type = 3 // → here: answer to the hello
	requestFrame frames.Type = 4 // → here
	replyFrame   frames.Type = 5 // → there
	cancelFrame  frames.Type = 6 // both
	finishFrame  frames.Type = 7 // → here
	aliveFrame   frames.Type = 8 // → there
)

// Bounds on what is under way. The far side keeps them; here they are enforced.
const (
	maxCalls   = 128       // requests, but for output
	maxOutputs = 64        // pieces of output
	maxOutput  = 32 << 10  // bytes of such a piece
	maxWindow  = 160 << 20 // bytes of bodies of requests
	maxPut     = pack.MaxPackSize + 1<<20
	maxHeader  = 16 << 10 // of a request, without what follows it
	maxNoise   = 8 << 10  // of what comes before the greeting
	maxHello   = 8 << 20
	maxAnswers = 256 << 20 // bytes of bodies of replies, but for a single larger one

	// maxUnsent bounds replies of which the far side has not read the last. One that keeps the bounds above asks again only when
	// it has read it: then what counts is what was written a moment ago.
	maxUnsent = 8 * (maxCalls + maxOutputs)

	// maxLists are made at a time: for a page of names a store may have to collect all that there are.
	maxLists = 4

	maxLookups   = 256 << 20 // bytes that lookups take; not of maxAnswers: they are short, and must not wait for packs
	lookupWeight = 64 << 20  // what counts for one whose answer is not known yet
)

// announced says how long the hello is that follows, as a row of id 0.
type announced struct {
	Body uint32 `cbor:"1,keyasint"`
}

// hello is what the far side gets to know.
type hello struct {
	Version  string   `cbor:"1,keyasint"`
	Args     []string `cbor:"2,keyasint"`
	Env      []string `cbor:"3,keyasint"`
	Width    uint16   `cbor:"4,keyasint"`
	Color    bool     `cbor:"5,keyasint"`
	Live     bool     `cbor:"6,keyasint"`
	Purpose  Purpose  `cbor:"7,keyasint"`
	Keys     []byte   `cbor:"8,keyasint"` // lent
	OnlyOnce bool     `cbor:"9,keyasint"` // backends.Caps.CreateOnly
	Durable  bool     `cbor:"10,keyasint"`
	Data     bool     `cbor:"11,keyasint"` // whether secrets of these kinds are opened
	Meta     bool     `cbor:"12,keyasint"`
}

// welcome answers it.
type welcome struct {
	Version string `cbor:"1,keyasint"`
}

// op is what a request asks for.
type op uint8

const (
	opGet op = iota + 1
	opPut
	opList
	opDelete
	opIndex  // the index as of an entry of the log
	opLookup // blobs in it
	opOrigin
	opVerify
	opSign
	opSecret
	opOutput
)

func (o op) String() string {
	names := [...]string{"request 0", "get", "put", "list", "delete", "index", "lookup", "origin", "verify", "sign", "open", "output"}
	if int(o) < len(names) {
		return names[o]
	}
	return fmt.Sprintf("request %d", uint8(o))
}

// request is a request. Which fields count depends on the op.
type request struct {
	Op     op     `cbor:"1,keyasint"`
	Body   uint32 `cbor:"2,keyasint,omitempty"` // bytes that follow
	Name   string `cbor:"3,keyasint,omitempty"` // of an object; a prefix
	After  string `cbor:"4,keyasint,omitempty"`
	Offset int64  `cbor:"5,keyasint,omitempty"`
	Length int64  `cbor:"6,keyasint,omitempty"`
	View   uint32 `cbor:"7,keyasint,omitempty"` // of the index, as opIndex has named it
	Number uint64 `cbor:"8,keyasint,omitempty"` // of an entry, an origin, an epoch, a stream of output
	Kind   uint8  `cbor:"9,keyasint,omitempty"` // of a secret; class of what is signed
	Hash   []byte `cbor:"10,keyasint,omitempty"`
}

// reply answers a request.
type reply struct {
	Body uint32 `cbor:"1,keyasint,omitempty"` // bytes that follow

	Code   code          `cbor:"2,keyasint,omitempty"` // of an error; 0: there is none
	Kind   backends.Kind `cbor:"3,keyasint,omitempty"`
	Text   string        `cbor:"4,keyasint,omitempty"`
	Size   int64         `cbor:"5,keyasint,omitempty"` // of the object that is shorter than was asked for
	Number uint64        `cbor:"6,keyasint,omitempty"` // a view; a time
	More   bool          `cbor:"7,keyasint,omitempty"` // of a list: it goes on
}

// finish ends everything.
type finish struct {
	Exit uint8 `cbor:"1,keyasint"`
}

// decode reads a message from the other side.
func decode(payload []byte, v any) error {
	if err := wire.Unmarshal(payload, v); err != nil {
		return fmt.Errorf("%w: %T: %w", ErrProtocol, v, err)
	}
	return nil
}

// decodeRequest reads a request and checks what all have in common.
func decodeRequest(payload []byte) (*request, error) {
	r := new(request)
	if len(payload) > maxHeader {
		return nil, fmt.Errorf("%w: request of %d bytes", ErrProtocol, len(payload))
	}
	if err := decode(payload, r); err != nil {
		return nil, err
	}
	if r.Op < opGet || r.Op > opOutput || r.Body > r.Op.maxBody() {
		return nil, fmt.Errorf("%w: %v with %d bytes", ErrProtocol, r.Op, r.Body)
	}
	return r, nil
}

// maxBody is how much may follow a request.
func (o op) maxBody() uint32 {
	switch o {
	case opPut:
		return maxPut
	case opSign:
		return maxPut
	case opLookup:
		return uint32(maxLookup * idSize)
	case opSecret:
		return maxSealed
	case opOutput:
		return maxOutput
	}
	return 0
}

// appendInfo appends an object of a listing.
func appendInfo(dst []byte, i *backends.Info) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(i.Name)))
	dst = append(dst, i.Name...)
	dst = binary.AppendUvarint(dst, uint64(i.Size))
	return binary.AppendVarint(dst, i.ModTime.UnixNano())
}

// decodeInfo reads what appendInfo wrote, and returns the rest.
func decodeInfo(b []byte) (i backends.Info, rest []byte, err error) {
	bad := fmt.Errorf("%w: listing", ErrProtocol)
	n, k := binary.Uvarint(b)
	if k <= 0 || n > uint64(len(b)-k) {
		return i, nil, bad
	}
	i.Name, b = string(b[k:k+int(n)]), b[k+int(n):]
	size, k := binary.Uvarint(b)
	if k <= 0 || size > 1<<62 {
		return i, nil, bad
	}
	b = b[k:]
	at, k := binary.Varint(b)
	if k <= 0 {
		return i, nil, bad
	}
	i.Size, i.ModTime = int64(size), time.Unix(0, at)
	return i, b[k:], nil
}
