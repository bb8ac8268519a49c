package testvm

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Var names the folder that fetch.sh has made, in the environment.
const Var = "KURA_TEST_VM"

// Machine is a virtual machine. It is not changed by running it, which can be done several times, and at once.
type Machine struct {
	// Folder is what fetch.sh has made.
	Folder string
	// Programs are put into /test in the machine, by the names that they have there.
	Programs map[string]string
	// Script is run by the shell when the machine has started, as root, in /test. How it ends says how the run ends.
	Script string
	// Disks are the sizes of its disks, which are /dev/vda, /dev/vdb and so on.
	Disks  []int64
	Memory int // in MiB
}

var (
	// ErrEnded means that the machine has ended without a word of how the script did.
	ErrEnded = errors.New("testvm: the machine stopped in the middle")
	// ErrStart means that the machine did not get as far as the script.
	ErrStart = errors.New("testvm: the machine did not start")
)

// StatusError is the exit status of the script, if it is not 0.
type StatusError int

// Error implements error.
func (e StatusError) Error() string { return fmt.Sprintf("testvm: the script ended with %d", int(e)) }

// What the first process of the machine says besides what the script does.
const (
	saysUp     = "testvm: up"
	saysStatus = "testvm: exit status "
)

// first is the first process: what every Linux system does when it starts, as far as it is needed here.
const first = `#!/bin/bash
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C TMPDIR=/tmp
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
exec </dev/null >/dev/ttyS1 2>&1
stty -F /dev/ttyS1 raw -echo
mkdir -p /dev/shm /dev/pts /run/lock /run/lvm
for at in /dev/shm /run /tmp; do mount -t tmpfs tmpfs $at; done
mkdir -p /run/lock /run/lvm
ln -sf /proc/self/fd /dev/fd
[ -e /bin/sh ] || ln -s dash /bin/sh
[ -e /etc/mtab ] || ln -s /proc/self/mounts /etc/mtab
depmod
/lib/systemd/systemd-udevd --daemon
modprobe -a virtio_pci virtio_blk loop dm-mod
udevadm trigger --action=add
udevadm settle
cd /test
echo "testvm: up, Linux $(uname -r)"
/bin/bash ./script
echo "testvm: exit status $?"
sleep 0.2 # the port has to be empty
echo b >/proc/sysrq-trigger
sleep 60
`

// noKVM is set once a machine has not started with /dev/kvm: in some virtual machines it can be opened, and the guest stands still.
var noKVM atomic.Bool

// Run starts the machine and waits until the script has ended. What it prints goes to out; what the kernel and QEMU have to say is
// part of an error.
func (m *Machine) Run(ctx context.Context, out io.Writer) error {
	dir, err := os.MkdirTemp("", "kura-vm-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := m.pack(filepath.Join(dir, "files")); err != nil {
		return err
	}
	if f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err == nil && !noKVM.Load() {
		_ = f.Close() // nothing was written
		err := m.start(ctx, dir, "kvm", out)
		if !errors.Is(err, ErrStart) || ctx.Err() != nil {
			return err
		}
		noKVM.Store(true)
		fmt.Fprintln(out, "testvm: /dev/kvm does not work here, the machine is emulated:", err)
	}
	return m.start(ctx, dir, "tcg", out)
}

// pack writes the archive with all files of the machine.
func (m *Machine) pack(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	a := &archive{w: bufio.NewWriterSize(f, 1<<20)}
	err = errors.Join(
		a.addTree(filepath.Join(m.Folder, "root")),
		a.add(entry{name: "dev/console", mode: typeChar | 0o600, major: 5, minor: 1}),
		a.addText("init", typeFile|0o755, first),
		a.add(entry{name: "test", mode: typeFolder | 0o755}),
		a.addText("test/script", typeFile|0o755, m.Script),
	)
	for name, from := range m.Programs {
		err = errors.Join(err, a.addFile(from, "test/"+name))
	}
	return errors.Join(err, a.end(), f.Close())
}

func (a *archive) addText(name string, mode uint32, text string) error {
	return a.add(entry{name: name, mode: mode, size: int64(len(text)), content: strings.NewReader(text)})
}

// How long a machine may take until it runs the script. It is seconds with /dev/kvm; an emulated one, on a machine that has much else
// to do, takes minutes.
const (
	startingKVM = 2 * time.Minute
	starting    = 10 * time.Minute
)

// start starts QEMU and waits until it has ended.
func (m *Machine) start(ctx context.Context, dir, accelerator string, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	console := filepath.Join(dir, "console")
	processors, limit := "2", startingKVM
	if accelerator != "kvm" {
		processors, limit = "1", starting // emulated ones wait for one another more than they help
	}
	args := []string{
		"-accel", accelerator, "-cpu", "max", "-smp", processors, "-m", strconv.Itoa(m.Memory), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-kernel", filepath.Join(m.Folder, "kernel"), "-initrd", filepath.Join(dir, "files"),
		"-append", "console=ttyS0 panic=-1 loglevel=4 mitigations=off init_on_alloc=0 no_timer_check rdinit=/init",
		"-serial", "file:" + console, "-serial", "stdio",
	}
	for i, size := range m.Disks {
		disk := filepath.Join(dir, "disk"+strconv.Itoa(i))
		if err := errors.Join(os.WriteFile(disk, nil, 0o600), os.Truncate(disk, size)); err != nil {
			return err
		}
		args = append(args, "-drive", "if=virtio,format=raw,cache=unsafe,discard=unmap,file="+disk)
	}
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", args...) //nolint:gosec // a machine for tests
	var said bytes.Buffer
	cmd.Stderr = &said
	cmd.WaitDelay = time.Second
	lines, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	timer := time.AfterFunc(limit, cancel)
	defer timer.Stop()
	status, up, err := follow(lines, out, timer)
	err = errors.Join(err, cmd.Wait())
	switch {
	case status == 0:
		return nil
	case status > 0:
		return StatusError(status)
	}
	what := ErrEnded
	if !up {
		what = ErrStart
	}
	return fmt.Errorf("%w\n%s%s", errors.Join(what, context.Cause(ctx), err), &said, lastLines(console))
}

// follow copies what the machine says, and returns the exit status of the script, or -1.
func follow(from io.Reader, to io.Writer, starting *time.Timer) (status int, up bool, err error) {
	status = -1
	s := bufio.NewScanner(from)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		line := strings.TrimRight(s.Text(), "\r")
		if n, ok := strings.CutPrefix(line, saysStatus); ok {
			if status, err = strconv.Atoi(n); err != nil {
				return -1, up, err
			}
			continue
		}
		if strings.HasPrefix(line, saysUp) && !up {
			up = true
			starting.Stop()
		}
		if _, err := fmt.Fprintln(to, line); err != nil {
			return status, up, err
		}
	}
	return status, up, s.Err()
}

// lastLines returns the end of what the kernel has said.
func lastLines(console string) string {
	text, err := os.ReadFile(console)
	if err != nil {
		return err.Error()
	}
	lines := slices.Collect(strings.Lines(string(text)))
	return strings.Join(lines[max(len(lines)-100, 0):], "")
}
