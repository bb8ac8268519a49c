package wire

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/fxamacker/cbor/v2"
)

// Bounds on what is read.
const (
	MaxDepth = 16      // levels of arrays and maps
	MaxItems = 1 << 22 // elements of one array
	MaxPairs = 1 << 16 // pairs of one map
)

var (
	// ErrInvalid is returned for bytes that break the rules of the encoding or do not have the
	// shape of the structure they are read into.
	ErrInvalid = errors.New("wire: invalid encoding")

	// ErrNewer is wrapped by errors about what authenticates and is not understood: a newer program wrote it. It is no
	// damage, and nothing is dropped, left out or written anew because of it.
	ErrNewer = errors.New("written by a newer kura")

	// ErrUnknownKey is returned, in an [UnknownKeyError], for a structure with a key that must
	// be understood and is not. It wraps [ErrNewer].
	ErrUnknownKey = fmt.Errorf("%w: unknown key that must be understood", ErrNewer)
)

// UnknownKeyError names the negative key that is not understood. It wraps [ErrUnknownKey].
type UnknownKeyError struct {
	Key int64
}

func (e *UnknownKeyError) Error() string { return fmt.Sprintf("%v: %d", ErrUnknownKey, e.Key) }

// Unwrap returns [ErrUnknownKey].
func (e *UnknownKeyError) Unwrap() error { return ErrUnknownKey }

var (
	encMode = must(encOptions().EncMode())
	decMode = must(decOptions().DecMode())
)

func encOptions() cbor.EncOptions {
	o := cbor.CoreDetEncOptions()
	o.NilContainers = cbor.NilContainerAsEmpty
	o.TagsMd = cbor.TagsForbidden
	o.BinaryMarshaler = cbor.BinaryMarshalerNone
	return o
}

// decOptions are looser than the scan, which is the judge: what passed it must not fail here
// for a second opinion on the same rule.
func decOptions() cbor.DecOptions {
	return cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyQuiet,
		MaxNestedLevels:   2 * MaxDepth,
		MaxArrayElements:  MaxItems,
		MaxMapPairs:       MaxPairs,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		UTF8:              cbor.UTF8DecodeInvalid,
		BinaryUnmarshaler: cbor.BinaryUnmarshalerNone,
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Marshal returns the core deterministic encoding of v. Nil slices are written as empty ones. What [Unmarshal] would refuse,
// such as text that is not UTF-8, is an error here: the library writes it, and nobody could ever read it again.
func Marshal(v any) ([]byte, error) {
	data, err := encMode.Marshal(v)
	if err == nil {
		t := reflect.TypeOf(v)
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		err = scan(data, schemaOf(t))
	}
	if err != nil {
		return nil, fmt.Errorf("wire: marshal %T: %w", v, err)
	}
	return data, nil
}

// Canonical returns bytes that are the same for equal values of a type, and for no others. They are for comparing and are
// never read, so that v may be of any shape.
func Canonical(v any) ([]byte, error) { return encMode.Marshal(v) }

// Unmarshal reads one structure that fills data into v, a non-nil pointer. Keys that v's type
// does not have are ignored when positive and refused when negative.
// v keeps no reference to data.
func Unmarshal(data []byte, v any) error {
	t := reflect.TypeOf(v)
	if t == nil || t.Kind() != reflect.Pointer {
		return fmt.Errorf("wire: unmarshal into %T: not a pointer", v)
	}
	if err := scan(data, schemaOf(t.Elem())); err != nil {
		return err
	}
	if err := decMode.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}
