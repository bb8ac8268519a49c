package seal

import (
	"fmt"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
)

// SlotKind says what opens a slot.
type SlotKind uint8

const (
	passphraseSlot SlotKind = 1
	keyFileSlot    SlotKind = 2
	recipientSlot  SlotKind = 3
)

func (k SlotKind) String() string {
	switch k {
	case passphraseSlot:
		return "password"
	case keyFileSlot:
		return "key file"
	case recipientSlot:
		return "recipient"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// ParseSlotKind returns what would open a slot, without opening it.
func ParseSlotKind(obj []byte) (SlotKind, error) {
	h, err := parseClass(object.Slot, obj)
	if err != nil {
		return 0, err
	}
	var clear slotClear
	if err := unmarshal(obj[HeaderSize:HeaderSize+int(h.ClearLength)], &clear); err != nil {
		return 0, fmt.Errorf("slot object: %w", err)
	}
	return clear.Kind, nil
}

// slotClear is the clear part of a slot.
type slotClear struct {
	Kind      SlotKind `cbor:"1,keyasint"`
	Time      uint32   `cbor:"2,keyasint,omitempty"`
	Memory    uint32   `cbor:"3,keyasint,omitempty"`
	Threads   uint32   `cbor:"4,keyasint,omitempty"`
	Tag       []byte   `cbor:"5,keyasint,omitempty"`
	Sealed    []byte   `cbor:"6,keyasint,omitempty"`
	Recipient []byte   `cbor:"7,keyasint,omitempty"`
}

// SealSlot returns a slot: the keyring, for whoever has the credential. The cost is that of a
// passphrase; the other credentials are strong by themselves and do not use it.
func SealSlot(k *Keyring, c Credential, cost Cost) ([]byte, error) {
	plaintext, err := k.Encode()
	if err != nil {
		return nil, err
	}
	h := Header{Class: object.Slot, Format: FormatNumber, Suite: k.suite, Salt: random32()}
	clear, secret, err := c.seal(&h.Salt, cost)
	if err != nil {
		return nil, err
	}
	clearPart, err := wire.Marshal(clear)
	if err != nil {
		return nil, err
	}
	e, err := newEnvelope(h, clearPart, nil, secret[:])
	if err != nil {
		return nil, err
	}
	return e.sealWhole(plaintext), nil
}

// OpenSlot returns the keyring in a slot. It returns [ErrWrongKey] if the credential is not
// the slot's; for all but a passphrase in a passphrase slot that is found out at once, so that
// a client can try its credential on every slot.
func OpenSlot(obj []byte, c Credential) (*Keyring, error) {
	h, err := parseClass(object.Slot, obj)
	if err != nil {
		return nil, err
	}
	if h.Epoch != 0 {
		return nil, damaged(object.Slot, "epoch %d", h.Epoch)
	}
	n := HeaderSize + int(h.ClearLength)
	var clear slotClear
	if err := unmarshal(obj[HeaderSize:n], &clear); err != nil {
		return nil, fmt.Errorf("slot object: %w", err)
	}
	secret, err := c.open(&h.Salt, &clear)
	if err != nil {
		return nil, err
	}
	e, err := openEnvelope(h, obj, nil, secret[:])
	if err != nil {
		return nil, err
	}
	plaintext, err := e.OpenPart(nil, 0, obj[n:])
	if err != nil {
		return nil, err
	}
	defer wipe(plaintext)
	return DecodeKeyring(plaintext)
}

// wipe shortens the life of secrets in memory. Go may hold other copies.
func wipe(b []byte) { clear(b) }
