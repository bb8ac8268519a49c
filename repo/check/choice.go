package check

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo/records"
)

// Choice says which packs are read from beginning to end. The zero Choice is none; of the others one is set.
type Choice struct {
	All     bool
	Part    uint64  // from 1 to Parts: one of so many slices, always the same, that together are all packs
	Parts   uint64  // at most MaxParts
	Percent float64 // of the packs, drawn
	Bytes   int64   // packs of so many bytes, drawn, but at least one
	Rolling int64   // packs of so many bytes, but at least one: those that were verified longest ago

	Seed uint64 // repeats what was drawn
}

// MaxParts is the most slices that there can be.
const MaxParts = 1 << 20

// IsZero reports whether nothing is read.
func (c Choice) IsZero() bool { return c == Choice{Seed: c.Seed} }

// Drawn reports whether the choice depends on the seed.
func (c Choice) Drawn() bool { return c.Percent > 0 || c.Bytes > 0 }

// ParseSubset reads n/t, p% and sizes such as 500M.
func ParseSubset(s string) (Choice, error) {
	if part, parts, ok := strings.Cut(s, "/"); ok {
		n, err := strconv.ParseUint(part, 10, 32)
		t, err2 := strconv.ParseUint(parts, 10, 32)
		if err != nil || err2 != nil || n < 1 || n > t || t > MaxParts {
			return Choice{}, fmt.Errorf("%w: %q: want n/t with n from 1 to t", ErrChoice, s)
		}
		return Choice{Part: n, Parts: t}, nil
	}
	if number, ok := strings.CutSuffix(s, "%"); ok {
		p, err := strconv.ParseFloat(number, 64)
		if err != nil || !(p > 0 && p <= 100) {
			return Choice{}, fmt.Errorf("%w: %q: want a percentage above 0 and up to 100", ErrChoice, s)
		}
		return Choice{Percent: p}, nil
	}
	n, err := ParseSize(s)
	return Choice{Bytes: n}, err
}

// ParseSize reads a number of bytes above 0, with K, M, G or T behind it for powers of 1024.
func ParseSize(s string) (int64, error) {
	number, unit := s, int64(1)
	if s != "" {
		if i := strings.IndexByte("KMGT", s[len(s)-1]&^0x20); i >= 0 {
			number, unit = s[:len(s)-1], 1<<(10*(i+1))
		}
	}
	n, err := strconv.ParseUint(number, 10, 63)
	if err != nil || n == 0 || n > uint64(math.MaxInt64/unit) {
		return 0, fmt.Errorf("%w: %q: want a number of bytes, such as 500M or 20G, n/t or a percentage", ErrChoice, s)
	}
	return int64(n) * unit, nil
}

// candidate is a pack that could be read.
type candidate struct {
	ref  object.Ref
	size int64
}

// choose returns which of the packs, which are in the order of their names, are to be read.
func (c Choice) choose(packs []candidate, verified records.Verified) map[object.Ref]struct{} {
	out := map[object.Ref]struct{}{}
	switch {
	case c.All:
		for _, p := range packs {
			out[p.ref] = struct{}{}
		}
	case c.Parts > 0:
		for _, p := range packs {
			// By the hash and not by the place in the list: a pack stays in its slice while others come and go.
			if binary.BigEndian.Uint64(p.ref.Hash[:])%c.Parts == c.Part-1 {
				out[p.ref] = struct{}{}
			}
		}
	case c.Percent > 0:
		n := int(math.Ceil(float64(len(packs)) * c.Percent / 100))
		for _, p := range c.shuffled(packs)[:min(n, len(packs))] {
			out[p.ref] = struct{}{}
		}
	case c.Bytes > 0:
		take(out, c.shuffled(packs), c.Bytes)
	case c.Rolling > 0:
		take(out, longestAgo(packs, verified), c.Rolling)
	}
	return out
}

func (c Choice) shuffled(packs []candidate) []candidate {
	out := slices.Clone(packs)
	rand.New(rand.NewPCG(c.Seed, 0)).Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// longestAgo puts packs first that were never verified, then those that were verified longest ago.
func longestAgo(packs []candidate, verified records.Verified) []candidate {
	at := func(p candidate) int64 {
		if t, ok := verified[p.ref.Hash]; ok {
			return t
		}
		return math.MinInt64
	}
	out := slices.Clone(packs)
	slices.SortFunc(out, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(at(a), at(b)), bytes.Compare(a.ref.Hash[:], b.ref.Hash[:]))
	})
	return out
}

// take adds the first packs that have no more than limit bytes together, but at least one: a limit below
// the size of a pack would otherwise never come to an end.
func take(out map[object.Ref]struct{}, packs []candidate, limit int64) {
	total := int64(0)
	for _, p := range packs {
		if total += p.size; total > limit && len(out) > 0 {
			return
		}
		out[p.ref] = struct{}{}
	}
}
