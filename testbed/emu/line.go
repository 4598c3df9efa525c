package emu

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/testbed/link"
	"perigee/testbed/sim"
)

// line is the link between two nodes that have contacts, and what its passes carried.
type line struct {
	world *world
	ids   [2]bundle.EID // left and right
	ends  [2]link.Namespace
	link  link.Link

	uses    [2][]*use // of contacts from that end, by start
	outages []span    // in which nothing passes though the plan says so
	shaped  state     // what the lanes are as
	metered [2]int64  // what the link had carried at the last look
}

// use is what a contact carried.
type use struct {
	contact.Contact
	bytes int64
}

// span is a while, since the start of the run.
type span struct{ from, to time.Duration }

func (s span) has(t time.Duration) bool { return s.from <= t && t < s.to }

// ahead is how long before a contact its link opens, so that the first packet finds it
// open. Daemons send nothing before.
const ahead = 5 * time.Millisecond

// maxLinks is how many links there are addresses for.
const maxLinks = 1 << 13

// Choose returns the backend of a name that can make the links of a network. For
// link.Auto it is the first of netem, tun and netns that works here.
func Choose(ctx context.Context, name string, c sim.Config) (link.Backend, error) {
	ends := addresses(0)
	ends[0].Name, ends[1].Name = "left", "right"
	config := link.Config{Closed: true, Ends: ends}
	for k := range c.Plan.All() {
		lane := laneOf(k, c.Link)
		config.Shape = link.Shape{Out: lane, Back: lane}
		if lane.Delay > 0 {
			break
		}
	}
	b, err := link.Choose(ctx, name, config)
	if err != nil {
		return nil, fmt.Errorf("choosing how to emulate the links: %w", err)
	}
	return b, nil
}

// addresses gives link number i its interfaces and addresses.
func addresses(i int) [2]link.Namespace {
	const perLink, toRight = 8, 4
	at := func(offset int) netip.Addr {
		n := i*perLink + offset
		return netip.AddrFrom4([4]byte{10, 77, byte(n >> 8), byte(n)})
	}
	device := fmt.Sprintf("link%d", i)
	return [2]link.Namespace{{Device: device, Addr: at(2)}, {Device: device, Addr: at(2 + toRight)}}
}

// layLinks makes a link between every two nodes that have contacts.
func (w *world) layLinks(ctx context.Context) error {
	numbers := make(map[bundle.EID]int)
	for i, n := range w.Nodes {
		numbers[n.ID] = i
	}
	byPair := make(map[[2]bundle.EID]*line)
	for c := range w.Plan.All() {
		pair := [2]bundle.EID{c.From, c.To}
		end := 0
		if numbers[c.From] > numbers[c.To] {
			pair[0], pair[1], end = c.To, c.From, 1
		}
		l := byPair[pair]
		if l == nil {
			l = &line{world: w, ids: pair, shaped: state{none, none}}
			byPair[pair] = l
			w.links = append(w.links, l)
		}
		u := &use{Contact: c}
		l.uses[end] = append(l.uses[end], u)
		w.passes = append(w.passes, u)
		if w.Missed(c) {
			l.outages = append(l.outages, span{w.at(c.Start), w.at(c.End)})
		}
	}
	if len(w.links) > maxLinks {
		return fmt.Errorf("the network has %d links; there are addresses for %d", len(w.links), maxLinks)
	}
	for _, t := range w.Troubles() {
		for _, l := range w.links {
			if l.ids == [2]bundle.EID{t.Node, t.Peer} || l.ids == [2]bundle.EID{t.Peer, t.Node} {
				l.outages = append(l.outages, span{t.At, t.At + t.For})
			}
		}
	}
	for i, l := range w.links {
		if err := l.up(ctx, i, numbers); err != nil {
			w.links = w.links[:i] // those that are to be taken down
			return err
		}
	}
	return nil
}

// at is a time of the Config since the start.
func (w *world) at(t interface{ Time() time.Time }) time.Duration {
	return t.Time().Sub(w.Start.Time())
}

func (l *line) up(ctx context.Context, number int, numbers map[bundle.EID]int) (err error) {
	l.ends = addresses(number)
	for end, id := range l.ids {
		l.ends[end].Name = l.world.spaces.Of(l.world.Nodes[numbers[id]].Name).Name
	}
	l.link, err = l.world.options.Backend.Up(ctx, link.Config{Closed: true, Seed: l.world.Seed + uint64(number), Ends: l.ends})
	if err != nil {
		return fmt.Errorf("making the link between %s and %s: %w", l.ids[0], l.ids[1], err)
	}
	return nil
}

// laneOf is the lane of a link in a contact.
func laneOf(c contact.Contact, l sim.Link) link.Lane {
	return link.Lane{Rate: c.Rate, Delay: c.Light.Std(), Loss: link.Loss{Mean: l.Loss}}
}

// none stands for no contact.
const none = -1

// state is what is open on a line: a contact from each end, or none.
type state [2]int

// during is the span in which the link is open for a contact: until what was sent last
// has arrived.
func (l *line) during(u *use) span {
	return span{l.world.at(u.Start) - ahead, l.world.at(u.End) + u.Light.Std()}
}

// stateAt is what is open at a time.
func (l *line) stateAt(t time.Duration) state {
	s := state{none, none}
	for end, list := range l.uses {
		for i, u := range list {
			if l.during(u).has(t) {
				s[end] = i // the later one where two touch
			}
		}
	}
	return s
}

// isShut tells whether nothing passes at a time though the plan says so.
func (l *line) isShut(t time.Duration) bool {
	return slices.ContainsFunc(l.outages, func(s span) bool { return s.has(t) })
}

// edges are the times at which something about the line may change.
func (l *line) edges() []time.Duration {
	var list []time.Duration
	for _, uses := range l.uses {
		for _, u := range uses {
			s := l.during(u)
			list = append(list, s.from, s.to)
		}
	}
	for _, o := range l.outages {
		list = append(list, o.from, o.to)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// follow opens and closes the link by the plan until ctx ends, and meters its passes.
func (l *line) follow(ctx context.Context) error {
	now := state{none, none}
	for _, at := range l.edges() {
		if !l.world.until(ctx, at) {
			break
		}
		next := l.stateAt(at)
		if err := l.turn(ctx, now, next, l.isShut(at)); err != nil {
			if ctx.Err() != nil {
				break
			}
			return fmt.Errorf("link between %s and %s: %w", l.ids[0], l.ids[1], err)
		}
		now = next
	}
	return l.meter(context.WithoutCancel(ctx), now)
}

// turn goes from one state to the next.
func (l *line) turn(ctx context.Context, was, next state, shut bool) error {
	if next == (state{none, none}) || shut {
		// What has arrived by then counts.
		return errors.Join(l.link.SetOpen(ctx, false), l.meter(ctx, was))
	}
	if err := l.meter(ctx, was); err != nil {
		return err
	}
	if l.shaped != next {
		var lanes [2]link.Lane
		for end, i := range next {
			if i == none {
				lanes[end] = link.Lane{Loss: link.Loss{Mean: 1}} // the other way only
				continue
			}
			lanes[end] = laneOf(l.uses[end][i].Contact, l.world.Link)
		}
		if err := l.link.Set(ctx, link.Shape{Out: lanes[0], Back: lanes[1]}); err != nil {
			return err
		}
		l.shaped = next
	}
	return l.link.SetOpen(ctx, true)
}

// meter puts what has been carried since the last look down to the contacts of a state.
func (l *line) meter(ctx context.Context, s state) error {
	stats, err := l.link.Stats(ctx)
	if err != nil {
		return err
	}
	for end, bytes := range [2]int64{stats.Out.Bytes, stats.Back.Bytes} {
		if i := s[end]; i != none {
			l.uses[end][i].bytes += bytes - l.metered[end]
		}
		l.metered[end] = bytes
	}
	return nil
}
