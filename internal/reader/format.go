package reader

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hpke"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/fxamacker/cbor/v2"
	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/blake3"
	"golang.org/x/crypto/chacha20poly1305"
)

// ErrDamaged says that a repository is not as the format demands, or too new, or not for the key.
var ErrDamaged = errors.New("reader: damaged")

// Inside of the package an error is a panic with a failure, until a deferred rescue returns it.
type failure struct{ error }

func check(ok bool, format string, a ...any) {
	if !ok {
		panic(failure{fmt.Errorf("%w: "+format, append([]any{ErrDamaged}, a...)...)})
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(failure{err})
	}
	return v
}

// sound is must for what fails only on damage.
func sound[T any](v T, err error) T {
	check(err == nil, "%v", err)
	return v
}

func (r *Repository) rescue(err *error) {
	if x := recover(); x != nil {
		*err = fmt.Errorf("%s%s: %w", r.reading, r.restoring, x.(failure).error)
	}
}

// A value is decoded CBOR. Its methods read an element of a map or an array; what is absent
// from a map reads as zero. Ids, hashes and names are kept as strings.
type value struct{ any }

func as[T any](v value) (x T) {
	x, ok := v.any.(T)
	check(ok || v.any == nil, "%T instead of %T", v.any, x)
	return x
}

func (v value) at(key int) value {
	if list, ok := v.any.([]any); ok {
		check(key >= 0 && key < len(list), "nothing at %d of %d", key, len(list))
		return value{list[key]}
	}
	return value{as[map[int]any](v.understood())[key]}
}

func (v value) has(key int) bool     { return v.at(key).any != nil }
func (v value) int(key int) int      { return int(as[int64](v.at(key))) }
func (v value) bytes(key int) []byte { return as[[]byte](v.at(key)) }
func (v value) fixed(key, n int) string {
	check(len(v.bytes(key)) == n, "key %d has %d bytes, not %d", key, len(v.bytes(key)), n)
	return string(v.bytes(key))
}

func (v value) list(key int) (list []value) {
	for _, x := range as[[]any](v.at(key)) {
		list = append(list, value{x})
	}
	return list
}

// split takes apart the n-byte ids that are joined in b.
func split(b []byte, n int) (list []string) {
	check(len(b)%n == 0, "%d bytes are no list of %d-byte ids", len(b), n)
	for ; len(b) > 0; b = b[n:] {
		list = append(list, string(b[:n]))
	}
	return list
}

// understood refuses a map with a negative key: it must be understood, and none is.
func (v value) understood() value {
	for k := range as[map[int]any](v) {
		check(k >= 0, "key %d is of a newer kura", k)
	}
	return v
}

var cborMode = must(cbor.DecOptions{
	DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden,
	TagsMd: cbor.TagsForbidden, MaxNestedLevels: 16, MaxArrayElements: 4194304, MaxMapPairs: 65536,
	IntDec: cbor.IntDecConvertSignedOrBigInt, DefaultMapType: reflect.TypeFor[map[int]any](),
}.DecMode())

func decode(b []byte) value {
	var m map[int]any
	sound(0, cborMode.Unmarshal(b, &m))
	return value{m}.understood()
}

var zstdMode = must(zstd.NewReader(nil, zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderMaxMemory(256<<20)))

var classes = []string{"", "config", "slot", "log", "checkpoint", "data", "tree", "index", "sign"} // by number

func unzstd(b []byte) []byte { return sound(zstdMode.DecodeAll(b, nil)) }

// undelta makes n bytes of a delta stream and the joined bases.
func undelta(stream, base []byte, n int) (out []byte) {
	number := func(b *[]byte) int {
		x, size := binary.Uvarint(*b)
		check(size > 0, "number in a delta is cut off")
		*b = (*b)[size:]
		return int(x)
	}
	var lengths [3]int
	for i := range lengths {
		lengths[i] = number(&stream)
	}
	var columns [3][]byte // inserts, copies, addresses; the literals are left
	for i, length := range lengths {
		check(0 <= length && length <= len(stream), "column of %d bytes in a delta", length)
		columns[i], stream = stream[:length], stream[length:]
	}
	at := 0
	for len(columns[0])+len(columns[1])+len(columns[2]) > 0 {
		insert, length, address := number(&columns[0]), number(&columns[1]), number(&columns[2])
		check(0 <= insert && insert <= len(stream) && 0 <= length && length <= n-len(out)-insert, "delta of more than %d bytes", n)
		out, stream = append(out, stream[:insert]...), stream[insert:]
		step := int(uint(address)>>1) * (2*(address&1) - 1) // odd: forwards
		if address == 0 {
			step = insert
		}
		at += step
		check(0 <= at && at <= len(base) && length <= len(base)-at, "delta copies %d bytes from %d of %d", length, at, len(base))
		out, at = append(out, base[at:at+length]...), at+length
	}
	return append(out, stream...)
}

func u32(b []byte) int     { return int(binary.LittleEndian.Uint32(b)) }
func hash(b []byte) string { h := blake3.Sum256(b); return string(h[:]) }
func kdf(secret []byte, salt, info string, n int) []byte {
	return must(hkdf.Key(sha256.New, secret, []byte(salt), info, n))
}

func unsealHPKE(private []byte, info string, sealed []byte) []byte {
	key := sound(hpke.MLKEM768X25519().NewPrivateKey(private))
	return sound(hpke.Open(key, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(info), sealed))
}

// unseal decrypts with the key that a secret gives, if its commitment is right.
func unseal(suite int, secret []byte, salt, info, commitment string, number int, sealed, aad []byte) []byte {
	k := kdf(secret, salt, info, 64)
	check(subtle.ConstantTimeCompare(k[32:], []byte(commitment)) == 1, "wrong key")
	check(suite == 1 || suite == 2, "AEAD suite %d", suite)
	aead := must(chacha20poly1305.New(k[:32]))
	if suite == 1 {
		aead = must(cipher.NewGCM(must(aes.NewCipher(k[:32]))))
	}
	return sound(aead.Open(nil, binary.BigEndian.AppendUint64(make([]byte, 4), uint64(number)), sealed, aad))
}

// An object is taken apart into header, clear part, and the rest.
type object struct {
	class, salt         string
	header, clear, rest []byte
}

func parse(class string, b []byte) object {
	if n := len(b) - 20; n >= 0 && string(b[n+16:]) == "KPAR" && u32(b[n:]) <= n-20 {
		b = b[:u32(b[n:])] // what follows is parity
	}
	check(len(b) >= 80 && string(b[:4]) == "KURA" && int(b[4]) == slices.Index(classes, class), "no %s object", class)
	check(b[5] == 1 && b[7] == 0, "format %d is not the one that this reads", b[5])
	n := u32(b[12:])
	check(n <= 65536 && 80+n <= len(b), "clear part of %d bytes", n)
	return object{class, string(b[16:48]), b[:80], b[80 : 80+n], b[80+n:]}
}

// open decrypts sealed part i. The secret is K_index of the header's epoch, but for slots.
func (o object) open(secret []byte, binding string, i int, sealed []byte) []byte {
	info, aad := "kura/1 envelope "+o.class, slices.Concat(o.header, o.clear, []byte(binding))
	return unseal(int(o.header[6]), secret, o.salt, info, string(o.header[48:]), i, sealed, aad)
}

// epoch is one of those in the keyring.
func (r *Repository) epoch(n int) value {
	list := r.keys.list(5)
	i := slices.IndexFunc(list, func(v value) bool { return v.int(1) == n })
	check(i >= 0, "no epoch %d in the keyring", n)
	return list[i]
}
func (r *Repository) indexKey(o object) []byte { return r.epoch(u32(o.header[8:])).bytes(2) }

// openSigned returns the payload of a signed body, which is verified if the signer is known.
func (r *Repository) openSigned(class string, b []byte, binding string) (payload value, by string) {
	o := parse(class, b)
	body := decode(o.open(r.indexKey(o), binding, 0, o.rest))
	by = body.fixed(1, 8)
	if key, ok := r.signers[by]; ok {
		message := "kura/1 sign " + class + "\x00" + binding + string(body.bytes(2))
		check(ed25519.Verify([]byte(key.fixed(2, 32)), []byte(message), body.bytes(3)), "signature does not match")
	}
	return decode(body.bytes(2)), by
}

// openSegment decrypts the stored bytes of a segment of a class of packs.
func (r *Repository) openSegment(class string, origin value, ordinal int, ciphertext []byte) []byte {
	kind, info, private := 1, "kura/1 origin data", 6
	if class == "tree" {
		kind, info, private = 2, "kura/1 origin meta", 4
	}
	check(origin.int(1) == kind, "origin of kind %d", origin.int(1))
	secret := unsealHPKE(r.epoch(origin.int(2)).bytes(private), info+r.id, origin.bytes(4))
	return unseal(origin.int(3), secret, origin.fixed(5, 32), "kura/1 segment", origin.fixed(6, 32), ordinal, ciphertext, nil)
}

// find returns a place of a blob, of less than a depth, that counts: one of which each base has one of less depth.
func (r *Repository) find(class, id string, below int) (place, bool) {
	for _, p := range r.places[id] {
		counts := classes[p.pack[0]] == class && 0 <= p.depth && p.depth < below && (p.depth > 0) == (p.coding == 2)
		for _, base := range p.bases {
			if counts {
				_, counts = r.find(class, base, p.depth)
			}
		}
		if counts {
			return p, true
		}
	}
	return place{}, false
}

// blob returns the plaintext of a blob, from a place of less than a depth. The last segment of each class is kept, and
// its pack.
func (r *Repository) blob(class, id string, below int) []byte {
	p, ok := r.find(class, id, below)
	check(ok && (p.coding < 2 || class == "data"), "%s blob %x is in no live pack", class, id)
	var base []byte
	for _, id := range p.bases {
		base = append(base, r.blob(class, id, p.depth)...)
	}
	l := r.last[p.pack[0]]
	if l.pack != p.pack {
		l.packed = r.load(p.pack)
	}
	if l.pack != p.pack || l.offset != p.offset {
		check(p.offset >= 80 && p.stored > 0 && p.stored <= len(l.packed)-p.offset, "segment at %d", p.offset)
		l.segment = r.openSegment(class, p.origin, p.ordinal, l.packed[p.offset:p.offset+p.stored])
		check(p.coding <= 2, "coding %d is of a newer kura", p.coding)
		if p.coding > 0 {
			l.segment = unzstd(l.segment)
		}
		if p.coding == 2 {
			l.segment = undelta(l.segment, base, p.plain)
		}
		l.place = p
		r.last[p.pack[0]] = l
	}
	n, inside := len(l.segment), p.at >= 0 && p.length > 0 && p.length <= p.plain-p.at
	check(inside && n == p.plain && n <= 16<<20, "blob %x is not in the %d bytes of its segment", id, n)
	b, h := l.segment[p.at:p.at+p.length], must(blake3.NewKeyed(kdf(r.keys.bytes(3), "", "kura/1 id "+class, 32)))
	h.Write(b)
	check(string(h.Sum(nil)) == id, "%s blob %x in pack %x", class, id, p.pack[1:])
	return b
}
