package emu

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"perigee/testbed/link"
	"perigee/testbed/sim"
)

// script is a link.Runner that notes commands in the place of running them.
type script struct {
	mu    sync.Mutex // guards lines
	lines []string
}

func (s *script) run(_ context.Context, name string, args ...string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, strings.Join(append([]string{name}, args...), " "))
	if slices.Contains(args, "-s") { // counters
		return []byte(`[{"stats64":{"tx":{"bytes":0,"packets":0}}}]`), nil
	}
	return nil, nil
}

func (s *script) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := s.lines
	s.lines = nil
	return lines
}

// TestNetemCommands lays the links of a network by netem and lets a contact begin and end,
// on kernels that have no netem, too.
func TestNetemCommands(t *testing.T) {
	s := &script{}
	c := relayed(t)
	c.Link = sim.Link{Loss: 0.01}
	w := &world{Config: c, options: Options{Backend: link.NewNetem(s.run)}, ledger: newLedger()}
	var err error
	if w.spaces, err = link.MakeNamespaces(t.Context(), s.run, "satellite", "relay", "ground"); err != nil {
		t.Fatal(err)
	}
	if err := w.layLinks(t.Context()); err != nil {
		t.Fatal(err)
	}
	satellite, relay, ground := w.spaces.Of("satellite").Name, w.spaces.Of("relay").Name, w.spaces.Of("ground").Name
	lines := s.take()
	for _, want := range []string{
		"ip link add link0 netns " + satellite + " ", "ip link add link0 netns " + relay + " ",
		"ip link add link1 netns " + relay + " ", "ip link add link1 netns " + ground + " ",
		"ip -n " + satellite + " addr add 10.77.0.2/30 dev link0", "ip -n " + satellite + " route add 10.77.0.6 via 10.77.0.1",
		"ip -n " + ground + " addr add 10.77.0.14/30 dev link1", "ip -n " + ground + " route add 10.77.0.10 via 10.77.0.13",
	} {
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, want) }) {
			t.Errorf("did not run %q, but\n  %s", want, strings.Join(lines, "\n  "))
		}
	}
	l := w.links[0]
	if err := l.turn(t.Context(), state{none, none}, state{0, 0}, false); err != nil {
		t.Fatal(err)
	}
	var shaping []string
	for _, line := range s.take() {
		if i := strings.Index(line, "dev toright0 "); i >= 0 && strings.HasPrefix(line, "tc ") {
			shaping = append(shaping, line[i:])
		}
	}
	want := []string{
		"dev toright0 root handle 1: netem limit 1012 delay 3000000ns loss random 1% seed 1",
		"dev toright0 parent 1:1 handle 2: tbf rate 2000000bit burst 2000 limit 52000",
		"dev toright0 parent 2:1 bfifo limit 52000",
	}
	if !slices.Equal(shaping, want) {
		t.Errorf("shaped by\n  %s\nwant\n  %s", strings.Join(shaping, "\n  "), strings.Join(want, "\n  "))
	}
	if err := l.turn(t.Context(), state{0, 0}, state{none, none}, false); err != nil {
		t.Fatal(err)
	}
	if lines := s.take(); !slices.ContainsFunc(lines, func(l string) bool { return strings.HasSuffix(l, "toright0.forwarding=0") }) {
		t.Errorf("closed by\n  %s", strings.Join(lines, "\n  "))
	}
	if err := w.takeDown(t.Context()); err != nil {
		t.Fatal(err)
	}
}
