package zst

import (
	"bytes"
	"testing"

	"github.com/kura-backup/kura/internal/testrand"
)

func TestIsNoise_OnlyRandomBytesAreAndLongOnes(t *testing.T) {
	r := testrand.New(t)
	noise := make([]byte, 1<<20)
	for i := range noise {
		noise[i] = byte(r.Uint64())
	}
	hex := bytes.Clone(noise)
	for i := range hex {
		hex[i] = "0123456789abcdef"[hex[i]&15]
	}
	half := bytes.Clone(noise)
	copy(half[:len(half)/2], hex)
	for name, c := range map[string]struct {
		data []byte
		want bool
	}{
		"noise":               {noise, true},
		"noise, short":        {noise[:64<<10], false},
		"noise of odd length": {noise[:777_777], true},
		"hexadecimal digits":  {hex, false},
		"half of it noise":    {half, false},
		"zeros":               {make([]byte, 1<<20), false},
		"nothing":             {nil, false},
	} {
		if got := IsNoise(c.data); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
