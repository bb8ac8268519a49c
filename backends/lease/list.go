package lease

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kura-backup/kura/backends"
)

// Class is what the names of all leases begin with.
const Class = "lease/"

const (
	class   = Class
	end     = "-end"
	endText = "ended\n"

	// maxNote bounds what is read of another's lease.
	maxNote = 4 << 10
)

func leaseName(holder string, k uint64) string { return fmt.Sprintf("%s%s-%016d", class, holder, k) }

func endName(holder string, k uint64) string { return leaseName(holder, k) + end }

// parse reads the name of a lease, or of the mark of its end.
func parse(name string) (holder string, k uint64, ended, ok bool) {
	rest, ok := strings.CutPrefix(name, class)
	if !ok {
		return "", 0, false, false
	}
	rest, ended = strings.CutSuffix(rest, end)
	holder, digits, ok := strings.Cut(rest, "-")
	if raw, err := hex.DecodeString(holder); !ok || err != nil || len(raw) != 8 || strings.ToLower(holder) != holder || len(digits) != 16 {
		return "", 0, false, false
	}
	k, err := strconv.ParseUint(digits, 10, 64)
	return holder, k, ended, err == nil && k > 0
}

// leases are the objects of all leases.
type leases struct {
	byHolder map[string]*Holder
	infos    map[string]backends.Info
}

// list reads the names of all leases. Others that lie there are nobody's.
func list(ctx context.Context, s backends.Store) (leases, error) {
	l := leases{map[string]*Holder{}, map[string]backends.Info{}}
	for info, err := range s.List(ctx, class, "") {
		if err != nil {
			return leases{}, err
		}
		holder, k, ended, ok := parse(info.Name)
		if !ok {
			continue
		}
		h := l.byHolder[holder]
		if h == nil {
			h = &Holder{ID: holder}
			l.byHolder[holder] = h
		}
		h.all = append(h.all, info.Name)
		if ended {
			h.ended = max(h.ended, k)
			continue
		}
		l.infos[info.Name] = info
		if k > h.last {
			h.last, h.Renewed, h.size = k, info.ModTime, info.Size
		}
	}
	for _, h := range l.byHolder {
		if h.last <= h.ended {
			h.last = 0
		}
	}
	return l, nil
}

// find returns a lease that has not ended.
func (l leases) find(name string) (backends.Info, bool) {
	info, ok := l.infos[name]
	if !ok {
		return info, false
	}
	holder, k, _, _ := parse(name)
	return info, k > l.byHolder[holder].ended
}

// holders returns the clients that have a lease, in a fixed order.
func (l leases) holders() []Holder {
	var out []Holder
	for _, h := range l.byHolder {
		if h.last > 0 {
			out = append(out, *h)
		}
	}
	slices.SortFunc(out, func(a, b Holder) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// note is what a lease says of its holder.
type note struct {
	Host string    `json:"host"`
	PID  int       `json:"pid"`
	Time time.Time `json:"time"`
}

func encodeNote(host string, pid int, now time.Time) []byte {
	b, err := json.Marshal(note{host, pid, now.UTC()})
	if err != nil { // only for years beyond 9999
		return []byte("{}")
	}
	return append(b, '\n')
}

// read fills in what the newest lease says, and reports whether it could be understood.
func (h *Holder) read(ctx context.Context, s backends.Store) (known bool, err error) {
	if h.size <= 0 || h.size > maxNote {
		return false, nil
	}
	b, err := s.Get(ctx, leaseName(h.ID, h.last), 0, h.size, nil)
	if err != nil {
		return false, err
	}
	var n note
	if json.Unmarshal(b, &n) != nil || n.Time.IsZero() {
		return false, nil
	}
	h.Host, h.PID, h.Said = n.Host, n.PID, n.Time
	return true, nil
}
