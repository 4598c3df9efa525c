package emu

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
	"perigee/testbed/link"
	"perigee/testbed/sim"
)

// noted is a link that notes what is asked of it, and carries a thousand bytes out and a
// hundred back from one look to the next.
type noted struct {
	lines []string
	stats link.Stats
}

func (n *noted) Set(_ context.Context, s link.Shape) error {
	n.lines = append(n.lines, fmt.Sprintf("out %d, %v lost; back %d, %v lost", s.Out.Rate, s.Out.Loss.Mean, s.Back.Rate, s.Back.Loss.Mean))
	return nil
}

func (n *noted) SetOpen(_ context.Context, open bool) error {
	n.lines = append(n.lines, map[bool]string{true: "open", false: "shut"}[open])
	return nil
}

func (n *noted) Stats(context.Context) (link.Stats, error) {
	n.stats.Out.Bytes += 1000
	n.stats.Back.Bytes += 100
	return n.stats, nil
}

func (*noted) Down(context.Context) error { return nil }

// lineOf is the line between nodes 1 and 2 with such contacts.
func lineOf(contacts ...contact.Contact) (*line, *noted) {
	n := &noted{}
	l := &line{world: &world{Config: sim.Config{Start: start}}, link: n, shaped: state{none, none}}
	for _, c := range contacts {
		end := 0
		if c.From == id(2) {
			end = 1
		}
		l.uses[end] = append(l.uses[end], &use{Contact: c})
	}
	return l, n
}

func oneWay(from, to uint64, begin, end dtntime.Duration, rate contact.BitRate, light dtntime.Duration) contact.Contact {
	return contact.Contact{From: id(from), To: id(to), Start: start.Add(begin), End: start.Add(end), Rate: rate, Light: light}
}

func TestLineFollowsContacts(t *testing.T) {
	const ms = time.Millisecond
	// Two contacts out that touch, one back that is longer, and an outage.
	l, _ := lineOf(oneWay(1, 2, 100, 200, 1000, 4), oneWay(1, 2, 200, 300, 2000, 6), oneWay(2, 1, 100, 400, 500, 4))
	l.outages = []span{{250 * ms, 270 * ms}}
	want := []struct {
		at    time.Duration
		state state
		shut  bool
	}{
		{95 * ms, state{0, 0}, false},
		{195 * ms, state{1, 0}, false},
		{204 * ms, state{1, 0}, false}, // the first one ends
		{250 * ms, state{1, 0}, true},
		{270 * ms, state{1, 0}, false},
		{306 * ms, state{none, 0}, false},
		{404 * ms, state{none, none}, false},
	}
	edges := l.edges()
	for i, w := range want {
		if i >= len(edges) || edges[i] != w.at || l.stateAt(w.at) != w.state || l.isShut(w.at) != w.shut {
			t.Fatalf("edges %v; at %v %v, shut %v, want %+v", edges, w.at, l.stateAt(w.at), l.isShut(w.at), w)
		}
	}
	if len(edges) != len(want) || l.stateAt(0) != (state{none, none}) {
		t.Errorf("edges %v; at first %v", edges, l.stateAt(0))
	}
}

func TestLineTurnsAndMeters(t *testing.T) {
	l, n := lineOf(oneWay(1, 2, 100, 200, 1000, 4), oneWay(2, 1, 100, 200, 500, 4), oneWay(1, 2, 300, 400, 2000, 4))
	now := state{none, none}
	for _, step := range []struct {
		next state
		shut bool
	}{
		{state{0, 0}, false},
		{state{0, 0}, true}, // an outage, and its end: as before
		{state{0, 0}, false},
		{state{none, none}, false},
		{state{1, none}, true}, // an outage from before the next one, which is one way
		{state{1, none}, false},
		{state{none, none}, false},
	} {
		if err := l.turn(t.Context(), now, step.next, step.shut); err != nil {
			t.Fatal(err)
		}
		now = step.next
	}
	want := []string{
		"out 1000, 0 lost; back 500, 0 lost", "open", "shut", "open", "shut",
		"shut", "out 2000, 0 lost; back 0, 1 lost", "open", "shut",
	}
	if !slices.Equal(n.lines, want) {
		t.Errorf("did\n%q, want\n%q", n.lines, want)
	}
	for i, want := range []int64{3000, 2000} {
		if got := l.uses[0][i].bytes; got != want {
			t.Errorf("contact %d out carried %d bytes, want %d", i, got, want)
		}
	}
	if got := l.uses[1][0].bytes; got != 300 {
		t.Errorf("the contact back carried %d bytes, want 300", got)
	}
}

func TestAddressesAreApart(t *testing.T) {
	seen := make(map[string]bool)
	for _, i := range []int{0, 1, 31, 32, maxLinks - 1} {
		ends := addresses(i)
		ends[0].Name, ends[1].Name = "a", "b"
		if err := (link.Config{Ends: ends}).Check(); err != nil {
			t.Error(err)
		}
		for _, n := range ends {
			if seen[n.Addr.String()] {
				t.Errorf("%s is there twice", n.Addr)
			}
			seen[n.Addr.String()] = true
		}
	}
}
