package object

import (
	"encoding/hex"
	"testing"
)

func TestNewSessionID_EndsInTheNumber_AndIsFresh(t *testing.T) {
	for n, end := range map[uint64]string{0: "000000000000", 1: "000000000001", 0x123456789abc: "123456789abc"} {
		var seen [10]map[byte]bool
		for range 64 {
			id := NewSessionID(n)
			if got := hex.EncodeToString(id[10:]); got != end {
				t.Fatalf("%d: ends in %s", n, got)
			}
			for i := range seen {
				if seen[i] == nil {
					seen[i] = map[byte]bool{}
				}
				seen[i][id[i]] = true
			}
		}
		for i := range seen {
			if len(seen[i]) == 1 {
				t.Errorf("%d: byte %d is always the same", n, i)
			}
		}
	}
}
