package storetest

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/kura-backup/kura/backends"
)

// raceNames is how many names are raced for.
const raceNames = 50

func raceName(i int) string { return fmt.Sprintf("log/%016d", i%raceNames) }

// Race is what a process does that [RaceProcesses] has started: when in says so it tries to take every name of s, twice,
// atOnce of them at a time, and tells out what it has taken.
func Race(ctx context.Context, s backends.Store, atOnce int, in io.Reader, out io.Writer) error {
	if _, err := fmt.Fprintln(out, "ready"); err != nil {
		return err
	}
	if _, err := bufio.NewReader(in).ReadString('\n'); err != nil {
		return err
	}
	var mu sync.Mutex // guards out
	var wg sync.WaitGroup
	turns := make(chan int)
	for range atOnce {
		wg.Go(func() {
			for i := range turns {
				// Which process it was is not known here, but these bytes are nobody else's.
				content := rand.Text()
				err := s.Put(ctx, raceName(i), []byte(content))
				mu.Lock()
				switch {
				case err == nil:
					fmt.Fprintln(out, "won", raceName(i), content)
				case !errors.Is(err, backends.ErrExist):
					fmt.Fprintln(out, "error", err)
				}
				mu.Unlock()
			}
		})
	}
	for i := range 2 * raceNames {
		turns <- i
	}
	close(turns)
	wg.Wait()
	return nil
}

// RaceProcesses starts the commands, which call [Race] with their standard input and output, lets them begin at the same
// moment, and compares what they say with what open's Store has afterwards: each name has one winner, and its bytes.
func RaceProcesses(t *testing.T, commands map[string]*exec.Cmd, open func() backends.Store) {
	t.Helper()
	var mu sync.Mutex // guards winners and won
	winners := make(map[string][]string)
	won := make(map[string]int)
	var ready, wg sync.WaitGroup
	start := make(chan struct{})
	for who, cmd := range commands {
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ready.Add(1)
		wg.Go(func() {
			begun := sync.OnceFunc(ready.Done)
			defer begun() // also of one that dies before
			lines := bufio.NewScanner(out)
			for lines.Scan() {
				switch words := strings.Fields(lines.Text()); {
				case len(words) == 1 && words[0] == "ready":
					begun()
					<-start
					fmt.Fprintln(in)
				case len(words) == 3 && words[0] == "won":
					mu.Lock()
					winners[words[1]] = append(winners[words[1]], words[2])
					won[who]++
					mu.Unlock()
				default:
					t.Errorf("%s: %s", who, lines.Text())
				}
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("%s: %v", who, err)
			}
		})
	}
	ready.Wait()
	close(start)
	wg.Wait()
	s := open()
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	for i := range raceNames {
		name := raceName(i)
		got, err := s.Get(t.Context(), name, 0, -1, nil)
		if err != nil || !slices.Equal(winners[name], []string{string(got)}) {
			t.Errorf("%s has %q, %v, and was won by %q", name, got, err, winners[name])
		}
	}
	t.Logf("won: %v", won)
}
