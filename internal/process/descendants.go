package process

import (
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// member is a process, which no other one with the same number is.
type member struct {
	pid   int
	start string // when it was started
}

// family are the processes that a command has started, directly or not, and that are in its process group: what has left that was meant to
// go on. It is for where the group is not the command's own, and can not be signalled as a whole.
type family struct {
	root  member
	group int
	all   map[member]bool
}

// newFamily returns that of a running command.
func newFamily(pid int) *family {
	f := &family{root: member{pid: pid}, all: map[member]bool{}}
	if p, ok := look(pid); ok {
		f.root, f.group = p.member, p.group
		f.all[f.root] = true
	}
	return f
}

// process is what the system says of one.
type process struct {
	member
	parent, group int
	dead          bool // nobody has waited for it yet
}

// look asks for a process.
func look(pid int) (p process, ok bool) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return p, false
	}
	// PID (NAME) STATE PPID PGRP …, and the time when it was started in the 22nd place; the name may have anything in it.
	end := bytes.LastIndexByte(text, ')')
	fields := bytes.Fields(text[end+1:])
	const state, parent, group, start = 0, 1, 2, 19
	if end < 0 || len(fields) <= start {
		return p, false
	}
	p.member = member{pid, string(fields[start])}
	p.dead = fields[state][0] == 'Z' || fields[state][0] == 'X'
	p.parent, _ = strconv.Atoi(string(fields[parent]))
	p.group, _ = strconv.Atoi(string(fields[group]))
	return p, true
}

// grow looks for those that have joined, and returns all that live, but for the command itself.
func (f *family) grow() (living []member) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var others []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p, ok := look(pid); ok && p.group == f.group && p.member != f.root {
			others = append(others, p)
		}
	}
	for joined := true; joined; {
		joined = false
		for _, p := range others {
			if !f.all[p.member] && f.hasPID(p.parent) {
				f.all[p.member], joined = true, true
			}
		}
	}
	for _, p := range others {
		if f.all[p.member] && !p.dead {
			living = append(living, p.member)
		}
	}
	return living
}

// hasPID reports whether a process is of the family.
func (f *family) hasPID(pid int) bool {
	p, ok := look(pid)
	return ok && f.all[p.member]
}

// signal sends a signal to all that live but the command itself, and returns how many there are.
func (f *family) signal(s unix.Signal) int {
	living := f.grow()
	for _, m := range living {
		if p, ok := look(m.pid); ok && p.member == m {
			_ = unix.Kill(m.pid, s) // it may be another user's
		}
	}
	return len(living)
}
