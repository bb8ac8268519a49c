package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/kura-backup/kura/repo"
)

func TestServers_OfBackupsOneAfterTheOther_AreToldApart(t *testing.T) {
	for _, c := range []struct{ backups, want string }{
		{"a:/mysql/local a:/mysql/local", "a:/mysql/local"},
		{"a:/mysql/local b:/mysql/local", "a:/mysql/local b:/mysql/local"},
		{"a:/redis/local-7000 b:/redis/local-7000", "a:/redis/local-7000 b:/redis/local-7000"},
		{"a:/mysql/127.0.0.1 b:/mysql/127.0.0.1", "a:/mysql/127.0.0.1 b:/mysql/127.0.0.1"},
		{"a:/mysql/localhost b:/mysql/localhost", "a:/mysql/localhost b:/mysql/localhost"},
		// Containers have a new name each time.
		{"a:/mysql/db a:/mysql/db b:/mysql/db c:/mysql/db", "c:/mysql/db"},
		{"a:/mysql/db b:/mysql/other c:/mysql/db", "b:/mysql/other c:/mysql/db"},
		{"a:/mysql/localdb b:/mysql/localdb", "b:/mysql/localdb"},
		// Two networks, in both of which a server has this name.
		{"a:/mysql/db b:/mysql/db a:/mysql/db", "a:/mysql/db b:/mysql/db"},
		{"", ""},
	} {
		var all []*repo.Snapshot
		names := map[*repo.Snapshot]string{}
		for i, backup := range strings.Fields(c.backups) {
			s := new(repo.Snapshot)
			s.Time = int64(i)
			s.Host, names[s], _ = strings.Cut(backup, ":")
			all = append(all, s)
		}
		slices.Reverse(all) // in any order
		got := servers(all, func(s *repo.Snapshot) string { return names[s] })
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q", c.backups, got)
		}
	}
}
