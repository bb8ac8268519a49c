package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kura-backup/kura/chunk"
	"github.com/kura-backup/kura/delta"
	"github.com/kura-backup/kura/internal/durable"
	"github.com/kura-backup/kura/internal/freelist"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/zst"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/pack/parity"
	"github.com/kura-backup/kura/seal"
)

// stage is something that happens once to each byte of a first backup.
type stage struct {
	name  string
	aside string // why it is not in the sum
	bytes int    // that a run is about
	run   func() error
}

// stageCost is what a stage needs for a byte, in nanoseconds, on each of the cores.
type stageCost struct {
	Name      string
	CPU, Wall float64
	Aside     string `json:",omitempty"`
}

// notNoise is said of what is not done to data that does not compress, as the incompressible file's.
const notNoise = "not done to noise"

// stageBytes is how much data the stages are measured with on each core.
const stageBytes = 16 << 20

// newStages are the stages of a backup, in their order, for the data: of each the same code as the real one's, with
// nothing else going on. Files lie in the folder.
func newStages(data []byte, folder string) ([]stage, error) {
	keys, err := seal.NewKeyring([16]byte{1})
	if err != nil {
		return nil, err
	}
	secret, err := keys.NewSecret(seal.Data)
	if err != nil {
		return nil, err
	}
	_, key, err := secret.NewOrigin()
	if err != nil {
		return nil, err
	}
	cutter, err := chunk.New(uint64(keys.Polynomial()))
	if err != nil {
		return nil, err
	}
	source := filepath.Join(folder, "source")
	if err := os.WriteFile(source, data, 0o600); err != nil {
		return nil, err
	}
	dir, err := durable.OpenDir(folder)
	if err != nil {
		return nil, err
	}
	w := durable.NewWriter(dir, "tmp")
	const piece = 1 << 20 // about what a chunk has
	part := data[:min(piece, len(data))]
	stored, coding := pack.EncodeSegment(nil, part, zst.Default)
	sealed := key.Seal(nil, 0, stored)
	ordinal := uint64(0)
	var scratch freelist.Scratch
	buf := make([]byte, 0, 2*piece)
	plain := make([]byte, 0, 2*piece)
	body := make([]byte, len(data), len(data)+parity.Size(len(data), pack.DefaultParity))
	copy(body, data)
	return []stage{
		{"read", "", len(data), func() error { return readFile(context.Background(), source, buf[:piece], func([]byte) {}) }},
		{"cut", "", len(data), func() error {
			cutter.Reset(bytes.NewReader(data))
			for {
				if _, err := cutter.Next(); err != nil {
					return ended(err)
				}
			}
		}},
		{"id", "", len(part), func() error { keys.BlobHasher().ID(object.DataBlob, part); return nil }},
		{"sketch", notNoise, len(part), func() error { delta.SketchOf(part); return nil }},
		{"encode", "", len(part), func() error { pack.EncodeSegment(&scratch, part, zst.Default); return nil }},
		{"seal", "", len(stored), func() error { ordinal++; key.Seal(buf[:0], ordinal, stored); return nil }},
		{"verify", "", len(part), func() error {
			opened, err := key.Open(buf[:0], 0, sealed)
			if err == nil && coding != pack.Raw {
				opened, err = pack.DecodeSegment(plain[:0], opened, coding, len(part), nil)
			}
			if err == nil && !bytes.Equal(opened, part) {
				err = errors.New("the stage verify got other bytes")
			}
			return err
		}},
		{"parity", "", len(body), func() error { _, err := parity.Append(body, 0, pack.DefaultParity); return err }},
		{"name", "", len(data), func() error { object.Sum(data); return nil }},
		{"write", "", len(data), func() error { return writeSynced(w, filepath.Join(folder, "written"), data) }},
	}, nil
}

func ended(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// writeSynced writes a file as a local store does, in place of the one before.
func writeSynced(w *durable.Writer, path string, data []byte) error {
	if err := w.CreateExclusive(context.Background(), filepath.Base(path), data); err != nil {
		return err
	}
	return os.Remove(path)
}

// memcpy is the limit of everything that moves bytes.
func memcpy(data []byte) stage {
	to := make([]byte, len(data))
	return stage{"memcpy", limit, len(data), func() error { copy(to, data); return nil }}
}

// stages measures the stages, each on all cores at once, with data from the beginning of the file.
func (b *bench) stages(ctx context.Context, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var same [][]stage // by stage, then by core
	for range runtime.NumCPU() {
		data := make([]byte, min(stageBytes, int64(b.options.size)/int64(runtime.NumCPU())))
		if _, err := io.ReadFull(f, data); err != nil {
			return err
		}
		folder, err := os.MkdirTemp(b.work, "stages-")
		if err != nil {
			return err
		}
		stages, err := newStages(data, folder)
		if err != nil {
			return err
		}
		stages = append(stages, memcpy(data))
		if same == nil {
			same = make([][]stage, len(stages))
		}
		for i, s := range stages {
			same[i] = append(same[i], s)
		}
	}
	for _, s := range same {
		cost, err := measureStage(ctx, s)
		if err != nil {
			return fmt.Errorf("stage %s: %w", s[0].name, err)
		}
		b.record.Stages = append(b.record.Stages, cost)
	}
	return nil
}

// stageTime is how long each stage is measured.
const stageTime = 500 * time.Millisecond

// measureStage measures a stage on as many cores as there are of it, each with data of its own: they share caches,
// memory and the disk, as in a backup.
func measureStage(ctx context.Context, same []stage) (stageCost, error) {
	for _, s := range same { // what is done once is not counted
		if err := s.run(); err != nil {
			return stageCost{}, err
		}
	}
	runtime.GC()
	var bytes atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	cpu, start := ownCPU(), time.Now()
	for _, s := range same {
		g.Go(func() error {
			for time.Since(start) < stageTime {
				if err := errors.Join(ctx.Err(), s.run()); err != nil {
					return err
				}
				bytes.Add(int64(s.bytes))
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return stageCost{}, err
	}
	per := float64(bytes.Load())
	wall := time.Since(start) * time.Duration(len(same))
	return stageCost{same[0].name, float64(ownCPU()-cpu) / per, float64(wall) / per, same[0].aside}, nil
}

// ownCPU is the CPU time of this process so far.
func ownCPU() time.Duration {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// stageTable shows the medians of the stages' costs, and the limit.
func (s *section) stageTable() table {
	t := table{head: []string{"stage", "", "CPU ns/byte", "wall ns/byte"}}
	for _, c := range s.stageCosts() {
		t.rows = append(t.rows, []string{c.Name, c.Aside, fmt.Sprintf("%.3f", c.CPU), fmt.Sprintf("%.3f", c.Wall)})
	}
	return t
}

// stageCosts are the medians, in the stages' order.
func (s *section) stageCosts() []stageCost {
	var all []stageCost
	seen := make(map[string]bool)
	for _, c := range s.stages {
		if seen[c.Name] {
			continue
		}
		seen[c.Name] = true
		var cpu, wall []float64
		for _, other := range s.stages {
			if other.Name == c.Name {
				cpu, wall = append(cpu, other.CPU), append(wall, other.Wall)
			}
		}
		all = append(all, stageCost{c.Name, median(cpu), median(wall), c.Aside})
	}
	return all
}

// overStages is kura's wall time for the incompressible file as a multiple of the stages' CPU time on all cores.
func (s *section) overStages() (sum, over float64) {
	for _, c := range s.stageCosts() {
		if c.Aside == "" {
			sum += c.CPU
		}
	}
	row := "backup-" + incompressible
	size := math.NaN()
	for _, r := range s.records {
		if r.Size > 0 {
			size = float64(r.Size)
		}
	}
	for _, p := range s.programs {
		if p.Kind == ours {
			return sum, wall.of(s, row, p.Name) * 1e9 / (sum * size / float64(s.cores()))
		}
	}
	return sum, math.NaN()
}

func (s *section) cores() int { return s.records[len(s.records)-1].Cores }

func (s *section) stageSum() string {
	sum, over := s.overStages()
	return fmt.Sprintf("Each stage on all cores at once, each with its own part of the file; the costs are those of one core. The sum of what is done to the file is "+
		"%.3f ns of CPU for a byte; kura's wall time is %s times that on %d cores.", sum, times(over), s.cores())
}
