// Command bench measures kura beside its peers: the same step of each program in
// turn, several rounds, on data sets that it makes or finds on the machine.
//
// Three tables say what is measured: datasets has the data sets, each with its steps
// (step.go), tools the programs and how each is told to do a step, and goals what
// should come out. A new data set, program or goal is a new entry in one of them.
// What is measured is a record, and records of several runs make one report: tables,
// and a chart. README.md says how the numbers come about and how to read them.
//
// Programs are run one at a time and nothing here is safe for concurrent use, but
// for the sampler of memory, which runs beside the program that it looks at.
package main
