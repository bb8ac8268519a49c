package retry

import "time"

// Options say how patient a Store is. The zero value of each is the default.
type Options struct {
	Tries    int           // how often an operation is tried at most; 40
	Total    time.Duration // how long after its first failure it is still tried again; 5 minutes
	Unproven time.Duration // the same, as long as the store has not answered once; 1 minute
	Pause    time.Duration // about the first pause; 100 ms
	MaxPause time.Duration // about the longest pause; 15 s

	Deadline time.Duration // of a request that moves no bytes; 60 s
	Rate     int64         // bytes a second that lengthen it; 32 KiB
	Idle     time.Duration // the time for 64 KiB, where the store tells of them; 2 minutes

	// Notify, if set, is called before each pause, by several goroutines at once. name is that of the object, of a
	// List the prefix; empty for many.
	Notify func(op, name string, err error, pause time.Duration)
}

func (o Options) withDefaults() Options {
	def(&o.Tries, 40)
	def(&o.Total, 5*time.Minute)
	def(&o.Unproven, time.Minute)
	def(&o.Pause, 100*time.Millisecond)
	def(&o.MaxPause, 15*time.Second)
	def(&o.Deadline, time.Minute)
	def(&o.Rate, 32<<10)
	def(&o.Idle, 2*time.Minute)
	if o.Notify == nil {
		o.Notify = func(string, string, error, time.Duration) {}
	}
	return o
}

func def[T comparable](value *T, to T) {
	var zero T
	if *value == zero {
		*value = to
	}
}
