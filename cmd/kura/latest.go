package main

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/kura-backup/kura/repo"
)

// oneServer refuses a filter that selects backups of several servers, by the names that name gives them: the newest of them is that of any.
func oneServer(ctx context.Context, r *session, f repo.SnapshotFilter, name func(*repo.Snapshot) string, hint string) error {
	all, err := r.Snapshots(ctx)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(slices.Clone(all), func(s *repo.Snapshot) bool { return !s.Complete() || !f.Match(s) })
	several := servers(all, name)
	if len(several) < 2 {
		return nil
	}
	text := strings.Join(several[:min(len(several), mostServers)], ", ")
	if more := len(several) - mostServers; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return usage("there are backups of several servers: "+text, hint+", or an id in place of latest")
}

// mostServers is how many are named.
const mostServers = 10

// servers returns what the servers of backups are called, with the host that has made them. A server that is named by its address can be backed up
// from one host after the other, as from containers, which have a new name each time: it is one server unless a host comes back
// after another has taken its place.
func servers(all []*repo.Snapshot, name func(*repo.Snapshot) string) (out []string) {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b *repo.Snapshot) int { return cmp.Compare(a.Time, b.Time) })
	hosts, returned := map[string][]string{}, map[string]bool{}
	for _, s := range all {
		server := name(s)
		seen := hosts[server]
		switch i := slices.Index(seen, s.Host); {
		case i < 0:
			hosts[server] = append(seen, s.Host)
		case i < len(seen)-1:
			returned[server] = true
		}
	}
	for server, from := range hosts {
		if !returned[server] && !isOfItsHost(server) {
			from = from[len(from)-1:]
		}
		for _, host := range from {
			out = append(out, host+":"+server)
		}
	}
	slices.Sort(out)
	return out
}

// pathsOf stands for the server of a snapshot of which a newer kura has written the details. It counts, too: one that is older must not take
// its place without a word.
func pathsOf(s *repo.Snapshot) string { return strings.Join(s.PathStrings(), " ") }

// isOfItsHost reports whether the name of a server means another one on each host.
func isOfItsHost(server string) bool {
	name := path.Base(server)
	return name == "local" || strings.HasPrefix(name, "local-") || name == "localhost" || name == "::1" || strings.HasPrefix(name, "127.")
}
