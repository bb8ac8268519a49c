package main

import (
	"fmt"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kura-backup/kura/internal/testserver"
)

// scriptCondition knows what scripts can ask for in brackets beyond what testscript knows: mariadbd and sshd are installed servers.
func scriptCondition(cond string) (bool, error) {
	switch cond {
	case "mariadbd":
		return testserver.HasMariaDB(), nil
	case "sshd":
		return testserver.HasSshd(), nil
	}
	return false, fmt.Errorf("there is no condition %q", cond)
}

// mariadb [DIR] starts a MariaDB server, with the data in DIR if it is given, and sets $MARIADB to its socket.
func cmdMariaDB(ts *testscript.TestScript, neg bool, args []string) {
	var s *testserver.MariaDB
	var err error
	switch {
	case neg || len(args) > 1:
		ts.Fatalf("usage: mariadb [DIR]")
	case len(args) == 1:
		s, err = testserver.StartMariaDBOn(ts.MkAbs(args[0]))
	default:
		s, err = testserver.StartMariaDB()
	}
	ts.Check(err)
	ts.Defer(s.Remove)
	ts.Setenv("MARIADB", s.Socket)
}
