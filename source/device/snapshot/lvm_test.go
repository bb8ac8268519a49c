package snapshot

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeLVM puts programs into the PATH that answer as LVM does, from files in testdata, and note how they were called. What the
// snapshot looks like is in the file $STATE: absent, or a name of testdata/lvs-*.json.
const fakeLVM = `name=$(basename $0)
echo "$name $*" >> $LOG
for last; do :; done
case $name in
lvs)
	case $last in
	*kura-*)
		test -e $STATE || { echo '  Failed to find logical volume "'$last'"' >&2; exit 5; }
		sed "s/kura-NAME/${last##*/}/g" $DATA/lvs-$(cat $STATE).json ;;
	*) cat $DATA/lvs-$ORIGIN.json ;;
	esac ;;
lvcreate)
	test ! -e $STATE.noroom || { echo '  Volume group "vg0" has insufficient free space (0 extents): 320 required.' >&2; exit 5; }
	echo $MADE > $STATE; echo '  Logical volume "x" created.' ;;
lvremove)
	if test -e $STATE.busy; then rm $STATE.busy; echo "  Logical volume $last in use." >&2; exit 5; fi
	rm $STATE; echo '  Logical volume removed' ;;
lvextend) echo extended > $STATE ;;
esac`

func lvmHere(t *testing.T, origin, made string) (state, log string) {
	t.Helper()
	program, log := script(t, fakeLVM)
	bin := t.TempDir()
	for _, name := range []string{"lvs", "lvcreate", "lvremove", "lvextend"} {
		must(t, os.Symlink(program, filepath.Join(bin, name)))
	}
	data, err := filepath.Abs("testdata")
	must(t, err)
	state = filepath.Join(t.TempDir(), "state")
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("DATA", data)
	t.Setenv("STATE", state)
	t.Setenv("ORIGIN", origin)
	t.Setenv("MADE", made)
	return state, log
}

// calls returns the programs that were called, without lvs.
func calls(t *testing.T, log, name string) (out []string) {
	t.Helper()
	for line := range strings.Lines(read(t, log)) {
		if !strings.HasPrefix(line, "lvs ") {
			out = append(out, strings.TrimSpace(strings.ReplaceAll(line, name, "NAME")))
		}
	}
	return out
}

func takeLVM(t *testing.T, kind string, o Options) (*Taken, string, error) {
	t.Helper()
	leases := t.TempDir()
	image := write(t, filepath.Join(t.TempDir(), "lv"), "x")
	taken, err := newTaker(t, leases, kind, o).Take(t.Context(), []string{image})
	return taken, leases, err
}

func TestLVM_ClassicSnapshot_IsMadeWatchedExtendedAndRemoved(t *testing.T) {
	state, log := lvmHere(t, "origin", "snap")
	taken, leases, err := takeLVM(t, "lvm", Options{})
	must(t, err)
	c := taken.Copies[0]
	if c.At != "/dev/vg0/"+c.Name || c.Volume != "vg0/"+c.Name || c.State != "lvm-3lQJdf-Fw3a-9aHJ-UJWm-1Q2R-0GhR-sK1Zxy" {
		t.Errorf("%+v", c)
	}
	p := taken.taker.Provider
	must(t, p.Check(t.Context(), &c))
	write(t, state, "fuller")
	must(t, p.Check(t.Context(), &c))
	if got := read(t, state); got != "extended\n" {
		t.Errorf("a snapshot that is nearly full was not given more room: %q", got)
	}
	for _, full := range []string{"invalid", "full"} {
		write(t, state, full)
		if err := p.Check(t.Context(), &c); !errors.Is(err, ErrOverflow) {
			t.Errorf("%s: %v", full, err)
		}
	}
	write(t, state+".busy", "")
	must(t, errors.Join(taken.Remove(t.Context()), p.Remove(t.Context(), &c)))
	got := strings.Join(calls(t, log, c.Name), "\n")
	want := `lvcreate --yes --snapshot --name NAME --addtag kura --permission r --size 13421772800b vg0/data
lvextend --size +6710886400b vg0/NAME
lvremove --yes vg0/NAME
lvremove --yes vg0/NAME`
	if got != want || len(entries(t, leases)) != 0 {
		t.Errorf("%s\nleft %q", got, entries(t, leases))
	}
}

func TestLVM_ThinSnapshot_HasNoSize(t *testing.T) {
	_, log := lvmHere(t, "thin", "thinsnap")
	taken, _, err := takeLVM(t, "lvm-thin", Options{})
	must(t, err)
	c := taken.Copies[0]
	must(t, taken.Remove(t.Context()))
	got := strings.Join(calls(t, log, c.Name), "\n")
	if want := "lvcreate --yes --snapshot --name NAME --addtag kura --permission r --setactivationskip n vg0/data\nlvremove --yes vg0/NAME"; got != want {
		t.Errorf("%s", got)
	}
}

func TestLVM_WrongOrFull_RunFailsAndNothingIsLeft(t *testing.T) {
	for name, c := range map[string]struct {
		kind, origin, made, trouble string
		want                        error
	}{
		"not thin":        {"lvm-thin", "origin", "snap", "", ErrProvider},
		"full at once":    {"lvm", "origin", "invalid", "", ErrOverflow},
		"pool has failed": {"lvm-thin", "thin", "failed", "", ErrOverflow},
		"no room":         {"lvm", "origin", "snap", ".noroom", nil},
		"no volume":       {"lvm", "nothing", "snap", "", errNoVolume},
		"no JSON":         {"lvm", "garbage", "snap", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			state, _ := lvmHere(t, c.origin, c.made)
			if c.trouble != "" {
				write(t, state+c.trouble, "")
			}
			_, leases, err := takeLVM(t, c.kind, Options{Size: 1 << 30})
			if err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("%v", err)
			}
			if name == "no room" && !strings.Contains(err.Error(), "insufficient free space") {
				t.Errorf("what it said is missing: %v", err)
			}
			if _, err := os.Stat(state); err == nil {
				t.Error("the snapshot is still there")
			}
			if left := entries(t, leases); len(left) != 0 {
				t.Errorf("leases: %q", left)
			}
		})
	}
}

func TestLVM_VolumeWithoutTheTag_IsLeftAlone(t *testing.T) {
	state, log := lvmHere(t, "origin", "snap")
	write(t, state, "foreign")
	c := Copy{Kind: "lvm", Name: "kura-1", Of: "/dev/vg0/data"}
	if err := (lvm{}).Remove(t.Context(), &c); err == nil || len(calls(t, log, c.Name)) != 0 {
		t.Errorf("%v, %q", err, calls(t, log, c.Name))
	}
}
