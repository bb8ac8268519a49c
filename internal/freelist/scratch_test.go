package freelist_test

import (
	"testing"

	"github.com/kura-backup/kura/internal/freelist"
)

func TestScratch_KeepsMemory_ButNotWhatIsLarge(t *testing.T) {
	var s freelist.Scratch
	first := s.For(100_000)
	if len(first) != 0 || cap(first) < 100_000 {
		t.Fatalf("%d bytes, room for %d", len(first), cap(first))
	}
	if large := s.For(freelist.MaxScratch + 1); len(large) != 0 || cap(large) < freelist.MaxScratch+1 || &large[:1][0] == &first[:1][0] {
		t.Errorf("large: %d bytes, room for %d", len(large), cap(large))
	}
	if again := s.For(90_000); len(again) != 0 || &again[:1][0] != &first[:1][0] {
		t.Error("what was there was let go for something large")
	}
	allocs := testing.AllocsPerRun(100, func() {
		for n := 1; n <= freelist.MaxScratch; n *= 2 {
			s.For(n)
		}
	})
	if allocs != 0 { // AllocsPerRun runs it once before
		t.Errorf("%v allocations", allocs)
	}
}

func TestScratch_Keep_TakesWhatHasGrown(t *testing.T) {
	var s freelist.Scratch
	grown := append(s.For(0), make([]byte, 1<<20)...)
	s.Keep(grown)
	if got := s.For(1 << 20); &got[:1][0] != &grown[0] {
		t.Error("it was not kept")
	}
	s.Keep(make([]byte, freelist.MaxScratch+1))
	s.Keep(make([]byte, 10))
	if got := s.For(1 << 20); &got[:1][0] != &grown[0] {
		t.Error("it was let go for something large, or small")
	}
}

func TestScratch_Nil_KeepsNothing(t *testing.T) {
	var s *freelist.Scratch
	if b := s.For(10); len(b) != 0 || cap(b) < 10 {
		t.Errorf("%d bytes, room for %d", len(b), cap(b))
	}
}
