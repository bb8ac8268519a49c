package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/source/redis/rdb"
)

// Errors of append-only folders.
var (
	ErrNoAOF   = errors.New("redis: there is no append-only folder")
	ErrRewrite = errors.New("redis: the append-only files are rewritten too often to read them")
)

const rewriteTries = 20

// appendOnly is an append-only folder whose files are open. What a server does from then on, rewriting the files and deleting
// old ones, changes nothing about them but that more comes behind the end of the last.
type appendOnly struct {
	name  string // of the manifest
	clean string
	files []manifestFile
	open  []*openedFile
}

func (a *appendOnly) close() {
	for _, f := range a.open {
		_ = f.Close()
	}
}

// openAOF opens the files that the manifest in a folder names. They belong together because the manifest is
// the same afterwards: so the server need neither stop rewriting them nor know of the backup.
func openAOF(ctx context.Context, dir string) (*appendOnly, error) {
	for range rewriteTries {
		a, err := tryOpenAOF(dir)
		if !errors.Is(err, ErrRewrite) {
			return a, err
		}
		if err := pause(ctx, firstPoll); err != nil {
			return nil, err
		}
	}
	return nil, ErrRewrite
}

func tryOpenAOF(dir string) (_ *appendOnly, err error) {
	name, err := findManifest(dir)
	if err != nil {
		return nil, err
	}
	before, err := readManifest(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	a := &appendOnly{name: name}
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	if a.files, a.clean, err = parseManifest(string(before)); err != nil {
		return nil, err
	}
	missing := error(nil)
	for _, m := range a.files {
		f, err := openFile(filepath.Join(dir, m.name))
		if errors.Is(err, fs.ErrNotExist) {
			missing = err
			break
		}
		if err != nil {
			return nil, err
		}
		a.open = append(a.open, f)
	}
	after, err := readManifest(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(before, after) {
		return nil, ErrRewrite
	}
	return a, missing
}

func readManifest(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err == nil && len(text) > maxManifest {
		err = ErrManifest
	}
	return text, err
}

// findManifest returns the name of the only manifest in a folder.
func findManifest(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	name := ""
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), manifestSuffix) || strings.HasPrefix(e.Name(), "temp") {
			continue
		}
		if name != "" {
			return "", fmt.Errorf("%w: %s has two manifests, %s and %s", ErrManifest, dir, name, e.Name())
		}
		name = e.Name()
	}
	if name == "" {
		return "", fmt.Errorf("%w: %s has no manifest (servers before Redis 7 have a single file)", ErrNoAOF, dir)
	}
	return name, nil
}

// readAOF stores an append-only folder.
func (s *Source) readAOF(ctx context.Context, out source.Writer) error {
	a, err := openAOF(ctx, s.o.AOF)
	if err != nil {
		return err
	}
	defer a.close()
	s.details.File = s.o.AOF
	s.details.AOF = &AOFFolder{Manifest: a.name}
	dir := s.folder() + "/" + aofFolder
	if err := out.Add(dir, source.FolderNode(0o700)); err != nil {
		return err
	}
	for i, m := range a.files {
		file, err := s.storeAOF(ctx, m, a.open[i], i == len(a.files)-1, out, dir+"/"+m.name)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		s.details.AOF.Files = append(s.details.AOF.Files, *file)
	}
	return writeFile(out, dir+"/"+a.name, func(w source.File) error {
		_, err := io.WriteString(w, a.clean)
		return err
	})
}

// storeAOF stores one of its files.
func (s *Source) storeAOF(ctx context.Context, m manifestFile, f *openedFile, last bool, out source.Writer, path string) (*AOFFile, error) {
	file := &AOFFile{Name: m.name, Type: m.kind, Size: f.size}
	r := reader{f, ctx}
	if m.kind == aofBase && isRDB(r) {
		e, err := s.examine(ctx, r, f.size)
		if d, ok := errors.AsType[*rdb.DamageError](err); ok && d.End > 0 {
			return file, s.storePreamble(file, r, d.End, last, out, path)
		}
		if err != nil {
			return nil, err
		}
		file.RDB = &e.RDBFile
		if e.Info != nil {
			s.note(e.Info)
		}
		return file, e.store(out, path)
	}
	return file, file.storeCommands(r, last, out, path)
}

// storeCommands stores a file of commands, with what is in front of them, up to the last whole one.
func (file *AOFFile) storeCommands(r io.ReaderAt, last bool, out source.Writer, path string) error {
	got, err := scanAOF(io.NewSectionReader(r, file.Preamble, file.Size-file.Preamble))
	if err != nil {
		return err
	}
	whole := file.Preamble + got.whole
	file.Commands, file.Dropped = got.commands, file.Size-whole
	if !got.until.IsZero() {
		file.Until = &got.until
	}
	if file.Dropped > 0 && !last {
		return fmt.Errorf("%w: it ends in the middle of a command, and is not the last one", ErrDamagedAOF)
	}
	return writeFile(out, path, func(w source.File) error {
		_, err := w.ReadFrom(io.NewSectionReader(r, 0, whole))
		return err
	})
}

// storePreamble stores a file of commands with RDB in front of them as it is: what the base is after an upgrade from servers before Redis 7.
func (s *Source) storePreamble(file *AOFFile, r io.ReaderAt, end int64, last bool, out source.Writer, path string) error {
	info, err := rdb.Read(io.NewSectionReader(r, 0, end))
	if err != nil {
		return err
	}
	s.note(info)
	if len(info.Databases) > maxCounts {
		info.Databases = nil
	}
	file.Preamble = end
	file.RDB = &RDBFile{Form: Original, Reason: "commands follow it", Size: end, Keys: info.Keys(), Info: info}
	return file.storeCommands(r, last, out, path)
}

// isRDB reports whether a base is an RDB file; it can be one of commands.
func isRDB(r io.ReaderAt) bool {
	head := make([]byte, 5)
	n, _ := r.ReadAt(head, 0) // an error comes again
	return n == len(head) && (string(head) == "REDIS" || string(head) == "VALKE")
}
