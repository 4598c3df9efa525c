package contact

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"slices"
	"sort"
	"unicode/utf8"

	"perigee/bundle"
	"perigee/bundle/dtntime"
)

// Limits on plans.
const (
	// MaxContacts is the most contacts of one plan.
	MaxContacts = 100_000
	// MaxLayer is the longest name of a convergence layer in bytes.
	MaxLayer = 64
)

// ErrPlan is wrapped by every error about a contact plan.
var ErrPlan = errors.New("invalid contact plan")

// Plan is a set of contacts. It never changes, so that it may be shared freely; a
// new state of the world is a new Plan. A nil Plan is an empty one.
type Plan struct {
	contacts   []Contact // by start, end, from, to
	generation uint64

	involving map[bundle.EID][]int32        // by start
	leaving   map[bundle.EID][]int32        // by end
	pairs     map[pair][]int32              // by start; they do not overlap
	changes   map[bundle.EID][]dtntime.Time // every start and end of a node's contacts once, ascending
	channels  []Channel                     // by From and To
}

type pair struct{ from, to bundle.EID }

// New checks contacts and returns them as a plan. From and To are brought to node
// IDs and a Confidence of 0 to 1; contacts itself is left alone. Its error wraps
// ErrPlan.
func New(contacts []Contact) (*Plan, error) {
	if len(contacts) > MaxContacts {
		return nil, fmt.Errorf("%w: %d contacts, more than the limit of %d", ErrPlan, len(contacts), MaxContacts)
	}
	own := slices.Clone(contacts)
	for i := range own {
		if err := normalise(&own[i]); err != nil {
			return nil, fmt.Errorf("%w: contact %d, %s: %w", ErrPlan, i+1, describe(own[i]), err)
		}
	}
	slices.SortFunc(own, compare)
	p := &Plan{
		contacts:  own,
		involving: make(map[bundle.EID][]int32),
		leaving:   make(map[bundle.EID][]int32),
		pairs:     make(map[pair][]int32),
		changes:   make(map[bundle.EID][]dtntime.Time),
	}
	for i, c := range own {
		at := pair{c.From, c.To}
		if before := p.pairs[at]; len(before) > 0 && own[before[len(before)-1]].End > c.Start {
			return nil, fmt.Errorf("%w: %s overlaps %s; contacts from one node to another may not overlap",
				ErrPlan, describe(c), describe(own[before[len(before)-1]]))
		}
		p.pairs[at] = append(p.pairs[at], int32(i))
		p.involving[c.From] = append(p.involving[c.From], int32(i))
		p.involving[c.To] = append(p.involving[c.To], int32(i))
		p.leaving[c.From] = append(p.leaving[c.From], int32(i))
		p.changes[c.From] = append(p.changes[c.From], c.Start, c.End)
		p.changes[c.To] = append(p.changes[c.To], c.Start, c.End)
	}
	for _, list := range p.leaving {
		slices.SortStableFunc(list, func(a, b int32) int { return cmp.Compare(own[a].End, own[b].End) })
	}
	for node, list := range p.changes {
		slices.Sort(list)
		p.changes[node] = slices.Compact(list)
	}
	p.generation = digest(own)
	p.layChannels()
	return p, nil
}

func normalise(c *Contact) error {
	if c.From.IsNull() || c.To.IsNull() {
		return errors.New("a node is missing; name both by their node IDs, such as ipn:1.0")
	}
	if !c.From.IsSingleton() || !c.To.IsSingleton() || isLocal(c.From) || isLocal(c.To) {
		return errors.New("an end is no single node known everywhere; name both by their node IDs, such as ipn:1.0")
	}
	c.From, c.To = c.From.Node(), c.To.Node()
	if c.Confidence == 0 {
		c.Confidence = 1
	}
	switch {
	case c.From == c.To:
		return errors.New("a node needs no contact with itself")
	case c.Start >= c.End:
		return errors.New("it does not end after its start")
	case c.Rate == 0:
		return errors.New("its rate is 0; give bits per second")
	case !(c.Confidence > 0 && c.Confidence <= 1): // also refuses NaN
		return fmt.Errorf("confidence %v is not above 0 and at most 1", c.Confidence)
	case len(c.Layer) > MaxLayer:
		return fmt.Errorf("name of the convergence layer is longer than %d bytes", MaxLayer)
	case !utf8.ValidString(c.Layer):
		return fmt.Errorf("name of the convergence layer, %q, is not UTF-8", c.Layer)
	}
	return nil
}

func isLocal(e bundle.EID) bool {
	return e.Scheme() == bundle.SchemeIPN && e.NodeNumber() == bundle.LocalNode
}

func describe(c Contact) string {
	return fmt.Sprintf("%s to %s from %s to %s", c.From, c.To, c.Start, c.End)
}

func compare(a, b Contact) int {
	return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.End, b.End),
		CompareEID(a.From, b.From), CompareEID(a.To, b.To))
}

// CompareEID orders endpoint IDs: dtn before ipn, then by number or text.
func CompareEID(a, b bundle.EID) int {
	if a.Scheme() != b.Scheme() || a.Scheme() == bundle.SchemeIPN {
		return cmp.Or(cmp.Compare(a.Scheme(), b.Scheme()),
			cmp.Compare(a.NodeNumber(), b.NodeNumber()), cmp.Compare(a.Service(), b.Service()))
	}
	return cmp.Compare(a.String(), b.String())
}

// digest is a fingerprint of contacts.
func digest(contacts []Contact) uint64 {
	h := fnv.New64a()
	var line []byte
	for _, c := range contacts {
		line = Append(line[:0], c)
		h.Write(line) // never fails
	}
	return h.Sum64()
}

// Generation returns a number that stands for the contents of the plan: plans with
// the same contacts have the same number, and others, for all practical
// purposes, another. What was computed from a plan holds for its generation.
func (p *Plan) Generation() uint64 {
	if p == nil {
		return digest(nil)
	}
	return p.generation
}

// Len returns the number of contacts.
func (p *Plan) Len() int {
	if p == nil {
		return 0
	}
	return len(p.contacts)
}

// All yields every contact by start, end, from and to.
func (p *Plan) All() iter.Seq[Contact] {
	if p == nil {
		return func(func(Contact) bool) {}
	}
	return slices.Values(p.contacts)
}

// Active returns the contact from one node to another that is open at now.
func (p *Plan) Active(from, to bundle.EID, now dtntime.Time) (Contact, bool) {
	list, next := p.between(from, to, now)
	if next == 0 {
		return Contact{}, false
	}
	c := p.contacts[list[next-1]]
	return c, c.ActiveAt(now)
}

// Next returns the first contact from one node to another that starts after now.
func (p *Plan) Next(from, to bundle.EID, now dtntime.Time) (Contact, bool) {
	list, next := p.between(from, to, now)
	if next == len(list) {
		return Contact{}, false
	}
	return p.contacts[list[next]], true
}

// between returns the contacts of a pair of nodes, by start, and which of them is
// the first to start after now.
func (p *Plan) between(from, to bundle.EID, now dtntime.Time) ([]int32, int) {
	if p == nil {
		return nil, 0
	}
	list := p.pairs[pair{from.Node(), to.Node()}]
	return list, sort.Search(len(list), func(i int) bool { return p.contacts[list[i]].Start > now })
}

// Involving yields the contacts that node sends or receives in, by start.
func (p *Plan) Involving(node bundle.EID) iter.Seq[Contact] {
	return func(yield func(Contact) bool) {
		if p == nil {
			return
		}
		for _, i := range p.involving[node.Node()] {
			if !yield(p.contacts[i]) {
				return
			}
		}
	}
}

// Leaving yields the contacts in which node sends and that end after now, the
// first to end first.
func (p *Plan) Leaving(node bundle.EID, now dtntime.Time) iter.Seq[Contact] {
	return func(yield func(Contact) bool) {
		if p == nil {
			return
		}
		list := p.leaving[node.Node()]
		first := sort.Search(len(list), func(i int) bool { return p.contacts[list[i]].End > now })
		for _, i := range list[first:] {
			if !yield(p.contacts[i]) {
				return
			}
		}
	}
}

// Upcoming returns the first n contacts, by start, that involve node and have not
// ended at now. The ones that are open come first.
func (p *Plan) Upcoming(node bundle.EID, now dtntime.Time, n int) []Contact {
	var found []Contact
	for c := range p.Involving(node) {
		if len(found) >= n {
			break
		}
		if c.End > now {
			found = append(found, c)
		}
	}
	return found
}

// NextChange returns the first moment after now at which a contact starts or ends that
// node sends or receives in, or dtntime.Forever when nothing changes any more.
func (p *Plan) NextChange(node bundle.EID, now dtntime.Time) dtntime.Time {
	if p == nil {
		return dtntime.Forever
	}
	times := p.changes[node.Node()]
	i := sort.Search(len(times), func(i int) bool { return times[i] > now })
	if i == len(times) {
		return dtntime.Forever
	}
	return times[i]
}
