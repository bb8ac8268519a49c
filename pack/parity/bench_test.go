package parity

import (
	"bytes"
	"testing"
)

func BenchmarkAppend_16MiB_3Percent(b *testing.B) {
	body := make([]byte, 16<<20, 16<<20+Size(16<<20, 3))
	for i := range body {
		body[i] = byte(i * i >> 3)
	}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Append(body, 1, 3); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMend_16MiB_3Percent(b *testing.B) {
	body := make([]byte, 16<<20)
	for i := range body {
		body[i] = byte(i * i >> 3)
	}
	copy(body, headerMagic)
	obj := protected(b, body, 0, 3)
	flipped, torn, noFooters := bytes.Clone(obj), bytes.Clone(obj), bytes.Clone(obj)
	flipped[1<<20]++
	clear(torn[4<<20 : 4<<20+136*4096])
	clear(noFooters[len(body) : len(body)+FooterSize])
	noFooters[len(obj)-1]++
	noFooters[1<<20]++
	for name, bad := range map[string][]byte{"flipped": flipped, "torn": torn, "footers lost": noFooters, "section lost": obj[:len(body)]} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if _, _, err := Mend(bad, len(obj), byHash(obj)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("beyond", func(b *testing.B) {
		lost := make([]byte, len(obj))
		for b.Loop() {
			if _, _, err := Mend(lost, len(obj), byHash(obj)); err == nil {
				b.Fatal("mended")
			}
		}
	})
}

func BenchmarkXOR_16MiB(b *testing.B) {
	dst, src := make([]byte, 16<<20), make([]byte, 16<<20)
	b.SetBytes(int64(len(src)))
	for b.Loop() {
		dst = XOR(dst, src)
	}
}
