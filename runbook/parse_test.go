package runbook

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestParse_WrongPlans_AllErrorsWithTheirLines(t *testing.T) {
	const step = "[[step]]\nname = \"a\"\nkind = \"run\"\ncommand = \"true\"\n"
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"no TOML":        {"name = \n", []string{"p.toml:1: "}},
		"unknown key":    {step + "color = \"red\"\n", []string{`p.toml:5: there is no key "step.color"`}},
		"wrong type":     {"[[step]]\nname = \"a\"\nkind = \"stop\"\nunits = \"web\"\n", []string{"p.toml:4: "}},
		"nothing":        {"name = \"x\"\n", []string{"p.toml:1: there is no [[step]]"}},
		"plan's name":    {"# one\nname = \"a/b\"\n" + step, []string{`p.toml:2: the plan's name "a/b"`}},
		"no name":        {"[[step]]\nkind = \"run\"\ncommand = \"true\"\n", []string{"p.toml:1: a step has no name"}},
		"bad name":       {"[[step]]\nkind = \"run\"\nname = \"../x\"\ncommand = \"true\"\n", []string{`p.toml:3: the step's name "../x"`}},
		"twice":          {step + step, []string{"p.toml:6: there are two steps with the name a"}},
		"no kind":        {"[[step]]\nname = \"a\"\n", []string{"p.toml:1: step a has no kind; there are run, stop"}},
		"unknown kind":   {"[[step]]\nname = \"a\"\nkind = \"jump\"\n", []string{`p.toml:3: step a: there is no kind "jump"`}},
		"empty units":    {"[[step]]\nname = \"a\"\nkind = \"stop\"\nunits = []\n", []string{"p.toml:1: step a: units is empty"}},
		"empty page":     {"[[step]]\nname = \"a\"\nkind = \"check\"\nhttp = \"\"\n", []string{"p.toml:1: step a: command or http or tcp is empty"}},
		"empty question": {"[[step]]\nname = \"a\"\nkind = \"fence\"\nask = \"\"\n", []string{"p.toml:1: step a: command or ask is empty"}},
		"empty from":     {"[[step]]\nname = \"a\"\nkind = \"restore\"\nfrom = \"\"\ntarget = \"/\"\n", []string{"p.toml:1: step a: from is empty"}},
		"foreign key":    {step + "units = [\"x\"]\n", []string{`p.toml:5: step a: "units" is not for a step of kind run`}},
		"missing key":    {"[[step]]\nname = \"a\"\nkind = \"run\"\n", []string{"p.toml:1: step a: a step of kind run needs command"}},
		"one of two":     {"[[step]]\nname = \"a\"\nkind = \"fence\"\ncommand = \"true\"\nask = \"?\"\n", []string{"step a: it can have only one of command or ask"}},
		"bad time":       {step + "timeout = \"soon\"\n", []string{`p.toml:5: step a: timeout "soon" is no time`}},
		"empty command":  {"[[step]]\nname = \"a\"\nkind = \"run\"\ncommand = \" \"\n", []string{"p.toml:4: step a: command is neither"}},
		"number in list": {"[[step]]\nname = \"a\"\nkind = \"run\"\ncommand = [\"x\", 1]\n", []string{"p.toml:4: step a: command has something in its list that is no text"}},
		"no variable":    {"[[step]]\nname = \"a\"\nkind = \"run\"\ncommand = \"x {{nothing}}\"\n", []string{"p.toml:1: step a: command: there is no variable {{nothing}}"}},
		"variable":       {"[vars]\nA = \"x\"\nb = 1\nc = { colour = \"red\" }\n" + step, []string{`p.toml:2: the variable's name "A"`, "p.toml:3: the variable b is neither", `p.toml:4: the variable c: there is no key "colour"`}},
		"no snapshot":    {"[[step]]\nname = \"a\"\nkind = \"restore\"\nfrom = \"x:/etc\"\ntarget = \"/etc\"\n", []string{"p.toml:1: step a: there is no [snapshots] x"}},
		"two sorts": {
			"[snapshots]\nx = {}\n[[step]]\nname = \"a\"\nkind = \"restore\"\nfrom = \"x\"\ntarget = \"/\"\n[[step]]\nname = \"b\"\nkind = \"mysql-restore\"\nfrom = \"x\"\n",
			[]string{"p.toml:8: step b: the snapshot x is that of another kind of step"},
		},
		"path of a server": {"[snapshots.x]\n[[step]]\nname = \"b\"\nkind = \"mysql-restore\"\nfrom = \"x:/mysql\"\n", []string{"p.toml:2: step b: from can have no path"}},
		"writes before a fence": {
			step + "[[step]]\nname = \"f\"\nkind = \"fence\"\nask = \"?\"\n",
			[]string{"p.toml:1: step a writes, and is before the fence f; if it changes nothing that matters, say writes = false"},
		},
		"several": {step + "again = 1\n", []string{"p.toml:5: "}},
		"many": {
			"[[step]]\nname = \"a\"\nkind = \"x\"\n\n[[step]]\nname = \"b\"\nkind = \"y\"\n",
			[]string{"p.toml:3: ", "p.toml:7: "},
		},
		"inline": {"step = [\n {name = \"a\", kind = \"confirm\", ask = \"?\"},\n {name = \"b\", kind = \"z\"},\n]\n", []string{"p.toml:3: step b: there is no kind"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("p.toml", []byte(c.text))
			if !errors.Is(err, ErrPlan) {
				t.Fatalf("%v", err)
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(c.want) {
				t.Fatalf("%q", lines)
			}
			for i, want := range c.want {
				if !strings.Contains(lines[i], want) {
					t.Errorf("%q, want %q", lines[i], want)
				}
			}
		})
	}
}

func TestParse_GoodPlan_SaysWhatItDoes(t *testing.T) {
	p := must(t, `
[vars]
a = "1"
b = { default = "2", env = "B", say = "second" }
c = { env = "C" }
[snapshots]
db = { id = "latest~1", hosts = ["{{a}}"] }
[[step]]
name = "one"
kind = "run"
command = ["echo", "{{a}}", "{{snapshot.db}}"]
timeout = "90s"
writes = false
[[step]]
name = "two"
kind = "fence"
ask = "sure?"
[[step]]
name = "three"
kind = "check"
tcp = "localhost:1"
every = "1s"
`)
	if p.Name != "plan" || len(p.Vars) != 3 || len(p.Snapshots) != 1 || len(p.Steps) != 3 {
		t.Fatalf("%+v", p)
	}
	one, three := p.Steps[0], p.Steps[2]
	if one.Timeout != 90*time.Second || one.Writes || one.Again || one.Line != 8 || p.Steps[1].Timeout != 0 {
		t.Errorf("%+v", one)
	}
	if three.Within != time.Minute || three.Every != time.Second || !three.Again {
		t.Errorf("%+v", three)
	}
	env := func(name string) string { return map[string]string{"B": "of B", "C": "of C"}[name] }
	vars, err := p.values(map[string]string{"a": "set"}, map[string]string{"b": "before"}, env)
	if err != nil || vars["a"] != "set" || vars["b"] != "before" || vars["c"] != "of C" {
		t.Errorf("%v, %v", vars, err)
	}
	if _, err := p.values(map[string]string{"x": ""}, nil, env); !errors.Is(err, ErrChoice) {
		t.Errorf("a variable that there is not: %v", err)
	}
	if _, err := p.values(nil, nil, func(string) string { return "" }); !errors.Is(err, ErrChoice) || !strings.Contains(err.Error(), "--set c=VALUE or $C") {
		t.Errorf("a variable without a value: %v", err)
	}
}

// What a value has in it can not become a command.
func TestFill_ValueForAShell_OnlyPlainOnes(t *testing.T) {
	p := must(t, "[vars]\nx = \"\"\n[[step]]\nname = \"a\"\nkind = \"run\"\ncommand = \"rm {{x}}/tmp\"\n[[step]]\nname = \"b\"\nkind = \"run\"\ncommand = [\"rm\", \"{{x}}/tmp\"]\n")
	for value, good := range map[string]bool{"/srv": true, "a-b_c.d:e@f%g+h=i,j": true, "": false, "a b": false, "$(reboot)": false, "a;b": false, "a\nb": false, "'": false} {
		steps, err := p.filled(map[string]string{"x": value})
		if good != (err == nil) {
			t.Errorf("%q: %v", value, err)
		}
		if steps[1].Command.Argv[1] != value+"/tmp" {
			t.Errorf("%q: %q", value, steps[1].Command.Argv)
		}
		if want := value + "/tmp"; !good && want != "/tmp" && !strings.HasPrefix(Quote(steps[1].Command.Argv), "rm '") {
			t.Errorf("%q is shown as %s", value, Quote(steps[1].Command.Argv))
		}
	}
}

func TestRead_NoFile(t *testing.T) {
	if _, err := Read(filepath.Join(t.TempDir(), "x.toml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if _, err := Read(t.TempDir()); !errors.Is(err, ErrPlan) {
		t.Errorf("%v", err)
	}
}

// No text makes the reader panic, or take a step without a kind that there is.
func FuzzParse(f *testing.F) {
	f.Add([]byte("[[step]]\nname = \"a\"\nkind = \"run\"\ncommand = \"true\"\n"))
	f.Add([]byte("step = [{name = \"a\", kind = \"confirm\", ask = \"{{x}}\"}]\n[vars.x]\nenv = \"X\"\n"))
	f.Add([]byte("[[step]]\n[step.done]\n[vars]\n\"\" = 1\n[snapshots.a]\nid = \"{{snapshot.a}}\"\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse("p.toml", text)
		if err != nil {
			return
		}
		for _, s := range p.Steps {
			if _, ok := findKind(s.Kind); !ok || !goodName.MatchString(s.Name) || s.Line < 1 {
				t.Errorf("%+v", s)
			}
		}
	})
}
