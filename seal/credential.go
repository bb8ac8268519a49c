package seal

import (
	"bytes"
	"crypto/subtle"
	"fmt"
	"runtime"
	"sync"

	"golang.org/x/crypto/argon2"

	"github.com/kura-backup/kura/internal/object"
)

// Cost is the cost of trying a passphrase.
type Cost struct {
	Time    uint32 // passes
	Memory  uint32 // KiB
	Threads uint32
}

// DefaultCost is what new passphrase slots should have.
var DefaultCost = Cost{Time: 3, Memory: 64 << 10, Threads: 4}

// maxCost bounds what a stored object can make a reader spend.
var maxCost = Cost{Time: 16, Memory: 1 << 20, Threads: 64}

func (c Cost) check() error {
	if c.Time == 0 || c.Memory == 0 || c.Threads == 0 ||
		c.Time > maxCost.Time || c.Memory > maxCost.Memory || c.Threads > maxCost.Threads {
		return fmt.Errorf("passphrase cost t=%d m=%d p=%d is out of bounds", c.Time, c.Memory, c.Threads)
	}
	return nil
}

// Credential opens slots: [Passphrase] or [KeyFile]. Credentials are immutable, safe for concurrent use, and do not
// show themselves when printed.
type Credential interface {
	fmt.Formatter

	// seal returns the clear part of a new slot with the given salt, and its secret.
	seal(salt *[saltSize]byte, cost Cost) (*slotClear, [secretSize]byte, error)

	// open returns the secret of a stored slot, or ErrWrongKey.
	open(salt *[saltSize]byte, clear *slotClear) ([secretSize]byte, error)
}

var errNotThisSlot = fmt.Errorf("%w: slot is for another credential", ErrWrongKey)

type passphrase struct{ bytes []byte }

// Passphrase is a credential that a person remembers.
func Passphrase(p []byte) Credential { return &passphrase{bytes: bytes.Clone(p)} }

func (p *passphrase) secret(salt *[saltSize]byte, c Cost) [secretSize]byte {
	if n := int(c.Memory) << 10; n >= warmLeast {
		warmOnce.Do(func() { warm(n) })
	}
	return [secretSize]byte(argon2.IDKey(p.bytes, salt[:], c.Time, c.Memory, uint8(c.Threads), secretSize))
}

// warmLeast is from how many bytes on warm is worth a collection. Later keys find the memory of the first.
const warmLeast = 16 << 20

var warmOnce sync.Once

// warm has the system give us n bytes of memory, in which argon2 then mostly gets its own. argon2 reads each page before it first
// writes to it: the kernel maps its page of zeros, and has to take that away from all cores again. On a virtual machine this was half
// of the 0.3 s of CPU, and of the 0.24 s, that a key took to derive. Memory that was written to once does not have that.
func warm(n int) {
	mem := make([]byte, n)
	for i := 0; i < n; i += 4 << 10 { // pages are not smaller
		mem[i] = 1
	}
	runtime.KeepAlive(mem)
	runtime.GC()
}

func (p *passphrase) seal(salt *[saltSize]byte, cost Cost) (*slotClear, [secretSize]byte, error) {
	if err := cost.check(); err != nil {
		return nil, [secretSize]byte{}, fmt.Errorf("seal: %w", err)
	}
	clear := &slotClear{Kind: passphraseSlot, Time: cost.Time, Memory: cost.Memory, Threads: cost.Threads}
	return clear, p.secret(salt, cost), nil
}

func (p *passphrase) open(salt *[saltSize]byte, clear *slotClear) ([secretSize]byte, error) {
	if clear.Kind != passphraseSlot {
		return [secretSize]byte{}, errNotThisSlot
	}
	cost := Cost{Time: clear.Time, Memory: clear.Memory, Threads: clear.Threads}
	if err := cost.check(); err != nil {
		return [secretSize]byte{}, damaged(object.Slot, "%v", err)
	}
	return p.secret(salt, cost), nil
}

func (p *passphrase) Format(s fmt.State, _ rune) { fmt.Fprint(s, "passphrase") }

type keyFile struct{ secret [secretSize]byte }

// KeyFile is the secret in a key file (see [DecodeKeyFile]).
func KeyFile(secret [32]byte) Credential { return &keyFile{secret: secret} }

func (f *keyFile) tag(salt *[saltSize]byte) []byte {
	return derive(f.secret[:], salt[:], "kura/1 keyfile tag", 16)
}

func (f *keyFile) seal(salt *[saltSize]byte, _ Cost) (*slotClear, [secretSize]byte, error) {
	return &slotClear{Kind: keyFileSlot, Tag: f.tag(salt)}, f.secret, nil
}

func (f *keyFile) open(salt *[saltSize]byte, clear *slotClear) ([secretSize]byte, error) {
	if clear.Kind != keyFileSlot || subtle.ConstantTimeCompare(clear.Tag, f.tag(salt)) != 1 {
		return [secretSize]byte{}, errNotThisSlot
	}
	return f.secret, nil
}

func (f *keyFile) Format(s fmt.State, _ rune) { fmt.Fprint(s, "key file") }
