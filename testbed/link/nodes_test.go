package link

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"perigee/bundle/contact"
)

func TestNamespacesOfNodes(t *testing.T) {
	s := &script{}
	made, err := makeNamespaces(t.Context(), s.run, 7, []string{"sat", "gs"})
	if err != nil || made.Of("gs").Name != "pg7-1-n-gs" {
		t.Fatalf("%+v, %v", made, err)
	}
	s.expect(t, "ip netns list", "ip netns add pg7-1-n-sat", "ip netns add pg7-1-n-gs",
		"ip -n pg7-1-n-sat link set lo up", "ip -n pg7-1-n-gs link set lo up")
	s.answer("ip netns list", "pg7-1-n-gs\npg7-1-n-sat\n")
	// Links that are made meanwhile have other names.
	if base := unusedBase(7, map[string]bool{"pg7-1-n-gs": true}); base != "pg7-2-" {
		t.Errorf("base %s", base)
	}
	if err := made.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.expect(t, "ip netns list", "ip netns del pg7-1-n-sat", "ip netns del pg7-1-n-gs")
	if _, err := makeNamespaces(t.Context(), s.run, 8, []string{"a b"}); err == nil || !strings.Contains(err.Error(), `"a b"`) {
		t.Errorf("a bad name: %v", err)
	}
	s.fail = "add pg8-1-n-gs"
	s.answer("ip netns list", "pg8-1-n-sat\n")
	if _, err := makeNamespaces(t.Context(), s.run, 9, []string{"sat", "gs"}); err != nil {
		t.Errorf("other names: %v", err)
	}
	s.take()
	s.answer("ip netns list", "")
	if _, err := makeNamespaces(t.Context(), s.run, 8, []string{"sat", "gs"}); !errors.Is(err, errRefused) {
		t.Errorf("refused: %v", err)
	}
}

// place is an end in a namespace that is there.
func place(namespace, device, addr string) Namespace {
	return Namespace{namespace, device, netip.MustParseAddr(addr)}
}

func TestEndsAreChecked(t *testing.T) {
	good := [2]Namespace{place("sat", "to-gs", "10.77.0.2"), place("gs", "to-sat", "10.77.0.6")}
	if err := (Config{Ends: good}).Check(); err != nil {
		t.Error(err)
	}
	for want, spoil := range map[string]func(*Config){
		"are to be made":          func(c *Config) { c.Left = "other" },
		"both ends":               func(c *Config) { c.Ends[1].Name = "sat" },
		"have the address":        func(c *Config) { c.Ends[1].Addr = c.Ends[0].Addr },
		"no name of a network":    func(c *Config) { c.Ends[0].Name = "" },
		"no name for an interfac": func(c *Config) { c.Ends[1].Device = "an-interface-by-far-too-long" },
		"second host":             func(c *Config) { c.Ends[1].Addr = netip.MustParseAddr("10.77.0.5") },
		"not the IPv4 address":    func(c *Config) { c.Ends[0].Addr = netip.MustParseAddr("fd00::2") },
	} {
		c := Config{Ends: good}
		spoil(&c)
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if err := (ProxyBackend{}).Check(Config{Ends: good}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("proxy: %v", err)
	}
}

func TestTunCommandsBetweenNodes(t *testing.T) {
	var lines []string
	for _, c := range tunCommands(place("sat", "to-gs", "10.77.0.2"), netip.MustParseAddr("10.77.0.6"), 1500) {
		lines = append(lines, strings.Join(c, " "))
	}
	if last := lines[len(lines)-1]; last != "ip -n sat route add 10.77.0.6 dev to-gs" {
		t.Errorf("%q", lines)
	}
}

// TestNetemCommandsBetweenNodes makes a link of netem between namespaces that stay.
func TestNetemCommandsBetweenNodes(t *testing.T) {
	s := &script{}
	backend := &NetemBackend{run: s.run, pid: 7}
	made, err := backend.Up(t.Context(), Config{
		Ends:  [2]Namespace{place("sat", "to-gs", "10.77.0.2"), place("gs", "to-sat", "10.77.0.6")},
		Shape: Shape{Out: Lane{Rate: contact.MegabitPerSecond, Delay: 4 * time.Millisecond}},
	})
	if err != nil {
		t.Fatal(err)
	}
	lines := s.take()
	for _, want := range []string{
		"ip link add to-gs netns sat mtu 1500 type veth peer name toleft0 netns pg7-1-m mtu 1500",
		"ip -n sat addr add 10.77.0.2/30 dev to-gs",
		"ip -n pg7-1-m addr add 10.77.0.1/30 dev toleft0",
		"ip -n sat route add 10.77.0.6 via 10.77.0.1",
		"ip -n gs route add 10.77.0.2 via 10.77.0.5",
		"tc -n pg7-1-m qdisc replace dev toright0 root handle 1: netem limit 1008 delay 4000000ns",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("did not run %q, but\n  %s", want, strings.Join(lines, "\n  "))
		}
	}
	s.answer("ip netns list", "pg7-1-m\nsat\ngs\n")
	if err := made.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.expect(t, "ip netns list", "ip netns del pg7-1-m")
}

// TestNodesReal joins three namespaces by two links, each of its own backend, and sends
// over both of them.
func TestNodesReal(t *testing.T) {
	if err := errors.Join(probeTun(), probeNetns()); err != nil {
		t.Skipf("needs root, /dev/net/tun and tbf: %v", err)
	}
	nodes, err := MakeNamespaces(t.Context(), nil, "left", "hub", "right")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := nodes.Down(context.Background()); err != nil {
			t.Error(err)
		}
		there, err := namespaces(context.Background(), RunCommand)
		if err != nil || there[nodes.Of("hub").Name] {
			t.Errorf("left over: %v, %v", there, err)
		}
	})
	end := func(node, device, addr string) Namespace { return place(nodes.Of(node).Name, device, addr) }
	lane := Lane{Rate: 10 * contact.MegabitPerSecond}
	for _, c := range []struct {
		backend Backend
		ends    [2]Namespace
	}{
		{NewTun(nil), [2]Namespace{end("left", "to-hub", "10.77.0.2"), end("hub", "to-left", "10.77.0.6")}},
		{NewNetns(nil), [2]Namespace{end("hub", "to-right", "10.77.0.10"), end("right", "to-hub", "10.77.0.14")}},
	} {
		made, err := c.backend.Up(t.Context(), Config{Shape: Shape{Out: lane, Back: lane}, Ends: c.ends})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := made.Down(context.Background()); err != nil {
				t.Error(err)
			}
		})
		transfer(t, made.(NamespaceLink), 10_000)
	}
}
