// Package schedule orders what waits to be sent to one neighbour.
//
// It owns the order and the choice of what still fits into a contact. It refuses
// to know bundles beyond their size and urgency, links and the store; it is told
// the time.
package schedule

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"math"

	"perigee/bundle"
	"perigee/bundle/contact"
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
	Least          int64
	Priority       bundle.Priority
	Retransmission bool
	Expiry         dtntime.Time
}

// least is the room that i needs.
func (i *Item) least() int64 {
	if i.Least > 0 {
		return min(i.Least, i.Size)
	}
	return i.Size
}

// Limits bound a queue. Zero means no limit.
type Limits struct {
	Items int
	Bytes int64
}

// Queue holds what waits for one neighbour: by priority, the most urgent first;
// first transmissions before retransmissions of equal priority; then in the order
// of acceptance. Use New. It is not safe for use by several goroutines at once.
type Queue struct {
	limits Limits
	items  map[store.Handle]Item
	bytes  int64
	firsts tree
	again  tree // retransmissions
}

// New returns an empty queue.
func New(limits Limits) *Queue {
	return &Queue{limits: limits, items: make(map[store.Handle]Item)}
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
	q.tree(i).insert(i)
	return nil
}

func (q *Queue) tree(i Item) *tree {
	if i.Retransmission {
		return &q.again
	}
	return &q.firsts
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
	q.tree(i).remove(&i)
	return i, true
}

// All yields every item in the order of the queue. The queue must not change
// meanwhile.
func (q *Queue) All() iter.Seq[Item] {
	return func(yield func(Item) bool) {
		late := make([]Item, 0, len(q.items))
		q.again.root.each(func(i Item) bool {
			late = append(late, i)
			return true
		})
		whole := q.firsts.root.each(func(i Item) bool {
			for ; len(late) > 0 && late[0].Priority > i.Priority; late = late[1:] {
				if !yield(late[0]) {
					return false
				}
			}
			return yield(i)
		})
		for ; whole && len(late) > 0; late = late[1:] {
			whole = yield(late[0])
		}
	}
}

// DefaultShare is the part of a contact, in percent, that retransmissions may use
// while first transmissions wait.
const DefaultShare = 25

// Window is what is left of a contact, or a standing link, for sending.
type Window struct {
	// Rate is 0 when it is unknown: then everything fits before End.
	Rate contact.BitRate
	// End is when the last byte must have left: the end of the contact less
	// a guard for clocks and orbit; dtntime.Forever for a standing link.
	End dtntime.Time
	// Resume is when the next contact with this neighbour starts, or 0 when
	// there is none to come or it is unknown. A retransmission that expires
	// before has its last chance now and stands in line with first
	// transmissions.
	Resume dtntime.Time
	// Most is the most bytes that go in one piece, because the neighbour takes
	// no more; 0 for no limit.
	Most int64

	budget int64 // of bytes for retransmissions
	spent  int64
}

// Open returns the window of a contact of which the part from now to its end, less
// guard, remains. Share is the percentage of it that retransmissions may use.
func Open(c contact.Contact, now dtntime.Time, guard dtntime.Duration, share int) Window {
	w := Window{Rate: c.Rate, End: dtntime.Time(c.End.Sub(dtntime.Time(guard)))}
	w.budget = percent(w.room(max(now, c.Start)), share)
	return w
}

// Standing returns the window of a link that has no end.
func Standing() Window { return Window{End: dtntime.Forever, budget: math.MaxInt64} }

func percent(n int64, share int) int64 {
	p := int64(min(max(share, 0), 100))
	return n/100*p + n%100*p/100
}

// Room returns how many bytes can still leave from now on in one piece; negative
// when w has ended.
func (w *Window) Room(now dtntime.Time) int64 {
	room := w.room(now)
	if w.Most > 0 {
		room = min(room, w.Most)
	}
	return room
}

// room returns how many bytes can still leave from now on.
func (w *Window) room(now dtntime.Time) int64 {
	switch {
	case now >= w.End:
		return -1
	case w.Rate == 0 || w.End == dtntime.Forever:
		return math.MaxInt64
	}
	return w.Rate.Bytes(w.End.Sub(now))
}

// Next returns the first item that can leave before w ends when its first byte
// leaves at now, without taking it out. Items that do not fit are passed over;
// one that may be cut fits where its Least does.
//
// Retransmissions that would go beyond their share of the window wait for as long
// as a first transmission fits; one in each window may go however large it is, so
// that none waits for ever.
func (q *Queue) Next(w *Window, now dtntime.Time) (Item, bool) {
	room := w.Room(now)
	if room < 0 {
		return Item{}, false
	}
	first := q.firsts.first(room, whenever)
	allowed := room
	if first != nil && w.spent > 0 {
		allowed = min(room, w.budget-w.spent)
	}
	again := q.again.first(allowed, whenever)
	if w.Resume != 0 {
		first = sooner(first, q.again.first(allowed, w.Resume))
	}
	if again != nil && (first == nil || again.Priority > first.Priority) {
		first = again
	}
	if first == nil {
		return Item{}, false
	}
	return *first, true
}

// sooner returns the item that goes first when a retransmission is in line with
// first transmissions. Either may be nil.
func sooner(first, last *Item) *Item {
	if first == nil || last != nil && order(last, first) < 0 {
		return last
	}
	return first
}

// Take takes the item that Next returns out of the queue and books it in w.
func (q *Queue) Take(w *Window, now dtntime.Time) (Item, bool) {
	i, ok := q.Next(w, now)
	if !ok {
		return Item{}, false
	}
	q.Remove(i.Handle)
	if i.Retransmission {
		w.spent += min(i.Size, w.Room(now), math.MaxInt64-w.spent)
	}
	return i, true
}

// Compare orders items as the queue does: it is negative when a goes before b.
func Compare(a, b Item) int {
	late := func(i Item) int {
		if i.Retransmission {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(late(a), late(b)), cmp.Compare(a.Handle, b.Handle))
}
