package sshrun

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Whatever moves begins the silence anew. Nobody ends what has begun to run.
func TestSilence_Moves_BeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended atomic.Int64
		s := newSilence(time.Minute, func() { ended.Add(1) })
		time.Sleep(time.Hour) // it does not count yet
		for range 10 {
			s.begin(0)
			time.Sleep(59 * time.Second)
		}
		s.begin(time.Hour)
		time.Sleep(59 * time.Minute)
		s.begin(0)
		synctest.Wait()
		if ended.Load() > 0 {
			t.Fatal("it ended in between")
		}
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if s.begin(0); ended.Load() != 1 || !s.stop() {
			t.Errorf("it ended %d times", ended.Load())
		}
		time.Sleep(time.Hour)
		stopped := newSilence(time.Minute, func() { ended.Add(1) })
		if stopped.begin(0); stopped.stop() {
			t.Error("it was too long at once")
		}
		none := newSilence(0, func() { ended.Add(1) })
		none.begin(0)
		time.Sleep(time.Hour)
		synctest.Wait()
		if none.stop() || ended.Load() != 1 {
			t.Errorf("it ended %d times", ended.Load())
		}
	})
}
