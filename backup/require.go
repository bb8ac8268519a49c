package backup

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/kura-backup/kura/source/pattern"
	"github.com/kura-backup/kura/tree"
)

// ErrMissing is returned when nothing that was backed up matches what the options require.
var ErrMissing = errors.New("backup: what is required is not there, nothing was saved")

// CheckRequire returns an error unless these can be the Require of options.
func CheckRequire(patterns []string) error {
	_, err := newRequirements(patterns)
	return err
}

// requirements are the patterns that nothing has matched so far. They are safe for concurrent use.
type requirements struct {
	left atomic.Int32 // spares the lock when all are met

	mu      sync.Mutex
	missing []requirement
}

type requirement struct {
	text string
	list *pattern.List
}

func newRequirements(patterns []string) (*requirements, error) {
	r := new(requirements)
	for _, p := range patterns {
		list, err := pattern.Parse([]string{p})
		if err != nil {
			return nil, err
		}
		if p == "" || strings.HasPrefix(p, "!") {
			return nil, fmt.Errorf("%w %q: it matches nothing", pattern.ErrBad, p)
		}
		r.missing = append(r.missing, requirement{p, list})
	}
	r.left.Store(int32(len(r.missing)))
	return r, nil
}

// saw notes an entry that is in the snapshot. One that could not be read meets nothing.
func (r *requirements) saw(n *tree.Node, path func() string) {
	if r.left.Load() == 0 || n.Error != "" {
		return
	}
	p := path()
	r.mu.Lock()
	defer r.mu.Unlock()
	left := r.missing[:0]
	for _, m := range r.missing {
		if !m.list.MatchPath(p) {
			left = append(left, m)
		}
	}
	r.missing = left
	r.left.Store(int32(len(left)))
}

// err is ErrMissing, and what is, unless all are met.
func (r *requirements) err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.missing) == 0 {
		return nil
	}
	texts := make([]string, len(r.missing))
	for i, m := range r.missing {
		texts[i] = m.text
	}
	return fmt.Errorf("%w: nothing matches %s", ErrMissing, strings.Join(texts, ", "))
}
