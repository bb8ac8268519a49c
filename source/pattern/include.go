package pattern

// Below returns the topmost folder for a walk that goes on below what matches: there, everything matches that no
// later pattern takes back.
func (l *List) Below() *Dir {
	all := *l
	all.takeBack = true // so that folders remember what matches them
	return all.Root()
}
