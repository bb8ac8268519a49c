// Package crashtest holds no code: its tests end commands at every one of their steps.
//
// A command is run once to count what it changes, and then once more for each of these steps and each
// way to die there; in further repositories, those that come after it die as well. What they leave is opened
// by the next process, which has to find every older snapshot whole, do its work without help, and leave no
// garbage. The same commands run on disks that fail: full, broken or read-only.
//
// A new command becomes an entry in the table of scenario_test.go.
package crashtest
