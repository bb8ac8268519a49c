package redis

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/kura-backup/kura/internal/testserver"
	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/source/sourcetest"
	"github.com/kura-backup/kura/tree"
)

// client talks to a server in tests.
type client struct {
	t testing.TB
	c *conn
}

func connect(t testing.TB, r *testserver.Redis) *client {
	t.Helper()
	c, err := dial(context.Background(), &Server{Socket: r.Socket})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return &client{t, c}
}

// do sends a command whose words have no spaces in them.
func (c *client) do(line string) any {
	c.t.Helper()
	return c.args(strings.Fields(line)...)
}

func (c *client) args(args ...string) any {
	c.t.Helper()
	v, err := c.c.do(context.Background(), args...)
	if err != nil {
		c.t.Fatalf("%v: %v", args, err)
	}
	return v
}

// bulk sends many commands at once.
type bulk struct {
	buf bytes.Buffer
	n   int
}

func (b *bulk) add(args ...string) {
	fmt.Fprintf(&b.buf, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b.buf, "$%d\r\n%s\r\n", len(a), a)
	}
	b.n++
}

// send sends them and returns the answers.
func (c *client) send(b *bulk) []any {
	c.t.Helper()
	n, err := net.Dial("unix", c.c.net.RemoteAddr().String())
	if err != nil {
		c.t.Fatal(err)
	}
	defer n.Close()
	go func() { _, _ = io.Copy(n, &b.buf) }()
	r := bufio.NewReader(n)
	out := make([]any, b.n)
	for i := range out {
		if out[i], err = readReply(r); err != nil {
			c.t.Fatal(err)
		}
	}
	return out
}

// fill writes keys of every type, a third of them with an expiry far away.
func (c *client) fill(from, to int) {
	c.t.Helper()
	b := new(bulk)
	for i := from; i < to; i++ {
		c.key(b, i, "first")
	}
	c.send(b)
}

// key writes one key; what is written differs by the version.
func (c *client) key(b *bulk, i int, version string) {
	name := func(kind string) string { return fmt.Sprintf("app:%s:%07d", kind, i) }
	key := ""
	switch i % 10 {
	case 0, 1, 2:
		key = name("session")
		b.add("SET", key, fmt.Sprintf(`{"user":%d,"name":"user number %d","version":%q,"roles":["reader","writer"]}`, i, i*7919, version))
	case 3:
		key = name("counter")
		b.add("SET", key, strconv.Itoa(i*len(version)))
	case 4:
		key = name("profile")
		b.add("HSET", key, "id", strconv.Itoa(i), "mail", fmt.Sprintf("user%d@example.com", i), "version", version)
	case 5:
		key = name("queue")
		b.add("DEL", key)
		for n := range i % 7 {
			b.add("RPUSH", key, fmt.Sprintf("job %d of %d, %s", n, i, version))
		}
		b.add("RPUSH", key, "last")
	case 6:
		key = name("tags")
		b.add("SADD", key, "a", version, strconv.Itoa(i), "b"+strconv.Itoa(i%100))
	case 7:
		key = name("ids")
		b.add("SADD", key, strconv.Itoa(i), strconv.Itoa(i*2), strconv.Itoa(len(version)))
	case 8:
		key = name("rank")
		b.add("ZADD", key, strconv.Itoa(i), "one "+version, "2.5", "two", "-inf", "three")
	case 9:
		key = name("log")
		b.add("DEL", key)
		b.add("XADD", key, fmt.Sprintf("%d-1", i+1), "event", version, "at", strconv.Itoa(i))
		if i%50 == 9 {
			b.add("XGROUP", "CREATE", key, "readers", "0")
			b.add("XREADGROUP", "GROUP", "readers", "me", "COUNT", "1", "STREAMS", key, ">")
		}
	}
	if i%1000 == 4 { // large ones, in hash tables
		for n := range 600 {
			b.add("HSET", key, fmt.Sprintf("field:%04d", n), fmt.Sprintf("value %d of %s", n*i, version))
			b.add("SADD", key+":set", fmt.Sprintf("member:%d:%s", n*i, version))
			b.add("ZADD", key+":zset", strconv.Itoa(n*31%17), fmt.Sprintf("member:%d", n))
			b.add("RPUSH", key+":list", strings.Repeat("item ", n%40))
		}
	}
	if i%3 == 0 {
		b.add("PEXPIREAT", key, strconv.FormatInt(4_000_000_000_000+int64(i), 10))
	}
}

// state is what there is in a server: of each key its type, digest and expiry.
func (c *client) state() map[string]string {
	c.t.Helper()
	out := map[string]string{}
	for db := range 16 {
		c.do(fmt.Sprintf("SELECT %d", db))
		cursor := "0"
		for {
			page := c.args("SCAN", cursor, "COUNT", "5000").([]any)
			cursor = page[0].(string)
			keys, _ := page[1].([]any)
			b := new(bulk)
			b.add("SELECT", strconv.Itoa(db))
			for _, k := range keys {
				b.add("TYPE", k.(string))
				b.add("DEBUG", "DIGEST-VALUE", k.(string))
				b.add("PEXPIRETIME", k.(string))
				if strings.Contains(k.(string), ":log:") { // of groups the digest knows nothing
					b.add("DUMP", k.(string))
				} else {
					b.add("PING")
				}
			}
			answers := c.send(b)[1:]
			for i, k := range keys {
				out[fmt.Sprint(db, " ", k)] = fmt.Sprintf("%q", answers[4*i:4*i+4])
			}
			if cursor == "0" {
				break
			}
		}
	}
	c.do("SELECT 0")
	return out
}

// same compares states, and says in what they differ.
func same(t *testing.T, got, want map[string]string) {
	t.Helper()
	bad := 0
	for k, w := range want {
		if got[k] != w {
			if bad++; bad < 5 {
				t.Errorf("%s: %.300s, want %.300s", k, got[k], w)
			}
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			if bad++; bad < 5 {
				t.Errorf("%s is new", k)
			}
		}
	}
	if bad > 0 {
		t.Errorf("%d of %d keys differ", bad, len(want))
	}
}

// tryBackup runs a source and returns what it has written.
func tryBackup(t testing.TB, o Options) (*sourcetest.Writer, error) {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	w := sourcetest.NewWriter()
	return w, s.Write(t.Context(), w)
}

func mustBackup(t testing.TB, o Options) *sourcetest.Writer {
	t.Helper()
	w, err := tryBackup(t, o)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// nothing is a source.Writer of a run that writes nothing.
type nothing struct{ source.Writer }

func (nothing) Add(string, tree.Node) error { return nil }

// detailsOf returns what a source has said of a snapshot.
func detailsOf(t testing.TB, w *sourcetest.Writer) *Details {
	t.Helper()
	d, err := ReadDetails(w.Details())
	if err != nil {
		t.Fatal(err)
	}
	return d
}
