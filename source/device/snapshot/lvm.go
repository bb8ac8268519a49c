package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// lvm makes snapshots of logical volumes. LVM freezes what is mounted from them by itself.
type lvm struct {
	thin bool
	size int64
}

// lvmTag is on all snapshots that are made here. What does not have it is never removed.
const lvmTag = "kura"

// fullest is how full a classic snapshot may be, in percent, before it is given more room.
const fullest = 70

// logicalVolume is a line of lvs.
type logicalVolume struct {
	Group    string `json:"vg_name"`
	Name     string `json:"lv_name"`
	Path     string `json:"lv_path"`
	UUID     string `json:"lv_uuid"`
	Size     string `json:"lv_size"`
	Attr     string `json:"lv_attr"`
	Tags     string `json:"lv_tags"`
	Pool     string `json:"pool_lv"`
	Origin   string `json:"origin"`
	Percent  string `json:"snap_percent"`
	Invalid  string `json:"lv_snapshot_invalid"`
	Standing string `json:"lv_suspended"`
}

func (v *logicalVolume) fullName() string { return v.Group + "/" + v.Name }

func (v *logicalVolume) size() (int64, error) { return strconv.ParseInt(v.Size, 10, 64) }

// invalid reports whether a snapshot has overflowed, or its pool has failed.
func (v *logicalVolume) invalid() bool {
	return v.Invalid == "1" || strings.Contains(v.Invalid, "invalid") || v.is(4, "IS") || v.is(8, "FX")
}

// full reports whether a thin pool lets nobody write who needs room: it has no data blocks left, or may not change its metadata any more.
func (v *logicalVolume) full() bool { return v.is(8, "DMF") }

// is reports whether one of lvs' attributes has one of the values.
func (v *logicalVolume) is(i int, letters string) bool {
	return i < len(v.Attr) && strings.IndexByte(letters, v.Attr[i]) >= 0
}

// suspended reports whether all who read or write the volume wait.
func (v *logicalVolume) suspended() bool { return v.Standing == "1" || v.Standing == "suspended" }

var errNoVolume = errors.New("snapshot: no such logical volume")

// lvs asks for a logical volume by its path or its full name.
func lvs(ctx context.Context, name string) (*logicalVolume, error) {
	out, err := run(
		ctx, []string{"LC_ALL=C"}, "lvs", "--reportformat", "json", "--units", "b", "--nosuffix", "--binary", "-o",
		"vg_name,lv_name,lv_path,lv_uuid,lv_size,lv_attr,lv_tags,pool_lv,origin,snap_percent,lv_snapshot_invalid,lv_suspended", name,
	)
	var failed *CommandError
	if errors.As(err, &failed) && strings.Contains(failed.all, "Failed to find logical volume") { // it may warn first
		return nil, fmt.Errorf("%w: %s", errNoVolume, name)
	}
	if err != nil {
		return nil, err
	}
	var report struct {
		Report []struct {
			LV []logicalVolume `json:"lv"`
		} `json:"report"`
	}
	if err := json.Unmarshal(out, &report); err != nil {
		return nil, fmt.Errorf("snapshot: what lvs says of %s: %w", name, err)
	}
	if len(report.Report) != 1 || len(report.Report[0].LV) != 1 || report.Report[0].LV[0].Name == "" {
		return nil, fmt.Errorf("%w: lvs does not say one thing of %s", errNoVolume, name)
	}
	return &report.Report[0].LV[0], nil
}

func (lvm) Writes() bool { return false }

func (p lvm) Create(ctx context.Context, c *Copy) error {
	of, err := lvs(ctx, c.Of)
	if err != nil {
		return err
	}
	args := []string{"lvcreate", "--yes", "--snapshot", "--name", c.Name, "--addtag", lvmTag, "--permission", "r"}
	if p.thin {
		if of.Pool == "" {
			return fmt.Errorf("%w: %s is not a thin volume", ErrProvider, c.Of)
		}
		args = append(args, "--setactivationskip", "n")
	} else {
		size := p.size
		if size == 0 {
			whole, err := of.size()
			if err != nil {
				return fmt.Errorf("snapshot: lvs says that %s has %q bytes", c.Of, of.Size)
			}
			size = max(whole/10, 64<<20)
		}
		args = append(args, "--size", fmt.Sprintf("%db", (size+511)&^511))
	}
	c.Volume, c.begun = of.Group+"/"+c.Name, true
	if err := alter(ctx, append(args, of.fullName())...); err != nil {
		return errors.Join(err, resume(ctx, of.fullName(), patience))
	}
	if ctx.Err() != nil { // it was not told to end
		return context.Cause(ctx)
	}
	made, err := lvs(ctx, c.Volume)
	if err != nil {
		return err
	}
	c.At, c.State = made.Path, "lvm-"+made.UUID
	return p.Check(ctx, c)
}

// Check also gives a classic snapshot more room while there is some.
func (p lvm) Check(ctx context.Context, c *Copy) error {
	v, err := lvs(ctx, c.Volume)
	if err != nil {
		return err
	}
	if v.invalid() {
		return fmt.Errorf("%w: %s", ErrOverflow, c.Volume)
	}
	if p.thin {
		return checkPool(ctx, v)
	}
	percent, err := strconv.ParseFloat(v.Percent, 64)
	switch {
	case err != nil:
		return fmt.Errorf("snapshot: lvs does not say how full %s is, but %q", c.Volume, v.Percent)
	case percent >= 100:
		return fmt.Errorf("%w: %s", ErrOverflow, c.Volume)
	case percent < fullest:
		return nil
	}
	size, err := v.size()
	if err != nil {
		return fmt.Errorf("snapshot: lvs says that %s has %q bytes", c.Volume, v.Size)
	}
	if alter(ctx, "lvextend", "--size", fmt.Sprintf("+%db", size/2&^511), c.Volume) != nil {
		// Where there is no room the snapshot may still last: the next look tells.
		return resume(ctx, v.Group+"/"+v.Origin, patience)
	}
	return nil
}

// checkPool returns ErrPool if the pool of a thin snapshot is full. The snapshot is as good as before: but it holds on to room that those need
// who write to the volume, and who wait, for a minute if LVM is as it comes, before they get errors. They go before a backup.
func checkPool(ctx context.Context, v *logicalVolume) error {
	pool, err := lvs(ctx, v.Group+"/"+v.Pool)
	if err == nil && pool.full() {
		err = fmt.Errorf("%w: %s", ErrPool, pool.fullName())
	}
	return err
}

// Remove removes a snapshot that has the tag. Udev may have it open for a moment.
func (p lvm) Remove(ctx context.Context, c *Copy) error {
	// Another process has begun it, and was killed, and maybe a program of LVM with it, or not; or this one has, and does not know whether the
	// volume goes on.
	if !c.begun || c.At == "" {
		if err := untilMade(ctx, c.Name); err != nil {
			return err
		}
		if err := resume(ctx, c.Of, removeTime); err != nil {
			return err
		}
	}
	if c.Volume == "" { // the lease of a run that died before it knew
		of, err := lvs(ctx, c.Of)
		if err != nil {
			return err
		}
		c.Volume = of.Group + "/" + c.Name
	}
	v, err := lvs(ctx, c.Volume)
	if errors.Is(err, errNoVolume) {
		return nil
	}
	if err != nil {
		return err
	}
	if !slices.Contains(strings.Split(v.Tags, ","), lvmTag) || v.Name != c.Name {
		return fmt.Errorf("snapshot: %s does not have the tag %s and is left alone", c.Volume, lvmTag)
	}
	for try := 0; ; try++ {
		err = alter(ctx, "lvremove", "--yes", c.Volume)
		if err == nil {
			return nil
		}
		if v.Origin != "" { // a thin snapshot outlives it
			err = errors.Join(err, resume(ctx, v.Group+"/"+v.Origin, removeTime))
		}
		if try == removeTries {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(removePause):
		}
	}
}

const (
	removeTries = 5
	removePause = 300 * time.Millisecond
)
