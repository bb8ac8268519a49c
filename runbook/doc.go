// Package runbook follows plans for a recovery: steps in an order, each of which can be asked whether it is done, tried again, and taken
// back.
//
// A [Plan] is read from TOML (docs/runbook.md has its format) and says nothing about when it runs. A [Run] is one attempt to
// follow it, and has a folder with a journal, a copy of the plan and a log for each step. The journal says "begun" before a step touches
// anything, with what is needed to take it back, and "done" or "failed" after it; every such line is on the disk
// before the next thing happens. A run that was killed is therefore gone on with like this:
//
//   - what is done is not done again, unless its own check says that it is not so any more;
//   - what had not begun is done;
//   - what had begun is done again if that can do no harm (by its kind, by its check, or because the plan says so), and
//     otherwise somebody is asked.
//
// Nothing is decided by guessing. What a step will change is written down before, not found out after: which services were running
// before they were stopped, and the name that a folder is moved to.
//
// Commands are run by internal/process, and kura's own verbs as commands of this same program, so that what a dry
// run shows is what somebody could type.
package runbook
