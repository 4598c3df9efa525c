package emu

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
	"perigee/testbed/link"
	"perigee/testbed/sim"
)

const start = dtntime.Time(833_587_200_000)

func id(n uint64) bundle.EID { return bundle.IPN(n, 0) }

// pass is one between two nodes, in milliseconds since the start.
type pass struct {
	a, b     uint64
	from, to dtntime.Duration
}

// planOf has contacts both ways for each pass.
func planOf(t testing.TB, rate contact.BitRate, passes ...pass) *contact.Plan {
	t.Helper()
	var contacts []contact.Contact
	for _, p := range passes {
		c := contact.Contact{From: id(p.a), To: id(p.b), Start: start.Add(p.from), End: start.Add(p.to), Rate: rate, Light: 3}
		back := c
		back.From, back.To = c.To, c.From
		contacts = append(contacts, c, back)
	}
	plan, err := contact.New(contacts)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// relayed is a satellite that meets a relay, which meets the ground, in passes of about a
// second.
func relayed(t testing.TB) sim.Config {
	c := sim.Config{Seed: 1, Start: start, Length: 1500, Drain: 20 * dtntime.Second}
	for i, name := range []string{"satellite", "relay", "ground"} {
		c.Nodes = append(c.Nodes, sim.Node{Name: name, ID: id(uint64(i + 1))})
	}
	c.Plan = planOf(t, 2*contact.MegabitPerSecond,
		pass{1, 2, 100, 900}, pass{2, 3, 600, 1300}, pass{1, 2, 1400, 2400}, pass{2, 3, 2000, 3000}, pass{1, 2, 3000, 21_500}, pass{2, 3, 3000, 21_500})
	day := dtntime.Day
	c.Traffic = []sim.Traffic{
		{Kind: sim.Samples, From: id(1), To: id(3), Every: 100, Size: 5000, Lifetime: day, Custody: true},
		{Kind: sim.Telemetry, From: id(1), To: id(3), Every: 250, Lifetime: day, Priority: bundle.PriorityExpedited, Custody: true},
		{Kind: sim.Delta, From: id(3), To: id(1), Every: 750, Size: 6000, Part: 2000, Lifetime: day, Custody: true},
	}
	return c
}

// backend returns that of tun, with the daemon's program, or skips the test.
func backend(t *testing.T) Options {
	t.Helper()
	if testing.Short() {
		t.Skip("it runs daemons for seconds")
	}
	b := link.NewTun(nil)
	if err := b.Probe(t.Context()); err != nil {
		t.Skipf("needs root and /dev/net/tun: %v", err)
	}
	program := filepath.Join(t.TempDir(), "perigeed")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "perigee/cmd/perigeed")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building perigeed: %v\n%s", err, out)
	}
	// Not t.TempDir: paths of sockets must be short.
	dir, err := os.MkdirTemp("", "perigee-emu")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return Options{Backend: b, Perigeed: program, Dir: dir}
}

// nothingLeft fails when a namespace of this process is there, or a daemon of a run.
func nothingLeft(t *testing.T, o Options) {
	t.Helper()
	list, err := link.RunCommand(context.Background(), "ip", "netns", "list")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(list), "-n-satellite") {
		t.Errorf("namespaces are left over:\n%s", list)
	}
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range lines {
		if text, err := os.ReadFile(file); err == nil && strings.Contains(string(text), o.Dir) {
			t.Errorf("a daemon is left over: %q", text)
		}
	}
}

// TestDaemons has parts with one program, which takes long to build.
func TestDaemons(t *testing.T) {
	o := backend(t)
	t.Run("deliver", func(t *testing.T) { deliverOnce(t, o) })
	t.Run("interrupted", func(t *testing.T) { leaveNothing(t, o) })
}

// deliverOnce runs three daemons, one of which is killed, over lossy links, one of which
// is cut.
func deliverOnce(t *testing.T, o Options) {
	for _, layer := range sim.Layers() {
		t.Run(layer, func(t *testing.T) {
			o := o
			o.Dir = filepath.Join(o.Dir, layer)
			c := relayed(t)
			c.Link = sim.Link{Layer: layer, Loss: 0.01}
			c.Faults.At = []sim.Fault{{At: 700, Node: id(2), For: 200}, {At: 1500, Node: id(1), Peer: id(2), For: 200}}
			r, err := Run(t.Context(), c, o)
			nothingLeft(t, o)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("drained after %s, packets up to %s late; %d transmissions, %d repeated, %+v", r.Drained, r.Late, r.Transmissions, r.Retransmissions, r.Kinds)
			if len(r.Failures) > 0 || r.Lost+r.Twice+r.Expired+r.Waiting > 0 || r.Delivered != r.Accepted || r.Drained == 0 || r.Crashes != 1 {
				t.Errorf("%d of %d were delivered: %v", r.Delivered, r.Accepted, r.Failures)
			}
			if r.Sent < 15+6+6 || r.Accepted < r.Sent-2 {
				t.Errorf("%d of %d were accepted", r.Accepted, r.Sent)
			}
			carried := int64(0)
			for _, p := range r.Passes {
				carried += p.Bytes
				// Two packets may come in the grace at both ends.
				if p.Bytes > p.Capacity+3000 {
					t.Errorf("the contact from %s to %s at %s carried %d bytes and has room for %d", p.From, p.To, p.Start, p.Bytes, p.Capacity)
				}
			}
			if carried < 2*r.Bytes {
				t.Errorf("passes carried %d bytes, and %d went over two of them", carried, r.Bytes)
			}
		})
	}
}

// leaveNothing ends a run on its way.
func leaveNothing(t *testing.T, o Options) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := relayed(t)
	c.Progress = func(done, _ dtntime.Duration) {
		if done > 100 {
			cancel()
		}
	}
	_, err := Run(ctx, c, o)
	nothingLeft(t, o)
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	o.Perigeed = filepath.Join(o.Dir, "nothing")
	_, err = Run(t.Context(), c, o)
	nothingLeft(t, o)
	if err == nil || !strings.Contains(err.Error(), "satellite") {
		t.Errorf("without a program: %v", err)
	}
}

func TestTimingFollowsContacts(t *testing.T) {
	for _, test := range []struct {
		length dtntime.Duration
		want   timing
	}{
		{10 * dtntime.Minute, timing{mostAggregate, mostMargin}},
		{2 * dtntime.Second, timing{250, 250}},
		{400, timing{50, leastMargin}},
		{20, timing{leastAggregate, leastMargin}},
	} {
		w := &world{Config: sim.Config{Plan: planOf(t, 1000, pass{1, 2, 0, test.length})}}
		if got := w.timing(); got != test.want {
			t.Errorf("contacts of %s: %+v, want %+v", test.length, got, test.want)
		}
	}
}

func TestRunRefuses(t *testing.T) {
	c := relayed(t)
	c.Length = 0
	if _, err := Run(t.Context(), c, Options{}); !errors.Is(err, sim.ErrConfig) {
		t.Errorf("a bad network: %v", err)
	}
	if _, err := Choose(t.Context(), "magic", relayed(t)); err == nil || !strings.Contains(err.Error(), "magic") {
		t.Errorf("a bad backend: %v", err)
	}
	if _, err := Choose(t.Context(), "proxy", relayed(t)); !errors.Is(err, link.ErrUnsupported) {
		t.Errorf("a backend without namespaces: %v", err)
	}
	w := &world{}
	if _, err := w.newNode(sim.Node{Name: "small", Storage: 1000}); err == nil || !strings.Contains(err.Error(), "small") {
		t.Errorf("a small store: %v", err)
	}
}
