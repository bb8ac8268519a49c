package dump

import (
	"bytes"
	"errors"
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

// What a renamer does not understand it refuses; all else comes out again.
func FuzzRenamer_AnyBytes_ErrorOrAllOfIt(f *testing.F) {
	for _, text := range dumps(f) {
		f.Add(text, uint8(7))
	}
	f.Add([]byte("/*!50003 CREATE*/ /*!50003 TRIGGER shop . `t` BEFORE INSERT ON /*M!100 shop.*/ x FOR EACH ROW SET @a='"), uint8(3))
	f.Add([]byte("CREATE EVENT `e` ON SCHEDULE EVERY 1 DAY ON COMPLETION PRESERVE ENABLE DO x;GRANT a ON b TO `c` IDENTIFIED BY ''''"), uint8(1))
	f.Fuzz(func(t *testing.T, text []byte, size uint8) {
		var out bytes.Buffer
		r := NewRenamer(&out, "shop", "shop")
		var err error
		for p := text; len(p) > 0 && err == nil; {
			n := min(max(1, int(size)), len(p))
			_, err = r.Write(bytes.Clone(p[:n]))
			p = p[n:]
		}
		if err == nil {
			err = r.Flush()
		}
		changes := bytes.Contains(bytes.ToUpper(text), []byte("TRIGGER")) || r.Disabled()
		if err == nil && !changes && !bytes.Equal(out.Bytes(), text) {
			t.Errorf("%q becomes %q", text, out.Bytes())
		}
		if _, err := Accounts(text); err != nil && !errors.Is(err, ErrTruncated) && !errors.Is(err, ErrFormat) {
			t.Error(err)
		}
	})
}
