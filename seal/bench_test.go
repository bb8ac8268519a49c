package seal

import (
	"testing"

	"github.com/kura-backup/kura/internal/object"
)

const mib = 1 << 20

func BenchmarkSegmentSeal(b *testing.B) {
	for _, suite := range suites {
		b.Run(suite.String(), func(b *testing.B) {
			_, key := newOrigin(b, newSecret(b, withSuite(b, suite), Data))
			plain, dst := make([]byte, mib), make([]byte, 0, mib+Overhead)
			b.SetBytes(mib)
			b.ReportAllocs()
			ordinal := uint64(0)
			for b.Loop() {
				dst = key.Seal(dst[:0], ordinal, plain)
				ordinal++
			}
		})
	}
}

func BenchmarkSegmentOpen(b *testing.B) {
	for _, suite := range suites {
		b.Run(suite.String(), func(b *testing.B) {
			_, key := newOrigin(b, newSecret(b, withSuite(b, suite), Data))
			ciphertext, dst := key.Seal(nil, 0, make([]byte, mib)), make([]byte, 0, mib)
			b.SetBytes(mib)
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if dst, err = key.Open(dst[:0], 0, ciphertext); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkBlobID(b *testing.B) {
	for name, n := range map[string]int{"1MiB": mib, "4KiB": 4096} {
		b.Run(name, func(b *testing.B) {
			h, plain := fixedKeyring(b).BlobHasher(), make([]byte, n)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				h.ID(object.DataBlob, plain)
			}
		})
	}
}

func BenchmarkOpenOrigin(b *testing.B) {
	k := fixedKeyring(b)
	o, _ := newOrigin(b, newSecret(b, k, Data))
	b.Run("cached", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := k.OpenOrigin(o); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			k.origins = newOriginCache()
			if _, err := k.OpenOrigin(o); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkOpenSlot(b *testing.B) {
	for name, c := range map[string]Credential{"passphrase": Passphrase([]byte("p")), "keyfile": KeyFile(filled(1))} {
		b.Run(name, func(b *testing.B) {
			slot, err := SealSlot(fixedKeyring(b), c, DefaultCost)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := OpenSlot(slot, c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
