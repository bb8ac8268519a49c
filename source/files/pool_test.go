package files

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestPool_ManyGoroutines_EachFindsItsFolder(t *testing.T) {
	root := t.TempDir()
	p := newPool(3)
	defer p.Close()
	top := p.Root(root)
	var dirs []*Dir
	for i := range 20 {
		name := fmt.Sprint(i)
		must(t, os.MkdirAll(filepath.Join(root, name, "below", name), 0o755))
		dirs = append(dirs, top.Child(name).Child("below"))
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for k := range 200 {
				i := (g*7 + k) % len(dirs)
				entries, err := dirs[i].List()
				if err != nil || len(entries) != 1 || entries[0].Name != fmt.Sprint(i) {
					t.Errorf("folder %d: %v, %v", i, entries, err)
				}
				if k%5 == 0 {
					dirs[i].Close()
				}
			}
		})
	}
	wg.Wait()
}
