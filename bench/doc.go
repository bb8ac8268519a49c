// Command bench measures kura beside its peers: the same step of each program in
// turn, several rounds, on data sets that it makes or finds on the machine.
//
// Three tables say what is measured: datasets has the data sets, newSteps the steps
// that are made of them, and tools the programs and how each is told to do a step.
// A new data set, step or program is a new entry in one of them. README.md says
// how the numbers come about and how to read them.
//
// Programs are run one at a time and nothing here is safe for concurrent use, but
// for the sampler of memory, which runs beside the program that it looks at.
package main
