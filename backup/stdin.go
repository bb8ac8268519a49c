package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/kura-backup/kura/chunk"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/source/files"
	"github.com/kura-backup/kura/source/stream"
	"github.com/kura-backup/kura/tree"
)

// stream backs up a stream as the only file of the snapshot and returns the root's page.
func (a *attempt) stream(ctx context.Context) (object.BlobID, error) {
	o := a.opts.Stdin
	if (o.Reader == nil) == (len(o.Command) == 0) {
		return object.BlobID{}, errors.New("backup: a stream is either a reader or a command")
	}
	names, err := streamNames(o.Filename)
	if err != nil {
		return object.BlobID{}, err
	}
	a.paths = []string{"/" + strings.Join(names, "/")}

	old, err := a.streamBefore(ctx)
	if err != nil {
		return object.BlobID{}, err
	}
	node := a.streamNode(names[len(names)-1])
	var added int64
	if o.Reader != nil {
		added, err = a.readStream(ctx, o.Reader, node, old)
	} else {
		added, err = a.readCommand(ctx, o.Command, node, old)
	}
	if err != nil {
		return object.BlobID{}, err
	}
	action := actionOf([2]*tree.Node{old}, false)
	a.report.entry(node, action)
	if a.report.wantsItems() {
		a.report.item(Item{Path: a.paths[0], Type: tree.File, Action: action, Size: node.Size, Added: added})
	}
	save := a.savePage
	for i := len(names) - 1; ; i-- {
		id, err := tree.WriteDir(ctx, []tree.Node{*node}, save)
		if err != nil || i == 0 {
			return id, err
		}
		node = &tree.Node{
			Name: names[i-1], Type: tree.Folder, Mode: 0o755, Subtree: id,
			UID: node.UID, GID: node.GID, User: node.User, Group: node.Group,
		}
	}
}

// streamBefore returns the file that the parent has of the stream, or nil. There are no partial snapshots of streams.
func (a *attempt) streamBefore(ctx context.Context) (*tree.Node, error) {
	ps, err := a.parents(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(ps[:], func(p *repo.Snapshot) bool { return p != nil && p.Complete() && p.Source == sourceStdin })
	if i < 0 {
		return nil, nil
	}
	a.parent = ps[i]
	paths := a.parent.PathStrings()
	if len(paths) != 1 { // not written by a backup
		return nil, nil
	}
	node, err := a.repo.Find(ctx, a.parent, paths[0])
	if _, damaged := parentDamage(err); errors.Is(err, repo.ErrNotFound) && !damaged {
		return nil, nil
	}
	return node, a.streamLost(err)
}

// streamLost decides whether the run can go on without what the parent has of the stream.
func (a *attempt) streamLost(err error) error {
	return parents{a.parent}.unread(a.repo, a.report, func() string { return a.paths[0] }, err)
}

// streamNames splits the path of a stream's file.
func streamNames(name string) ([]string, error) {
	if name == "" {
		name = "stdin"
	}
	clean := path.Clean("/" + name)
	names := strings.Split(clean[1:], "/")
	if clean == "/" || slices.ContainsFunc(names, func(s string) bool {
		return len(s) > tree.MaxName || strings.IndexByte(s, 0) >= 0
	}) {
		return nil, fmt.Errorf("backup: %q can not be the name of the stream's file", name)
	}
	return names, nil
}

func (a *attempt) streamNode(name string) *tree.Node {
	var owners files.Owners
	uid, gid := uint32(os.Getuid()), uint32(os.Getgid())
	return &tree.Node{
		Name: name, Type: tree.File, Mode: 0o644, UID: uid, GID: gid,
		User: owners.User(uid), Group: owners.Group(gid),
		MTime: tree.MakeTime(a.opts.Time.Unix(), uint32(a.opts.Time.Nanosecond())),
	}
}

func (a *attempt) savePage(_ context.Context, page []byte) (object.BlobID, error) {
	saved, err := a.session.SaveNow(object.TreeBlob, page)
	return saved.ID, err
}

func (a *attempt) readCommand(ctx context.Context, command []string, node, old *tree.Node) (int64, error) {
	c, err := stream.Start(ctx, command)
	if err != nil {
		return 0, &CommandError{Command: command, Err: err}
	}
	added, err := a.readStream(ctx, c.Output(), node, old)
	if err != nil && !errors.Is(err, ErrEmptyStream) {
		c.Stop()
		return 0, err
	}
	if failed := c.Wait(); failed != nil {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		return 0, &CommandError{Command: command, Err: failed}
	}
	return added, err
}

// readStream reads a stream to its end and sets the content of node. old is the file that it was in the parent, or nil.
func (a *attempt) readStream(ctx context.Context, r io.Reader, node, old *tree.Node) (added int64, err error) {
	cutter, err := chunk.New(uint64(a.repo.Keys().Polynomial()))
	if err != nil {
		return 0, err
	}
	ahead, err := newAhead(a.repo)
	if err != nil {
		return 0, err
	}
	defer cutter.Reset(nil)
	ctx, cancel := context.WithCancel(ctx) // ends the reading before the reset, which waits for it
	defer cancel()
	reset(cutter, stream.NewReader(ctx, r), ahead)
	stored := make(chan struct{})
	q := &extentQueue{
		writer: tree.NewContentWriter(a.savePage), last: func() { close(stored) },
		like: newPredecessor(ctx, old, a.repo.LoadTree),
	}
	for {
		ch, err := cutter.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return 0, fmt.Errorf("backup: reading the stream: %w", err)
		}
		if err := q.add(ctx, a.session, ch); err != nil {
			return 0, err
		}
		a.report.progress.BytesDone.Add(uint64(ch.Length))
		a.report.stored(a.session.Stats())
	}
	if q.length == 0 {
		return 0, ErrEmptyStream
	}
	if !q.seal() {
		<-stored // all are told their ids, also when the session fails
	}
	if err := a.streamLost(q.like.failure()); err != nil {
		return 0, err
	}
	return q.finish(ctx, node)
}
