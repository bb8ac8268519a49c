package backends

import "fmt"

// The checks that every backend makes in the same way.

// CheckName returns an error wrapping [ErrName] unless name is valid.
func CheckName(name string) error {
	if !ValidName(name) {
		return fmt.Errorf("%w: %.210q", ErrName, name)
	}
	return nil
}

// CheckPut returns the error with which every Put must refuse its arguments,
// if any.
func CheckPut(name string, data []byte) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if len(data) == 0 {
		return ErrEmpty
	}
	return nil
}

// Span resolves the range of a Get against the object's size and returns the
// number of bytes to read, or a [*RangeError]. It is 0 only for the whole of an
// object without bytes: no Put makes such a one, and its reader has to say that
// it is damaged.
func Span(name string, offset, length, size int64) (int64, error) {
	if size == 0 && offset == 0 && length < 0 {
		return 0, nil
	}
	rest := size - offset
	if offset < 0 || rest <= 0 || length == 0 || length > rest {
		return 0, &RangeError{Name: name, Offset: offset, Length: length, Size: size}
	}
	if length < 0 {
		if rest > MaxObject {
			return 0, fmt.Errorf("%w: %s has %d bytes", ErrTooLarge, name, size)
		}
		return rest, nil
	}
	return length, nil
}

// Buffer returns a slice of n bytes in buf's memory when its capacity allows,
// newly allocated otherwise. n must come from [Span] and so be backed by an
// object that really is that large.
func Buffer(buf []byte, n int64) []byte {
	if int64(cap(buf)) >= n {
		return buf[:n]
	}
	return make([]byte, n)
}
