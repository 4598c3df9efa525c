package link

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"perigee/bundle/contact"
)

func TestNetemArguments(t *testing.T) {
	const ms = time.Millisecond
	for _, test := range []struct {
		name string
		lane Lane
		want string
	}{
		{"nothing", Lane{}, "netem limit 1000000"},
		{"delay", Lane{Rate: contact.MegabitPerSecond, Delay: 8 * ms}, "netem limit 1016 delay 8000000ns"},
		{"long", Lane{Rate: 10 * contact.GigabitPerSecond, Delay: time.Minute}, "netem limit 1000000 delay 60000000000ns"},
		{"jitter in order", Lane{Rate: 64000, Delay: 8 * ms, Jitter: ms}, "netem limit 1002 delay 8000000ns 1000000ns rate 100000000000bit seed 9"},
		{"jitter", Lane{Rate: 64000, Delay: 8 * ms, Jitter: ms, Reorder: true}, "netem limit 1002 delay 8000000ns 1000000ns seed 9"},
		{"loss", Lane{Loss: Loss{Mean: 0.07}}, "netem limit 1000000 loss random 7% seed 9"},
		{"burst", Lane{Loss: Loss{Mean: 0.02, Burst: 4}}, "netem limit 1000000 loss gemodel 0.510204082% 25% seed 9"},
		{"duplicate", Lane{Duplicate: 0.001}, "netem limit 1000000 duplicate 0.1% seed 9"},
	} {
		if got := strings.Join(netemArguments(test.lane, 9), " "); got != test.want {
			t.Errorf("%s: %s\nwant %s", test.name, got, test.want)
		}
	}
}

func TestNetemCommands(t *testing.T) {
	s := &script{}
	l := upScripted(t, s, &NetemBackend{run: s.run, pid: 7}, Config{
		Seed: 5,
		Shape: Shape{
			Out:  Lane{Rate: 100 * contact.MegabitPerSecond, Delay: 8 * time.Millisecond, Loss: Loss{Mean: 0.01}},
			Back: Lane{Delay: 8 * time.Millisecond, Loss: Loss{Mean: 0.01}},
		},
	})
	shaping := []string{
		"tc -n pg7-1-m qdisc replace dev toright0 root handle 1: netem limit 2563 delay 8000000ns loss random 1% seed 5",
		"tc -n pg7-1-m qdisc replace dev toright0 parent 1:1 handle 2: tbf rate 100000000bit burst 100000 limit 2600000",
		"tc -n pg7-1-m qdisc replace dev toright0 parent 2:1 bfifo limit 2600000",
		"tc -n pg7-1-m qdisc replace dev toleft0 root handle 1: netem limit 1000000 delay 8000000ns loss random 1% seed 18446744073709551610",
		"tc -n pg7-1-m qdisc replace dev toleft0 parent 1:1 pfifo limit 1000",
	}
	lines := s.take()
	if got := lines[len(lines)-6 : len(lines)-1]; !slices.Equal(got, shaping) {
		t.Errorf("ran\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(shaping, "\n  "))
	}
	if err := l.SetOpen(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if lines := s.take(); len(lines) != 8 || !slices.Equal(lines[3:], shaping) {
		t.Errorf("a cut ran %q", lines)
	}
	if err := l.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestNetemProbe(t *testing.T) {
	s := &script{}
	backend := &NetemBackend{run: s.run, pid: 7}
	if err := backend.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.expect(t, "ip netns list", "ip netns add pg7-1-m", "tc -n pg7-1-m qdisc replace dev lo root netem",
		"tc -n pg7-1-m qdisc replace dev lo root netem loss random 1% seed 1", "ip netns list")
	for _, fail := range []string{"netns add", "root netem", "seed"} {
		s.fail = fail
		if err := backend.Probe(t.Context()); !errors.Is(err, ErrUnavailable) || !errors.Is(err, errRefused) {
			t.Errorf("%s: %v", fail, err)
		}
	}
}

// TestNetemReal sends packets over a real link, with the delay of both ways.
func TestNetemReal(t *testing.T) {
	lane := Lane{Rate: 10 * contact.MegabitPerSecond, Delay: 20 * time.Millisecond}
	l := upReal(t, NewNetem(nil), Config{Shape: Shape{Out: lane, Back: lane}})
	if took := transfer(t, l, 1000); took < 20*time.Millisecond {
		t.Errorf("1000 bytes took only %v", took)
	}
	checkOutageUnnoticed(t, l)
}

// TestNetemScripts uses the scripts for people who do without this package.
func TestNetemScripts(t *testing.T) {
	if err := probeNetem(); err != nil {
		t.Skipf("needs root and netem: %v", err)
	}
	t.Setenv("SAT", "perigee-test-sat")
	t.Setenv("GS", "perigee-test-gs")
	for _, script := range [][]string{{"up.sh"}, {"cut.sh", "0.1"}, {"down.sh"}} {
		if _, err := RunCommand(t.Context(), "../netem/"+script[0], script[1:]...); err != nil {
			t.Error(err)
		}
	}
	there, err := namespaces(t.Context(), RunCommand)
	if err != nil || there["perigee-test-sat"] || there["perigee-test-gs"] {
		t.Errorf("left over: %v, %v", there, err)
	}
}
