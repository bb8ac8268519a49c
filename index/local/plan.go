package local

const (
	maxLevels = 6
	tierRatio = 3 // a level stays while it is this many times as large as all after it
	deadShare = 4 // a level is rewritten when more than 1/deadShare of its places are dead
)

// plan returns from which level on the levels should be rewritten as one, or len(levels) when
// they should stay.
func plan(levels []level, w wanted) int {
	from := len(levels)
	after := uint64(0)
	for i := len(levels) - 1; i >= 0; i-- {
		total, dead := uint64(0), uint64(0)
		for j := range levels[i].Sources {
			s := &levels[i].Sources[j]
			total += s.Places
			if !w.has(s) {
				dead += s.Places
			}
		}
		if dead*deadShare > total || i < len(levels)-1 && total < tierRatio*after || total == 0 {
			from = i
		}
		after += total
	}
	if len(levels) > maxLevels {
		from = min(from, maxLevels-1)
	}
	return from
}
