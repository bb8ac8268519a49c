// Package caches looks after the folders in which clients keep what makes them fast, one for each repository.
//
// A client that has a repository open holds a shared lock on its folder ([folderlock.Hold]); whoever frees one takes the
// exclusive lock, and does not wait for it. The locks are a courtesy: everything in these folders can go at any time.
// Where the file system has none, only what was not used for a day is freed.
//
// Two small files stay when a folder is freed: "seen", by which a client notices that a repository was rolled back, and
// "location", which says for people where the repository was.
//
// A client without such a folder makes one for its own run ([Temporary]), and removes those of clients that were killed.
package caches
