package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack/parity"
	"github.com/kura-backup/kura/seal"
)

// entryParity is the share of parity in an entry's object, in percent. There is one entry for each number
// and no other copy, and entries are small: they get more than packs.
const entryParity = 10

// appendParity makes an entry's object from its envelope.
func appendParity(envelope []byte) ([]byte, error) { return parity.Append(envelope, 0, entryParity) }

// wholeEntry returns the object of an entry as it was written, its envelope, and whether the bytes given
// are others, which were mended. accept says whether an envelope is genuine.
func wholeEntry(obj []byte, accept func(envelope []byte) bool) (whole, envelope []byte, mended bool, err error) {
	if envelope, ok := canonical(obj); ok {
		return obj, envelope, false, nil
	}
	whole, _, err = parity.Mend(obj, 0, func(candidate []byte) bool {
		envelope, ok := canonical(candidate)
		return ok && accept(envelope)
	})
	if err != nil {
		return nil, nil, false, fmt.Errorf("its bytes are not those that were written: %w", err)
	}
	envelope, _, _ = parity.Body(whole)
	return whole, envelope, true, nil
}

// canonical returns the envelope of an object that is exactly what appendParity makes of it. Parity needs no key:
// with another section, of another percentage, say, somebody who has none could give an entry another hash.
func canonical(obj []byte) (envelope []byte, ok bool) {
	if len(obj) < parity.FooterSize {
		return nil, false
	}
	f, ok := parity.ParseFooter(obj[len(obj)-parity.FooterSize:])
	if !ok || f.Percent != entryParity || f.Value != 0 || !parity.Whole(obj) {
		return nil, false
	}
	envelope, _, ok = parity.Body(obj)
	return envelope, ok
}

// is reports whether what was read is the entry that was put, if perhaps damaged.
func is(got, put []byte) bool {
	if bytes.Equal(got, put) {
		return true
	}
	_, _, err := parity.Mend(got, len(put), func(candidate []byte) bool { return bytes.Equal(candidate, put) })
	return err == nil
}

// openEnvelope returns the whole object of an entry and the plaintext in it.
func openEnvelope(keys *seal.Keyring, bind, obj []byte) (whole, plain []byte, mended bool, err error) {
	open := func(envelope []byte) (err error) {
		_, plain, err = keys.Open(object.LogEntry, bind, envelope)
		return err
	}
	whole, envelope, mended, err := wholeEntry(obj, func(envelope []byte) bool { return open(envelope) == nil })
	if err != nil {
		return nil, nil, false, errors.Join(err, seal.ErrDamaged)
	}
	err = open(envelope)
	return whole, plain, mended, err
}

// has reports whether entry n, as it was written, has the hash.
func (l *Log) has(ctx context.Context, n uint64, want object.Hash) (bool, error) {
	name := object.LogName(n)
	obj, err := l.store.Get(ctx, name, 0, -1, nil)
	if err != nil {
		return false, missingIsDamage(name, err)
	}
	if object.Sum(obj) == want {
		return true, nil
	}
	_, _, err = parity.Mend(obj, 0, func(candidate []byte) bool { return object.Sum(candidate) == want })
	return err == nil, nil
}

// belongs reports whether st, which a checkpoint has, is the fold of the log that is stored: its last
// entry has the hash, or, where that entry is lost, the next one was made on top of that hash.
func (l *Log) belongs(ctx context.Context, st *State) (bool, error) {
	same, err := l.has(ctx, st.N, st.Hash)
	if same || ctx.Err() != nil || backends.KindOf(err) != backends.Permanent {
		return same, err
	}
	if err == nil { // it is there: damaged, or another
		obj, err := l.store.Get(ctx, object.LogName(st.N), 0, -1, nil)
		if err != nil {
			return false, err
		}
		if _, whole := canonical(obj); whole {
			return false, nil
		}
	}
	obj, nerr := l.store.Get(ctx, object.LogName(st.N+1), 0, -1, nil)
	if nerr != nil {
		return false, err // of entry n
	}
	_, oerr := OpenEntry(l.allKeys(), st, obj)
	return oerr == nil, nil
}

// leadsTo returns an error unless the history of a checkpoint is one that went on from the entry which this client has seen last, and which
// is below it. Of two histories that part before that entry a store can show the entry of one, and the checkpoint of the other. Each
// entry has the hash of the one before, but there can be thousands between. So it first looks for what the entry did: a session that
// was closed stays closed, and no other history can have the entry, which is sealed for its place. Only where it closed none they are read.
func (l *Log) leadsTo(ctx context.Context, checkpoint *State) error {
	if sid, ok := l.closedBy(ctx, l.seen.N); ok && checkpoint.Closed(sid) {
		return nil
	}
	other := fmt.Errorf("%w: checkpoint %d is not of what followed entry %d", ErrRollback, checkpoint.N, l.seen.N)
	hash := l.seen.Hash
	for n, obj := range l.ahead(ctx, l.seen.N+1, checkpoint.N) {
		if obj.err != nil {
			return obj.err
		}
		whole, _, _, err := openEnvelope(l.all, seal.BindLog(l.all.RepoID(), n, hash), obj.bytes)
		if _, intact := canonical(obj.bytes); err != nil && intact {
			return other
		}
		if err != nil {
			return notOpened(n, err)
		}
		hash = object.Sum(whole)
	}
	if hash != checkpoint.Hash {
		return other
	}
	return nil
}

// closedBy returns the session that entry n has closed, if it is of a kind that does, and it and the one before are whole.
func (l *Log) closedBy(ctx context.Context, n uint64) (sid object.SessionID, ok bool) {
	var before object.Hash
	var entry []byte
	for k, obj := range l.ahead(ctx, max(1, n-1), n) {
		if obj.err != nil {
			return sid, false
		}
		if entry = obj.bytes; k < n {
			before = object.Sum(entry)
		}
	}
	bind := seal.BindLog(l.all.RepoID(), n, before)
	_, body, _, err := openEnvelope(l.all, bind, entry)
	if err != nil {
		return sid, false
	}
	payload, _, err := seal.VerifyBody(object.LogEntry, bind, body, nil)
	if !errors.Is(err, seal.ErrUnknownSigner) { // as nobody is named: its signature was verified when it was seen
		return sid, false
	}
	_, _, e, err := DecodeEntry(payload)
	if err != nil || e.Kind != KindSnapshot && e.Kind != KindCollect {
		return sid, false
	}
	return e.Session, true
}
