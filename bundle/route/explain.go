package route

import (
	"fmt"
	"slices"

	"perigee/bundle"
	"perigee/bundle/dtntime"
)

// Limits of an explanation.
const (
	maxExplained = 64 // neighbours
	maxWays      = 4  // that are looked at and left, over one neighbour
)

// Verdict says why a way was taken or left.
type Verdict string

// Verdicts.
const (
	Taken    Verdict = "taken"
	Later    Verdict = "later"     // it could be taken, and arrives later
	Passed   Verdict = "passed"    // a route that goes before it was taken
	Excluded Verdict = "excluded"  // the neighbour does not take the bundle now
	Returns  Verdict = "returns"   // it leads back to where the bundle came from
	TooLate  Verdict = "too-late"  // the bundle expires on it
	TooSmall Verdict = "too-small" // a contact is over, or too short for the bundle
	Partial  Verdict = "partial"   // it has room for a piece of the bundle, and one with room for all was taken
	Full     Verdict = "full"      // a contact is spoken for by bundles of at least this priority
	Unlikely Verdict = "unlikely"  // it may not come to pass, and a likelier one was taken
	NoWay    Verdict = "no-way"    // no contact leads on from the neighbour
)

// Candidate is a way that was looked at.
type Candidate struct {
	Next       bundle.EID
	Via        Via
	Hops       []Hop        // the contacts as the plan has them
	Arrival    dtntime.Time // 0 when it is not known
	Confidence float64
	Verdict    Verdict
	Detail     string // for people
}

// Explain tells how Next decides about a bundle: every way over every neighbour that it
// looks at, until one can be taken, with why each was taken or left. Candidates come in
// the order in which kinds of ways are preferred, and then by neighbour. When nothing is
// taken, err says why. At most 64 neighbours are explained.
func (r *Router) Explain(q Query, now dtntime.Time) (candidates []Candidate, err error) {
	r.build()
	remembered := r.memory // within its slack it may say otherwise
	r.memory.clear()
	defer func() { r.memory = remembered }()
	var all []Decision
	d, err := r.Next(q, now)
	if err == nil {
		all = []Decision{d}
	}
	if err == nil && q.Critical {
		all, err = r.Each(q, now)
	}
	x := explanation{r: r, q: &q, now: now, decision: d, all: all, found: err == nil}
	dest := q.Dest.Node()
	if dest.IsNull() || dest == r.me || now >= q.Expiry {
		return nil, err
	}
	if r.isLinked(dest) {
		x.direct(dest)
	}
	for next := range r.static.exactly(q.Dest) {
		x.static(next)
	}
	if to, known := r.graph.number[dest]; known {
		for _, n := range x.neighbours() {
			x.over(n, to)
		}
	}
	for next := range r.static.roughly(q.Dest) {
		x.static(next)
	}
	return x.list, err
}

// explanation is one under way.
type explanation struct {
	r        *Router
	q        *Query
	now      dtntime.Time
	decision Decision   // of Next
	all      []Decision // what is taken: that one, or one over each neighbour
	found    bool
	list     []Candidate
}

// neighbours are those that are explained.
func (x *explanation) neighbours() []int32 {
	list := x.r.graph.neighbours()
	if len(list) <= maxExplained {
		return list
	}
	chosen, known := x.r.graph.number[x.decision.Next]
	if i := slices.Index(list, chosen); known && i >= maxExplained {
		list[maxExplained-1] = chosen
	}
	return list[:maxExplained]
}

func (x *explanation) direct(dest bundle.EID) {
	c := Candidate{Next: dest, Via: ViaDirect, Hops: []Hop{{To: dest}}, Arrival: x.now, Confidence: 1}
	if x.r.excludes(x.q, dest) {
		c.Verdict, c.Detail = x.exclusion(dest)
	} else {
		c.Verdict, c.Detail = Taken, "a link to the destination that is always up"
	}
	x.list = append(x.list, c)
}

func (x *explanation) static(next bundle.EID) {
	c := Candidate{Next: next, Via: ViaStatic, Hops: []Hop{{To: next}}, Confidence: 1}
	d, ok, _ := x.r.followStatic(x.q, next, x.now)
	if ok {
		c.Confidence, c.Hops[0].Contact = d.Confidence, d.Contact
	}
	switch {
	case slices.ContainsFunc(x.all, func(d Decision) bool { return d.Via == ViaStatic && d.Next == next }):
		c.Verdict, c.Detail = Taken, "a static route"
	case ok:
		c.Verdict, c.Detail = Passed, "a route that goes before it was taken"
	case x.r.excludes(x.q, next):
		c.Verdict, c.Detail = x.exclusion(next)
	default:
		c.Verdict, c.Detail = TooSmall, "the contacts with the neighbour are over, too short, or too late for the bundle"
	}
	x.list = append(x.list, c)
}

// exclusion tells why a neighbour is no next hop.
func (x *explanation) exclusion(next bundle.EID) (Verdict, string) {
	if next == x.q.Previous.Node() {
		return Returns, "the bundle came from there"
	}
	if x.r.isHeld(next) {
		return Excluded, "the link is held down; \"perigee link up\" releases it"
	}
	return Excluded, "the neighbour does not take the bundle now"
}

// over explains the ways over one neighbour: one after the other, each without the
// contacts that the ways before failed at.
func (x *explanation) over(n, to int32) {
	next := x.r.graph.nodes[n]
	d := demand{
		load: load{size: volume(x.q.Size), priority: x.q.Priority}, from: x.r.graph.me, to: to, ready: x.now,
		first: n, shunned: none, without: make(map[*span]bool),
	}
	for tries := range maxWays {
		w := x.r.seek(&d)
		if len(w.hops) == 0 {
			if tries == 0 {
				x.list = append(x.list, Candidate{Next: next, Via: ViaPlan, Verdict: NoWay, Detail: "no contact from now on leads from there to the destination"})
			}
			break
		}
		c, failed := x.judge(&w)
		x.list = append(x.list, c)
		if failed == nil {
			break
		}
		d.without[failed] = true
	}
	x.best(n)
}

// best adds the way over a neighbour that would be taken, if it has not come up.
func (x *explanation) best(n int32) {
	next := x.r.graph.nodes[n]
	var d Decision
	if i := slices.IndexFunc(x.all, func(d Decision) bool { return d.Via == ViaPlan && d.Next == next }); i >= 0 {
		d = x.all[i]
	} else {
		var err error
		if d, err = x.r.byPlan(x.q, x.q.Dest.Node(), n, x.now); err != nil || x.r.excludes(x.q, next) || x.isLesser(&d) {
			return
		}
	}
	w := way{hops: d.hops, arrival: d.Arrival}
	c := x.candidate(&w)
	for _, known := range x.list {
		if known.Next == c.Next && known.Via == ViaPlan && slices.EqualFunc(known.Hops, c.Hops, sameHop) {
			return
		}
	}
	if c.Verdict, c.Detail = x.rank(&w); d.cut && x.found && !x.decision.cut {
		c.Verdict, c.Detail = Partial, "it has room for a piece of the bundle, and a way with room for all of it was taken"
	}
	x.list = append(x.list, c)
}

// isLesser tells whether a decision is one of those that are only made where there is
// none like the one that was made.
func (x *explanation) isLesser(d *Decision) bool {
	return x.found && x.decision.Via == ViaPlan &&
		(d.Standby && !x.decision.Standby || x.weakest(&way{hops: d.hops}) != nil)
}

func sameHop(a, b Hop) bool {
	return a.To == b.To && (a.Contact == nil) == (b.Contact == nil) && (a.Contact == nil || *a.Contact == *b.Contact)
}

// taken returns the decision for a way, nil for none.
func (x *explanation) taken(w *way) *Decision {
	for i := range x.all {
		if d := &x.all[i]; d.Via == ViaPlan && slices.Equal(d.hops, w.hops) {
			return d
		}
	}
	return nil
}

// candidate describes a way.
func (x *explanation) candidate(w *way) Candidate {
	g := x.r.graph
	c := Candidate{Next: g.nodes[w.hops[0].to], Via: ViaPlan, Arrival: w.arrival, Confidence: 1}
	at := x.now
	for _, h := range w.hops {
		step := Hop{To: g.nodes[h.to]}
		if h.span != nil {
			piece := h.span.At(at)
			step.Contact, c.Confidence = &piece, c.Confidence*h.span.Confidence()
			at = h.span.arrival(max(at, h.span.start))
		}
		c.Hops = append(c.Hops, step)
	}
	return c
}

// rank is the verdict about a way that can be taken.
func (x *explanation) rank(w *way) (Verdict, string) {
	d := x.taken(w)
	switch {
	case d != nil && d.Standby:
		return Taken, "on standby: contacts are spoken for, and it goes if there is room after all"
	case d != nil && d.cut:
		return Taken, "in pieces"
	case d != nil && x.q.Critical:
		return Taken, "arrives first over this neighbour, and a critical bundle goes over every one"
	case d != nil:
		return Taken, "arrives first"
	case !x.found || x.decision.Via != ViaPlan:
		return Passed, "a route that goes before it was taken"
	case w.arrival > x.decision.Arrival:
		return Later, fmt.Sprintf("arrives %s later", w.arrival.Sub(x.decision.Arrival))
	}
	return Later, "arrives no earlier, with more hops or a shorter span of time in which it can be gone"
}

// judge describes a way and says what becomes of it. Failed is the span at which a
// further search over the neighbour has to look for another, nil for none.
func (x *explanation) judge(w *way) (c Candidate, failed *span) {
	c = x.candidate(w)
	if d := x.taken(w); d != nil {
		c.Arrival = d.Arrival
		c.Verdict, c.Detail = x.rank(w)
		return c, nil
	}
	if next := c.Next; x.r.excludes(x.q, next) {
		c.Verdict, c.Detail = x.exclusion(next)
		return c, nil
	}
	if i := slices.IndexFunc(w.hops, func(h hop) bool { return h.to == x.r.graph.shunned(x.q) }); i >= 0 {
		c.Verdict, c.Detail = Returns, "it leads over "+x.q.Previous.Node().String()+", where the bundle came from"
		return c, w.hops[i].span
	}
	c.Verdict, c.Detail, failed = x.test(w)
	if failed != nil {
		return c, failed
	}
	c.Arrival = w.arrival
	if w.arrival > x.q.Expiry {
		c.Verdict, c.Detail = TooLate, fmt.Sprintf("the bundle expires %s before it arrives", w.arrival.Sub(x.q.Expiry))
		return c, nil
	}
	if s := x.weakest(w); s != nil {
		c.Verdict, c.Detail = Unlikely, fmt.Sprintf("the way has a likelihood of %.3g, and one that has at least %.3g and begins for sure was taken", c.Confidence, MinConfidence)
		return c, s
	}
	c.Verdict, c.Detail = x.rank(w)
	return c, nil
}

// test sends the bundle over a way beside what is booked. It returns the span that
// cannot take it, or nil, and sets the arrival of the way.
func (x *explanation) test(w *way) (Verdict, string, *span) {
	g, at := x.r.graph, x.now
	l := load{volume(x.q.Size), x.q.Priority, true, !x.q.Empty}
	for i, h := range w.hops {
		s := h.span
		if s == nil {
			continue
		}
		free := l
		free.counting = false
		if _, ok := s.leaves(at, &free); !ok {
			return TooSmall, fmt.Sprintf("the bundle is reckoned to take %d bytes, and %s has %d left by then", l.size, x.name(s), s.room(at)), s
		}
		last, ok := s.leaves(at, &l)
		if i == 0 {
			last, ok = g.followOwn(h, &l, at)
		}
		if !ok {
			return Full, fmt.Sprintf("bundles of at least this priority are to take %d of the %d bytes of %s, and the bundle takes %d",
				s.taken(x.q.Priority), s.room(at), x.name(s), l.size), s
		}
		at = s.arrival(last)
	}
	w.arrival = at
	return "", "", nil
}

// name names a span.
func (x *explanation) name(s *span) string {
	c := s.At(0)
	return fmt.Sprintf("the contact from %s to %s at %s", c.From, c.To, s.start)
}

// weakest returns the least likely span of a way that is not likely enough when a
// likelier one was taken, or nil.
func (x *explanation) weakest(w *way) *span {
	if !x.found || x.decision.Via != ViaPlan || x.decision.Confidence < MinConfidence {
		return nil
	}
	product, weakest := 1.0, (*span)(nil)
	for i, h := range w.hops {
		if h.span == nil {
			continue
		}
		c := h.span.Confidence()
		product *= c
		if i == 0 && c < 1 {
			return h.span
		}
		if c < 1 && (weakest == nil || c < weakest.Confidence()) {
			weakest = h.span
		}
	}
	if product < MinConfidence {
		return weakest
	}
	return nil
}
