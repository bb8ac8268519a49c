package runbook

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// maxPlan is how large the text of a plan may be.
const maxPlan = 1 << 20

// names are those of steps, snapshots and plans, which are also names of files.
var (
	goodName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)
	varName  = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)
)

// Read reads a plan from a file.
func Read(file string) (*Plan, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxPlan || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is no file of at most %d bytes", ErrPlan, file, maxPlan)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return Parse(file, text)
}

// raw is a plan as TOML has it.
type raw struct {
	Name      string                 `toml:"name"`
	Say       string                 `toml:"say"`
	Vars      map[string]any         `toml:"vars"`
	Snapshots map[string]rawSnapshot `toml:"snapshots"`
	Steps     []rawStep              `toml:"step"`
}

type rawSnapshot struct {
	ID    string   `toml:"id"`
	Hosts []string `toml:"hosts"`
	Tags  []string `toml:"tags"`
	Paths []string `toml:"paths"`
	At    string   `toml:"at"`
}

type rawStep struct {
	Name    string   `toml:"name"`
	Kind    string   `toml:"kind"`
	Say     string   `toml:"say"`
	Timeout string   `toml:"timeout"`
	Done    any      `toml:"done"`
	Undo    any      `toml:"undo"`
	Again   bool     `toml:"again"`
	Writes  *bool    `toml:"writes"`
	Command any      `toml:"command"`
	Ask     string   `toml:"ask"`
	Units   []string `toml:"units"`
	Missing bool     `toml:"may-be-missing"`
	Path    string   `toml:"path"`
	From    string   `toml:"from"`
	Target  string   `toml:"target"`
	To      string   `toml:"to"`
	Dir     string   `toml:"dir"`
	Replace bool     `toml:"replace"`
	Args    []string `toml:"args"`
	HTTP    string   `toml:"http"`
	Status  int      `toml:"status"`
	TCP     string   `toml:"tcp"`
	Within  string   `toml:"within"`
	Every   string   `toml:"every"`

	line  int
	lines map[string]int // of its keys
}

// parser gathers what is wrong with a plan.
type parser struct {
	file string
	errs []error
}

func (p *parser) fail(line int, format string, args ...any) {
	p.errs = append(p.errs, &LineError{p.file, max(line, 1), fmt.Sprintf(format, args...)})
}

// Parse reads a plan. The error tells of everything that is wrong with it, with the lines.
func Parse(file string, text []byte) (*Plan, error) {
	p := &parser{file: file}
	var r raw
	d := toml.NewDecoder(strings.NewReader(string(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return nil, p.decodeError(err)
	}
	where := findLines(text)
	plan := &Plan{Name: r.Name, Say: r.Say, File: file, Source: text}
	if plan.Name == "" {
		plan.Name = strings.TrimSuffix(filepath.Base(file), ".toml")
	}
	if !goodName.MatchString(plan.Name) {
		p.fail(where.top["name"], "the plan's name %q is not made of letters, digits, - and _", plan.Name)
	}
	p.vars(plan, r.Vars, where)
	p.snapshots(plan, r.Snapshots, where)
	if len(r.Steps) == 0 {
		p.fail(1, "there is no [[step]]")
	}
	for i := range r.Steps {
		r.Steps[i].line, r.Steps[i].lines = where.step(i)
		p.step(plan, &r.Steps[i])
	}
	p.together(plan)
	slices.SortStableFunc(p.errs, func(a, b error) int { return lineOf(a) - lineOf(b) })
	return plan, errors.Join(p.errs...)
}

func lineOf(err error) int {
	if e := (*LineError)(nil); errors.As(err, &e) {
		return e.Line
	}
	return 0
}

// decodeError gives an error of the library the shape of ours.
func (p *parser) decodeError(err error) error {
	if unknown := (*toml.StrictMissingError)(nil); errors.As(err, &unknown) {
		for _, e := range unknown.Errors {
			line, _ := e.Position()
			p.fail(line, "there is no key %q", strings.Join(e.Key(), "."))
		}
		return errors.Join(p.errs...)
	}
	if bad := (*toml.DecodeError)(nil); errors.As(err, &bad) {
		line, _ := bad.Position()
		return &LineError{p.file, line, strings.TrimPrefix(bad.Error(), "toml: ")}
	}
	return fmt.Errorf("%w: %s: %w", ErrPlan, p.file, err)
}

func (p *parser) vars(plan *Plan, vars map[string]any, where *lines) {
	for name, value := range vars {
		v := Var{Name: name, Line: where.table["vars"][name]}
		if !varName.MatchString(name) {
			p.fail(v.Line, "the variable's name %q is not made of small letters, digits and _", name)
		}
		switch value := value.(type) {
		case string:
			v.Default = &value
		case map[string]any:
			p.varTable(&v, value)
		default:
			p.fail(v.Line, "the variable %s is neither a text nor a table", name)
		}
		plan.Vars = append(plan.Vars, v)
	}
	slices.SortFunc(plan.Vars, func(a, b Var) int { return strings.Compare(a.Name, b.Name) })
}

func (p *parser) varTable(v *Var, table map[string]any) {
	for key, value := range table {
		text, ok := value.(string)
		if !ok {
			p.fail(v.Line, "the variable %s: %s is no text", v.Name, key)
			continue
		}
		switch key {
		case "default":
			v.Default = &text
		case "env":
			v.Env = text
		case "say":
			v.Say = text
		default:
			p.fail(v.Line, "the variable %s: there is no key %q; there are default, env and say", v.Name, key)
		}
	}
}

func (p *parser) snapshots(plan *Plan, snapshots map[string]rawSnapshot, where *lines) {
	for name, r := range snapshots {
		s := Snapshot{Name: name, ID: r.ID, Hosts: r.Hosts, Tags: r.Tags, Paths: r.Paths, At: r.At, Line: where.table["snapshots"][name]}
		if !goodName.MatchString(name) {
			p.fail(s.Line, "the snapshot's name %q is not made of letters, digits, - and _", name)
		}
		if s.ID == "" {
			s.ID = "latest"
		}
		plan.Snapshots = append(plan.Snapshots, s)
	}
	slices.SortFunc(plan.Snapshots, func(a, b Snapshot) int { return strings.Compare(a.Name, b.Name) })
}

func (p *parser) step(plan *Plan, r *rawStep) {
	s := Step{
		Name: r.Name, Kind: r.Kind, Say: r.Say, Line: r.line, Again: r.Again, Ask: r.Ask, Units: r.Units, Missing: r.Missing, Path: r.Path,
		From: r.From, Target: r.Target, To: r.To, Dir: r.Dir, Replace: r.Replace, Args: r.Args, HTTP: r.HTTP, Status: r.Status, TCP: r.TCP,
	}
	s.Timeout = p.duration(r, "timeout", r.Timeout)
	s.Within = p.duration(r, "within", r.Within)
	s.Every = p.duration(r, "every", r.Every)
	s.Command = p.command(r, "command", r.Command)
	s.Done = p.command(r, "done", r.Done)
	s.Undo = p.command(r, "undo", r.Undo)
	switch {
	case s.Name == "":
		p.fail(s.Line, "a step has no name")
		s.Name = fmt.Sprintf("(line %d)", s.Line)
	case !goodName.MatchString(s.Name):
		p.fail(r.lines["name"], "the step's name %q is not made of letters, digits, - and _", s.Name)
	case index(plan.Steps, s.Name) >= 0:
		p.fail(r.lines["name"], "there are two steps with the name %s", s.Name)
	}
	k, ok := findKind(s.Kind)
	switch {
	case s.Kind == "":
		p.fail(s.Line, "step %s has no kind; there are %s", s.Name, strings.Join(Kinds(), ", "))
	case !ok:
		p.fail(r.lines["kind"], "step %s: there is no kind %q; there are %s", s.Name, s.Kind, strings.Join(Kinds(), ", "))
	default:
		k.check(&s, r, p)
	}
	plan.Steps = append(plan.Steps, s)
}

func (p *parser) duration(r *rawStep, key, text string) time.Duration {
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if text == "0" {
		d, err = 0, nil
	}
	if err != nil || d < 0 {
		p.fail(r.lines[key], "step %s: %s %q is no time such as 90s or 10m", r.Name, key, text)
	}
	return d
}

// command takes a text for a shell's command line, and a list for a program with its arguments.
func (p *parser) command(r *rawStep, key string, value any) (c Command) {
	switch value := value.(type) {
	case nil:
		return c
	case string:
		if c.Line = strings.TrimSpace(value); c.Line != "" {
			return c
		}
	case []any:
		for _, v := range value {
			word, ok := v.(string)
			if !ok {
				p.fail(r.lines[key], "step %s: %s has something in its list that is no text", r.Name, key)
				return c
			}
			c.Argv = append(c.Argv, word)
		}
		if len(c.Argv) > 0 && c.Argv[0] != "" {
			return c
		}
	}
	p.fail(r.lines[key], "step %s: %s is neither a command line nor a list of a program and its arguments", r.Name, key)
	return c
}
