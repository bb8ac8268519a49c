package ignore

import "strings"

// glob is a pattern without what only git's lists know: the !, the folder's slash, and the anchor.
type glob struct {
	prefix string // must be there literally
	tokens []token
}

type token struct {
	kind tokenKind
	char byte
	set  *[256]bool // of bytes
}

type tokenKind uint8

const (
	literal tokenKind = iota
	anyByte           // but a slash
	byteSet
	star    // any number of bytes but slashes
	allStar // any number of bytes
	folders // nothing, or what allStar and a slash behind it match
)

const special = `*?[\`

// compile returns the glob of a pattern. It is false for one that fits nothing.
func compile(p string) (glob, bool) {
	n := strings.IndexAny(p, special)
	if n < 0 {
		return glob{prefix: p}, true
	}
	// For git the pattern begins anew behind the part without wildcards: in a**/b the stars count as if a
	// slash were in front.
	g := glob{prefix: p[:n]}
	p = p[n:]
	for i := 0; i < len(p); {
		switch p[i] {
		case '?':
			g.tokens = append(g.tokens, token{kind: anyByte})
			i++
		case '*':
			i += g.stars(p, i)
		case '[':
			set, size := parseSet(p[i:])
			if set == nil {
				return glob{}, false
			}
			g.tokens = append(g.tokens, token{kind: byteSet, set: set})
			i += size
		case '\\':
			if i++; i == len(p) {
				return glob{}, false
			}
			fallthrough
		default:
			g.tokens = append(g.tokens, token{kind: literal, char: p[i]})
			i++
		}
	}
	return g, true
}

// stars adds the run of stars at p[i], and returns how many bytes of p that were.
func (g *glob) stars(p string, i int) int {
	rest := strings.TrimLeft(p[i:], "*")
	n := len(p) - i - len(rest)
	element := n > 1 && (i == 0 || p[i-1] == '/')
	switch {
	case element && strings.HasPrefix(rest, "/"):
		g.tokens = append(g.tokens, token{kind: folders}, token{kind: allStar}, token{kind: literal, char: '/'})
		return n + 1
	case element && (rest == "" || strings.HasPrefix(rest, `\/`)):
		g.tokens = append(g.tokens, token{kind: allStar})
	default:
		g.tokens = append(g.tokens, token{kind: star})
	}
	return n
}

// match reports whether the glob fits all of s.
func (g *glob) match(s string) bool {
	rest, ok := strings.CutPrefix(s, g.prefix)
	if !ok || len(g.tokens) == 0 {
		return ok && rest == ""
	}
	// All ways to match are followed at once, so that no pattern takes long: at[i] says that the tokens before
	// the i-th can have matched what is behind us.
	var memory [2][64]bool
	at, next := memory[0][:], memory[1][:]
	if n := len(g.tokens) + 1; n > len(at) {
		at, next = make([]bool, n), make([]bool, n)
	}
	at[0] = true
	for i := range len(rest) {
		alive := false
		clear(next)
		for k := range g.tokens {
			if !at[k] {
				continue
			}
			g.skip(at, k)
			switch t := &g.tokens[k]; {
			case t.kind == star && rest[i] != '/', t.kind == allStar:
				next[k], alive = true, true
			case t.takes(rest[i]):
				next[k+1], alive = true, true
			}
		}
		if !alive {
			return false
		}
		at, next = next, at
	}
	for k := range g.tokens {
		if at[k] {
			g.skip(at, k)
		}
	}
	return at[len(g.tokens)]
}

// skip notes where one can be without another byte, if the k-th token is next.
func (g *glob) skip(at []bool, k int) {
	switch g.tokens[k].kind {
	case star, allStar:
		at[k+1] = true
	case folders:
		at[k+1], at[k+3] = true, true
	}
}

// takes reports whether a token that stands for one byte stands for c.
func (t *token) takes(c byte) bool {
	switch t.kind {
	case literal:
		return t.char == c
	case anyByte:
		return c != '/'
	case byteSet:
		return c != '/' && t.set[c]
	}
	return false
}

// parseSet reads [a-z] at the start of p, and returns how long it is; nil if p is none.
func parseSet(p string) (set *[256]bool, size int) {
	set = new([256]bool)
	i := 1
	negated := i < len(p) && (p[i] == '!' || p[i] == '^')
	if negated {
		i++
	}
	first, last := i, -1 // last is the byte in front of a - that makes a range
	for ; i < len(p) && (p[i] != ']' || i == first); i++ {
		switch {
		case p[i] == '-' && last > 0 && i+1 < len(p) && p[i+1] != ']':
			if i++; p[i] == '\\' {
				i++
			}
			if i >= len(p) {
				return nil, 0
			}
			for c := last; c <= int(p[i]); c++ {
				set[c] = true
			}
			last = -1
		case p[i] == '[' && i+1 < len(p) && p[i+1] == ':':
			end := strings.IndexByte(p[i+2:], ']')
			if end < 0 {
				return nil, 0
			}
			name, ok := strings.CutSuffix(p[i+2:i+2+end], ":")
			if !ok { // an ordinary bracket
				set['['], last = true, '['
				continue
			}
			if !addClass(set, name) {
				return nil, 0
			}
			i, last = i+2+end, -1
		default:
			if p[i] == '\\' {
				if i++; i == len(p) {
					return nil, 0
				}
			}
			set[p[i]], last = true, int(p[i])
		}
	}
	if i >= len(p) {
		return nil, 0
	}
	if negated {
		for c := range set {
			set[c] = !set[c]
		}
	}
	return set, i + 1
}

// classes are the bytes of [:name:], all of ASCII.
var classes = map[string]func(c byte) bool{
	"alnum":  func(c byte) bool { return isAlpha(c) || isDigit(c) },
	"alpha":  isAlpha,
	"blank":  func(c byte) bool { return c == ' ' || c == '\t' },
	"cntrl":  func(c byte) bool { return c < ' ' || c == 0x7f },
	"digit":  isDigit,
	"graph":  func(c byte) bool { return ' ' < c && c < 0x7f },
	"lower":  func(c byte) bool { return 'a' <= c && c <= 'z' },
	"print":  func(c byte) bool { return ' ' <= c && c < 0x7f },
	"punct":  func(c byte) bool { return ' ' < c && c < 0x7f && !isAlpha(c) && !isDigit(c) },
	"space":  func(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' },
	"upper":  func(c byte) bool { return 'A' <= c && c <= 'Z' },
	"xdigit": func(c byte) bool { return isDigit(c) || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F' },
}

func isAlpha(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func addClass(set *[256]bool, name string) bool {
	has, ok := classes[name]
	if !ok {
		return false
	}
	for c := range set {
		set[c] = set[c] || has(byte(c))
	}
	return true
}
