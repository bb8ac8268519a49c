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
	ctx, cancel := context.WithCancel(ctx) // ends the reading ahead
	defer cancel()

	node := a.streamNode(names[len(names)-1])
	var added int64
	if o.Reader != nil {
		added, err = a.readStream(ctx, o.Reader, node)
	} else {
		added, err = a.readCommand(ctx, o.Command, node)
	}
	if err != nil {
		return object.BlobID{}, err
	}
	a.report.entry(node, New)
	if a.report.wantsItems() {
		a.report.item(Item{Path: a.paths[0], Type: tree.File, Action: New, Size: node.Size, Added: added})
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

func (a *attempt) readCommand(ctx context.Context, command []string, node *tree.Node) (int64, error) {
	c, err := stream.Start(ctx, command)
	if err != nil {
		return 0, &CommandError{Command: command, Err: err}
	}
	added, err := a.readStream(ctx, c.Output(), node)
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

// readStream reads a stream to its end and sets the content of node.
func (a *attempt) readStream(ctx context.Context, r io.Reader, node *tree.Node) (added int64, err error) {
	cutter, err := chunk.New(uint64(a.repo.Keys().Polynomial()))
	if err != nil {
		return 0, err
	}
	cutter.Reset(stream.NewReader(ctx, r))
	stored := make(chan struct{})
	q := &extentQueue{writer: tree.NewContentWriter(a.savePage), last: func() { close(stored) }}
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
	return q.finish(ctx, node)
}
