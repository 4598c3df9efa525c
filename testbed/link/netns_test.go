package link

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"perigee/bundle/contact"
)

// script is a Runner that notes what it is asked to run. It fails the commands that
// contain the text in fail, and answers those that begin with a key of answers.
type script struct {
	mu      sync.Mutex
	lines   []string
	fail    string
	answers map[string]string
}

func (s *script) run(_ context.Context, name string, args ...string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := strings.Join(append([]string{name}, args...), " ")
	s.lines = append(s.lines, line)
	if s.fail != "" && strings.Contains(line, s.fail) {
		return nil, errRefused
	}
	for prefix, answer := range s.answers {
		if strings.HasPrefix(line, prefix) {
			return []byte(answer), nil
		}
	}
	return nil, nil
}

var errRefused = errors.New("operation not permitted")

func (s *script) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := s.lines
	s.lines = nil
	return lines
}

func (s *script) expect(t *testing.T, want ...string) {
	t.Helper()
	if got := s.take(); !slices.Equal(got, want) {
		t.Errorf("ran\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

const threeNamespaces = "pg7-1-r (id: 2)\npg7-1-m (id: 1)\npg7-1-l (id: 0)\nother\n"

func scripted(answers map[string]string) (*script, *NetnsBackend) {
	s := &script{answers: answers}
	return s, &NetnsBackend{run: s.run, pid: 7}
}

func TestNetnsCommands(t *testing.T) {
	counters := func(n int) string { return fmt.Sprintf(`[{"stats64":{"rx":{"bytes":1},"tx":{"bytes":%d}}}]`, n) }
	s, backend := scripted(map[string]string{
		"ip netns list": threeNamespaces,
		"ip -n pg7-1-m -s -j link show dev toright0": counters(125_000),
		"ip -n pg7-1-m -s -j link show dev toleft0":  counters(125_000),
	})
	made, err := backend.Up(t.Context(), Config{Shape: Shape{
		Out: Lane{Rate: 100 * contact.KilobitPerSecond}, Back: Lane{Rate: 100 * contact.MegabitPerSecond},
	}})
	if err != nil {
		t.Fatal(err)
	}
	l := made.(*NetnsLink)
	s.expect(t,
		"ip netns add pg7-1-l", "ip netns add pg7-1-m", "ip netns add pg7-1-r",
		"ip link add left0 netns pg7-1-l type veth peer name toleft0 netns pg7-1-m",
		"ip -n pg7-1-l addr add 10.77.1.2/24 dev left0",
		"ip -n pg7-1-m addr add 10.77.1.1/24 dev toleft0",
		"ip -n pg7-1-l link set lo up", "ip -n pg7-1-l link set left0 up", "ip -n pg7-1-m link set toleft0 up",
		"ip -n pg7-1-l route add default via 10.77.1.1",
		"ip link add right0 netns pg7-1-r type veth peer name toright0 netns pg7-1-m",
		"ip -n pg7-1-r addr add 10.77.2.2/24 dev right0",
		"ip -n pg7-1-m addr add 10.77.2.1/24 dev toright0",
		"ip -n pg7-1-r link set lo up", "ip -n pg7-1-r link set right0 up", "ip -n pg7-1-m link set toright0 up",
		"ip -n pg7-1-r route add default via 10.77.2.1",
		"tc -n pg7-1-m qdisc replace dev toright0 root tbf rate 100000bit burst 1600 limit 17600",
		"tc -n pg7-1-m qdisc replace dev toleft0 root tbf rate 100000000bit burst 100000 limit 2600000",
		"ip netns exec pg7-1-m sysctl -q -w net.ipv4.conf.toleft0.forwarding=1 net.ipv4.conf.toright0.forwarding=1",
	)
	for range 2 { // the second changes nothing
		if err := l.SetOpen(t.Context(), false); err != nil {
			t.Fatal(err)
		}
	}
	s.expect(t, "ip netns exec pg7-1-m sysctl -q -w net.ipv4.conf.toleft0.forwarding=0 net.ipv4.conf.toright0.forwarding=0")
	if err := l.SetOpen(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	s.take()
	if err := l.Set(t.Context(), Shape{Back: Lane{Rate: contact.MegabitPerSecond}}); err != nil {
		t.Fatal(err)
	}
	if lines := s.take(); len(lines) != 4 || lines[2] != "tc -n pg7-1-m qdisc replace dev toright0 root pfifo limit 1000" {
		t.Errorf("shaping ran %q", lines)
	}
	stats, err := l.Stats(t.Context())
	want := Stats{Out: Flow{125_000, 10 * time.Second}, Back: Flow{125_000, 10 * time.Millisecond}, Windows: 2}
	if err != nil || stats != want {
		t.Errorf("stats %+v, %v, want %+v", stats, err, want)
	}
	cmd := l.Command(t.Context(), Right, "perigeed", "--config", "x")
	if got := strings.Join(cmd.Args, " "); got != "ip netns exec pg7-1-r perigeed --config x" {
		t.Errorf("command %q", got)
	}
	s.take()
	for range 2 {
		if err := l.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s.expect(t, "ip netns list", "ip netns del pg7-1-l", "ip netns del pg7-1-r", "ip netns del pg7-1-m")
	if err := l.SetOpen(t.Context(), true); !errors.Is(err, ErrDown) {
		t.Errorf("opening once down: %v", err)
	}
	if again, err := l.Stats(t.Context()); err != nil || again != want {
		t.Errorf("stats once down: %+v, %v", again, err)
	}
}

// TestNetnsCleansUpAfterFailure fails every command of the making of a link in
// turn.
func TestNetnsCleansUpAfterFailure(t *testing.T) {
	for _, fail := range []string{"netns add pg7-1-l", "type veth", "addr add", "link set", "route add", "tc -n", "sysctl"} {
		s, backend := scripted(map[string]string{"ip netns list": threeNamespaces})
		s.fail = fail
		if err := backend.Probe(t.Context()); !errors.Is(err, ErrUnavailable) || !errors.Is(err, errRefused) {
			t.Errorf("%s: %v", fail, err)
		}
		lines := s.take()
		for _, ns := range []string{"l", "m", "r"} {
			if !slices.Contains(lines, "ip netns del pg7-1-"+ns) {
				t.Errorf("%s: pg7-1-%s is left over", fail, ns)
			}
		}
		if slices.Contains(lines, "ip netns del other") {
			t.Errorf("%s: removed what is not ours", fail)
		}
	}
}

func TestNetnsRefusesDelay(t *testing.T) {
	_, backend := scripted(nil)
	if _, err := backend.Up(t.Context(), Config{Shape: Shape{Out: Lane{Delay: time.Second}}}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("got %v", err)
	}
}

func TestSweepRemovesOnlyWhatTheDeadLeft(t *testing.T) {
	s, _ := scripted(map[string]string{"ip netns list": "pg7-1-l (id: 0)\npg8-12-m\npg8-12-r\npg9-1-l\n\n" +
		"pg8\npg8-12\npg8-12-x\nxpg8-1-l\npg8-1-l2\npg08-1-l\npg99999999999-1-l\npg-1-1-l\nmine\n"})
	removed, err := sweep(t.Context(), s.run, func(pid int) bool { return pid != 8 })
	if want := []string{"pg8-12-m", "pg8-12-r"}; err != nil || !slices.Equal(removed, want) {
		t.Errorf("removed %v, %v, want %v", removed, err, want)
	}
	s.expect(t, "ip netns list", "ip netns del pg8-12-m", "ip netns del pg8-12-r")
	s.fail = "del pg8-12-m"
	removed, err = sweep(t.Context(), s.run, func(pid int) bool { return pid != 8 })
	if !errors.Is(err, errRefused) || !slices.Equal(removed, []string{"pg8-12-r"}) {
		t.Errorf("with a failure: removed %v, %v", removed, err)
	}
}

func TestParseSentRefuses(t *testing.T) {
	for _, text := range []string{"", "{}", "[]", "[{}]", `[{"stats64":{"tx":{"bytes":"x"}}}]`, `[{"stats64":{}},{"stats64":{}}]`} {
		if n, err := parseSent([]byte(text)); err == nil {
			t.Errorf("%q: %d bytes", text, n)
		}
	}
}

// TestNetnsReal sends packets over a real link: at its rate, not in an outage, and
// again after it.
func TestNetnsReal(t *testing.T) {
	backend := NewNetns(nil)
	if err := backend.Probe(t.Context()); err != nil {
		t.Skipf("needs root and a kernel with namespaces, veth and tbf: %v", err)
	}
	shape := Shape{Out: Lane{Rate: contact.MegabitPerSecond}, Back: Lane{Rate: 10 * contact.MegabitPerSecond}}
	made, err := backend.Up(t.Context(), Config{Shape: shape})
	if err != nil {
		t.Fatal(err)
	}
	l := made.(*NetnsLink)
	t.Cleanup(func() {
		if err := l.Down(context.Background()); err != nil {
			t.Error(err)
		}
		there, err := namespaces(context.Background(), RunCommand)
		if err != nil || there[l.left] || there[l.middle] || there[l.right] {
			t.Errorf("left over: %v, %v", there, err)
		}
	})
	const payload = 125_000 // a second's worth
	took, err := transfer(t, l, payload)
	if err != nil {
		t.Fatal(err)
	}
	stats, err := l.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes took %v; %+v", payload, took, stats)
	if stats.Out.Bytes < payload || stats.Out.Bytes > payload*3/2 || stats.Out.Busy < time.Second {
		t.Errorf("stats %+v after %d bytes", stats, payload)
	}
	if took < 900*time.Millisecond {
		t.Errorf("%d bytes took only %v", payload, took)
	}

	if err := l.SetOpen(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if up, err := RunCommand(t.Context(), "ip", "-n", l.left, "-o", "link", "show", "dev", leftEnd); err != nil || !strings.Contains(string(up), "LOWER_UP") {
		t.Errorf("the interface noticed the outage: %s, %v", up, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
	defer cancel()
	// A refusal would end the attempt at once; silence lasts until we give up.
	if out, err := l.Command(ctx, Left, "bash", "-c", "exec 3<>/dev/tcp/"+rightAddr+"/7").CombinedOutput(); ctx.Err() == nil {
		t.Errorf("the end noticed the outage: %s, %v", out, err)
	}
	if err := l.SetOpen(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if _, err := transfer(t, l, 1000); err != nil {
		t.Errorf("after the outage: %v", err)
	}
}

// transfer sends bytes from left to right over TCP, with what a plain system has.
func transfer(t *testing.T, l *NetnsLink, bytes int) (time.Duration, error) {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("needs python3 to send with")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	receive := l.Command(ctx, Right, python, "-c", fmt.Sprintf(`
import socket
s = socket.create_server(("%s", 4556))
print("ready", flush=True)
c, _ = s.accept()
n = 0
while d := c.recv(65536): n += len(d)
assert n == %d, n
c.sendall(b"done")`, l.Addr(Right), bytes))
	ready, err := receive.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := receive.Start(); err != nil {
		return 0, err
	}
	if _, err := ready.Read(make([]byte, 5)); err != nil {
		return 0, errors.Join(err, receive.Wait())
	}
	start := time.Now()
	out, err := l.Command(ctx, Left, python, "-c", fmt.Sprintf(`
import socket
c = socket.create_connection(("%s", 4556))
c.sendall(b"x" * %d)
c.shutdown(socket.SHUT_WR)
assert c.recv(4) == b"done"`, l.Addr(Right), bytes)).CombinedOutput()
	took := time.Since(start)
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return took, errors.Join(err, receive.Wait())
}

// TestSweepReal makes a link in the name of a process that is dead, as after a
// crash, and sweeps it up, but not the link of one that lives.
func TestSweepReal(t *testing.T) {
	living := NewNetns(nil)
	if err := living.Probe(t.Context()); err != nil {
		t.Skipf("needs root and a kernel with namespaces, veth and tbf: %v", err)
	}
	cmd := exec.CommandContext(t.Context(), "true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	dead := NewNetns(nil)
	dead.pid = cmd.Process.Pid
	var links []*NetnsLink
	for _, b := range []*NetnsBackend{dead, living} {
		l, err := b.Up(t.Context(), Config{Closed: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := l.Down(context.Background()); err != nil {
				t.Error(err)
			}
		})
		links = append(links, l.(*NetnsLink))
	}
	removed, err := living.Sweep(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	there, err := namespaces(t.Context(), RunCommand)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{links[0].left, links[0].middle, links[0].right} {
		if there[part] || !slices.Contains(removed, part) {
			t.Errorf("%s is left over; removed %v", part, removed)
		}
	}
	for _, part := range []string{links[1].left, links[1].middle, links[1].right} {
		if !there[part] {
			t.Errorf("%s of a living process is gone", part)
		}
	}
}
