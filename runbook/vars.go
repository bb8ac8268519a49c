package runbook

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A text of a plan can have {{name}} in it, for a variable, and {{snapshot.name}}, for the id of a snapshot.
var reference = regexp.MustCompile(`\{\{\s*([^{}]*?)\s*\}\}`)

const snapshotPrefix = "snapshot."

// errShell is why a value can not be a part of a shell's command line.
var errShell = errors.New("in a shell's command line a value has only letters, digits and _-./:@%+=, : write the command as a list")

// texts calls change with every text of a step that variables are filled in, and puts what it returns in its place. The key is
// that of the plan; shell says that a shell reads the text.
func (s *Step) texts(change func(key, text string, shell bool) string) {
	one := func(key string, to *string) { *to = change(key, *to, false) }
	many := func(key string, to *[]string) {
		*to = slices.Clone(*to)
		for i := range *to {
			one(key, &(*to)[i])
		}
	}
	for _, c := range []struct {
		key string
		to  *Command
	}{{"command", &s.Command}, {"done", &s.Done}, {"undo", &s.Undo}} {
		c.to.Line = change(c.key, c.to.Line, true)
		many(c.key, &c.to.Argv)
	}
	for _, t := range []struct {
		key string
		to  *string
	}{
		{"say", &s.Say},
		{"ask", &s.Ask},
		{"path", &s.Path},
		{"from", &s.From},
		{"target", &s.Target},
		{"to", &s.To},
		{"dir", &s.Dir},
		{"http", &s.HTTP},
		{"tcp", &s.TCP},
	} {
		one(t.key, t.to)
	}
	many("units", &s.Units)
	many("args", &s.Args)
}

// texts is the same for what chooses a snapshot.
func (s *Snapshot) texts(change func(text string) string) {
	s.ID, s.At = change(s.ID), change(s.At)
	for _, list := range []*[]string{&s.Hosts, &s.Tags, &s.Paths} {
		*list = slices.Clone(*list)
		for i := range *list {
			(*list)[i] = change((*list)[i])
		}
	}
}

// references returns the names that a text refers to.
func references(text string) (names []string) {
	for _, m := range reference.FindAllStringSubmatch(text, -1) {
		names = append(names, m[1])
	}
	return names
}

// fill puts values in the places of names.
func fill(text string, values map[string]string, shell bool) (string, error) {
	var err error
	out := reference.ReplaceAllStringFunc(text, func(m string) string {
		name := references(m)[0]
		value, ok := values[name]
		switch {
		case !ok:
			err = fmt.Errorf("%w: %s has no value", ErrChoice, name)
		case shell && (value == "" || !isPlain(value)):
			err = fmt.Errorf("%w: %s is %q, and %w", ErrChoice, name, value, errShell)
		}
		return value
	})
	return out, err
}

// filled returns the steps with values filled in. Snapshots that are not known yet may be missing: they stay as they are.
func (p *Plan) filled(values map[string]string) ([]Step, error) {
	steps := slices.Clone(p.Steps)
	var errs []error
	for i := range steps {
		s := &steps[i]
		s.texts(func(key, text string, shell bool) string {
			out, err := fill(text, values, shell)
			if err != nil {
				errs = append(errs, &LineError{p.File, s.Line, fmt.Sprintf("step %s: %s: %v", s.Name, key, unprefixed(err))})
			}
			return out
		})
	}
	return steps, errors.Join(errs...)
}

// unprefixed is an error without this package's name.
func unprefixed(err error) string { return strings.TrimPrefix(err.Error(), ErrChoice.Error()+": ") }

// values gives each variable its value: what was set, or else what it had in the run so far, or else what the environment or the plan says.
func (p *Plan) values(set, before map[string]string, getenv func(string) string) (map[string]string, error) {
	for name := range set {
		if !slices.ContainsFunc(p.Vars, func(v Var) bool { return v.Name == name }) {
			return nil, fmt.Errorf("%w: it has no variable %q", ErrChoice, name)
		}
	}
	values := map[string]string{}
	var errs []error
	for _, v := range p.Vars {
		value, ok := set[v.Name]
		if !ok {
			value, ok = before[v.Name]
		}
		if !ok && v.Env != "" {
			value = getenv(v.Env)
			ok = value != ""
		}
		if !ok && v.Default != nil {
			value, ok = *v.Default, true
		}
		if !ok {
			what := fmt.Sprintf("the variable %s has no value: give it with --set %s=VALUE", v.Name, v.Name)
			if v.Env != "" {
				what += " or $" + v.Env
			}
			if v.Say != "" {
				what += " (" + v.Say + ")"
			}
			errs = append(errs, fmt.Errorf("%w: %s", ErrChoice, what))
		}
		values[v.Name] = value
	}
	return values, errors.Join(errs...)
}

// together looks at what parts of a plan say of one another.
func (p *parser) together(plan *Plan) {
	known := map[string]bool{}
	for _, v := range plan.Vars {
		known[v.Name] = true
	}
	for i := range plan.Snapshots {
		s := &plan.Snapshots[i]
		s.texts(func(text string) string {
			p.known(s.Line, "snapshot "+s.Name, text, known) // which can not refer to snapshots
			return text
		})
	}
	uses := map[string]string{} // the sort of each snapshot
	for _, s := range plan.Snapshots {
		known[snapshotPrefix+s.Name] = true
		uses[s.Name] = ""
	}
	for i := range plan.Steps {
		s := &plan.Steps[i]
		s.texts(func(key, text string, _ bool) string {
			p.known(s.Line, "step "+s.Name+": "+key, text, known)
			return text
		})
		p.source(s, uses)
	}
	p.fences(plan)
}

// known refuses references to what there is not.
func (p *parser) known(line int, what, text string, known map[string]bool) {
	for _, name := range references(text) {
		if !known[name] {
			p.fail(line, "%s: there is no variable {{%s}}", what, name)
		}
	}
}

// source looks at what a step restores from.
func (p *parser) source(s *Step, uses map[string]string) {
	if s.From == "" {
		return
	}
	name, path := s.source()
	before, ok := uses[name]
	sort := sortOf(s.Kind)
	switch {
	case !ok:
		p.fail(s.Line, "step %s: there is no [snapshots] %s", s.Name, name)
	case before != "" && before != sort:
		p.fail(s.Line, "step %s: the snapshot %s is that of another kind of step", s.Name, name)
	case path != "" && (sort == SortMySQL || sort == SortRedis):
		p.fail(s.Line, "step %s: from can have no path; say with args what of the snapshot is meant", s.Name)
	}
	uses[name] = sort
}

// fences refuses what writes before a fence.
func (p *parser) fences(plan *Plan) {
	for i, s := range plan.Steps {
		if s.Kind != "fence" {
			continue
		}
		for _, before := range plan.Steps[:i] {
			if before.Writes {
				hint := ""
				if before.Kind == "run" {
					hint = "; if it changes nothing that matters, say writes = false"
				}
				p.fail(before.Line, "step %s writes, and is before the fence %s%s", before.Name, s.Name, hint)
			}
		}
	}
}

// What a snapshot is of.
const (
	SortFiles  = "files"
	SortMySQL  = "mysql"
	SortRedis  = "redis"
	SortDevice = "device"
)

// sortOf is what the steps of a kind restore.
func sortOf(kind string) string {
	switch kind {
	case "mysql-restore":
		return SortMySQL
	case "redis-restore":
		return SortRedis
	case "device-restore":
		return SortDevice
	}
	return SortFiles
}
