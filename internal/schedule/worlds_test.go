package schedule

import "time"

// small worlds are searched to the end.
func small() []*world {
	return []*world{
		{
			name:    "two writers share a chunk",
			clients: []member{writer("a", 1, 2), writer("b", 2, 3)},
		},
		{
			name:    "a writer needs what a collector is about to drop",
			base:    func(p *past) { p.commit("old", 1, 2); p.commit("other", 3); p.forget("old") },
			clients: []member{writer("a", 1), collector("gc", time.Hour)},
		},
		{
			name:    "a collector takes a writer for dead",
			base:    func(p *past) { p.commit("old", 1); p.forget("old") },
			clients: []member{writer("a", 2), collector("gc", nobody)},
		},
		{
			name:    "unforgetting beside a collection",
			base:    func(p *past) { p.commit("old", 1); p.commit("other", 2); p.forget("old") },
			clients: []member{unforgetter("u", "old"), collector("gc", time.Hour)},
		},
		{
			name:    "an orphan is adopted while its session is revoked",
			base:    func(p *past) { p.orphan(1, 2) },
			clients: []member{writer("a", 1, 2), collector("gc", nobody)},
		},
		{
			name:    "two writers adopt one orphan",
			base:    func(p *past) { p.orphan(1, 2) },
			clients: []member{writer("a", 1, 2), writer("b", 1, 2)},
		},
		{
			name:    "reading what is being carried elsewhere",
			base:    func(p *past) { p.commit("old", 1, 2); p.commit("kept", 2, 3); p.forget("old") },
			clients: []member{reader("r", "kept"), collector("gc", time.Hour)},
		},
		{
			name:    "two collectors",
			base:    func(p *past) { p.commit("old", 1, 2); p.commit("kept", 2); p.forget("old") },
			clients: []member{collector("gc1", nobody), collector("gc2", nobody)},
		},
		{
			name:    "forgetting beside pinning",
			base:    func(p *past) { p.commit("old", 1); p.commit("gone", 2); p.forget("gone") },
			clients: []member{unforgetter("u", "gone"), forgetter("f", "old"), pinner("p", "old")},
		},
		{
			name:    "a delta is stored while its base is collected",
			base:    func(p *past) { p.commit("old", grown); p.forget("old") },
			clients: []member{writer("a", grown+1), collector("gc", time.Hour)},
		},
		{
			name:    "a partial snapshot beside a collection",
			base:    func(p *past) { p.commit("old", 1); p.forget("old") },
			clients: []member{longWriter("a", 1, 1, 2), collector("gc", nobody)},
		},
	}
}

// large worlds are searched at random, with faults, and with listings that are weak.
func large() []*world {
	two := func(p *past) { p.commit("old", 1, 2); p.commit("kept", 2, 3); p.forget("old") }
	return []*world{
		{
			name:    "two writers and a collector",
			base:    two,
			clients: []member{writer("a", 1, 4), writer("b", 1, 4, 5), collector("gc", nobody)},
		},
		{
			name:    "a writer and two collectors",
			base:    two,
			clients: []member{writer("a", 1, 4), collector("gc1", nobody), collector("gc2", nobody)},
		},
		{
			name:    "two writers adopt an orphan beside a collector and somebody who forgets",
			base:    func(p *past) { p.commit("old", 5); p.orphan(1, 2); p.orphan(2, 3) },
			clients: []member{writer("a", 1, 2), writer("b", 2, 3), collector("gc", nobody), forgetter("f", "old")},
		},
		{
			name:    "a run with a partial snapshot, another that shares its chunks, two collectors",
			base:    two,
			clients: []member{longWriter("a", 2, 1, 4, 5), writer("b", 4, 5), collector("gc1", nobody), collector("gc2", time.Hour)},
		},
		{
			name:    "forgetting, unforgetting, pinning and reading beside a collection",
			base:    two,
			clients: []member{forgetter("f", "kept"), unforgetter("u", "old"), pinner("p", "kept"), reader("r", "kept"), collector("gc", nobody)},
		},
		{
			name: "index segments are merged beside a writer and a reader",
			base: func(p *past) {
				for i := range 10 {
					p.commit("s"+string(rune('0'+i)), 1, 10+i)
				}
				p.forget("s3")
			},
			clients: []member{writer("a", 13, 20), reader("r", "s4"), collector("gc1", time.Hour), collector("gc2", nobody)},
		},
		{
			name: "collectors that commit pack by pack beside each other and a writer",
			base: func(p *past) {
				p.commit("old", 1, 2)
				p.commit("s1", 2, 3)
				p.commit("s2", 3, 4)
				p.forget("old")
			},
			clients: []member{slicer("gc1"), slicer("gc2"), writer("a", 1, 4)},
		},
		{
			name: "generations are stored and forgotten beside two collections",
			base: func(p *past) {
				p.commit("old", grown)
				p.commit("older", grown+1, 1)
				p.commit("kept", grown+2, 1)
				p.orphan(grown+3, 2)
				p.forget("old")
			},
			clients: []member{writer("a", grown+3), writer("b", grown+2, 2), forgetter("f", "older"), collector("gc1", nobody), slicer("gc2")},
		},
		{
			name:    "keys are rotated beside a writer, a reader and a collector",
			base:    two,
			clients: []member{writer("a", 1, 4), rotator("k"), reader("r", "kept"), collector("gc", nobody)},
		},
		{
			name:    "two owners rotate keys beside a long run",
			base:    two,
			opening: true,
			clients: []member{longWriter("a", 1, 1, 4), rotator("k1"), rotator("k2")},
		},
		{
			name:    "everybody comes at once",
			base:    two,
			opening: true,
			clients: []member{writer("a", 1, 4), reader("r", "kept"), collector("gc", nobody), unforgetter("u", "old"), longWriter("b", 1, 4, 5)},
		},
	}
}
