package local_test

import (
	"fmt"
	"sync/atomic"
	"testing"
)

func BenchmarkPut(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 20} {
		for _, writers := range []int{1, 4} {
			b.Run(fmt.Sprintf("%dKiB/%dwriters", size>>10, writers), func(b *testing.B) {
				s := open(b, b.TempDir())
				defer s.Close()
				data := bulk("bench")
				for len(data) < size {
					data = append(data, data...)
				}
				data = data[:size]
				var n atomic.Int64
				b.SetBytes(int64(size))
				b.SetParallelism(writers)
				put := func() {
					if err := s.Put(b.Context(), fmt.Sprintf("data/00%d", n.Add(1)), data); err != nil {
						b.Error(err)
					}
				}
				if writers == 1 {
					for b.Loop() {
						put()
					}
					return
				}
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						put()
					}
				})
			})
		}
	}
}

func BenchmarkGet(b *testing.B) {
	const size = 16 << 20
	s := open(b, b.TempDir())
	defer s.Close()
	data := make([]byte, size)
	if err := s.Put(b.Context(), "data/00", data); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Get(b.Context(), "data/00", 0, -1, data); err != nil {
			b.Fatal(err)
		}
	}
}
