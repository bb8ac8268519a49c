package soak

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/kura-backup/kura/internal/testrand"
	"github.com/kura-backup/kura/internal/testserver"
	"github.com/kura-backup/kura/internal/testsys"
)

var (
	timeFlag    = flag.Duration("soak.time", 8*time.Second, "how long the processes work")
	seedFlag    = flag.Uint64("soak.seed", 0, "seed of what is drawn at random; 0 draws one")
	writersFlag = flag.Int("soak.writers", 8, "how many back up at once")
	storeFlag   = flag.String("soak.store", "", "s3 or local; by default s3 where a server was built")
)

func TestMain(m *testing.M) {
	if where := os.Getenv(openVar); where != "" {
		if err := openOnce(where); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	m.Run()
}

func TestSoak_ProcessesStoppedAndKilled_NothingIsLost(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	seed := *seedFlag
	if seed == 0 {
		seed = testrand.Seed(t)
	}
	w := newWorld(t, seed)
	t.Logf("seed %d (repeat with -soak.seed), %d writers for %v on %s", seed, *writersFlag, *timeFlag, w.where)

	var people, chaos sync.WaitGroup
	stop := make(chan struct{})
	for n := range *writersFlag {
		people.Go(func() { w.write(stop, n) })
	}
	for n := range 2 {
		people.Go(func() { w.forgetAndPrune(stop, n) })
	}
	people.Go(func() { w.look(stop) })
	calm := make(chan struct{})
	people.Go(func() { w.impatient(calm) })
	chaos.Go(func() { w.disturb(calm) })

	select {
	case <-time.After(*timeFlag):
	case <-w.failed:
	}
	close(calm)
	chaos.Wait() // what is stopped goes on
	w.awaitCommit()
	close(stop)
	people.Wait()
	w.verify()
	w.report()
}

// awaitCommit waits until somebody has committed something: on a busy machine nobody may have, as long as there was trouble.
func (w *world) awaitCommit() {
	for {
		w.mu.Lock()
		done := w.commits > 0
		w.mu.Unlock()
		if done {
			return
		}
		select {
		case <-w.failed:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// newWorld makes the repository.
func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		t: t, seed: seed, dir: testsys.MemoryDir(t), failed: make(chan struct{}),
		told: map[string]manifest{}, maybe: map[string][]manifest{}, running: map[*exec.Cmd]struct{}{},
	}
	w.where, w.program = filepath.Join(w.dir, "repo"), filepath.Join(w.dir, "kura")
	if out, err := exec.Command("go", "build", "-o", w.program, "github.com/kura-backup/kura/cmd/kura").CombinedOutput(); err != nil {
		t.Fatalf("build kura: %v\n%s", err, out)
	}
	w.key = filepath.Join(w.dir, "key")
	if server := s3(t); server != nil {
		server.Setenv(t) // for the collector in this process, too
		w.where = "s3:" + server.Endpoint + "/" + server.Bucket(t)
	}
	w.must(w.kura("init", "init", "--key-file", w.key))
	return w
}

func s3(t *testing.T) *testserver.S3 {
	switch *storeFlag {
	case "local":
		return nil
	case "s3":
		return testserver.Versitygw(t)
	case "":
		if !testserver.HasVersitygw() {
			t.Log("there is no S3 server here (make servers builds one): a local folder is used")
			return nil
		}
		return testserver.Versitygw(t)
	}
	t.Fatalf("-soak.store %q: want s3 or local", *storeFlag)
	return nil
}
