package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/check"
)

// TestDamageHints_Table looks for the beginnings of the hints, in order.
func TestDamageHints_Table(t *testing.T) {
	lost := func(object string) check.Problem { return check.Problem{Object: object, Err: errors.New("damaged")} }
	mendable := func(object string) check.Problem {
		return check.Problem{Object: object, Err: errors.New("damaged"), Mendable: true}
	}
	newer := check.Problem{Object: "data/x", Err: &repo.DamageError{Object: "data/x", Err: wire.ErrNewer}}
	content := check.Problem{Snapshot: "01234567", Path: "/etc/hosts", Err: errors.New("no pack holds it")}
	for name, c := range map[string]struct {
		problems []check.Problem
		want     []string
	}{
		"pack mendable":  {[]check.Problem{mendable("data/x")}, []string{"nothing is lost yet: kura repair packs"}},
		"pack":           {[]check.Problem{lost("tree/x"), mendable("data/x")}, []string{"keep the repository", "kura repair packs saves"}},
		"config":         {[]check.Problem{mendable("config")}, []string{"nothing is lost yet: copy the good one"}},
		"key slot":       {[]check.Problem{mendable("keys/x.copy"), mendable("data/x")}, []string{"nothing is lost yet: copy the good one", "kura repair packs"}},
		"slots differ":   {[]check.Problem{lost("keys/x"), lost("keys/x.copy")}, []string{"keep the repository"}},
		"index mendable": {[]check.Problem{mendable("index/x")}, []string{"nothing is lost yet: kura repair index"}},
		"index":          {[]check.Problem{lost("index/x"), lost("data/x"), mendable("index/y")}, []string{"kura repair index comes first", "kura repair packs"}},
		"unlisted":       {[]check.Problem{{Object: "data/x", Err: check.ErrUnlisted}}, []string{"kura repair index --read-all-packs", "keep the repository"}},
		"log":            {[]check.Problem{lost("log/x"), mendable("log/y")}, []string{"keep the repository", "put lost log entries back", "keep a copy"}},
		"group":          {[]check.Problem{mendable("parity/x")}, []string{"nothing is lost yet: remove what is damaged in parity/"}},
		"content":        {[]check.Problem{content}, []string{"keep the repository", "run the backups again"}},
		"content, pack":  {[]check.Problem{content, lost("data/x")}, []string{"keep the repository", "kura repair packs saves"}},
		"checkpoint":     {[]check.Problem{mendable("checkpoints/x")}, []string{"nothing is lost yet: nothing has to be done"}},
		"newer":          {[]check.Problem{newer}, []string{"what a newer kura wrote"}},
		"newer, pack":    {[]check.Problem{newer, lost("data/y")}, []string{"what a newer kura wrote", "keep the repository", "kura repair packs saves"}},
		"hint beside":    {[]check.Problem{mendable("data/x"), {Object: "keys/x", Err: errors.New("missing"), Mendable: true, Hint: true}}, []string{"nothing is lost yet: kura repair packs"}},
	} {
		got := damageHints(&check.Report{Problems: c.problems})
		same := len(got) == len(c.want)
		for i := range got {
			same = same && strings.HasPrefix(got[i], c.want[i])
		}
		if !same {
			t.Errorf("%s: %q", name, got)
		}
		if strings.Contains(strings.Join(got, " "), "restore still restores") && strings.HasPrefix(got[0], "kura repair index comes") {
			t.Errorf("%s: nothing can be restored without an index: %q", name, got)
		}
	}
}

func TestDamageFound_OnlyWhatIsNotUnderstood_IsNoDamage(t *testing.T) {
	newer := check.Problem{Object: "data/x", Err: &repo.DamageError{Object: "data/x", Err: wire.ErrNewer}}
	hint := check.Problem{Object: "keys/x", Err: errors.New("missing"), Hint: true}
	damaged := check.Problem{Object: "data/y", Err: errors.New("damaged")}
	for want, problems := range map[int][]check.Problem{exitError: {newer, hint}, exitDamage: {newer, damaged}} {
		err := damageFound(&check.Report{Problems: problems}, check.Choice{}, false)
		if got := exitCode(t.Context(), err); got != want || err == nil {
			t.Errorf("%v: exit code %d, want %d", err, got, want)
		}
	}
}
