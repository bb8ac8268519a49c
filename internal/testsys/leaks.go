package testsys

import (
	"testing"

	"go.uber.org/goleak"
)

// VerifyMain runs the tests of a package, and fails if goroutines of theirs are left. Those that are about to end have
// minutes for that.
func VerifyMain(m *testing.M) { goleak.VerifyTestMain(patient{m}) }

// VerifyNone fails the test if goroutines are left. Those that are about to end have minutes for that.
func VerifyNone(t testing.TB, options ...goleak.Option) {
	t.Helper()
	if err := find(options...); err != nil {
		t.Error(err)
	}
}

type patient struct{ *testing.M }

func (p patient) Run() int {
	code := p.M.Run()
	_ = find() // whoever called looks once more
	return code
}

// find gives goroutines more time than package goleak does, whose half second is too short on a busy machine.
func find(options ...goleak.Option) (err error) {
	const tries = 300 // of nearly half a second each
	for range tries {
		if err = goleak.Find(options...); err == nil {
			return nil
		}
	}
	return err
}
