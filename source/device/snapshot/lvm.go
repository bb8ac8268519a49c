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
	Group   string `json:"vg_name"`
	Name    string `json:"lv_name"`
	Path    string `json:"lv_path"`
	UUID    string `json:"lv_uuid"`
	Size    string `json:"lv_size"`
	Attr    string `json:"lv_attr"`
	Tags    string `json:"lv_tags"`
	Pool    string `json:"pool_lv"`
	Origin  string `json:"origin"`
	Percent string `json:"snap_percent"`
	Invalid string `json:"lv_snapshot_invalid"`
}

func (v *logicalVolume) fullName() string { return v.Group + "/" + v.Name }

func (v *logicalVolume) size() (int64, error) { return strconv.ParseInt(v.Size, 10, 64) }

// invalid reports whether a snapshot has overflowed, or its pool has failed.
func (v *logicalVolume) invalid() bool {
	at := func(i int, letters string) bool { return i < len(v.Attr) && strings.IndexByte(letters, v.Attr[i]) >= 0 }
	return v.Invalid == "1" || strings.Contains(v.Invalid, "invalid") || at(4, "IS") || at(8, "FX")
}

var errNoVolume = errors.New("snapshot: no such logical volume")

// lvs asks for a logical volume by its path or its full name.
func lvs(ctx context.Context, name string) (*logicalVolume, error) {
	out, err := run(
		ctx, []string{"LC_ALL=C"}, "lvs", "--reportformat", "json", "--units", "b", "--nosuffix", "--binary", "-o",
		"vg_name,lv_name,lv_path,lv_uuid,lv_size,lv_attr,lv_tags,pool_lv,origin,snap_percent,lv_snapshot_invalid", name,
	)
	var failed *CommandError
	if errors.As(err, &failed) && strings.Contains(failed.Output, "Failed to find logical volume") {
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
	if _, err := run(ctx, []string{"LC_ALL=C"}, append(args, of.fullName())...); err != nil {
		return err
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
	percent, err := strconv.ParseFloat(v.Percent, 64)
	known := err == nil && !p.thin
	if v.invalid() || known && percent >= 100 {
		return fmt.Errorf("%w: %s", ErrOverflow, c.Volume)
	}
	if known && percent >= fullest {
		if size, err := v.size(); err == nil {
			// Where there is no room the snapshot may still last: the next look tells.
			_, _ = run(ctx, []string{"LC_ALL=C"}, "lvextend", "--size", fmt.Sprintf("+%db", size/2&^511), c.Volume)
		}
	}
	return nil
}

// Remove removes a snapshot that has the tag. Udev may have it open for a moment.
func (p lvm) Remove(ctx context.Context, c *Copy) error {
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
		_, err = run(ctx, []string{"LC_ALL=C"}, "lvremove", "--yes", c.Volume)
		if err == nil || try == removeTries {
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
