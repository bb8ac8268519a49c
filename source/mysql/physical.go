package mysql

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/source/mysql/mbstream"
)

const (
	physicalFolder = "+physical" // which no database can be called there
	maxInfo        = 64 << 10
)

// Physical is a backup of a MariaDB server's files by mariadb-backup, which has to run on the server's machine as somebody who may read
// them. It is a source.Source.
//
// The files have to be prepared by a mariadb-backup of the server's series before a server can start with them: see [Prepare].
type Physical struct {
	Config Config
	// Looked is told what there is before the backup begins. It may be nil.
	Looked func(*Facts)

	details Details
}

var _ source.Source = (*Physical)(nil)

// Kind is of source.Source.
func (b *Physical) Kind() string { return "mysql" }

// Paths is of source.Source.
func (b *Physical) Paths() []string { return []string{rootOf(&b.Config) + "/" + physicalFolder} }

// Details returns what Write has told the snapshot.
func (b *Physical) Details() *Details { return &b.details }

// Check connects to the server and says whether a backup could be made.
func (b *Physical) Check(ctx context.Context) (*Facts, error) {
	f, _, err := b.begin(ctx)
	return f, err
}

func (b *Physical) begin(ctx context.Context) (f *Facts, t *tool, err error) {
	s, err := Open(ctx, b.Config)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if !s.MariaDB {
		return nil, nil, fmt.Errorf("%w: the server is MySQL, which mariadb-backup does not know; xtrabackup's output can be backed up as a stream", ErrProgram)
	}
	if f, err = s.facts(ctx, nil); err != nil && !errors.Is(err, ErrNoDatabase) {
		return nil, nil, err
	}
	g, err := s.grants(ctx)
	if err != nil {
		return nil, nil, err
	}
	needs := []need{{any: []string{"RELOAD"}, global: true}, {any: []string{"PROCESS"}, global: true}, {any: []string{"LOCK TABLES"}, global: true}}
	if s.since(10, 5, 2) {
		needs = append(needs, need{any: []string{"BINLOG MONITOR", "SUPER"}, global: true})
	}
	if err := g.missing(nil, needs); err != nil {
		return nil, nil, err
	}
	if t, err = findTool(ctx, true, "mariadb-backup", "mariabackup"); err != nil {
		return nil, nil, err
	}
	if t.series() != s.Series() {
		return nil, nil, fmt.Errorf("%w: the server is of the series %s, and %s", ErrProgram, s.Series(), t)
	}
	b.details = Details{Format: detailsFormat, Kind: "physical", Root: b.Paths()[0], Vendor: s.Vendor(), Version: s.Version, Program: t.String()}
	return f, t, nil
}

// Write is of source.Source.
func (b *Physical) Write(ctx context.Context, out source.Writer) error {
	facts, t, err := b.begin(ctx)
	if err != nil {
		return err
	}
	if b.Looked != nil && facts != nil {
		b.Looked(facts)
	}
	info, err := b.stream(ctx, t, out)
	if err != nil {
		return err
	}
	if b.details.At, err = parseInfo(info); err != nil {
		return err
	}
	return out.Describe(map[string]any{detailsKey: b.details})
}

// stream runs mariadb-backup, and returns what its file of that name says of the backup.
func (b *Physical) stream(ctx context.Context, t *tool, out source.Writer) (info []byte, err error) {
	work, err := os.MkdirTemp("", "kura-mariadb-backup-") // for what it does not stream at once
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	kept := &infoKeeper{}
	cmd, err := t.pipe(ctx, &b.Config, []string{"--backup", "--stream=mbstream", "--parallel=1", "--target-dir=" + work}, func(r io.Reader) error {
		return mbstream.Demux(r, func(p string) (io.WriteCloser, error) {
			f, err := out.Create(b.details.Root+"/"+p, source.FileNode(0o600))
			if err != nil {
				return nil, err
			}
			if p == "xtrabackup_info" || p == "mariadb_backup_info" {
				return &infoWriter{f, kept}, nil
			}
			return &sizedWriter{f, b}, nil
		})
	})
	switch {
	case err != nil:
		return nil, err
	case !strings.HasSuffix(said(cmd), "completed OK!"):
		return nil, fmt.Errorf("%w: %s did not say that it is complete", ErrFailed, t.path)
	case kept.text == nil:
		return nil, fmt.Errorf("%w: %s wrote no xtrabackup_info", ErrFailed, t.path)
	}
	return kept.text, nil
}

// infoKeeper keeps a small file.
type infoKeeper struct{ text []byte }

type infoWriter struct {
	source.File
	kept *infoKeeper
}

func (w *infoWriter) Write(p []byte) (int, error) {
	if len(w.kept.text)+len(p) <= maxInfo {
		w.kept.text = append(w.kept.text, p...)
	}
	return w.File.Write(p)
}

// sizedWriter counts what files have.
type sizedWriter struct {
	source.File
	b *Physical
}

func (w *sizedWriter) Close() error {
	w.b.details.Bytes += w.Size()
	return w.File.Close()
}

var infoPosition = regexp.MustCompile(`(?m)^binlog_pos = filename '([^']*)', position '(\d+)'(?:, GTID of the last change '([^']*)')?`)

// parseInfo reads the coordinates of a physical backup; a server without a log has none.
func parseInfo(text []byte) (c Coordinates, err error) {
	if !bytes.Contains(text, []byte("tool_name = ")) {
		return c, fmt.Errorf("%w: xtrabackup_info says nothing of the program", ErrFailed)
	}
	m := infoPosition.FindSubmatch(text)
	if m == nil {
		return c, nil
	}
	c.File, c.GTID = string(m[1]), string(m[3])
	c.Position, err = strconv.ParseUint(string(m[2]), 10, 64)
	return c, err
}

// Prepare makes the restored files of a physical backup such that a server can start with them. It takes a mariadb-backup of the series that
// the details name: another one could make them useless.
func Prepare(ctx context.Context, d *Details, dir string) error {
	t, err := findTool(ctx, true, "mariadb-backup", "mariabackup")
	if err != nil {
		return err
	}
	m := versionNumber.FindStringSubmatch(d.Version)
	if m == nil || t.series() != m[1]+"."+m[2] {
		return fmt.Errorf("%w: the backup is of MariaDB %s, and %s", ErrProgram, d.Version, t)
	}
	cmd, release, err := t.command(ctx, &Config{}, "--prepare", "--target-dir="+dir)
	if err != nil {
		return err
	}
	defer release()
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return failure(cmd, err)
	}
	if !strings.HasSuffix(said(cmd), "completed OK!") {
		return fmt.Errorf("%w: %s did not say that it is complete", ErrFailed, t.path)
	}
	return nil
}
