package model

import "testing"

// foldBase is a state with one of each: session 0 closed with a live snapshot,
// 1 closed with a forgotten one, 2 open, 3 revoked; pack 0 live, of session 0;
// 1 not live, of session 2; 2 dropped, of session 2; 3 not live, of session 3;
// index segment 0 valid, 1 of session 2.
func foldBase() state {
	var s state
	s.sess[0] = session{status: sessClosed, snap: snapLive, wants: saveA}
	s.sess[1] = session{status: sessClosed, snap: snapForgotten, wants: saveA}
	s.sess[2] = session{status: sessOpen}
	s.sess[3] = session{status: sessRevoked}
	s.packs[0] = pack{sess: 0, copies: plain(0), flags: used | exists | live}
	s.packs[1] = pack{sess: 2, copies: plain(0), flags: used | exists}
	s.packs[2] = pack{sess: 2, copies: plain(0), flags: used | exists | dropped}
	s.packs[3] = pack{sess: 3, copies: plain(0), flags: used | exists}
	s.segs[0] = segment{sess: 0, list: 1, flags: used | exists | live}
	s.segs[1] = segment{sess: 2, list: 4, flags: used | exists}
	s.ever = 1 << 2
	return s
}

func TestVoid_OneItemDoesNotApply_WholeEntryIsVoid(t *testing.T) {
	for _, x := range []struct {
		name string
		e    entry
		void bool
	}{
		{"own pack and segment", entry{kind: snapshotEntry, sid: 2, add: 1 << 1, segs: 1 << 1}, false},
		{"live pack added again", entry{kind: snapshotEntry, sid: 2, add: 1 << 0}, false},
		{"collection", entry{kind: collectEntry, sid: 2, drop: 1 << 0, gone: 1 << 1, replace: 1 << 0}, false},
		{"closed session", entry{kind: snapshotEntry, sid: 0}, true},
		{"revoked session", entry{kind: snapshotEntry, sid: 3}, true},
		{"revokes itself", entry{kind: collectEntry, sid: 2, revoke: 1 << 2}, true},
		{"revokes a closed session", entry{kind: collectEntry, sid: 2, revoke: 1 << 0}, true},
		{"adds a dropped pack", entry{kind: snapshotEntry, sid: 2, add: 1 << 2}, true},
		{"adds a pack of a revoked session", entry{kind: snapshotEntry, sid: 2, add: 1 << 3}, true},
		{"one good pack, one bad", entry{kind: snapshotEntry, sid: 2, add: 1<<1 | 1<<3}, true},
		{"adds and drops", entry{kind: collectEntry, sid: 2, add: 1 << 0, drop: 1 << 0}, true},
		{"drops what is not live", entry{kind: collectEntry, sid: 2, drop: 1 << 1}, true},
		{"another's index segment", entry{kind: snapshotEntry, sid: 2, segs: 1 << 0}, true},
		{"replaces what is not valid", entry{kind: collectEntry, sid: 2, replace: 1 << 1}, true},
		{"calls a live snapshot gone", entry{kind: collectEntry, sid: 2, gone: 1 << 0}, true},
		{"supersedes a forgotten snapshot", entry{kind: snapshotEntry, sid: 2, sup: 1 << 1}, true},
	} {
		s := foldBase()
		if why := s.void(&x.e); (why != "") != x.void {
			t.Errorf("%s: void is %q, want void %v", x.name, why, x.void)
		}
	}
}

func TestLand_DropOfOpenSessionsPack_StaysDroppedUntilClosed(t *testing.T) {
	s := foldBase()
	s.packs[1].flags |= live
	s.sess[4] = session{status: sessOpen}
	s.land(&entry{kind: collectEntry, sid: 4, drop: 1 << 1})
	if s.packs[1].flags&dropped == 0 || s.addable(1) {
		t.Fatalf("a dropped pack of an open session is addable: %+v", s.packs[1])
	}
	s.land(&entry{kind: snapshotEntry, sid: 2})
	if s.packs[1].flags&dropped != 0 {
		t.Errorf("the pack is still in the dropped set after its session was closed")
	}
	if s.addable(1) {
		t.Errorf("a pack of a closed session that is not live is addable")
	}
	if why := s.lemmas(); why != "a live pack is not listed completely" && why != "" {
		t.Error(why)
	}
}

func TestLand_AnyEntry_KillsPutsInFlightAndMakesActorsStale(t *testing.T) {
	s := foldBase()
	s.w[0] = writer{pc: ready, e: entry{kind: snapshotEntry, sid: 2}}
	s.c[0] = collector{pc: ready, e: entry{kind: collectEntry, sid: 4}}
	s.sess[4] = session{status: sessOpen}
	if !s.send(&s.w[0].e) {
		t.Fatal("no room for a put in flight")
	}
	s.land(&entry{kind: collectEntry, sid: 4})
	if !s.w[0].stale || s.flight(2) != nil {
		t.Errorf("stale %v, in flight %v; the number was taken by another", s.w[0].stale, s.flight(2))
	}
}
