// Package fault wraps a Store for tests: it counts and records the operations
// and makes chosen ones fail. A fault is a value, built up in a sentence:
//
//	s := fault.New(mem.New())
//	s.Inject(
//		fault.On(fault.Put).Prefix("log/").Nth(2).After(errLost), // done, but answered with an error
//		fault.On(fault.Get).Times(3).Before(errBusy),             // not done, three times
//		fault.On(fault.Put).Prefix("data/").Torn(100, errCut),    // only 100 bytes arrive
//		fault.On().Rate(0.1, seed).Always().Before(errBusy),      // one in ten of all
//		fault.On(fault.Put).Nth(7).After(nil).Die(),              // the seventh Put is the last thing that works
//	)
//
// The three ways in which an operation can end with its process or connection
// are Before, After and Torn; with Die nothing works any more from then on, and
// what the store underneath holds is what a crash leaves.
package fault
