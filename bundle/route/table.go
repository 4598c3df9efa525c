package route

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"perigee/bundle"
)

// MaxRoutes is the most routes of one table.
const MaxRoutes = 10_000

// ErrTable is wrapped by every error about a table of static routes.
var ErrTable = errors.New("invalid static route")

// Route is a static route: bundles for endpoints that match To go to the
// neighbour Next.
//
// To is, the closest match first:
//
//   - an endpoint, such as ipn:5.12 or dtn://gs/models;
//   - a node, such as ipn:5.0, ipn:5.* or dtn://gs/, with all its endpoints;
//   - ipn:977000.*.* for the nodes of one ipn allocator, or dtn://sat-* for the
//     endpoints whose text begins so, the longer the closer;
//   - ipn:* or dtn:* for a scheme;
//   - * for everything.
type Route struct {
	To   string
	Next bundle.EID
}

// Table is a set of static routes. It never changes. A nil Table is empty.
type Table struct {
	exact map[bundle.EID][]bundle.EID // by endpoint, or by node ID for nodes
	wild  []wildcard                  // the closest first
}

type wildcard struct {
	allocator   uint64 // when byAllocator
	byAllocator bool
	prefix      string // of the endpoint as text
	next        bundle.EID
}

// NewTable makes a table of routes. Several routes for the same To are
// alternatives, the first preferred. Its error wraps ErrTable.
func NewTable(routes []Route) (*Table, error) {
	if len(routes) > MaxRoutes {
		return nil, fmt.Errorf("%w: %d routes, more than the limit of %d", ErrTable, len(routes), MaxRoutes)
	}
	t := &Table{exact: make(map[bundle.EID][]bundle.EID)}
	for _, r := range routes {
		if err := t.add(r); err != nil {
			return nil, fmt.Errorf("%w: %q via %s: %w", ErrTable, r.To, r.Next, err)
		}
	}
	slices.SortStableFunc(t.wild, func(a, b wildcard) int { return b.rank() - a.rank() })
	return t, nil
}

func (t *Table) add(r Route) error {
	if r.Next.IsNull() || !r.Next.IsSingleton() {
		return errors.New("the next hop is no node; name it by its node ID, such as ipn:7.0")
	}
	next := r.Next.Node()
	stem, isWild := strings.CutSuffix(r.To, "*")
	if !isWild {
		to, err := bundle.ParseEID(r.To)
		if err != nil {
			return err
		}
		if to.IsNull() {
			return errors.New("nothing is sent to the null endpoint")
		}
		t.exact[to] = append(t.exact[to], next)
		return nil
	}
	w := wildcard{prefix: stem, next: next}
	switch ipn, isIPN := strings.CutPrefix(stem, "ipn:"); {
	case isIPN && strings.HasSuffix(ipn, ".*."): // ipn:ALLOCATOR.*.*
		allocator, err := strconv.ParseUint(strings.TrimSuffix(ipn, ".*."), 10, 32)
		if err != nil {
			return errors.New("the allocator is not a number below 2^32")
		}
		w.allocator, w.byAllocator = allocator, true
	case isIPN && strings.HasSuffix(ipn, "."): // ipn:NODE.*
		node, err := bundle.ParseEID(stem + "0")
		if err != nil {
			return err
		}
		if node.IsNull() {
			return errors.New("nothing is sent to the null endpoint")
		}
		t.exact[node] = append(t.exact[node], next)
		return nil
	case isIPN && ipn != "":
		return errors.New("an ipn number is matched whole; write ipn:NODE.*, ipn:ALLOCATOR.*.* or ipn:*")
	case stem != "" && !isIPN && stem != "dtn:" && !strings.HasPrefix(stem, "dtn://"):
		return errors.New("neither an ipn nor a dtn pattern; write ipn:*, dtn://NAME*, dtn:* or *")
	case strings.Contains(stem, "*"):
		return errors.New("a * stands at the end only")
	}
	t.wild = append(t.wild, w)
	return nil
}

// rank orders wildcards by how close they match.
func (w wildcard) rank() int {
	if w.byAllocator {
		return len("ipn:") + 1
	}
	return len(w.prefix)
}

func (w wildcard) match(dest bundle.EID, text string) bool {
	if w.byAllocator {
		return dest.Scheme() == bundle.SchemeIPN && dest.NodeNumber()>>32 == w.allocator
	}
	return strings.HasPrefix(text, w.prefix)
}

// exactly returns the next hops that routes for just dest or its node name, the
// preferred one first.
func (t *Table) exactly(dest bundle.EID) iter.Seq[bundle.EID] {
	return func(yield func(bundle.EID) bool) {
		if t == nil {
			return
		}
		for _, next := range t.exact[dest] {
			if !yield(next) {
				return
			}
		}
		if dest.Node() == dest {
			return
		}
		for _, next := range t.exact[dest.Node()] {
			if !yield(next) {
				return
			}
		}
	}
}

// roughly returns the next hops of the wildcards that match dest, the closest
// first.
func (t *Table) roughly(dest bundle.EID) iter.Seq[bundle.EID] {
	return func(yield func(bundle.EID) bool) {
		if t == nil || len(t.wild) == 0 {
			return
		}
		text := dest.String()
		for _, w := range t.wild {
			if w.match(dest, text) && !yield(w.next) {
				return
			}
		}
	}
}

// Lookup yields the next hops for dest, the closest match first.
func (t *Table) Lookup(dest bundle.EID) iter.Seq[bundle.EID] {
	return func(yield func(bundle.EID) bool) {
		for next := range t.exactly(dest) {
			if !yield(next) {
				return
			}
		}
		for next := range t.roughly(dest) {
			if !yield(next) {
				return
			}
		}
	}
}
