package dump

import (
	"bytes"
	"testing"
)

func FuzzSplitter_AnyBytes_NothingLostAndPiecesDoNotMatter(f *testing.F) {
	for _, text := range dumps(f) {
		f.Add(text, 100)
	}
	f.Add([]byte(before+"INSERT INTO `t` (`a`,`b`) VALUES (1,'\\''),(_binary 'x',0x00);\n"+after), 1)
	f.Fuzz(func(t *testing.T, text []byte, size int) {
		size = 1 + max(size, -size)%1000
		a, am, errA := split(t, text, 0)
		b, _, errB := split(t, text, size)
		if (errA == nil) != (errB == nil) {
			t.Fatalf("%v, but in pieces of %d %v", errA, size, errB)
		}
		if errA != nil {
			return
		}
		if got := am.whole(a); !bytes.Equal(got, text) {
			t.Fatalf("%q becomes %q", text, got)
		}
		if len(a.Tables()) != len(b.Tables()) {
			t.Fatalf("%+v, but in pieces of %d %+v", a.Tables(), size, b.Tables())
		}
		for i := range a.Tables() {
			if a.Tables()[i] != b.Tables()[i] {
				t.Fatalf("%+v, but in pieces of %d %+v", a.Tables(), size, b.Tables())
			}
		}
	})
}
