package link

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
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

// answer gives the commands that begin with prefix an answer from now on.
func (s *script) answer(prefix, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answers == nil {
		s.answers = make(map[string]string)
	}
	s.answers[prefix] = text
}

func (s *script) expect(t *testing.T, want ...string) {
	t.Helper()
	if got := s.take(); !slices.Equal(got, want) {
		t.Errorf("ran\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestSpacesHaveUnusedNames(t *testing.T) {
	s := &script{answers: map[string]string{"ip netns list": "pg7-1-m (id: 1)\npg7-2-l\nsat\n"}}
	made := spaces{run: s.run}
	names, err := made.add(t.Context(), Config{Right: "ground"}, 7, partLeft, partMiddle, partRight)
	if want := []string{"pg7-3-l", "pg7-3-m", "ground"}; err != nil || !slices.Equal(names, want) {
		t.Fatalf("names %v, %v, want %v", names, err, want)
	}
	s.expect(t, "ip netns list", "ip netns add pg7-3-l", "ip netns add pg7-3-m", "ip netns add ground",
		"ip -n ground link set dev lo alias perigee link of process 7")
	other := spaces{run: s.run}
	if _, err := other.add(t.Context(), Config{Left: "sat"}, 7, partLeft, partRight); err == nil || !strings.Contains(err.Error(), "ip netns del sat") {
		t.Errorf("a name in use: %v", err)
	}
	s.take()
	if err := other.remove(t.Context()); err != nil || len(s.take()) != 0 {
		t.Errorf("removing what was not made: %v", err)
	}
	// One has gone by itself.
	s.answer("ip netns list", "pg7-3-l\nsat\nground\n")
	if err := made.remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.expect(t, "ip netns list", "ip netns del pg7-3-l", "ip netns del ground")
}

// TestSpacesOfOthersStay fails to make a namespace, as when somebody else has just
// made it.
func TestSpacesOfOthersStay(t *testing.T) {
	s := &script{fail: "netns add pg7-1-r"}
	made := spaces{run: s.run}
	if _, err := made.add(t.Context(), Config{}, 7, partLeft, partRight); !errors.Is(err, errRefused) {
		t.Fatal(err)
	}
	if !slices.Equal(made.made, []string{"pg7-1-l"}) {
		t.Errorf("takes %v for its own", made.made)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // as when ip was killed on the way
	if _, err := made.add(ctx, Config{}, 7, partRight); !errors.Is(err, errRefused) || !slices.Contains(made.made, "pg7-1-r") {
		t.Errorf("given up: %v, takes %v for its own", err, made.made)
	}
}

func TestSweepRemovesOnlyWhatTheDeadLeft(t *testing.T) {
	s := &script{answers: map[string]string{
		"ip netns list": "pg7-1-l (id: 0)\npg8-12-m\npg8-12-r\npg9-1-l\n\n" +
			"pg8\npg8-12\npg8-12-x\nxpg8-1-l\npg8-1-l2\npg8-13-n-gs\npg8-13-n-\npg08-1-l\npg99999999999-1-l\npg-1-1-l\nmine\nsat\nground\n",
		"ip -n sat -j link":    `[{"ifname":"lo","ifalias":"perigee link of process 8"}]`,
		"ip -n ground -j link": `[{"ifname":"lo","ifalias":"perigee link of process 9"}]`,
		"ip -n mine -j link":   `[{"ifname":"lo","ifalias":"link of process 8"}]`,
		"ip -n pg8 -j link":    `[{"ifname":"lo"}]`,
	}}
	dead := func(pid int) bool { return pid != 8 }
	removed, err := sweep(t.Context(), s.run, dead)
	if want := []string{"pg8-12-m", "pg8-12-r", "pg8-13-n-gs", "sat"}; err != nil || !slices.Equal(removed, want) {
		t.Errorf("removed %v, %v, want %v", removed, err, want)
	}
	deleted := slices.DeleteFunc(s.take(), func(line string) bool { return !strings.Contains(line, "del") })
	if want := []string{"ip netns del pg8-12-m", "ip netns del pg8-12-r", "ip netns del pg8-13-n-gs", "ip netns del sat"}; !slices.Equal(deleted, want) {
		t.Errorf("ran %q", deleted)
	}
	s.fail = "del pg8-12-m"
	removed, err = sweep(t.Context(), s.run, dead)
	if !errors.Is(err, errRefused) || !slices.Equal(removed, []string{"pg8-12-r", "pg8-13-n-gs", "sat"}) {
		t.Errorf("with a failure: removed %v, %v", removed, err)
	}
}

func TestParseAliasRefuses(t *testing.T) {
	for _, text := range []string{"", "{}", "[]", `[{"ifalias":1}]`, `[{"ifalias":"a"},{"ifalias":"b"}]`} {
		if alias := parseAlias([]byte(text)); alias != "" {
			t.Errorf("%q: %q", text, alias)
		}
	}
}

// Whether backends work here, tried once.
var (
	probeTun   = sync.OnceValue(func() error { return NewTun(nil).Probe(context.Background()) })
	probeNetns = sync.OnceValue(func() error { return NewNetns(nil).Probe(context.Background()) })
	probeNetem = sync.OnceValue(func() error { return NewNetem(nil).Probe(context.Background()) })
)

// upReal makes a link for a test, which is skipped where the backend does not work, and
// sees to it that nothing of it is left over.
func upReal(t *testing.T, b Backend, c Config) NamespaceLink {
	t.Helper()
	probe := map[string]func() error{tun: probeTun, netns: probeNetns, netem: probeNetem}[b.Name()]
	if err := probe(); err != nil {
		t.Skipf("needs root and what the backend needs: %v", err)
	}
	made, err := b.Up(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	l := made.(NamespaceLink)
	t.Cleanup(func() {
		if err := l.Down(context.Background()); err != nil {
			t.Error(err)
		}
		there, err := namespaces(context.Background(), RunCommand)
		if err != nil || there[l.Left().Name] || there[l.Right().Name] {
			t.Errorf("left over: %v, %v", there, err)
		}
	})
	return l
}

// connectReal returns both ends of a TCP connection over a link.
func connectReal(t *testing.T, l NamespaceLink) (left, right *net.TCPConn) {
	t.Helper()
	var listener net.Listener
	err := l.Right().Do(func() (err error) {
		listener, err = new(net.ListenConfig).Listen(t.Context(), "tcp", netip.AddrPortFrom(l.Right().Addr, 0).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var conn net.Conn
	err = l.Left().Do(func() (err error) {
		conn, err = (&net.Dialer{Timeout: 10 * time.Second}).DialContext(t.Context(), "tcp", listener.Addr().String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	left, right = conn.(*net.TCPConn), accepted.(*net.TCPConn)
	for _, c := range []*net.TCPConn{left, right} {
		c.SetDeadline(time.Now().Add(30 * time.Second))
		t.Cleanup(func() { c.Close() })
	}
	return left, right
}

// transfer sends bytes from left to right over TCP and returns how long that took.
func transfer(t *testing.T, l NamespaceLink, bytes int) time.Duration {
	t.Helper()
	left, right := connectReal(t, l)
	start := time.Now()
	sent := make(chan error, 1)
	go func() {
		_, err := left.Write(make([]byte, bytes))
		sent <- errors.Join(err, left.CloseWrite())
	}()
	n, err := io.Copy(io.Discard, right)
	if err := errors.Join(err, <-sent); err != nil || n != int64(bytes) {
		t.Fatalf("%d of %d bytes arrived: %v", n, bytes, err)
	}
	return time.Since(start)
}

// TestSweepReal makes links in the name of a process that is dead, as after a crash,
// and sweeps them up, but not the link of one that lives.
func TestSweepReal(t *testing.T) {
	living := NewTun(nil)
	alive := upReal(t, living, Config{Closed: true, Left: "perigee-test-sat", Right: "perigee-test-gs"})
	cmd := alive.Left().Command(t.Context(), "true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	tunOfDead, netnsOfDead := NewTun(nil), NewNetns(nil)
	tunOfDead.pid, netnsOfDead.pid = cmd.Process.Pid, cmd.Process.Pid
	dead := []NamespaceLink{
		upReal(t, tunOfDead, Config{Left: "perigee-test-dead"}),
		upReal(t, netnsOfDead, Config{}),
	}
	removed, err := Sweep(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	there, err := namespaces(t.Context(), RunCommand)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range dead {
		for _, n := range []Namespace{l.Left(), l.Right()} {
			if there[n.Name] || !slices.Contains(removed, n.Name) {
				t.Errorf("%s is left over; removed %v", n.Name, removed)
			}
		}
	}
	for _, n := range []Namespace{alive.Left(), alive.Right()} {
		if !there[n.Name] {
			t.Errorf("%s of a living process is gone", n.Name)
		}
	}
}
