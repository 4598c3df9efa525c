// Package schedule orders what waits to be sent to one neighbour.
//
// It owns the order, the shares of those who wait, the choice of what still fits into a
// contact and the pace at which it is handed to a link. It refuses to know bundles
// beyond their size and urgency, links and the store; it is told the time.
package schedule

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"math/bits"
	"slices"

	"perigee/bundle"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
)

// Errors that callers branch on.
var (
	// ErrFull: the queue is at its limit.
	ErrFull = errors.New("queue is full")
	// ErrQueued: the bundle waits in the queue already.
	ErrQueued = errors.New("bundle is in the queue already")
)

// Item is a bundle that waits.
type Item struct {
	Handle store.Handle
	Size   int64 // bytes to send; negative counts as 0
	// Least is for items that may be cut: the fewest bytes of it that are worth
	// sending, so it goes where so many fit. 0: it goes whole.
	Least    int64
	Priority bundle.Priority
	// Signal goes before everything else, whatever its priority: the custody
	// signals and reports of nodes, which are small and free memory elsewhere.
	Signal         bool
	Retransmission bool
	Expiry         dtntime.Time
	// Value is what the bundle is worth to its application, in any unit that all
	// of its bundles share; 0 when nobody said. What counts is the value of a byte.
	Value uint64
	// Tenant is whose bundle it is: a number of Shares, 0 for everyone else.
	Tenant int
}

// least is the room that i needs.
func (i *Item) least() int64 {
	if i.Least > 0 {
		return min(i.Least, i.Size)
	}
	return i.Size
}

// rank is the class that i waits in: its priority, or above all.
func (i *Item) rank() int {
	if i.Signal {
		return signals
	}
	return min(int(i.Priority), signals-1)
}

// Ranks of what waits.
const (
	signals = classes
	ranks   = classes + 1
	classes = int(bundle.PriorityExpedited) + 1
)

// Limits bound a queue. Zero means no limit.
type Limits struct {
	Items int
	Bytes int64
}

// Queue holds what waits for one neighbour: by priority, the most urgent first, with
// signals before all. Of equal priority go
//
//   - first transmissions, and retransmissions that expire before the next contact,
//     before other retransmissions,
//   - the tenants by their shares,
//   - what expires before the next contact before what does not,
//   - what has the higher value a byte,
//   - what expires first,
//   - what was accepted first.
//
// Use New. It is not safe for use by several goroutines at once.
type Queue struct {
	limits Limits
	shares Shares
	items  map[store.Handle]Item
	bytes  int64
	lines  [ranks]line
	resume dtntime.Time // what expires before is in trees of its own
}

// New returns an empty queue. Shares must be valid.
func New(limits Limits, shares Shares) *Queue {
	q := &Queue{limits: limits, shares: shares, items: make(map[store.Handle]Item)}
	for rank := range q.lines {
		q.lines[rank].flows = make([]flow, max(len(shares.Tenants), 1))
	}
	return q
}

// Len returns the number of items.
func (q *Queue) Len() int { return len(q.items) }

// Bytes returns the sum of the sizes of all items.
func (q *Queue) Bytes() int64 { return q.bytes }

// Push adds i. Its error wraps ErrFull or ErrQueued, and then nothing has changed.
func (q *Queue) Push(i Item) error {
	i.Size = max(i.Size, 0)
	if _, known := q.items[i.Handle]; known {
		return fmt.Errorf("queueing bundle %d: %w", i.Handle, ErrQueued)
	}
	if q.limits.Items > 0 && len(q.items) >= q.limits.Items {
		return fmt.Errorf("queueing bundle %d behind %d others: %w", i.Handle, len(q.items), ErrFull)
	}
	most := int64(math.MaxInt64)
	if q.limits.Bytes > 0 {
		most = q.limits.Bytes
	}
	if i.Size > most-q.bytes {
		return fmt.Errorf("queueing bundle %d of %d bytes behind %d bytes: %w", i.Handle, i.Size, q.bytes, ErrFull)
	}
	q.items[i.Handle] = i
	q.bytes += i.Size
	q.lines[i.rank()].insert(i, q.resume)
	return nil
}

// Get returns the item of a handle.
func (q *Queue) Get(h store.Handle) (Item, bool) {
	i, ok := q.items[h]
	return i, ok
}

// Remove takes the item of a handle out and tells whether there was one.
func (q *Queue) Remove(h store.Handle) (Item, bool) {
	i, ok := q.items[h]
	if !ok {
		return Item{}, false
	}
	delete(q.items, h)
	q.bytes -= i.Size
	q.lines[i.rank()].remove(&i, q.resume)
	return i, true
}

// All yields every item as Compare orders them. The queue must not change meanwhile.
func (q *Queue) All() iter.Seq[Item] {
	return slices.Values(slices.SortedFunc(maps.Values(q.items), Compare))
}

// Compare orders items of one tenant as the queue does while no contact is known: it is
// negative when a goes before b.
func Compare(a, b Item) int {
	late := func(i Item) int {
		if i.Retransmission {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(b.rank(), a.rank()), cmp.Compare(late(a), late(b)), order(&a, &b))
}

// order is negative when a goes before b, of equal rank.
func order(a, b *Item) int {
	return cmp.Or(worth(b, a), cmp.Compare(a.Expiry, b.Expiry), cmp.Compare(a.Handle, b.Handle))
}

// worth compares what a byte of a and b is worth.
func worth(a, b *Item) int {
	if a.Value == 0 || b.Value == 0 {
		return cmp.Compare(a.Value, b.Value)
	}
	ah, al := bits.Mul64(a.Value, uint64(max(b.Size, 1)))
	bh, bl := bits.Mul64(b.Value, uint64(max(a.Size, 1)))
	return cmp.Or(cmp.Compare(ah, bh), cmp.Compare(al, bl))
}
