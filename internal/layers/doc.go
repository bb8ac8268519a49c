// Package layers holds no code: its test keeps the layers of the project apart.
//
// Which package may import which is the part of the design that erodes first, so it is a test, and each
// rule says why it is there. docs/architecture.md shows the whole picture, and a test compares the packages that it lists with those that
// there are. Another one does that for the tests that docs/seeds.md names.
package layers
