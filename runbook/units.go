package runbook

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

const systemctl = "systemctl"

// unitsAction stops or starts services, by systemd.
type unitsAction struct {
	s    *Step
	stop bool
}

func newUnits(s *Step) action { return unitsAction{s, s.Kind == "stop"} }

func (u unitsAction) verb() string {
	if u.stop {
		return "stop"
	}
	return "start"
}

// stateOf asks what a unit is doing: "active", "inactive" and others.
func (a *attempt) stateOf(ctx context.Context, unit string) (string, error) {
	out, err := a.output(ctx, []string{systemctl, "is-active", unit})
	state := strings.TrimSpace(out)
	// It ends badly for all that is not active, and says then what it is.
	if exit := exitCoder(nil); err != nil && (!errors.As(err, &exit) || exit.ExitCode() < 0 || !isWord(state)) {
		return "", fmt.Errorf("systemctl is-active %s: %w: %s", unit, timeoutOr(ctx, err), state)
	}
	return state, nil
}

func isWord(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return (r < 'a' || r > 'z') && r != '-' })
}

// is reports whether a unit in this state is what the step wants it to be. What is about to start, or to be restarted, does not stand still.
func (u unitsAction) is(state string) bool {
	if u.stop {
		return state == "inactive" || state == "failed" || state == "unknown"
	}
	return state == "active" || state == "reloading"
}

// left are the units that are not yet as they are to be.
func (u unitsAction) left(ctx context.Context, a *attempt) (units []string, err error) {
	for _, unit := range u.s.Units {
		state, err := a.stateOf(ctx, unit)
		if err != nil {
			return nil, err
		}
		if !u.is(state) {
			units = append(units, unit)
		}
	}
	return units, nil
}

// preflight looks whether the units are there. Of what has another name here nothing would be stopped.
func (u unitsAction) preflight(ctx context.Context, a *attempt, p *preflight) (errs []error) {
	if errs = p.program(ctx, a, Command{Argv: []string{systemctl}}); errs != nil {
		return errs
	}
	missing := 0
	for _, unit := range u.s.Units {
		out, err := a.output(ctx, []string{systemctl, "show", "--property=LoadState", "--value", unit})
		state := strings.TrimSpace(out)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("systemctl show %s: %w", unit, err))
		case u.stop && state == "not-found" && u.s.Missing:
			missing++
			a.w.Events.info(fmt.Sprintf("step %s: there is no unit %s", u.s.Name, unit))
		case u.stop && state == "not-found":
			errs = append(errs, fmt.Errorf("there is no unit %s, and what has another name would not be stopped (may-be-missing = true says that this is well)", unit))
		case !u.stop && (state == "not-found" || state == "masked") && p.services:
			a.w.Events.info(fmt.Sprintf("step %s: the unit %s can not be started as it is now (%s); a step before may change that", u.s.Name, unit, state))
		case !u.stop && (state == "not-found" || state == "masked"):
			errs = append(errs, fmt.Errorf("the unit %s can not be started: it is %s", unit, state))
		}
	}
	if missing > 0 && missing == len(u.s.Units) {
		errs = append(errs, errors.New("none of the units is there: have they other names on this machine?"))
	}
	return errs
}

// prepare notes which units are about to change. Those that an earlier attempt has changed are in the note of that one.
func (u unitsAction) prepare(ctx context.Context, a *attempt) (note, error) {
	left, err := u.left(ctx, a)
	if err != nil {
		return note{}, err
	}
	return note{Units: left, nothing: len(left) == 0}, nil
}

func (u unitsAction) run(ctx context.Context, a *attempt) error {
	return a.turn(ctx, u, u.s.Units)
}

// turn stops or starts those units that are not as they should be, one by one, and looks whether they are then.
func (a *attempt) turn(ctx context.Context, u unitsAction, units []string) error {
	for _, unit := range units {
		state, err := a.stateOf(ctx, unit)
		if err != nil {
			return err
		}
		if u.is(state) {
			continue
		}
		if err := a.exec(ctx, []string{systemctl, u.verb(), unit}); err != nil {
			return err
		}
		if state, err = a.stateOf(ctx, unit); err != nil {
			return err
		}
		if !u.is(state) {
			return fmt.Errorf("%s is %s after systemctl %s", unit, state, u.verb())
		}
	}
	return nil
}

func (u unitsAction) commands(*World) (out []string) {
	for _, unit := range u.s.Units {
		out = append(out, Quote([]string{systemctl, u.verb(), unit}))
	}
	return out
}
