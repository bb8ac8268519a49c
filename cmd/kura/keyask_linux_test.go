package main

import "testing"

// The question for a new key was once that for a new repository.
func TestKeyAdd_AtTerminal_AsksForTheNewPasswordTwice(t *testing.T) {
	t.Parallel()
	u := newUser(t, "KURA_PASSWORD=old", "KURA_REPOSITORY=repo")
	u.run(exitOK, "init")
	p := u.atTerminal(nil, "key", "add")
	p.expect("new password:")
	p.send("new\n")
	p.expect("the same password again:")
	p.send("new\n")
	p.expect("opens the repository now, as owner")
	p.wait(exitOK)
	u.env = append(u.env, "KURA_PASSWORD=new")
	u.run(exitOK, "snapshots")
}
