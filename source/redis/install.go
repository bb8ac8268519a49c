package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/source/redis/rdb"
)

// Errors of restores.
var (
	ErrExists     = errors.New("redis: there is something already")
	ErrAppendOnly = errors.New("redis: does the server start from its append-only files")
	ErrIgnored    = errors.New("redis: the server would ignore what is restored")
	ErrNotSaved   = errors.New("redis: the snapshot is not one of a Redis server")
	ErrOtherKeys  = errors.New("redis: the keys are not as many as were saved")
	ErrReplica    = errors.New("redis: the server would replace what is restored by what its master has")
	// ErrNoFolder is an ErrIgnored.
	ErrNoFolder = fmt.Errorf("%w: servers before Redis 7 start from a single append-only file, and know no folder", ErrIgnored)
	// ErrStarted says that all was restored, but perhaps too late.
	ErrStarted = errors.New("redis: everything is in its place, but a server was started meanwhile, and may have what was there before")
)

// exchange makes two names change places.
var exchange = unix.Renameat2

// Target is a server's folder, in which what was restored is put.
type Target struct {
	Dir     string
	Config  *Config // of the server; nil if it is not known
	Replace bool    // move aside what is there
	// AppendOnly says whether the server starts from append-only files; nil: as Config says.
	AppendOnly *bool
}

// Installed is what has come of a restore.
type Installed struct {
	Files      []string  // that the server starts from
	Aside      []string  // where what was there is now
	Info       *rdb.Info // of the RDB file; nil if its format is not known, or there is none
	AppendOnly bool
	Commands   uint64 // in append-only files, beside the base

	appendFile string // after which append-only files are called
	single     bool   // it was made, too, for servers that know no folder of them
}

// appendOnly reports whether append-only files are needed.
func (t *Target) appendOnly(d *Details) (bool, error) {
	switch {
	case t.AppendOnly != nil:
		return *t.AppendOnly, nil
	case t.Config != nil:
		return t.Config.AppendOnly, nil
	case d.AOF != nil:
		return true, nil
	}
	if _, err := findManifest(t.path(t.config().AppendDir)); err == nil {
		return false, fmt.Errorf("%w? There are some in %s: if it does it ignores %s", ErrAppendOnly, t.path(t.config().AppendDir), dumpFile)
	}
	if single := t.path(t.config().AppendFile); exists(single) {
		return false, fmt.Errorf("%w? There is %s: if it does it ignores %s", ErrAppendOnly, single, dumpFile)
	}
	if d.AppendOnly {
		return false, fmt.Errorf("%w? The one that was backed up did: if it does it ignores %s", ErrAppendOnly, dumpFile)
	}
	return false, nil
}

func (t *Target) config() *Config {
	if t.Config != nil {
		return t.Config
	}
	return newConfig()
}

func (t *Target) path(name string) string { return filepath.Join(t.Dir, name) }

// appendFile is what the server's append-only files are called after. Of a server of which nothing is known they are called as they were, since
// it starts empty if it finds none of its name.
func (t *Target) appendFile(d *Details) string {
	if t.Config != nil {
		return t.Config.AppendFile
	}
	if d.AOF != nil {
		return strings.TrimSuffix(d.AOF.Manifest, manifestSuffix)
	}
	if name, err := findManifest(t.path(aofFolder)); err == nil {
		return strings.TrimSuffix(name, manifestSuffix)
	}
	return t.config().AppendFile
}

// single reports whether the server may be one from before Redis 7, which starts from one append-only file in its folder. Later ones do not look
// at it if they find the manifest of theirs.
func (t *Target) single(d *Details) bool {
	if d.RDB == nil { // then the server that was backed up had a folder
		return false
	}
	version, ok := strings.CutPrefix(d.Server, "redis ")
	major, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(major)
	return ok && err == nil && n < 7 || exists(t.path(t.appendFile(d)))
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// free returns ErrRunning if there is a server that would put what it has in memory in the place of what is restored.
func (t *Target) free(ctx context.Context) error {
	if err := running(t.Dir); err != nil {
		return err
	}
	if t.Config != nil {
		return t.Config.answers(ctx)
	}
	return nil
}

// Check returns why a snapshot can not be restored there. It is asked before anything is fetched.
func (t *Target) Check(ctx context.Context, d *Details) error {
	if d == nil || d.RDB == nil && d.AOF == nil {
		return ErrNotSaved
	}
	info, err := os.Stat(t.Dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return &os.PathError{Op: "restore", Path: t.Dir, Err: syscall.ENOTDIR}
	}
	if err := t.free(ctx); err != nil {
		return err
	}
	if t.Config != nil && t.Config.Master != "" {
		return fmt.Errorf("%w: %s makes it a replica of %s", ErrReplica, t.Config.Path, t.Config.Master)
	}
	appendOnly, err := t.appendOnly(d)
	if err != nil {
		return err
	}
	if d.AOF != nil && !appendOnly {
		return fmt.Errorf("%w: the snapshot has append-only files, and it does not start from them (appendonly no)", ErrIgnored)
	}
	if single := t.path(t.appendFile(d)); d.AOF != nil && exists(single) {
		return fmt.Errorf("%w, and there is %s", ErrNoFolder, single)
	}
	for _, name := range t.names(d, appendOnly) {
		if _, err := os.Lstat(t.path(name)); err == nil && !t.Replace {
			return fmt.Errorf("%w: %s", ErrExists, t.path(name))
		} else if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// names are what will be made.
func (t *Target) names(d *Details, appendOnly bool) (names []string) {
	c := t.config()
	if appendOnly {
		names = append(names, c.AppendDir)
		if t.single(d) {
			names = append(names, t.appendFile(d))
		}
	}
	if d.RDB != nil {
		names = append(names, c.DBFile)
	}
	return names
}

// Install puts what was restored into a folder of Stage's where the server looks for it. It checks all of it first: checksums, the numbers of
// keys, and that commands are whole. With ErrStarted it also returns what has come of it.
func (t *Target) Install(ctx context.Context, staged string, d *Details) (*Installed, error) {
	if err := t.Check(ctx, d); err != nil { // once more: fetching has taken a while
		return nil, err
	}
	appendOnly, err := t.appendOnly(d)
	if err != nil {
		return nil, err
	}
	i := &install{t: t, ctx: ctx, staged: staged, out: &Installed{AppendOnly: appendOnly, appendFile: t.appendFile(d)}}
	i.out.single = appendOnly && t.single(d)
	switch {
	case d.AOF != nil:
		err = i.aof(d.AOF)
	case appendOnly:
		err = i.base(d.RDB)
	default:
		err = i.dump(d.RDB)
	}
	if err != nil && len(i.out.Files) > 0 {
		err = fmt.Errorf("%w; restored already: %s (what was there has .old- behind its name)", err, strings.Join(i.out.Files, ", "))
	}
	if err != nil {
		return nil, err
	}
	if err := t.free(ctx); errors.Is(err, ErrRunning) {
		return i.out, fmt.Errorf("%w: %w", ErrStarted, err)
	} else if err != nil {
		return nil, err
	}
	return i.out, nil
}

type install struct {
	t      *Target
	ctx    context.Context // of the run
	staged string
	out    *Installed
}

// dump puts an RDB file in its place.
func (i *install) dump(f *RDBFile) error {
	info, err := i.verify(filepath.Join(i.staged, dumpFile), f)
	if err != nil {
		return err
	}
	i.out.Info = info
	return i.place(filepath.Join(i.staged, dumpFile), i.t.config().DBFile)
}

// base makes an append-only folder whose base is the RDB file. The server finds it under its usual name, too, in case its
// configuration is another one after all, and as the single append-only file of servers that know no folder: since Redis 4 that may be one.
func (i *install) base(f *RDBFile) error {
	dump := filepath.Join(i.staged, dumpFile)
	info, err := i.verify(dump, f)
	if err != nil {
		return err
	}
	i.out.Info = info
	name := i.out.appendFile
	dir, single := filepath.Join(i.staged, aofFolder), filepath.Join(i.staged, "single")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	base, incr := name+".1.base.rdb", name+".1.incr.aof"
	manifest := fmt.Sprintf("file %s seq 1 type b\nfile %s seq 1 type i\n", quote(base), quote(incr))
	if err := linkOrCopy(dump, filepath.Join(dir, base)); err != nil {
		return err
	}
	for file, text := range map[string]string{incr: "", name + manifestSuffix: manifest} {
		if err := i.write(filepath.Join(dir, file), text); err != nil {
			return err
		}
	}
	if i.out.single { // a copy: the server appends to it
		if err := copyFile(dump, single); err != nil {
			return err
		}
	}
	if err := i.place(dir, i.t.config().AppendDir); err != nil {
		return err
	}
	if i.out.single {
		if err := i.place(single, name); err != nil {
			return err
		}
	}
	return i.place(dump, i.t.config().DBFile)
}

// quote writes a name in a manifest as a server does.
func quote(name string) string {
	if words, err := splitWords(name); err == nil && len(words) == 1 && words[0] == name {
		return name
	}
	return strconv.Quote(name)
}

// aof puts an append-only folder in its place.
func (i *install) aof(a *AOFFolder) error {
	dir := filepath.Join(i.staged, aofFolder)
	for n, f := range a.Files {
		path := filepath.Join(dir, f.Name)
		if f.RDB != nil && f.Preamble == 0 {
			info, err := i.verify(path, f.RDB)
			if err != nil {
				return fmt.Errorf("%s: %w", f.Name, err)
			}
			i.out.Info = info
			continue
		}
		if err := i.verifyCommands(path, &a.Files[n]); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		i.out.Commands += f.Commands
	}
	// A server looks for the manifest of its own name only; the files in it may be called otherwise.
	if name := i.out.appendFile + manifestSuffix; name != a.Manifest {
		if err := os.Rename(filepath.Join(dir, a.Manifest), filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return i.place(dir, i.t.config().AppendDir)
}

func (i *install) verifyCommands(path string, want *AOFFile) error {
	f, err := openFile(path)
	if err != nil {
		return err
	}
	defer f.Close()
	r := reader{f, i.ctx}
	if want.Preamble > 0 {
		info, err := rdb.Read(io.NewSectionReader(r, 0, want.Preamble))
		if err != nil {
			return err
		}
		if info.Keys() != want.RDB.Keys {
			return fmt.Errorf("%w: %d, and %d were saved", ErrOtherKeys, info.Keys(), want.RDB.Keys)
		}
		i.out.Info = info
	}
	got, err := scanAOF(io.NewSectionReader(r, want.Preamble, max(0, f.size-want.Preamble)))
	if err != nil {
		return err
	}
	if got.whole != got.read || got.commands != want.Commands && want.Dropped == 0 {
		return fmt.Errorf("%w: it has %d commands and had %d", ErrDamagedAOF, got.commands, want.Commands)
	}
	return nil
}

// verify reads an RDB file to its end, after it was made what it was if its order was kept.
func (i *install) verify(path string, want *RDBFile) (*rdb.Info, error) {
	if want.Form == Exact {
		if err := i.reorder(path); err != nil {
			return nil, err
		}
	}
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := io.NewSectionReader(reader{f, i.ctx}, 0, f.size)
	if want.Form != Sorted && f.size != want.Size {
		return nil, fmt.Errorf("%w: %d bytes, %d were saved", ErrOtherKeys, f.size, want.Size)
	}
	if want.Info == nil {
		return nil, rdb.Check(r, f.size)
	}
	info, err := rdb.Read(r)
	if err != nil {
		return nil, err
	}
	if same := info.SameKeys(want.Info); !same && (want.Info.Databases != nil || info.Keys() != want.Keys) {
		return nil, fmt.Errorf("%w: %d, and %d were saved", ErrOtherKeys, info.Keys(), want.Keys)
	}
	return info, nil
}

// reorder makes the original of an RDB file in the canonical form.
func (i *install) reorder(path string) error {
	var parts [3]*io.SectionReader
	for n, suffix := range []string{"", orderSuffix, apartSuffix} {
		f, err := openFile(path + suffix)
		if err != nil {
			return err
		}
		defer f.Close()
		parts[n] = io.NewSectionReader(reader{f, i.ctx}, 0, f.size)
	}
	out, err := os.OpenFile(path+".new", os.O_CREATE|os.O_EXCL|os.O_WRONLY, fileMode)
	if err != nil {
		return err
	}
	err = rdb.Restore(parts[0], parts[1], parts[2], out, rdb.DefaultMemory)
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	for _, suffix := range []string{orderSuffix, apartSuffix} {
		if err := os.Remove(path + suffix); err != nil {
			return err
		}
	}
	return os.Rename(path+".new", path)
}

func (i *install) write(path, text string) error {
	return os.WriteFile(path, []byte(text), fileMode)
}

// place gives a file or folder to the owner of the server's folder, makes it safe from a power failure, and puts it in its
// place. There is a whole one there at each moment, the old or the new, where the file system can exchange two.
func (i *install) place(from, name string) error {
	if err := settle(i.t.Dir, from); err != nil {
		return err
	}
	if err := i.t.free(i.ctx); err != nil { // once more: checking has taken a while
		return err
	}
	to := i.t.path(name)
	if exists(to) {
		if err := i.aside(from, to); err != nil {
			return err
		}
	} else if err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE); err != nil {
		if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
			return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
		}
		if err := os.Rename(from, to); err != nil {
			return err
		}
	}
	i.out.Files = append(i.out.Files, to)
	return syncPath(i.t.Dir)
}

// aside puts from in the place of to, and what was there under a name of its own. It has that name first, and changes places with what is
// there then: what was there is never in the folder that the next run empties.
func (i *install) aside(from, to string) error {
	old, moved, err := rename(from, to)
	if err != nil {
		return err
	}
	if moved {
		if err := exchange(unix.AT_FDCWD, old, unix.AT_FDCWD, to, unix.RENAME_EXCHANGE); err == nil {
			i.out.Aside = append(i.out.Aside, old)
			return nil
		}
		if err := os.Rename(old, from); err != nil {
			return err
		}
	}
	if err := os.Rename(to, old); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return errors.Join(err, os.Rename(old, to))
	}
	i.out.Aside = append(i.out.Aside, old)
	return nil
}

// rename gives from the first free name for what was at a path. Where the file system can not do that without replacing what somebody else puts
// there, it is not moved, and such a name is all that there is.
func rename(from, path string) (old string, moved bool, err error) {
	for n := 1; ; n++ {
		old = fmt.Sprintf("%s.old-%d", path, n)
		if _, err := os.Lstat(old); err == nil {
			continue
		} else if !errors.Is(err, os.ErrNotExist) {
			return "", false, err
		}
		err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, old, unix.RENAME_NOREPLACE)
		switch {
		case err == nil:
			return old, true, nil
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
			return old, false, nil
		case !errors.Is(err, unix.EEXIST):
			return "", false, &os.LinkError{Op: "rename", Old: from, New: old, Err: err}
		}
	}
}

// settle gives what is at a path, and in it, to the owner of dir, and syncs it.
func settle(dir, path string) error {
	folder, err := os.Stat(dir)
	if err != nil {
		return err
	}
	return filepath.WalkDir(path, func(p string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if id := owner(folder); os.Geteuid() == 0 {
			if err := os.Lchown(p, int(id.uid), int(id.gid)); err != nil {
				return err
			}
		}
		return syncPath(p)
	})
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

type ids struct{ uid, gid uint32 }

func owner(info os.FileInfo) ids {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return ids{s.Uid, s.Gid}
	}
	return ids{}
}
