package fuzz

import (
	"strings"
	"testing"

	"github.com/kura-backup/kura/internal/mounts"
	"github.com/kura-backup/kura/source/mysql"
	"github.com/kura-backup/kura/source/mysql/binlog"
)

// FuzzMounts reads what the kernel says of mounts, which contains what users called their folders.
func FuzzMounts(f *testing.F) {
	for _, s := range []string{
		"26 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n",
		`30 26 0:25 /a\040b /mnt/c\134d ro - tmpfs none rw,size=1k` + "\n",
		"1 2 3:x / / rw - a b\n", " - ", "\\", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list, err := mounts.Parse(strings.NewReader(s))
		if lines := strings.Count(s, "\n") + 1; err == nil && len(list) > lines {
			t.Fatalf("%d mounts in %d lines", len(list), lines)
		}
	})
}

// FuzzMySQLWords reads names and positions as they are given to commands: what parses is shown in a way that parses to the same.
func FuzzMySQLWords(f *testing.F) {
	for _, s := range []string{"shop", "shop.orders", "`a.b`.`c``d`", "`a", "a.", ".", "", "0-1-100", "4294967296-1-1", "0-1--1", "a-b-c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if w, err := mysql.ParseWanted(s); err == nil && w.Database == "" {
			t.Fatalf("%q is of no database", s)
		}
		g, err := binlog.ParseGTID(s)
		if h, herr := mysql.ParseGTID(s); (herr == nil) != (err == nil) || err == nil && *h != g {
			t.Fatalf("%q: %v, %v; %v, %v", s, g, err, h, herr)
		}
		if err != nil {
			return
		}
		if again, err := binlog.ParseGTID(g.String()); err != nil || again != g {
			t.Fatalf("%q → %v → %v, %v", s, g, again, err)
		}
	})
}
