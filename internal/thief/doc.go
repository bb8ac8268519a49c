// Package thief attacks a repository with nothing but a stolen writer's key and the right to put objects, and
// once more with the right to overwrite and delete them. Its tests are the attacks: for each class of objects
// what somebody with that key would write, and what comes of it. Snapshots that others made can not be read,
// and none of them is lost by the next collections. docs/threat-model.md names these tests.
package thief
