package link

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"perigee/bundle/contact"
)

const threeNamespaces = "pg7-1-r (id: 2)\npg7-1-m (id: 1)\npg7-1-l (id: 0)\nother\n"

// upScripted makes a link with a script in the place of commands.
func upScripted(t *testing.T, s *script, b Backend, c Config) NamespaceLink {
	t.Helper()
	made, err := b.Up(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	s.answer("ip netns list", threeNamespaces)
	return made.(NamespaceLink)
}

func TestNetnsCommands(t *testing.T) {
	counters := func(n int) string {
		return fmt.Sprintf(`[{"stats64":{"rx":{"bytes":1},"tx":{"bytes":%d,"packets":100}}}]`, n)
	}
	s := &script{}
	s.answer("ip -n pg7-1-m -s -j link show dev toright0", counters(125_000))
	s.answer("ip -n pg7-1-m -s -j link show dev toleft0", counters(125_000))
	l := upScripted(t, s, &NetnsBackend{run: s.run, pid: 7}, Config{Shape: Shape{
		Out: Lane{Rate: 100 * contact.KilobitPerSecond}, Back: Lane{Rate: 100 * contact.MegabitPerSecond, Queue: Queue{Packets: 50}},
	}})
	const forward = "ip netns exec pg7-1-m sysctl -q -w net.ipv4.conf.toleft0.forwarding=%[1]d net.ipv4.conf.toright0.forwarding=%[1]d"
	shaping := []string{
		"tc -n pg7-1-m qdisc replace dev toright0 root handle 1: tbf rate 100000bit burst 1600 limit 17600",
		"tc -n pg7-1-m qdisc replace dev toright0 parent 1:1 bfifo limit 17600",
		"tc -n pg7-1-m qdisc replace dev toleft0 root handle 1: tbf rate 100000000bit burst 100000 limit 50",
		"tc -n pg7-1-m qdisc replace dev toleft0 parent 1:1 pfifo limit 50",
	}
	s.expect(t, slices.Concat([]string{
		"ip netns list", "ip netns add pg7-1-l", "ip netns add pg7-1-m", "ip netns add pg7-1-r",
		"ip link add left0 netns pg7-1-l mtu 1500 type veth peer name toleft0 netns pg7-1-m mtu 1500",
		"ip -n pg7-1-l addr add 10.77.1.2/30 dev left0",
		"ip -n pg7-1-m addr add 10.77.1.1/30 dev toleft0",
		"ip -n pg7-1-l link set lo up", "ip -n pg7-1-l link set left0 up", "ip -n pg7-1-m link set toleft0 up",
		"ip -n pg7-1-l route add 10.77.2.2 via 10.77.1.1",
		"ip link add right0 netns pg7-1-r mtu 1500 type veth peer name toright0 netns pg7-1-m mtu 1500",
		"ip -n pg7-1-r addr add 10.77.2.2/30 dev right0",
		"ip -n pg7-1-m addr add 10.77.2.1/30 dev toright0",
		"ip -n pg7-1-r link set lo up", "ip -n pg7-1-r link set right0 up", "ip -n pg7-1-m link set toright0 up",
		"ip -n pg7-1-r route add 10.77.1.2 via 10.77.2.1",
	}, shaping, []string{fmt.Sprintf(forward, 1)})...)
	for range 2 { // the second changes nothing
		if err := l.SetOpen(t.Context(), false); err != nil {
			t.Fatal(err)
		}
	}
	s.expect(t, slices.Concat([]string{
		fmt.Sprintf(forward, 0),
		"tc -n pg7-1-m qdisc replace dev toright0 root bfifo", "tc -n pg7-1-m qdisc replace dev toleft0 root bfifo",
	}, shaping)...)
	if err := l.SetOpen(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	s.expect(t, fmt.Sprintf(forward, 1))
	if err := l.Set(t.Context(), Shape{Back: Lane{Rate: contact.MegabitPerSecond}}); err != nil {
		t.Fatal(err)
	}
	if lines := s.take(); len(lines) != 5 || lines[2] != "tc -n pg7-1-m qdisc replace dev toright0 root pfifo limit 1000" {
		t.Errorf("shaping ran %q", lines)
	}
	stats, err := l.Stats(t.Context())
	want := Stats{
		Out:     Flow{Packets: 100, Bytes: 125_000, Busy: 10 * time.Second},
		Back:    Flow{Packets: 100, Bytes: 125_000, Busy: 10 * time.Millisecond},
		Windows: 2,
	}
	if err != nil || stats != want {
		t.Errorf("stats %+v, %v, want %+v", stats, err, want)
	}
	cmd := l.Right().Command(t.Context(), "perigeed", "--config", "x")
	if got := strings.Join(cmd.Args, " "); got != "ip netns exec pg7-1-r perigeed --config x" {
		t.Errorf("command %q", got)
	}
	s.take()
	for range 2 {
		if err := l.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s.expect(t, "ip netns list", "ip netns del pg7-1-l", "ip netns del pg7-1-m", "ip netns del pg7-1-r")
	for _, err := range []error{l.SetOpen(t.Context(), true), l.Set(t.Context(), Shape{})} {
		if !errors.Is(err, ErrDown) {
			t.Errorf("changing it once down: %v", err)
		}
	}
	if again, err := l.Stats(t.Context()); err != nil || again != want {
		t.Errorf("stats once down: %+v, %v", again, err)
	}
}

// TestNetnsCleansUpAfterFailure fails every command of the making of a link in
// turn.
func TestNetnsCleansUpAfterFailure(t *testing.T) {
	for _, fail := range []string{"netns add pg7-1-l", "netns add pg7-1-r", "type veth", "addr add", "link set", "route add", "tc -n", "sysctl"} {
		s := &script{fail: fail}
		// What is there is asked when the link goes down.
		lists := 0
		run := func(ctx context.Context, name string, args ...string) ([]byte, error) {
			out, err := s.run(ctx, name, args...)
			if len(args) == 2 && args[1] == "list" {
				if lists++; lists > 1 {
					return []byte(threeNamespaces), nil
				}
			}
			return out, err
		}
		backend := &NetnsBackend{run: run, pid: 7}
		if err := backend.Probe(t.Context()); !errors.Is(err, ErrUnavailable) || !errors.Is(err, errRefused) {
			t.Errorf("%s: %v", fail, err)
		}
		lines := s.take()
		for _, ns := range []string{"pg7-1-l", "pg7-1-m", "pg7-1-r"} {
			made := slices.Contains(lines, "ip netns add "+ns) && fail != "netns add "+ns
			if made != slices.Contains(lines, "ip netns del "+ns) {
				t.Errorf("%s: %s made %v; ran %q", fail, ns, made, lines)
			}
		}
		if slices.Contains(lines, "ip netns del other") {
			t.Errorf("%s: removed what is not ours", fail)
		}
	}
}

func TestParseSentRefuses(t *testing.T) {
	for _, text := range []string{"", "{}", "[]", "[{}]", `[{"stats64":{"tx":{"bytes":"x"}}}]`, `[{"stats64":{}},{"stats64":{}}]`} {
		if n, err := parseSent([]byte(text)); err == nil {
			t.Errorf("%q: %+v", text, n)
		}
	}
}

// TestNetnsReal sends packets over a real link: at its rate, not in an outage, and
// again after it.
func TestNetnsReal(t *testing.T) {
	shape := Shape{Out: Lane{Rate: contact.MegabitPerSecond}, Back: Lane{Rate: 10 * contact.MegabitPerSecond}}
	l := upReal(t, NewNetns(nil), Config{Shape: shape})
	const payload = 125_000 // a second's worth
	took := transfer(t, l, payload)
	stats, err := l.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes took %v; %+v", payload, took, stats)
	if stats.Out.Bytes < payload || stats.Out.Bytes > payload*3/2 || stats.Out.Busy < time.Second || stats.Out.Packets < payload/1500 {
		t.Errorf("stats %+v after %d bytes", stats, payload)
	}
	if took < 900*time.Millisecond {
		t.Errorf("%d bytes took only %v", payload, took)
	}
	checkOutageUnnoticed(t, l)
	// By packets, and without limit.
	for _, lane := range []Lane{{Rate: 100 * contact.MegabitPerSecond, Queue: Queue{Packets: 100}}, {}} {
		if err := l.Set(t.Context(), Shape{Out: lane, Back: lane}); err != nil {
			t.Fatal(err)
		}
		transfer(t, l, 1000)
	}
}

// checkOutageUnnoticed cuts a link: the interface stays up, what is sent vanishes, and
// later the same connection goes on.
func checkOutageUnnoticed(t *testing.T, l NamespaceLink) {
	t.Helper()
	left, right := connectReal(t, l)
	if err := l.SetOpen(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	n := l.Left()
	up, err := RunCommand(t.Context(), "ip", "-n", n.Name, "-o", "link", "show", "dev", n.Device)
	if err != nil || !strings.Contains(string(up), "LOWER_UP") {
		t.Errorf("the interface noticed the outage: %s, %v", up, err)
	}
	if _, err := left.Write([]byte("through")); err != nil {
		t.Errorf("writing in the outage: %v", err)
	}
	right.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := right.Read(make([]byte, 7)); !isTimeout(err) {
		t.Errorf("read %d bytes in the outage: %v", n, err)
	}
	if err := l.SetOpen(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	right.SetReadDeadline(time.Now().Add(30 * time.Second))
	if n, err := right.Read(make([]byte, 7)); n != 7 || err != nil {
		t.Errorf("after the outage: %d bytes, %v", n, err)
	}
}
