package seal

import (
	"bytes"
	"encoding/base64"
	"errors"
)

const keyFilePrefix = "kura-key-1:"

// ErrKeyFile is returned for a text that is not a key file.
var ErrKeyFile = errors.New("seal: not a key file")

// NewKeyFileSecret draws the secret of a new key file.
func NewKeyFileSecret() [32]byte { return random32() }

// EncodeKeyFile returns the text of a key file.
func EncodeKeyFile(secret [32]byte) []byte {
	text := []byte("# The key of a kura repository. Whoever has this file can open the repository.\n")
	text = append(text, keyFilePrefix...)
	text = base64.RawURLEncoding.AppendEncode(text, secret[:])
	return append(text, '\n')
}

// DecodeKeyFile returns the secret in the text of a key file: one line with the key, between
// comments and empty lines.
func DecodeKeyFile(text []byte) (secret [32]byte, err error) {
	found := false
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		encoded, ok := bytes.CutPrefix(line, []byte(keyFilePrefix))
		raw, err := base64.RawURLEncoding.Strict().AppendDecode(nil, encoded)
		if !ok || found || err != nil || len(raw) != len(secret) {
			return [32]byte{}, ErrKeyFile
		}
		found = true
		copy(secret[:], raw)
	}
	if !found {
		return [32]byte{}, ErrKeyFile
	}
	return secret, nil
}
