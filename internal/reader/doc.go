// Package reader is a second, independent reader of kura repositories, written from docs/format.md
// and from sections 3 and 4 of docs/protocol.md alone: if all that was left of kura were those
// pages, a repository could be read again. A test holds it to 720 lines and to no imports of kura.
//
// It prefers few lines to speed and comfort: it folds the whole log, ignores checkpoints, holds all
// places in memory, and uses the pages' numbers for keys and kinds as they are. It trusts nothing
// but its key: config, log, index segments, packs and blobs are verified before they are used.
package reader
