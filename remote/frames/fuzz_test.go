package frames_test

import (
	"bytes"
	"testing"

	"github.com/kura-backup/kura/remote/frames"
)

// FuzzDecodeHeader reads headers and payloads, and writes again what it could read.
func FuzzDecodeHeader(f *testing.F) {
	f.Add(frames.Header{Type: 4, ID: 7, Length: 5}.Append(nil), []byte("hello"))
	f.Add(frames.Header{Type: 1, Flags: frames.Compressed, Length: 5}.Append(nil), []byte("hello"))
	f.Add(frames.Header{Type: 1, Flags: frames.Abort}.Append(nil), []byte{})
	f.Fuzz(func(t *testing.T, head, payload []byte) {
		if len(head) < frames.HeaderSize {
			return
		}
		h, err := frames.DecodeHeader([frames.HeaderSize]byte(head))
		if err != nil {
			return
		}
		if h.Length > frames.MaxPayload || !bytes.Equal(h.Append(nil), head[:frames.HeaderSize]) {
			t.Fatalf("%+v", h)
		}
		plain, err := frames.DecodePayload(h, payload[:min(len(payload), h.Length)], nil)
		if err == nil && len(plain) > frames.MaxPayload {
			t.Fatalf("%d bytes", len(plain))
		}
	})
}
