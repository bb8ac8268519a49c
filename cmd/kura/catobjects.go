package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo/log"
)

// The shapes in which cat prints what only the repository itself reads.

type logEntryJSON struct {
	N         uint64       `json:"n"`
	Hash      string       `json:"hash"`
	Size      int          `json:"size"`
	Kind      string       `json:"kind"`
	Time      time.Time    `json:"time"`
	Signer    string       `json:"signer"`
	Session   string       `json:"session"`
	Void      string       `json:"void,omitempty"`
	Partial   bool         `json:"partial,omitempty"`
	Run       string       `json:"run,omitempty"`
	Add       []packJSON   `json:"add,omitempty"`
	Index     []packJSON   `json:"index,omitempty"`
	Supersede []string     `json:"supersede,omitempty"`
	Snapshots []string     `json:"snapshots,omitempty"`
	Pinned    bool         `json:"pinned,omitempty"`
	Drop      []string     `json:"drop,omitempty"`
	Revoke    []string     `json:"revoke,omitempty"`
	Gone      []string     `json:"gone,omitempty"`
	Replace   []string     `json:"replace,omitempty"`
	Signers   []signerJSON `json:"signers,omitempty"`
	Withdraw  []string     `json:"withdraw,omitempty"`
	Epoch     uint32       `json:"epoch,omitempty"`
}

type packJSON struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
}

type signerJSON struct {
	ID   string `json:"id"`
	Role string `json:"role"`
	Name string `json:"name,omitempty"`
}

func logEntry(rec *log.Record) logEntryJSON {
	e := rec.Entry
	out := logEntryJSON{
		N: rec.N, Hash: rec.Hash.String(), Size: rec.Size, Kind: e.Kind.String(), Time: time.Unix(0, e.Clock),
		Signer: hex.EncodeToString(rec.Signer[:]), Session: e.Session.String(), Partial: e.Partial,
		Add: packsJSON(e.Add), Index: packsJSON(e.Index),
		Supersede: texts(e.Supersede), Snapshots: texts(e.Snapshots), Pinned: e.Pinned, Drop: texts(e.Drop),
		Revoke: texts(e.Revoke), Gone: texts(e.Gone), Replace: texts(e.Replace), Epoch: e.Epoch.Number,
	}
	if rec.Void != nil {
		out.Void = rec.Void.Error()
	}
	if !e.Run.IsZero() {
		out.Run = e.Run.String()
	}
	for _, s := range e.Signers {
		out.Signers = append(out.Signers, signerJSON{hex.EncodeToString(s.ID[:]), s.Role.String(), s.Name})
	}
	for _, id := range e.Withdraw {
		out.Withdraw = append(out.Withdraw, hex.EncodeToString(id[:]))
	}
	return out
}

func packsJSON(refs []log.PackRef) (out []packJSON) {
	for _, p := range refs {
		out = append(out, packJSON{p.Ref.Name(), p.Size})
	}
	return out
}

func texts[T fmt.Stringer](list []T) (out []string) {
	for _, v := range list {
		out = append(out, v.String())
	}
	return out
}

type segmentJSON struct {
	Pack   string     `json:"pack,omitempty"`
	Offset uint32     `json:"offset"`
	Stored uint32     `json:"stored"`
	Plain  uint32     `json:"plain"`
	Coding string     `json:"coding"`
	Blobs  []blobJSON `json:"blobs"`
}

type blobJSON struct {
	ID     string `json:"id"`
	Length uint32 `json:"length"`
}

func (a *app) catPack(ctx context.Context, r *session, name string) error {
	ref, err := object.ParseRef(name)
	if err != nil || !ref.Class.IsPack() {
		return usage(fmt.Sprintf("%q is not the name of a pack", name), "kura cat log N shows names of packs")
	}
	size, err := sizeOf(ctx, r.store, name)
	if err != nil {
		return err
	}
	dir, err := r.LoadDirectory(ctx, ref, size)
	if err != nil {
		return err
	}
	segments := make([]segmentJSON, len(dir.Segments))
	for i := range dir.Segments {
		s := &dir.Segments[i]
		segments[i] = segmentJSON{Offset: s.Offset, Stored: s.Stored, Plain: s.Plain, Coding: s.Coding.String(), Blobs: []blobJSON{}}
		for j, id := range s.IDs {
			segments[i].Blobs = append(segments[i].Blobs, blobJSON{id.String(), s.Lengths[j]})
		}
	}
	a.term.Document(struct {
		Name     string        `json:"name"`
		Size     int64         `json:"size"`
		Live     bool          `json:"live"`
		Segments []segmentJSON `json:"segments"`
	}{name, size, r.State().Live(ref), segments})
	return nil
}

// sizeOf returns the size of a stored object.
func sizeOf(ctx context.Context, store backends.Store, name string) (int64, error) {
	for info, err := range store.List(ctx, name, "") {
		if err != nil {
			return 0, err
		}
		if info.Name == name {
			return info.Size, nil
		}
	}
	return 0, fmt.Errorf("%s: %w", name, errNoObject)
}

var errNoObject = errors.New("there is no such object in the store")

func (a *app) catIndex(ctx context.Context, r *session, name string) error {
	ref, err := object.ParseRef(name)
	if err != nil || ref.Class != object.Index {
		return usage(fmt.Sprintf("%q is not the name of an index segment", name), "kura cat log N shows names of index segments")
	}
	if _, err := sizeOf(ctx, r.store, name); err != nil {
		return err
	}
	ix, err := r.LoadIndexSegment(ctx, ref)
	if err != nil {
		return err
	}
	segments := make([]segmentJSON, len(ix.Segments))
	for i := range ix.Segments {
		s := &ix.Segments[i]
		segments[i] = segmentJSON{
			Pack: ix.Packs[s.Pack].Ref.Name(), Offset: s.Offset, Stored: s.Stored, Plain: s.Plain,
			Coding: s.Coding.String(), Blobs: []blobJSON{},
		}
	}
	for _, b := range ix.Blobs {
		s := &segments[b.Segment]
		s.Blobs = append(s.Blobs, blobJSON{b.ID.String(), b.Length})
	}
	packs := make([]packJSON, len(ix.Packs))
	for i, p := range ix.Packs {
		packs[i] = packJSON{p.Ref.Name(), p.Size}
	}
	a.term.Document(struct {
		Name     string        `json:"name"`
		Packs    []packJSON    `json:"packs"`
		Segments []segmentJSON `json:"segments"`
	}{name, packs, segments})
	return nil
}
