package ignore

import "strings"

// List is what one ignore file says. It is immutable and safe for concurrent use.
type List struct {
	rules []rule
}

// rule is a pattern of an ignore file.
type rule struct {
	glob     glob
	takeBack bool
	folder   bool // fits folders only
	path     bool // is matched with the path below the ignore file's folder, not with the name alone
}

// Parse reads an ignore file. Several files of one folder are one after the other, with line ends between. Nil
// is a list in which there is nothing.
func Parse(data []byte) *List {
	l := new(List)
	text := strings.TrimPrefix(string(data), "\uFEFF")
	for line := range strings.SplitSeq(text, "\n") {
		if r, ok := parseRule(line); ok {
			l.rules = append(l.rules, r)
		}
	}
	if len(l.rules) == 0 {
		return nil
	}
	return l
}

func parseRule(line string) (r rule, ok bool) {
	line = strings.TrimSuffix(line, "\r")
	if end := strings.IndexByte(line, 0); end >= 0 {
		line = line[:end]
	}
	if strings.HasPrefix(line, "#") {
		return rule{}, false
	}
	line, r.takeBack = strings.CutPrefix(trimSpaces(line), "!")
	line, r.folder = strings.CutSuffix(line, "/")
	r.path = strings.Contains(line, "/")
	line = strings.TrimPrefix(line, "/")
	if line == "" {
		return rule{}, false
	}
	r.glob, ok = compile(line)
	return r, ok
}

// trimSpaces drops the spaces at the end, but for one with a backslash in front.
func trimSpaces(line string) string {
	end := 0
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case ' ':
			continue
		case '\\':
			if i++; i == len(line) {
				return line
			}
		}
		end = i + 1
	}
	return line[:end]
}

// Verdict is what ignore files say of an entry.
type Verdict uint8

// What ignore files say of an entry.
const (
	Silent   Verdict = 0 // no pattern fits
	LeaveOut Verdict = 1
	Keep     Verdict = 2 // a pattern with a ! fits
)

func (l *List) verdict(path, name string, folder bool) Verdict {
	for i := len(l.rules) - 1; i >= 0; i-- {
		r := &l.rules[i]
		if r.folder && !folder {
			continue
		}
		s := name
		if r.path {
			s = path
		}
		if !r.glob.match(s) {
			continue
		}
		if r.takeBack {
			return Keep
		}
		return LeaveOut
	}
	return Silent
}

// Dir is a folder with what the ignore files in it and above say. Nil is a folder with none. It is immutable
// and safe for concurrent use.
type Dir struct {
	own   *List
	above *Dir   // the nearest one with a list of its own
	path  string // below that one, with a slash at the end
}

// Root is a folder above which no ignore file counts.
func Root(own *List) *Dir {
	if own == nil {
		return nil
	}
	return &Dir{own: own}
}

// Child is the folder of the given name in d, with the list that it has of its own, or nil.
func (d *Dir) Child(name string, own *List) *Dir {
	switch {
	case d == nil:
		return Root(own)
	case d.own != nil:
		return &Dir{own: own, above: d, path: name + "/"}
	}
	return &Dir{own: own, above: d.above, path: d.path + name + "/"}
}

// Verdict says what becomes of the entry of the given name in d.
func (d *Dir) Verdict(name string, folder bool) Verdict {
	for path := name; d != nil; d = d.above {
		if d.own != nil {
			if v := d.own.verdict(path, name, folder); v != Silent {
				return v
			}
		}
		path = d.path + path
	}
	return Silent
}
