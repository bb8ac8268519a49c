package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// trouble is something that goes wrong, and what a rival makes of it.
type trouble struct{ what, outcome string }

// trouble does the same harm to all of them. Each gets a copy of what it has stored, so that one harm knows nothing of the others.
func (d *diffRun) trouble(ctx context.Context) error {
	gen := max(d.o.diffGenerations*5/18, 2) // the one that is harmed
	for _, r := range d.results {
		for _, t := range []struct {
			what string
			do   func(context.Context, *rival, int) (string, error)
		}{
			{"a block of the device can not be read", d.unreadable},
			{"the backup is killed half way", d.killed},
			{fmt.Sprintf("a byte flips in what generation %d has added", gen), d.flipped},
			{fmt.Sprintf("generation %d is deleted", gen), d.deleted},
		} {
			outcome, err := d.inCopy(ctx, r.rival, gen, t.do)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", r.rival.name, t.what, err)
			}
			note("%s: %s: %s", r.rival.name, t.what, outcome)
			r.troubles = append(r.troubles, trouble{t.what, outcome})
		}
	}
	return nil
}

// inCopy lets a rival work in a copy of its repository.
func (d *diffRun) inCopy(ctx context.Context, r *rival, gen int, do func(context.Context, *rival, int) (string, error)) (_ string, err error) {
	saved := r.folder + ".saved"
	if out, err := exec.CommandContext(ctx, "cp", "-a", "--reflink=auto", r.folder, saved).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	defer func() {
		err = errors.Join(err, os.RemoveAll(r.folder), os.Rename(saved, r.folder))
	}()
	return do(ctx, r, gen)
}

// unreadable backs up a loop device behind which the second half of the image is missing.
func (d *diffRun) unreadable(ctx context.Context, r *rival, _ int) (_ string, err error) {
	short := filepath.Join(d.work, "short")
	if out, err := exec.CommandContext(ctx, "cp", "--reflink=auto", d.image.path, short).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	defer func() { err = errors.Join(err, os.Remove(short)) }()
	out, err := exec.CommandContext(ctx, "losetup", "--show", "--read-only", "-f", short).Output()
	if err != nil {
		return "not tried: no loop devices", nil
	}
	device := strings.TrimSpace(string(out))
	defer func() { err = errors.Join(err, exec.Command("losetup", "-d", device).Run()) }()
	if err := os.Truncate(short, d.image.pages/2*pageSize); err != nil {
		return "", err
	}
	next := d.o.diffGenerations + 1
	if _, err := r.run(ctx, r.backup, next, device, ""); err != nil {
		return d.refused(ctx, r, next, err)
	}
	to, err := os.MkdirTemp(d.work, "restore-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(to)) }()
	if _, err := r.run(ctx, r.restore, next, "", to); err != nil {
		return "", err
	}
	info, err := os.Stat(filepath.Join(to, "image"))
	if err != nil {
		return "", err
	}
	if info.Size() == d.image.pages*pageSize { // of a chain
		return "the run succeeds; what could not be read comes back as it was before, and no error", nil
	}
	return fmt.Sprintf("the run succeeds; what comes back has %s of %s MiB, and no error", mib(float64(info.Size())), mib(float64(d.image.pages*pageSize))), nil
}

// refused is what became of a run that failed at a block which can not be read. That it failed for another reason says
// nothing, and is an error.
func (d *diffRun) refused(ctx context.Context, r *rival, gen int, err error) (string, error) {
	if ctx.Err() != nil || !strings.Contains(strings.ToLower(err.Error()), syscall.EIO.Error()) {
		return "", err
	}
	if _, _, err := d.restoreTo(ctx, r, gen); err == nil {
		return "the run fails, but what it has saved can be restored like a whole one", nil
	}
	return "the run fails, nothing is saved", ctx.Err()
}

// killed kills a backup after half the time that it takes, and runs it again.
func (d *diffRun) killed(ctx context.Context, r *rival, _ int) (string, error) {
	if _, err := d.image.next(ctx); err != nil {
		return "", err
	}
	sum, err := sumOf(d.image.path)
	if err != nil {
		return "", err
	}
	gen := d.o.diffGenerations + 1
	var after time.Duration
	for _, x := range d.results {
		if x.rival == r {
			after = x.backups[len(x.backups)-1].wall / 2
		}
	}
	line := fmt.Sprintf(`timeout -s KILL %.2f bash -c "$BACKUP"`, after.Seconds())
	_, killErr := r.run(ctx, line, gen, d.image.path, "")
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if _, err := r.run(ctx, r.backup, gen, d.image.path, ""); err != nil {
		return fmt.Sprintf("the next run fails: %s", r.said()), nil
	}
	_, got, err := d.restoreTo(ctx, r, gen)
	switch {
	case err != nil || got != sum:
		return "the next run's backup is of no use", nil
	case killErr == nil:
		return "it was done before", nil
	}
	return "the next run is complete", nil
}

// flipped flips a byte in the middle of the largest file that a generation has added.
func (d *diffRun) flipped(ctx context.Context, r *rival, gen int) (string, error) {
	file := r.largest[gen]
	b, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	b[len(b)/2] ^= 1
	if err := errors.Join(os.Chmod(file, 0o600), os.WriteFile(file, b, 0o600)); err != nil {
		return "", err
	}
	return d.survivors(ctx, r, gen, 0)
}

// deleted removes a generation in the rival's own way: by its file, or by its snapshot.
func (d *diffRun) deleted(ctx context.Context, r *rival, gen int) (string, error) {
	var err error
	if r.chain {
		err = errors.Join(os.Remove(filepath.Join(r.repo(), fmt.Sprintf("%d.gz", gen))), os.Remove(filepath.Join(r.repo(), fmt.Sprintf("%d.md5", gen))))
	} else {
		// Both keep the only snapshot of a group unless they are told.
		_, err = r.run(ctx, `id=$("$PROGRAM" snapshots --tag "gen-$GEN" --json | sed 's/.*"short_id":"\([0-9a-f]*\)".*/\1/;q') && "$PROGRAM" forget "$id" --prune`, gen, "", "")
	}
	if err != nil {
		return "", err
	}
	return d.survivors(ctx, r, gen, gen)
}

// survivors says which of the generations around the harmed one, the first and the last still come back.
func (d *diffRun) survivors(ctx context.Context, r *rival, harmed, gone int) (string, error) {
	last := d.o.diffGenerations
	tried := []int{1, harmed - 1, harmed, harmed + 1, (harmed + last) / 2, last}
	tried = slices.DeleteFunc(tried, func(gen int) bool { return gen == gone || gen < 1 || gen > last })
	slices.Sort(tried)
	var lost, wrong []string
	tried = slices.Compact(tried)
	for _, gen := range tried {
		_, sum, err := d.restoreTo(ctx, r, gen)
		switch {
		case ctx.Err() != nil:
			return "", ctx.Err()
		case err != nil:
			lost = append(lost, fmt.Sprint(gen))
		case sum != d.sums[gen-1]:
			wrong = append(wrong, fmt.Sprint(gen))
		}
	}
	var parts []string
	if len(lost) > 0 {
		parts = append(parts, "can not be restored: "+strings.Join(lost, ", "))
	}
	if len(wrong) > 0 {
		parts = append(parts, "come back wrong, without an error: "+strings.Join(wrong, ", "))
	}
	if parts == nil {
		parts = append(parts, "all come back")
	}
	return fmt.Sprintf("%s (of %s that were tried)", strings.Join(parts, "; "), strings.Trim(fmt.Sprint(tried), "[]")), nil
}
