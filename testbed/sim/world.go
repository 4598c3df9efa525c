package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
)

// world is all nodes and the links between them.
type world struct {
	cfg     Config
	now     time.Duration // since the start
	queue   happenings
	seq     uint64
	nodes   []*node
	byID    map[bundle.EID]*node
	lines   map[pair]*wire
	trace   *trace
	history *history
	passes  passes
	err     error // why the run cannot go on
	spare   [][]byte

	drained time.Duration // when everything had arrived, 0 for never
}

// pair is two nodes by number, the smaller one first.
type pair [2]int

func pairOf(a, b *node) pair { return pair{min(a.number, b.number), max(a.number, b.number)} }

// stream returns a source of random numbers for one purpose at one node.
func (c *Config) stream(purpose string, node int) *rand.Rand {
	h := uint64(14695981039346656037) // FNV-1a
	for _, b := range []byte(purpose) {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return rand.New(rand.NewPCG(c.Seed, h^uint64(node)<<32))
}

func newWorld(c Config) *world {
	w := &world{
		cfg: c, byID: make(map[bundle.EID]*node), lines: make(map[pair]*wire), trace: newTrace(c.Log),
	}
	w.history = newHistory(w)
	for i, n := range c.Nodes {
		m := newNode(w, i, n)
		w.nodes = append(w.nodes, m)
		w.byID[n.ID] = m
	}
	w.layWires()
	return w
}

// run lets everything happen.
func (w *world) run(ctx context.Context) error {
	for _, n := range w.nodes {
		n.boot()
	}
	w.beginTraffic()
	w.planFaults()
	total := w.cfg.Length.Std() + w.cfg.Drain.Std()
	for part := range 100 {
		if err := ctx.Err(); err != nil {
			return err
		}
		w.runUntil(total / 100 * time.Duration(part+1))
		if w.err != nil {
			return fmt.Errorf("after %s: %w; the end of the trace:\n%s", w.now, w.err, w.trace.end())
		}
		if w.cfg.Progress != nil {
			w.cfg.Progress(dtntime.Of(w.now), dtntime.Of(total))
		}
		if w.drained > 0 {
			break
		}
	}
	w.history.checkEnd()
	return nil
}

// runUntil lets happen what does before a time, or until all has drained.
func (w *world) runUntil(end time.Duration) {
	for len(w.queue) > 0 && w.queue[0].at < end && w.err == nil {
		next := w.queue.pop()
		w.now = next.at
		next.then()
		if w.now >= w.cfg.Length.Std() && w.history.isDrained() {
			w.drained = w.now
			return
		}
	}
	w.now = max(w.now, end)
}

// fail ends the run.
func (w *world) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

func (w *world) at(t time.Duration, then func()) {
	w.seq++
	w.queue.push(happening{max(t, w.now), w.seq, then})
}

func (w *world) after(d time.Duration, then func()) { w.at(w.now+d, then) }

// worthKeeping is the capacity from which buffers are used again.
const worthKeeping = 16 << 10

// buffer returns an empty slice of a capacity.
func (w *world) buffer(size int) []byte {
	if last := len(w.spare) - 1; last >= 0 && cap(w.spare[last]) >= size {
		b := w.spare[last]
		w.spare = w.spare[:last]
		return b
	}
	return make([]byte, 0, size)
}

// recycle takes back a buffer that nobody uses any more.
func (w *world) recycle(b []byte) {
	if cap(b) >= worthKeeping {
		w.spare = append(w.spare, b[:0])
	}
}

// clock is what every clock shows now.
func (w *world) clock() dtntime.Time { return w.cfg.Start.Add(dtntime.Of(w.now)) }

// since is a time of the clock as one of the world.
func (w *world) since(t dtntime.Time) time.Duration { return w.cfg.since(t) }

// since is how long after the start a time is.
func (c *Config) since(t dtntime.Time) time.Duration {
	if t <= c.Start {
		return 0
	}
	return t.Sub(c.Start).Std()
}

func (w *world) note(n *node, what string, numbers ...uint64) {
	l := line{at: int64(w.now), what: what, node: n.id.NodeNumber()}
	copy(l.numbers[:], numbers)
	w.trace.add(l)
}

// planFaults lets go wrong what will.
func (w *world) planFaults() {
	for _, x := range w.cfg.Troubles() {
		n, peer := w.byID[x.Node], w.byID[x.Peer]
		if peer == nil {
			w.crashAt(n, x.At, x.For)
			continue
		}
		l := w.wire(n, peer)
		if l != nil {
			l.outages = append(l.outages, outage{x.At, x.At + x.For})
			w.at(x.At, func() { l.check() })
		}
	}
}

func (w *world) crashAt(n *node, at, down time.Duration) {
	w.at(at, func() {
		n.crash()
		w.after(down, n.boot)
	})
}

// plan returns the contact from one node to another that is open now.
func (w *world) open(from, to *node) (contact.Contact, bool) {
	return w.cfg.Plan.Active(from.id, to.id, w.clock())
}
