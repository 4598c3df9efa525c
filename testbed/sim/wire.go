package sim

import (
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"perigee/bundle/contact"
	"perigee/bundle/core"
	"perigee/bundle/store"
)

// errCut is what a sender learns of what was under way when a session ended.
var errCut = errors.New("session was cut")

// The convergence layers.
const (
	// LayerLTP is LTP as nodes speak it, datagram by datagram.
	LayerLTP = "ltp"
	// LayerAcked carries whole bundles that are acknowledged one by one and lost
	// with the session, as a perfect transport would.
	LayerAcked = "acked"
)

// Layers lists the convergence layers, the default first.
func Layers() []string { return []string{LayerLTP, LayerAcked} }

func isLayer(name string) bool { return name == "" || slices.Contains(Layers(), name) }

// wire is what is between two nodes that meet: a channel each way that is there
// during contacts.
type wire struct {
	w       *world
	ends    [2]*node
	free    [2]time.Duration // when the channel from that end is free again
	uses    [2][]int         // of the passes from that end, by start, as numbers of world.passes
	at      [2]int           // the one of uses that was used last
	outages []outage         // no node knows of
	rng     *rand.Rand
	carrier carrier
}

// outage is a time in which nothing passes.
type outage struct{ from, to time.Duration }

// carrier is a convergence layer on a wire, at both of its ends. It tells the nodes of
// sessions and of what becomes of bundles.
type carrier interface {
	// want tells that an end wants a session, or not any more.
	want(end int, wanted bool)
	// hangup ends the session that an end knows under a link.
	hangup(end int, link core.LinkID)
	// follow tells the session of an end what its contact is like.
	follow(end int, f core.Follow)
	// send takes a bundle for the other end.
	send(end int, link core.LinkID, h store.Handle, raw []byte)
	// changed tells that the wire may have become open, or shut.
	changed()
}

// layWires makes the wires of all pairs of nodes that have contacts.
func (w *world) layWires() {
	for c := range w.cfg.Plan.All() {
		a, b := w.byID[c.From], w.byID[c.To]
		at := pairOf(a, b)
		l := w.lines[at]
		if l == nil {
			l = &wire{w: w, ends: [2]*node{w.nodes[at[0]], w.nodes[at[1]]}, rng: w.cfg.stream("wire", at[0]<<16|at[1])}
			l.carrier = newCarrier(l, w.cfg.Link)
			w.lines[at] = l
			l.introduce()
		}
		end := l.endOf(a)
		l.uses[end] = append(l.uses[end], w.passes.add(c))
		if w.cfg.Missed(c) {
			l.outages = append(l.outages, outage{w.since(c.Start), w.since(c.End)})
		}
		w.at(w.since(c.Start), l.check)
		w.at(w.since(c.End), l.check)
	}
	for _, n := range w.nodes {
		slices.SortFunc(n.peers, func(a, b core.Neighbour) int { return contact.CompareEID(a.Peer, b.Peer) })
	}
}

// introduce makes both ends known to each other.
func (l *wire) introduce() {
	for i, n := range l.ends {
		peer := l.ends[1-i]
		n.peers = append(n.peers, core.Neighbour{Peer: peer.id, Dial: i == 0})
		n.wires[peer.id] = l
	}
}

func (l *wire) endOf(n *node) int {
	if l.ends[0] == n {
		return 0
	}
	return 1
}

// wire returns the wire between two nodes, nil for none.
func (w *world) wire(a, b *node) *wire { return w.lines[pairOf(a, b)] }

// isShut tells whether nothing passes although the plan says so.
func (l *wire) isShut() bool {
	if !l.ends[0].up || !l.ends[1].up {
		return true
	}
	return slices.ContainsFunc(l.outages, func(o outage) bool { return o.from <= l.w.now && l.w.now < o.to })
}

// isOpen tells whether something passes now, in any direction.
func (l *wire) isOpen() bool {
	if l.isShut() {
		return false
	}
	_, there := l.w.open(l.ends[0], l.ends[1])
	_, back := l.w.open(l.ends[1], l.ends[0])
	return there || back
}

// check lets the carrier look at what has changed.
func (l *wire) check() {
	l.carrier.changed()
	for _, o := range l.outages {
		if o.from <= l.w.now && l.w.now < o.to {
			l.w.at(o.to, l.carrier.changed)
		}
	}
}

// use returns the pass in which an end sends now.
func (l *wire) use(end int) (*use, bool) {
	list, now := l.uses[end], l.w.clock()
	for l.at[end]+1 < len(list) && l.w.passes[list[l.at[end]+1]].Start <= now {
		l.at[end]++
	}
	if len(list) == 0 {
		return nil, false
	}
	u := &l.w.passes[list[l.at[end]]]
	return u, u.ActiveAt(now)
}

// emit sends so many bytes from an end. They are there when the channel has been free
// for them and light has come over, unless the pass has ended by then. It returns when
// the channel is free again, and false when there is none.
func (l *wire) emit(end, size int, arrive func()) (time.Duration, bool) {
	u, ok := l.use(end)
	if !ok || l.isShut() {
		return 0, false
	}
	begin := max(l.free[end], l.w.now)
	left := begin + time.Duration(float64(size)*8/float64(u.Rate)*float64(time.Second))
	l.free[end] = left
	if left > l.w.since(u.End) {
		return left, true // cut off
	}
	u.Bytes += int64(size)
	l.w.at(left+u.Light.Std(), func() {
		if !l.isShut() {
			arrive()
		}
	})
	return left, true
}

// light is the one-way light time now, or that of the last pass.
func (l *wire) light() time.Duration {
	for end := range l.ends {
		if u, _ := l.use(end); u != nil {
			return u.Light.Std()
		}
	}
	return 0
}

// use is what a pass was used for.
type use struct {
	contact.Contact
	Bytes int64 // that left in it
}

// passes are all of a run.
type passes []use

func (p *passes) add(c contact.Contact) int {
	*p = append(*p, use{Contact: c})
	return len(*p) - 1
}

// newCarrier makes the carrier of a wire.
func newCarrier(l *wire, c Link) carrier {
	if c.Layer == LayerAcked {
		return &acked{wire: l, loss: c.Loss}
	}
	return newLTP(l, c)
}

// linkUp makes a session known to an end. A lasting one stays from contact to contact.
func (l *wire) linkUp(end int, dialed, lasting bool) core.LinkID {
	n := l.ends[end]
	n.lastLink++
	n.links[n.lastLink] = l
	n.w.note(n, "link up", uint64(n.lastLink), l.ends[1-end].id.NodeNumber())
	id := n.lastLink
	n.step(core.LinkUp{Link: id, Peer: l.ends[1-end].id, Dialed: dialed, Lasting: lasting})
	return id
}

// linkDown tells an end that a session is over, and before that the fate of what was
// under way.
func (l *wire) linkDown(end int, link core.LinkID, flying []store.Handle) {
	n := l.ends[end]
	delete(n.links, link)
	n.w.note(n, "link down", uint64(link))
	for _, h := range flying {
		n.step(core.Sent{Link: link, Handle: h, Err: errCut})
	}
	n.step(core.LinkDown{Link: link})
}
