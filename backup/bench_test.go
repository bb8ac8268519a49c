package backup

import "testing"

// BenchmarkRun is a backup of many tiny files into memory: what a file costs beside its bytes, with what is allocated
// for all of them, and for the second what it costs to see that nothing has changed.
func BenchmarkRun(b *testing.B) {
	root := memoryDir(b)
	makeTree(b, root, manyFiles(20_000))
	settleTimes()
	o := Options{Paths: []string{root}, Host: "h"}
	b.Run("first/files20000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			b.StopTimer()
			r, _ := newRepo(b)
			b.StartTimer()
			mustRun(b, r, o)
		}
	})
	b.Run("unchanged/files20000", func(b *testing.B) {
		r, _ := newRepo(b)
		mustRun(b, r, o)
		b.ReportAllocs()
		for b.Loop() {
			mustRun(b, r, o)
		}
	})
}
