package main

// The limits are what the machine can do at all: programs that copy, read or look at the same data and keep no
// repository. They stand beside the results, and nothing is a multiple of them.

// cpLimit writes files as they are: nobody restores faster than a copy is made, but for what is done in parallel.
var cpLimit = &tool{
	name: "cp", versionArgs: []string{"--version"},
	options:    "limit, no peer: cp -a",
	durability: "nothing is synced",
	env:        noEnv,
	limit: func(j job) [][]string {
		switch {
		case j.does == restoreNewest && !j.stream:
			return [][]string{{"-a", "--parents", j.path, j.target()}}
		case j.does == backUpFirst && j.file && !j.stream:
			return [][]string{{"-a", "-T", j.path, j.repoFolder()}}
		}
		return nil
	},
}

// catLimit reads all that is there.
var catLimit = &tool{
	name: "cat", binary: "sh", versionArgs: []string{"-c", "cat --version"},
	options:    "limit, no peer: cat to /dev/null of all files, or of standard input",
	durability: "nothing is written", readsOnly: true,
	env: noEnv,
	limit: func(j job) [][]string {
		switch {
		case j.does != backUpFirst && (j.does != backUpNext || !j.file):
			return nil
		case j.stream:
			return [][]string{{"-c", "exec cat"}}
		}
		return [][]string{{"-c", `exec find "$0" -type f -exec cat {} +`, j.path}}
	},
}

// findLimit looks at what all files are, as a backup has to that finds them unchanged.
var findLimit = &tool{
	name: "find", versionArgs: []string{"--version"},
	options:    "limit, no peer: find -printf of type, mode, owner, size, times and inode",
	durability: "nothing is written", readsOnly: true,
	env: noEnv,
	limit: func(j job) [][]string {
		if j.file || j.does != backUpAgain && j.does != backUpNext {
			return nil
		}
		return [][]string{{j.path, "-printf", `%y %m %U %G %s %T@ %C@ %i %n %p\n`}}
	},
}

// rsyncLimit keeps a copy that is neither encrypted nor deduplicated, and has no history.
var rsyncLimit = &tool{
	name: "rsync", versionArgs: []string{"--version"},
	options:    "limit, no peer: rsync -a into a folder",
	durability: "nothing is synced",
	env:        noEnv,
	limit: func(j job) [][]string {
		switch j.does {
		case backUpFirst, backUpAgain, backUpNext:
			if !j.file {
				return [][]string{{"-a", j.path + "/", j.repoFolder() + "/"}}
			}
		}
		return nil
	},
}

func noEnv(place) []string { return nil }
