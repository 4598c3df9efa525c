package route

import (
	"perigee/bundle"
	"perigee/bundle/dtntime"
)

// Figures for custody deadlines when nothing better is known of a neighbour.
const (
	DefaultProcessing  = dtntime.Second
	DefaultAggregation = 10 * dtntime.Second
)

const (
	minGuard  = 2 * dtntime.Second
	maxDouble = 3 // the guard is doubled this often at most

	blindWait    = 900 * dtntime.Second // for an answer whose way is unknown
	blindReserve = 60 * dtntime.Second  // kept for one more try before expiry
)

// Flight is a bundle under custody on its way to the next custodian.
type Flight struct {
	Next bundle.EID // the neighbour it was sent to
	// Custodian is the node that is to answer: the next one on the way that
	// takes custody. Null means Next.
	Custodian bundle.EID
	Sent      dtntime.Time     // when its last byte left
	Light     dtntime.Duration // one-way light time to Next
	// ContactEnd is when the contact it was sent in ends, or 0 for a standing
	// link.
	ContactEnd dtntime.Time
	Attempt    int          // 1 for the first transmission
	Expiry     dtntime.Time // of the bundle

	Processing  dtntime.Duration // what the custodian needs to store a bundle
	Aggregation dtntime.Duration // how long it gathers signals before sending them
	ClockError  dtntime.Duration // of both clocks together
}

// Deadline returns the time by which the custodian's answer must be here, and
// whether it is blind: a guess, because no way back is known. After it the bundle
// counts as lost on the way.
//
// The answer is awaited until the plan lets a signal come back, and a guard more:
// 2 s, the clock error or a tenth of the round trip, whichever is most, doubled
// with each attempt up to the fourth. A blind deadline is 15 minutes and a round
// trip of light away, sooner when the bundle expires, but never before the contact
// it was sent in ends or an answer could be back at all.
func (r *Router) Deadline(f Flight) (deadline dtntime.Time, blind bool) {
	arrived := f.Sent.Add(f.Light)
	custodian, known := f.Custodian, true
	if custodian.IsNull() || custodian.Node() == f.Next.Node() {
		custodian = f.Next
	} else if at, ok := r.EarliestArrival(f.Next, custodian, arrived); ok {
		arrived = at
	} else {
		known = false
	}
	ready := arrived.Add(f.Processing).Add(f.Aggregation)
	if known {
		if back, ok := r.EarliestArrival(custodian, r.me, ready); ok {
			return back.Add(f.guard(back)), false
		}
	}
	soonest := ready.Add(f.Light)
	soonest = max(soonest.Add(f.guard(soonest)), f.ContactEnd)
	last := dtntime.Time(f.Expiry.Sub(dtntime.Time(f.Light.Add(blindReserve))))
	wait := f.Sent.Add(f.Light).Add(f.Light).Add(blindWait)
	return max(min(last, wait), soonest), true
}

// guard returns how long to wait beyond the moment at which an answer can be
// back.
func (f *Flight) guard(back dtntime.Time) dtntime.Duration {
	g := max(minGuard, f.ClockError, back.Sub(f.Sent)/10)
	for range min(f.Attempt-1, maxDouble) {
		g = g.Add(g)
	}
	return g
}

// signalSize is the size of the message that EarliestArrival reckons with.
const signalSize = 1024

// EarliestArrival returns when a small message that is ready at one node at ready
// can reach another, by plan and standing links, and false when it cannot.
// Custody deadlines are made of it: how full contacts are does not matter.
func (r *Router) EarliestArrival(from, to bundle.EID, ready dtntime.Time) (dtntime.Time, bool) {
	from, to = from.Node(), to.Node()
	if from == to {
		return ready, true
	}
	r.build()
	a, knownA := r.graph.number[from]
	b, knownB := r.graph.number[to]
	if !knownA || !knownB {
		return 0, false
	}
	w := r.seek(&demand{load: load{size: signalSize}, from: a, to: b, ready: ready, first: none, shunned: none})
	return w.arrival, w.arrival != dtntime.Forever
}
