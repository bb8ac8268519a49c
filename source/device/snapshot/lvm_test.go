package snapshot

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
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
		test -e $STATE || { echo '  WARNING: PV /dev/sdb in VG vg0 is using an old PV header' >&2; echo '  Failed to find logical volume "'$last'"' >&2; exit 5; }
		sed "s/kura-NAME/${last##*/}/g" $DATA/lvs-$(cat $STATE).json ;;
	*/pool0) cat $DATA/lvs-pool$(cat $STATE.pool 2>/dev/null).json ;;
	*) test ! -e $STATE.mute || test ! -e $STATE.standing || { echo '  Device open failed.' >&2; exit 5; }
		if test -e $STATE.standing; then sed 's/"lv_size"/"lv_suspended":"1", "lv_size"/' $DATA/lvs-$ORIGIN.json; else cat $DATA/lvs-$ORIGIN.json; fi ;;
	esac ;;
lvcreate)
	if test -e $STATE.waits; then
		trap 'echo told to end >> $STATE.said' TERM INT HUP
		cut -d' ' -f6 /proc/$$/stat >> $STATE.said
		touch $STATE.standing; touch $STATE.waiting
		while test -e $STATE.waits; do sleep 0.02; done
		rm $STATE.standing
		echo done >> $STATE.said
	fi
	if test -e $STATE.killed; then touch $STATE.standing; echo $MADE > $STATE; kill -9 $$; fi
	test ! -e $STATE.noroom || { echo '  Volume group "vg0" has insufficient free space (0 extents): 320 required.' >&2; exit 5; }
	echo $MADE > $STATE; echo '  Logical volume "x" created.' ;;
lvremove)
	if test -e $STATE.busy; then rm $STATE.busy; echo "  Logical volume $last in use." >&2; exit 5; fi
	rm $STATE; echo '  Logical volume removed' ;;
lvextend) echo extended > $STATE ;;
lvchange) rm $STATE.standing ;;
esac`

func lvmHere(t *testing.T, origin, made string) (state, log string) {
	t.Helper()
	program, log := script(t, fakeLVM)
	bin := t.TempDir()
	for _, name := range []string{"lvs", "lvcreate", "lvremove", "lvextend", "lvchange"} {
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
		"pool is full":    {"lvm-thin", "thin", "thinsnap", ".pool=-full", ErrPool},
		"no room":         {"lvm", "origin", "snap", ".noroom", nil},
		"no volume":       {"lvm", "nothing", "snap", "", errNoVolume},
		"no JSON":         {"lvm", "garbage", "snap", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			state, _ := lvmHere(t, c.origin, c.made)
			if c.trouble != "" {
				name, text, _ := strings.Cut(c.trouble, "=")
				write(t, state+name, text)
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

// isMaking waits until LVM makes a snapshot, which it does as long as there is the file $STATE.waits.
func isMaking(state string) {
	for {
		if _, err := os.Stat(state + ".waiting"); err == nil {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// While LVM makes a snapshot everything that writes to the volume waits: a program that is killed then leaves it so.
func TestLVM_RunEndsWhileItMakesTheSnapshot_IsNotToldToEnd(t *testing.T) {
	state, log := lvmHere(t, "origin", "snap")
	write(t, state+".waits", "")
	leases := t.TempDir()
	image := write(t, filepath.Join(t.TempDir(), "lv"), "x")
	taker := newTaker(t, leases, "lvm", Options{})
	lock, _ := script(t, `exec "$@"`)
	taker.Lock = lock
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := errors.New("the run was ended, or its time was over")
	var done sync.WaitGroup
	done.Go(func() {
		isMaking(state)
		cancel(ended)
		time.Sleep(300 * time.Millisecond) // in which nothing must happen
		if err := os.Remove(state + ".waits"); err != nil {
			t.Error(err)
		}
	})
	_, err := taker.Take(ctx, []string{image})
	done.Wait()
	if !errors.Is(err, ended) {
		t.Errorf("%v", err)
	}
	said := strings.Fields(read(t, state+".said"))
	if len(said) != 2 || said[1] != "done" {
		t.Errorf("lvcreate was interrupted: %q", said)
	}
	own, err := unix.Getsid(0)
	must(t, err)
	if len(said) > 0 && said[0] == strconv.Itoa(own) {
		t.Error("it is in the session of this process, and what ends that ends it")
	}
	if got := calls(t, log, "no name"); len(got) != 2 || !strings.HasPrefix(got[1], "lvremove") || len(entries(t, leases)) != 0 {
		t.Errorf("%q, left %q", got, entries(t, leases))
	}
}

func TestLVM_KilledWhileTheVolumeStandsStill_IsResumed(t *testing.T) {
	state, log := lvmHere(t, "origin", "snap")
	write(t, state+".killed", "")
	_, leases, err := takeLVM(t, "lvm", Options{})
	var failed *CommandError
	if !errors.As(err, &failed) || len(entries(t, leases)) != 0 {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(state + ".standing"); err == nil {
		t.Error("it stands still")
	}
	if got := strings.Join(calls(t, log, "no name"), "\n"); !strings.Contains(got, "lvchange --refresh vg0/data\n") {
		t.Errorf("%s", got)
	}
}

// On a machine without memory whatever asks may be killed, too. It is said, and the next run looks again.
func TestLVM_NotKnownWhetherTheVolumeStandsStill_SaidAndResumedLater(t *testing.T) {
	state, log := lvmHere(t, "origin", "snap")
	write(t, state+".killed", "")
	write(t, state+".mute", "")
	_, leases, err := takeLVM(t, "lvm", Options{})
	var failed *CommandError
	if !errors.As(err, &failed) || failed.Command[0] != "lvcreate" || !strings.Contains(err.Error(), "not known whether vg0/data stands still") || !strings.Contains(err.Error(), "Device open failed") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(state + ".standing"); err != nil {
		t.Fatalf("it goes on: the test shows nothing: %v", err)
	}
	must(t, os.Remove(state+".mute"))
	l, err := OpenLeases(leases)
	must(t, err)
	defer l.Close()
	left, err := l.Left()
	must(t, err)
	if len(left) != 1 {
		t.Fatalf("%+v", left)
	}
	must(t, left[0].Remove(t.Context()))
	if got := strings.Join(calls(t, log, left[0].Name), "\n"); !strings.HasSuffix(got, "\nlvchange --refresh "+left[0].Of+"\nlvremove --yes vg0/NAME") || len(entries(t, leases)) != 0 {
		t.Errorf("%s", got)
	}
}

// What is gone stands in nobody's way, nor in that of its snapshot's end.
func TestLVM_VolumeIsGone_SnapshotIsRemoved(t *testing.T) {
	state, _ := lvmHere(t, "nothing", "thinsnap")
	write(t, state, "thinsnap")
	must(t, (lvm{}).Remove(t.Context(), &Copy{Kind: "lvm-thin", Name: "kura-1", Of: "/dev/vg0/data", Volume: "vg0/kura-1"}))
	if _, err := os.Stat(state); err == nil {
		t.Error("the snapshot is still there")
	}
}

// When a whole service is killed there is nobody who could do it at once: the next run does.
func TestLVM_DeadRunHasLeftTheVolumeStandingStill_IsResumed(t *testing.T) {
	state, log := lvmHere(t, "origin", "snap")
	write(t, state, "snap")
	write(t, state+".standing", "")
	must(t, (lvm{}).Remove(t.Context(), &Copy{Kind: "lvm", Name: "kura-1", Of: "/dev/vg0/data"}))
	if got := strings.Join(calls(t, log, "kura-1"), "\n"); got != "lvchange --refresh /dev/vg0/data\nlvremove --yes vg0/NAME" {
		t.Errorf("%s", got)
	}
}

func TestLVM_NotKnownHowFull_CanNotBeReliedOn(t *testing.T) {
	_, _ = lvmHere(t, "origin", "thinsnap") // which has no percentage
	if _, leases, err := takeLVM(t, "lvm", Options{}); err == nil || !strings.Contains(err.Error(), "how full") || len(entries(t, leases)) != 0 {
		t.Errorf("%v", err)
	}
}

// While a thin snapshot is there, what is written to the volume takes twice the room.
func TestLVM_PoolFillsUpWhileItIsRead_RunEndsAndSnapshotGivesRoomBack(t *testing.T) {
	for _, full := range []string{"-full", "-readonly", "-failed"} {
		state, log := lvmHere(t, "thin", "thinsnap")
		taken, leases, err := takeLVM(t, "lvm-thin", Options{})
		must(t, err)
		ctx, stop := taken.Watch(t.Context(), time.Millisecond)
		write(t, state+".pool", full)
		<-ctx.Done()
		if err := stop(); !errors.Is(err, ErrPool) || !errors.Is(context.Cause(ctx), ErrPool) || !strings.Contains(err.Error(), "vg0/pool0") {
			t.Errorf("%s: %v", full, err)
		}
		must(t, taken.Remove(t.Context()))
		if got := calls(t, log, "no name"); len(got) != 2 || !strings.HasPrefix(got[1], "lvremove") || len(entries(t, leases)) != 0 {
			t.Errorf("%s: %q, left %q", full, got, entries(t, leases))
		}
	}
}

// LVM goes on when the run that has started it is killed, and may then still be waiting for its turn.
func TestLVM_DeadRunsSnapshotIsStillBeingMade_IsWaitedForAndRemoved(t *testing.T) {
	state, _ := lvmHere(t, "origin", "snap")
	write(t, state+".waits", "")
	made := exec.Command("lvcreate", "--yes", "--snapshot", "--name", "kura-1", "vg0/data")
	must(t, made.Start())
	isMaking(state)
	removed := make(chan error, 1)
	go func() {
		removed <- (lvm{}).Remove(t.Context(), &Copy{Kind: "lvm", Name: "kura-1", Of: "/dev/vg0/data"})
	}()
	time.Sleep(100 * time.Millisecond) // it looks, and must not believe that there is nothing
	must(t, os.Remove(state+".waits"))
	must(t, errors.Join(made.Wait(), <-removed))
	if _, err := os.Stat(state); err == nil {
		t.Error("the snapshot is still there")
	}
}
