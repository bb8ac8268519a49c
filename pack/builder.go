package pack

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"runtime"

	"github.com/kura-backup/kura/delta"
	"github.com/kura-backup/kura/internal/freelist"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/pack/parity"
	"github.com/kura-backup/kura/seal"
)

// directoryRoom is what BufferSize adds for the directory. It is enough for more than a
// thousand segments of one blob, or a dozen thousand small blobs; a larger directory makes the
// buffer grow.
const directoryRoom = 512 << 10

// Options say how a pack is made. The zero value is a pack of the usual size without parity.
type Options struct {
	Target int // at most so many bytes of header and segments; 0: [DataTarget] or [TreeTarget]
	Parity int // section at the end that mends damage, in percent of the rest; 0: none
}

// DefaultParity is the percentage that writers use unless they are told otherwise.
const DefaultParity = 3

// Check reports whether packs of the class can be made in this way.
func (o Options) Check(class object.Class) error {
	size, err := o.target(class)
	if err != nil {
		return err
	}
	if o.Parity < 0 || o.Parity > parity.MaxPercent {
		return fmt.Errorf("%w: parity of %d percent", ErrInvalid, o.Parity)
	}
	if size < 1 || size > MaxPackSize || o.room(size) > MaxPackSize {
		return fmt.Errorf("%w: %v packs of %d bytes with %d %% parity", ErrInvalid, class, size, o.Parity)
	}
	return nil
}

func (o Options) target(class object.Class) (int, error) {
	n, err := target(class)
	if err == nil && o.Target != 0 {
		n = o.Target
	}
	return n, err
}

// room is what a pack takes whose header and segments take n bytes.
func (o Options) room(n int) int {
	n = int(Padme(uint64(n + directoryRoom)))
	return n + parity.Size(n, o.Parity)
}

// BufferSize is the capacity with which a buffer holds a pack of the class without growing, up
// to unusually large directories.
func (o Options) BufferSize(class object.Class) int {
	n, err := o.target(class)
	if err != nil {
		return 0
	}
	return o.room(n)
}

// Builder puts a pack together in one buffer. It is not safe for concurrent use, and used for
// one pack only.
type Builder struct {
	class   object.Class
	session object.SessionID
	target  int
	parity  int
	secret  *seal.Secret
	env     *seal.Envelope

	buf      []byte // header and segments so far
	dir      Directory
	origins  map[object.Hash]int // by the hash of their encoding
	ordinals map[nonce]struct{}  // of carried segments

	key     *seal.SegmentKey // of the pack's own origin, once there is one
	own     int              // index of the pack's own origin
	ordinal uint64           // next in the own origin
	blobs   int
	bases   int
}

type nonce struct {
	origin  int
	ordinal uint64
}

// NewSegment is a segment to be encrypted. Add keeps IDs, Lengths and Bases, but neither Stored, Plain nor Base.
type NewSegment struct {
	Coding  Coding
	Stored  []byte // coded, not yet encrypted
	Plain   []byte // the joined plaintexts
	IDs     []object.BlobID
	Lengths []uint32

	// With coding Delta:
	Bases    []object.BlobID
	Base     []byte // their joined plaintexts
	Depth    uint8
	BasesSum uint64 // the largest chain sum of the copies of the bases that were used

	Sketch    delta.Sketch
	HasSketch bool
}

// NewBuilder begins a pack of the session. It writes into the capacity of buf, which it owns
// until Finish. secret encrypts what Add puts in; it may be nil for a pack that only carries.
func NewBuilder(k *seal.Keyring, class object.Class, session object.SessionID, secret *seal.Secret, o Options, buf []byte) (*Builder, error) {
	if err := o.Check(class); err != nil {
		return nil, err
	}
	size, err := o.target(class)
	if err != nil {
		return nil, err
	}
	if secret != nil && secret.Kind() != kind(class) {
		return nil, fmt.Errorf("%w: secret of the wrong kind for a %v pack", ErrInvalid, class)
	}
	env, err := k.NewEnvelope(class, nil, seal.BindRepo(k.RepoID()))
	if err != nil {
		return nil, err
	}
	return &Builder{
		class: class, session: session, target: size, parity: o.Parity, secret: secret, env: env,
		buf:      append(buf[:0], env.Header()...),
		origins:  make(map[object.Hash]int),
		ordinals: make(map[nonce]struct{}),
	}, nil
}

// Fits reports whether a segment of n bytes, before encryption, still goes into the pack by
// the writers' rule: header and segments stay within the target; and the directory, which with very small blobs
// is larger than they are, within what a pack may have. An empty pack takes anything.
func (b *Builder) Fits(n int) bool {
	if b.Empty() {
		return true
	}
	n += len(b.buf) + seal.Overhead
	return n <= b.target && (b.blobs < manyBlobs || b.whole(n) <= MaxPackSize)
}

// manyBlobs is from how many blobs on the directory is minded.
const manyBlobs = 1 << 17

// whole is at most how long the pack is with so many bytes of header and segments, one segment more than it has, of
// any number of blobs.
func (b *Builder) whole(n int) int {
	const perBlob, perSegment, perOrigin = 32 + 5, 160, 2048
	n += perBlob*(b.blobs+b.bases+MaxBlobsPerSegment) + perSegment*(len(b.dir.Segments)+1) + perOrigin*(len(b.dir.Origins)+1)
	return n + parity.Size(n, b.parity)
}

// Empty reports whether the pack has no segments yet.
func (b *Builder) Empty() bool { return len(b.dir.Segments) == 0 }

// Size returns the length of header and segments so far.
func (b *Builder) Size() int { return len(b.buf) }

// Blobs returns the number of blobs so far.
func (b *Builder) Blobs() int { return b.blobs }

// Add encrypts a segment into the pack and verifies it there. After an error the pack holds
// what it held before.
func (b *Builder) Add(n NewSegment) error {
	s := Segment{
		Coding: n.Coding, Offset: uint32(len(b.buf)), Ordinal: b.ordinal,
		Stored: uint32(len(n.Stored) + seal.Overhead), Plain: uint32(len(n.Plain)),
		IDs: n.IDs, Lengths: n.Lengths,
		Bases: n.Bases, Depth: n.Depth, Sketch: n.Sketch, HasSketch: n.HasSketch,
	}
	if n.Coding == Delta {
		s.ChainSum = n.BasesSum + uint64(s.Stored)
	}
	if len(n.Stored) > object.MaxBlobSize || len(n.Plain) > object.MaxBlobSize {
		return fmt.Errorf("%w: segment of %d bytes", ErrInvalid, len(n.Plain))
	}
	if err := b.check(&s); err != nil {
		return err
	}
	if err := b.ownOrigin(); err != nil {
		return err
	}
	s.Origin = b.own
	start := len(b.buf)
	out := b.key.Seal(b.buf, s.Ordinal, n.Stored)
	b.ordinal++ // also when verification fails: no number is used twice
	if err := b.verify(out[start:], &s, &n); err != nil {
		return err
	}
	b.buf = out
	b.append(s)
	return nil
}

// ownOrigin draws the pack's own origin when the first segment needs it.
func (b *Builder) ownOrigin() error {
	if b.key != nil {
		return nil
	}
	if b.secret == nil {
		return fmt.Errorf("%w: a pack without a secret only carries", ErrInvalid)
	}
	origin, key, err := b.secret.NewOrigin()
	if err != nil {
		return err
	}
	if b.own, err = b.originIndex(origin); err != nil {
		return err
	}
	b.key = key
	return nil
}

// scratch holds buffers for what verification opens and decodes.
var scratch = freelist.New[*[2]freelist.Scratch](runtime.GOMAXPROCS(0))

// verify opens the ciphertext of a segment and compares what it decodes to with the plaintext it was made from.
func (b *Builder) verify(ciphertext []byte, s *Segment, n *NewSegment) error {
	bufs, ok := scratch.Get()
	if !ok {
		bufs = new([2]freelist.Scratch)
	}
	defer scratch.Put(bufs)
	opened, err := b.key.Open(bufs[0].For(len(ciphertext)), s.Ordinal, ciphertext)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrVerify, err)
	}
	same := false
	switch s.Coding {
	case Raw:
		same = bytes.Equal(opened, n.Plain)
	case Delta:
		stream, err := DecodeStream(bufs[1].For(len(n.Plain)/2), opened, len(n.Plain))
		if err != nil {
			return fmt.Errorf("%w: %w", ErrVerify, err)
		}
		bufs[1].Keep(stream)
		same = delta.Makes(n.Base, stream, n.Plain)
	default:
		decoded, err := DecodeSegment(bufs[1].For(len(n.Plain)), opened, s.Coding, len(n.Plain), nil)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrVerify, err)
		}
		same = bytes.Equal(decoded, n.Plain)
	}
	if !same {
		return ErrVerify
	}
	return nil
}

// Carry puts a segment of another pack in as it is: its ciphertext, its origin, and what its
// pack's directory says of it (but the offset). The segment's IDs and Lengths are kept. After an error the
// pack holds what it held before.
func (b *Builder) Carry(origin *seal.Origin, s Segment, ciphertext []byte) error {
	if origin.Kind != kind(b.class) {
		return fmt.Errorf("%w: origin of the wrong kind for a %v pack", ErrInvalid, b.class)
	}
	if uint64(len(ciphertext)) != uint64(s.Stored) {
		return fmt.Errorf("%w: ciphertext of %d bytes, want %d", ErrInvalid, len(ciphertext), s.Stored)
	}
	s.Offset = uint32(len(b.buf))
	if err := b.check(&s); err != nil {
		return err
	}
	var err error
	if s.Origin, err = b.originIndex(origin); err != nil {
		return err
	}
	n := nonce{s.Origin, s.Ordinal}
	if _, twice := b.ordinals[n]; twice || b.key != nil && s.Origin == b.own {
		return fmt.Errorf("%w: %w: %d", ErrInvalid, ErrTwice, s.Ordinal)
	}
	b.ordinals[n] = struct{}{}
	b.buf = append(b.buf, ciphertext...)
	b.append(s)
	return nil
}

// originIndex returns where the directory has the origin, which is put in if it is new.
func (b *Builder) originIndex(o *seal.Origin) (int, error) {
	raw, err := wire.Marshal(o)
	if err != nil {
		return 0, err
	}
	h := object.Sum(raw)
	i, known := b.origins[h]
	if !known {
		i = len(b.dir.Origins)
		b.origins[h] = i
		b.dir.Origins = append(b.dir.Origins, o)
	}
	return i, nil
}

func (b *Builder) check(s *Segment) error {
	if err := s.Check(); err != nil {
		return err
	}
	if err := s.checkBlobs(); err != nil {
		return err
	}
	if err := s.checkIn(b.class); err != nil {
		return err
	}
	if !b.Fits(int(s.Stored) - seal.Overhead) {
		return fmt.Errorf("%w: %d bytes, segment of %d", ErrFull, len(b.buf), s.Stored)
	}
	return nil
}

func (b *Builder) append(s Segment) {
	b.dir.Segments = append(b.dir.Segments, s)
	b.blobs += len(s.IDs)
	b.bases += len(s.Bases)
}

// Finish closes the pack and returns the object, in the builder's buffer, with its name and its
// directory. pad hides the length of a pack that is closed before it is full: the object's length
// follows from that of the padded part.
func (b *Builder) Finish(pad bool) (obj []byte, ref object.Ref, dir *Directory, err error) {
	if b.Empty() || b.env == nil {
		return nil, ref, nil, fmt.Errorf("%w: no segments, or finished before", ErrInvalid)
	}
	plain, err := EncodeDirectory(&b.dir)
	if err != nil {
		return nil, ref, nil, err
	}
	sealedLen := len(plain) + seal.Overhead
	size := len(b.buf) + sealedLen + TrailerSize
	fits := func(n int) bool { return n+parity.Size(n, b.parity) <= MaxPackSize }
	if !fits(size) {
		return nil, ref, nil, fmt.Errorf("%w: %d bytes", ErrFull, size)
	}
	end := len(b.buf)
	if padded := int(Padme(uint64(size))); pad && fits(padded) {
		end += padded - size
	}
	out, err := appendRandom(b.buf, end)
	if err != nil {
		return nil, ref, nil, err
	}
	out = b.env.SealPart(out, 0, plain)
	b.env = nil // its nonce is used
	out = binary.LittleEndian.AppendUint32(out, uint32(sealedLen))
	out = append(out, magic...)
	if b.parity > 0 {
		if out, err = parity.Append(out, uint32(sealedLen), b.parity); err != nil {
			return nil, ref, nil, err
		}
	}
	b.buf = out
	return out, object.Ref{Class: b.class, Session: b.session, Hash: object.Sum(out)}, &b.dir, nil
}

func appendRandom(out []byte, end int) ([]byte, error) {
	start := len(out)
	out = append(out, make([]byte, end-start)...)
	if _, err := rand.Read(out[start:]); err != nil {
		return nil, err
	}
	return out, nil
}
