package main

import (
	"encoding/json"
	"errors"
	"path/filepath"
)

var kura = likeRestic(tool{
	name:       "kura",
	options:    "compression auto (zstd), deltas to similar chunks (--similar auto), 3 % parity, AES-256-GCM, every segment decrypted, decompressed and compared before it is written; cache on",
	durability: "packs are written past the page cache (O_DIRECT); each object is fsynced before it gets its name by link(2), then its folder, before the snapshot's log entry is written; restored files are not synced",
	env:        func(place) []string { return []string{"KURA_PASSWORD=" + password} },
})

var restic = likeRestic(tool{
	name:       "restic",
	options:    "repository version and compression are this release's default (from 0.14: version 2, auto, that is zstd), AES-256-CTR with Poly1305; cache on",
	durability: "each file of the repository is fsynced before it is renamed to its name, then its folder; restored files are not synced",
	env:        func(place) []string { return []string{"RESTIC_PASSWORD=" + password} },
})

// likeRestic completes a tool whose commands are restic's.
func likeRestic(t tool) *tool {
	t.versionArgs = []string{"version"}
	t.s3 = true
	t.init = func(j job) [][]string { return resticLike(j, "init") }
	t.backup = backupLikeRestic
	t.restore = func(j job) [][]string { return resticLike(j, "restore", "latest", "--target", j.target()) }
	t.check = func(j job) [][]string { return resticLike(j, "check", "--read-data") }
	t.snapshots = func(j job) [][]string { return resticLike(j, "snapshots") }
	t.forget = func(j job) [][]string { return resticLike(j, "forget", "latest", "--prune") }
	return &t
}

// resticLike is a call of restic, or of kura, whose flags are the same.
func resticLike(j job, args ...string) [][]string {
	return [][]string{append([]string{"-r", j.repo(), "--cache-dir", j.cache()}, args...)}
}

func backupLikeRestic(j job) [][]string {
	if j.stream {
		return resticLike(j, "backup", "--stdin", "--stdin-filename", j.name())
	}
	return resticLike(j, "backup", j.path)
}

var borg = &tool{
	name:        "borg",
	versionArgs: []string{"--version"},
	options:     "compression lz4, encryption repokey-blake2 (AES-256-CTR with BLAKE2b); cache on",
	level3:      "compression zstd,3",
	durability:  "each segment file (up to 500 MiB) is fdatasynced when it is complete, then its folder, before the transaction is committed; restored files are not synced",
	env: func(p place) []string {
		return []string{"BORG_PASSPHRASE=" + password, "BORG_BASE_DIR=" + p.cache()}
	},
	init: func(j job) [][]string { return [][]string{{"init", "-e", "repokey-blake2", j.repo()}} },
	backup: func(j job) [][]string {
		args := []string{"create"}
		if j.level3 {
			args = append(args, "--compression", "zstd,3")
		}
		if j.stream {
			return [][]string{append(args, "--stdin-name", j.name(), j.repo()+"::"+j.label, "-")}
		}
		return [][]string{append(args, j.repo()+"::"+j.label, j.path)}
	},
	restore:   func(j job) [][]string { return [][]string{{"extract", j.repo() + "::" + j.label}} },
	check:     func(j job) [][]string { return [][]string{{"check", "--verify-data", j.repo()}} },
	snapshots: func(j job) [][]string { return [][]string{{"list", j.repo()}} },
	forget: func(j job) [][]string {
		return [][]string{{"delete", j.repo() + "::" + j.label}, {"compact", j.repo()}}
	},
}

// kopiaSource is what kopia takes a stream to be the content of.
func kopiaSource(j job) string {
	if j.stream {
		return "/stream"
	}
	return j.path
}

var kopia = &tool{
	name:        "kopia",
	versionArgs: []string{"--version"},
	options:     "no compression, AES256-GCM-HMAC-SHA256, BLAKE2B-256-128, DYNAMIC-4M-BUZHASH; cache on; runs maintenance by itself as it sees fit; check is snapshot verify of all files",
	level3:      "compression zstd, which is its level 3",
	durability:  "files of the repository are renamed to their names and nothing is synced; restored files are not synced",
	env: func(p place) []string {
		return []string{
			"KOPIA_PASSWORD=" + password, "KOPIA_CONFIG_PATH=" + filepath.Join(p.home(), "kopia.config"),
			"KOPIA_CACHE_DIRECTORY=" + p.cache(), "KOPIA_LOG_DIR=" + filepath.Join(p.home(), "log"), "KOPIA_CHECK_FOR_UPDATES=false",
		}
	},
	init: func(j job) [][]string {
		calls := [][]string{{"repository", "create", "filesystem", "--path", j.repo()}}
		if j.level3 {
			calls = append(calls, []string{"policy", "set", "--global", "--compression=zstd"})
		}
		return calls
	},
	backup: func(j job) [][]string {
		if j.stream {
			return [][]string{{"snapshot", "create", "--stdin-file", j.name(), kopiaSource(j)}}
		}
		return [][]string{{"snapshot", "create", j.path}}
	},
	restore: func(j job) [][]string {
		if j.file && !j.stream { // for a file it makes no folders
			return [][]string{{"restore", j.path, filepath.Join(j.target(), j.name())}}
		}
		return [][]string{{"restore", kopiaSource(j), filepath.Join(j.target(), kopiaSource(j))}}
	},
	check:     func(job) [][]string { return [][]string{{"snapshot", "verify", "--verify-files-percent=100"}} },
	snapshots: func(job) [][]string { return [][]string{{"snapshot", "list"}} },
	forget: func(j job) [][]string {
		return [][]string{{"snapshot", "delete", "--delete", j.id}, {"maintenance", "run", "--full", "--safety=none"}}
	},
}

func init() {
	kopia.newest.args = []string{"snapshot", "list", "--all", "--json", "-n", "1"}
	kopia.newest.id = func(output []byte) (string, error) {
		var list []struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(output, &list); err != nil {
			return "", err
		}
		if len(list) == 0 {
			return "", errors.New("there is no snapshot")
		}
		return list[len(list)-1].ID, nil
	}
}

// rustic and plakar are told what to do as their manuals say.
var rustic = &tool{
	name:        "rustic",
	versionArgs: []string{"--version"},
	options:     "repository version 2, zstd at its default level, AES-256-CTR with Poly1305; cache on",
	level3:      "compression level set to 3",
	durability:  "each file of the repository is synced when it is written; restored files are not synced",
	env: func(p place) []string {
		return []string{
			"RUSTIC_PASSWORD=" + password, "RUSTIC_REPOSITORY=" + p.repo(), "RUSTIC_CACHE_DIR=" + p.cache(), "RUSTIC_NO_PROGRESS=true",
		}
	},
	init: func(j job) [][]string {
		if j.level3 {
			return [][]string{{"init", "--set-compression", "3"}}
		}
		return [][]string{{"init"}}
	},
	backup: func(j job) [][]string {
		if j.stream {
			return [][]string{{"backup", "--stdin-filename", j.name(), "-"}}
		}
		return [][]string{{"backup", j.path}}
	},
	restore:   func(j job) [][]string { return [][]string{{"restore", "latest", j.target()}} },
	check:     func(job) [][]string { return [][]string{{"check", "--read-data"}} },
	snapshots: func(job) [][]string { return [][]string{{"snapshots"}} },
	forget:    func(job) [][]string { return [][]string{{"forget", "latest", "--prune", "--instant-delete"}} },
}

var plakar = &tool{
	name:        "plakar",
	versionArgs: []string{"version"},
	options:     "its own compression and encryption; cache on",
	durability:  "as its release does it",
	env: func(p place) []string {
		return []string{"PLAKAR_PASSPHRASE=" + password, "XDG_CACHE_HOME=" + p.cache()}
	},
	init: func(j job) [][]string { return plakarArgs(j, "create") },
	backup: func(j job) [][]string {
		if j.stream {
			return plakarArgs(j, "backup", "stdin:"+j.name())
		}
		return plakarArgs(j, "backup", j.path)
	},
	restore:   func(j job) [][]string { return plakarArgs(j, "restore", "-to", j.target()) },
	check:     func(j job) [][]string { return plakarArgs(j, "check") },
	snapshots: func(j job) [][]string { return plakarArgs(j, "ls") },
	forget: func(j job) [][]string {
		return append(plakarArgs(j, "rm", "-latest", "-apply"), plakarArgs(j, "maintenance")...)
	},
}

func plakarArgs(j job, args ...string) [][]string {
	return [][]string{append([]string{"at", j.repo()}, args...)}
}
