package core_test

import (
	"container/heap"
	"errors"
	"fmt"
	"hash"
	"hash/fnv"
	"math/rand"
	"slices"
	"testing"

	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/bundle/core"
	"perigee/bundle/dtntime"
	"perigee/bundle/route"
	"perigee/bundle/store"
	"perigee/bundle/store/memstore"
	"perigee/convergence"
)

// start is the time at which every world begins.
const start = dtntime.Time(800_000_000_000)

const second = dtntime.Second

// world is some nodes and the links between them on one goroutine: a heap of
// things to happen, in order of time and then of entry. Everything random comes
// from one seeded source, so a world runs the same way each time.
type world struct {
	t      testing.TB
	rng    *rand.Rand
	now    dtntime.Time
	queue  happenings
	seq    uint64
	nodes  []*machine
	truth  *contact.Plan // what is physically possible
	faults faults
	trace  hash.Hash64
	lines  []string // the last ones of the trace
	log    func(string)

	standing map[pair]bool         // links that need no contact
	outages  map[pair]dtntime.Time // links that do not come up until then

	sessions  []*session
	transfers map[string]int // begun, by bundle, sender and receiver
	sent      map[bundle.ID]*fate
	order     []bundle.ID // of sent
	copies    [][]byte    // of bundles that crossed a link, for strays
	tally     tally
	guests    uint64 // applications that were registered for a while
	reports   int    // that came back
}

// keptLines is how much of the trace a failure shows.
const keptLines = 80

// faults are what may go wrong, as likelihoods for each occasion.
type faults struct {
	lose   float64                // a transfer vanishes behind its acknowledgement
	cut    float64                // the session ends with a transfer, before its arrival or after
	refuse float64                // the convergence layer of the receiver refuses a transfer
	full   float64                // the store refuses a bundle
	fail   float64                // a commit fails, and the disk with it
	power  float64                // a node loses its power around a commit
	strays float64                // a copy of a bundle is kept and comes again
	drop   func(t *transfer) bool // picks transfers that vanish
}

// pair is two nodes by number, the smaller one first.
type pair [2]int

func linkOf(a, b *machine) pair { return pair{min(a.number, b.number), max(a.number, b.number)} }

type happening struct {
	at   dtntime.Time
	seq  uint64
	then func()
}

type happenings []happening

func (h happenings) Len() int { return len(h) }
func (h happenings) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].seq < h[j].seq
}
func (h happenings) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *happenings) Push(x any)   { *h = append(*h, x.(happening)) }
func (h *happenings) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

func newWorld(t testing.TB, seed int64, truth *contact.Plan) *world {
	return &world{
		t: t, rng: rand.New(rand.NewSource(seed)), now: start, truth: truth,
		trace: fnv.New64a(), sent: make(map[bundle.ID]*fate), transfers: make(map[string]int),
		standing: make(map[pair]bool), outages: make(map[pair]dtntime.Time),
	}
}

func (w *world) at(t dtntime.Time, then func()) {
	w.seq++
	heap.Push(&w.queue, happening{max(t, w.now), w.seq, then})
}

func (w *world) after(d dtntime.Duration, then func()) { w.at(w.now.Add(d), then) }

// run lets things happen until t, or until done returns true.
func (w *world) run(t dtntime.Time, done func() bool) {
	for len(w.queue) > 0 && w.queue[0].at <= t && !w.t.Failed() {
		next := heap.Pop(&w.queue).(happening)
		w.now = next.at
		next.then()
		if done != nil && done() {
			return
		}
	}
	w.now = max(w.now, t)
}

// pass lets time pass.
func (w *world) pass(d dtntime.Duration) { w.run(w.now.Add(d), nil) }

// note writes a line of the trace.
func (w *world) note(format string, args ...any) {
	line := fmt.Sprintf("%9d ", w.now-start) + fmt.Sprintf(format, args...)
	w.trace.Write([]byte(line))
	if len(w.lines) == 2*keptLines {
		w.lines = append(w.lines[:0], w.lines[keptLines:]...)
	}
	w.lines = append(w.lines, line)
	if w.log != nil {
		w.log(line)
	}
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	w.t.Errorf("at %d ms: %s", w.now-start, fmt.Sprintf(format, args...))
}

func eid(node int) bundle.EID { return bundle.IPN(uint64(node), 0) }

// options are what makes one node differ from another.
type options struct {
	unaware  bool // takes no custody
	reports  bool // sends status reports
	policy   core.CustodyPolicy
	always   bool // links stand at all times
	resident int  // bundles in memory at most; 0: the default
	routes   []route.Route
	peers    []int // nil: every node of the plan it has contacts with
}

// add makes node number len(nodes)+1 and starts it.
func (w *world) add(o options) *machine {
	m := &machine{
		w: w, number: len(w.nodes) + 1, store: memstore.New(memstore.Options{}), options: o,
		plan: w.truth, counters: make(map[string]uint64),
	}
	m.id = eid(m.number)
	w.nodes = append(w.nodes, m)
	return m
}

// node returns the node of an ID.
func (w *world) node(id bundle.EID) *machine {
	for _, m := range w.nodes {
		if m.id == id.Node() {
			return m
		}
	}
	return nil
}

// stands tells whether the link of two nodes needs no contact.
func (w *world) stands(a, b *machine) bool {
	return a.options.always && b.options.always || w.standing[linkOf(a, b)]
}

// reachable tells whether a link between two nodes can exist now.
func (w *world) reachable(a, b *machine) bool {
	if !a.up || !b.up {
		return false
	}
	if w.outages[linkOf(a, b)] > w.now {
		return false
	}
	if w.stands(a, b) {
		return true
	}
	_, out := w.truth.Active(a.id, b.id, w.now)
	_, in := w.truth.Active(b.id, a.id, w.now)
	return out || in
}

// session is a session between two nodes. Each end sees it under a link of its
// own and learns of its end in its own time.
type session struct {
	ends   [2]*machine
	epochs [2]int // of the nodes
	links  [2]core.LinkID
	closed [2]bool // seen by that end
	broken bool
	free   [2]dtntime.Time // when the line from that end is free again
	flying [2][]*transfer
}

type transfer struct {
	from, to *machine
	handle   store.Handle
	bundle   *bundle.Bundle
	admin    bool
	done     bool
}

var errCut = errors.New("session was cut")

// connect makes a session of two nodes unless there is one.
func (w *world) connect(a, b *machine) {
	for _, s := range w.sessions {
		if !s.broken && (s.ends[0] == a && s.ends[1] == b || s.ends[0] == b && s.ends[1] == a) {
			return
		}
	}
	s := &session{ends: [2]*machine{a, b}, epochs: [2]int{a.epoch, b.epoch}}
	for i, m := range s.ends {
		m.lastLink++
		s.links[i] = m.lastLink
		m.sessions = append(m.sessions, s)
	}
	w.sessions = append(w.sessions, s)
	for i, m := range s.ends {
		m.step(core.LinkUp{Link: s.links[i], Peer: s.ends[1-i].id, Dialed: i == 0})
	}
}

// cut ends a session. Each end learns of it after a while.
func (w *world) cut(s *session, detect [2]dtntime.Duration) {
	if s.broken {
		return
	}
	s.broken = true
	w.sessions = slices.DeleteFunc(w.sessions, func(x *session) bool { return x == s })
	for i := range s.ends {
		w.after(detect[i], func() { w.end(s, i) })
	}
}

// end tells one end of a session that it is over.
func (w *world) end(s *session, i int) {
	m := s.ends[i]
	if s.closed[i] || m.epoch != s.epochs[i] || !m.up {
		return
	}
	s.closed[i] = true
	m.sessions = slices.DeleteFunc(m.sessions, func(x *session) bool { return x == s })
	m.ending[s.links[i]] = true
	for _, t := range s.flying[i] {
		if !t.done {
			t.done = true
			m.step(core.Sent{Link: s.links[i], Handle: t.handle, Err: errCut})
		}
	}
	epoch := m.epoch
	w.after(0, func() {
		if m.epoch == epoch {
			delete(m.ending, s.links[i])
			m.step(core.LinkDown{Link: s.links[i]})
		}
	})
}

// rateOf is the rate at which a node sends to another, physically, and how long
// that takes beside.
func (w *world) rateOf(from, to *machine) (contact.BitRate, dtntime.Duration) {
	if c, ok := w.truth.Active(from.id, to.id, w.now); ok {
		return c.Rate, c.Light
	}
	return 10 * contact.MegabitPerSecond, 0
}

// mishap is what goes wrong with a transfer.
type mishap uint8

const (
	vanishes  mishap = iota + 1 // behind its acknowledgement
	isCut                       // at some byte
	isCutLate                   // when it has arrived, before the sender knows
	isRefused                   // by the convergence layer
)

func (w *world) mishap(t *transfer) mishap {
	if w.faults.drop != nil && w.faults.drop(t) {
		return vanishes
	}
	if w.faults.lose+w.faults.cut+w.faults.refuse == 0 {
		return 0
	}
	x := w.rng.Float64()
	for _, m := range []struct {
		likely float64
		what   mishap
	}{
		{w.faults.lose, vanishes},
		{w.faults.cut / 2, isCut},
		{w.faults.cut / 2, isCutLate},
		{w.faults.refuse, isRefused},
	} {
		if x < m.likely {
			return m.what
		}
		x -= m.likely
	}
	return 0
}

// refusals are the reasons for which a convergence layer refuses by itself.
var refusals = []convergence.RefuseReason{
	convergence.RefuseUnknown, convergence.RefuseNoResources, convergence.RefuseRetransmit,
	convergence.RefuseNotAcceptable, convergence.RefuseSessionTerminating,
}

// transfer sends bytes from one end of a session to the other.
func (w *world) transfer(s *session, i int, t *transfer, raw []byte) {
	t.from, t.to = s.ends[i], s.ends[1-i]
	s.flying[i] = append(s.flying[i], t)
	w.transfers[fmt.Sprintf("%s %d->%d", t.bundle.ID(), t.from.number, t.to.number)]++
	w.count(t, raw)
	rate, light := w.rateOf(t.from, t.to)
	begins := max(s.free[i], w.now)
	s.free[i] = begins.Add(rate.Duration(int64(len(raw))))
	wrong := w.mishap(t)
	if w.faults.strays > 0 && w.rng.Float64() < w.faults.strays {
		w.copies = append(w.copies, slices.Clone(raw))
	}
	if wrong == isCut {
		w.at(begins.Add(dtntime.Duration(w.rng.Int63n(int64(s.free[i].Sub(begins))+10))), func() { w.cut(s, w.detection()) })
		return
	}
	w.at(s.free[i].Add(light+10), func() {
		if s.broken || s.closed[1-i] {
			return // the sender learns of it when it learns of the cut
		}
		switch wrong {
		case vanishes:
			w.note("%s lost on the way to %s", t.bundle.ID(), t.to.id)
			w.spoil(t.bundle.ID())
			w.acknowledge(s, i, t, light, nil)
		case isRefused:
			reason := refusals[w.rng.Intn(len(refusals))]
			if reason == convergence.RefuseNotAcceptable {
				w.spoil(t.bundle.ID())
			}
			w.note("%s refused on the way to %s: %s", t.bundle.ID(), t.to.id, reason)
			w.acknowledge(s, i, t, light, &convergence.RefusedError{Reason: reason})
		case isCutLate:
			w.after(dtntime.Duration(w.rng.Intn(30)), func() { w.cut(s, w.detection()) })
			fallthrough
		default:
			t.to.arrive(s.links[1-i], raw, func(err error) { w.acknowledge(s, i, t, light, err) })
		}
	})
}

// acknowledge brings the answer to a transfer back to its sender.
func (w *world) acknowledge(s *session, i int, t *transfer, light dtntime.Duration, err error) {
	var refused *core.RefusedError
	if errors.As(err, &refused) {
		err = refusal(refused)
	}
	w.after(light+10, func() {
		m := s.ends[i]
		if s.broken || s.closed[i] || t.done || m.epoch != s.epochs[i] {
			return
		}
		t.done = true
		s.flying[i] = slices.DeleteFunc(s.flying[i], func(x *transfer) bool { return x == t })
		m.step(core.Sent{Link: s.links[i], Handle: t.handle, Err: err})
	})
}
