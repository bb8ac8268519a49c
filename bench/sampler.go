package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// sampler watches the memory of a process and of its children while they run.
type sampler struct {
	proc  string
	root  int
	files map[int]*os.File // the open /proc/PID/status of each, nil for those that ended
	buf   [8 << 10]byte

	anon int64 // the largest sum of RssAnon
	rss  int64 // the largest peak RSS of one of them
}

const (
	sampleEvery   = 10 * time.Millisecond
	childrenEvery = 10 // samples; finding children costs a read for each thread
)

func newSampler(proc string, pid int) *sampler {
	return &sampler{proc: proc, root: pid, files: make(map[int]*os.File)}
}

// run samples until stop is closed.
func (s *sampler) run(stop <-chan struct{}) {
	defer func() {
		for _, f := range s.files {
			if f != nil {
				f.Close()
			}
		}
	}()
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for n := 0; ; n++ {
		if n%childrenEvery == 0 {
			s.discover(s.root)
		}
		s.sample()
		select {
		case <-stop:
			return
		case <-tick.C:
		}
	}
}

// discover opens the status of the process and of all processes that descend from it.
func (s *sampler) discover(pid int) {
	dir := filepath.Join(s.proc, strconv.Itoa(pid))
	if _, known := s.files[pid]; !known {
		f, err := os.Open(filepath.Join(dir, "status"))
		if err != nil {
			return // it ended
		}
		s.files[pid] = f
	}
	threads, err := os.ReadDir(filepath.Join(dir, "task"))
	if err != nil {
		return
	}
	for _, t := range threads {
		b, err := os.ReadFile(filepath.Join(dir, "task", t.Name(), "children"))
		if err != nil {
			continue
		}
		for _, word := range bytes.Fields(b) {
			if child, err := strconv.Atoi(string(word)); err == nil {
				s.discover(child)
			}
		}
	}
}

// sample takes one look at all of them.
func (s *sampler) sample() {
	var sum int64
	for pid, f := range s.files {
		if f == nil {
			continue
		}
		n, _ := f.ReadAt(s.buf[:], 0)
		if n == 0 {
			f.Close()
			s.files[pid] = nil
			continue
		}
		m := parseStatus(s.buf[:n])
		sum += m.anon
		s.rss = max(s.rss, m.peak)
	}
	s.anon = max(s.anon, sum)
}

// memory is what /proc/PID/status says of a process's memory, in bytes.
type memory struct {
	anon int64 // RssAnon: resident and its own, not of files
	peak int64 // VmHWM: the most that was resident
}

// parseStatus reads the lines it knows; a process that ended has none of them.
func parseStatus(status []byte) memory {
	var m memory
	for line := range bytes.Lines(status) {
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			continue
		}
		var field *int64
		switch string(name) {
		case "RssAnon":
			field = &m.anon
		case "VmHWM":
			field = &m.peak
		default:
			continue
		}
		number, ok := bytes.CutSuffix(bytes.TrimSpace(value), []byte(" kB"))
		if n, err := strconv.ParseInt(string(number), 10, 64); ok && err == nil {
			*field = n << 10
		}
	}
	return m
}

// ownPeak is the most memory that this process had.
func ownPeak() int64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	return parseStatus(b).peak
}
