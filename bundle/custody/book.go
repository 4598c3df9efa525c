package custody

import (
	"cmp"
	"maps"
	"slices"

	"perigee/bundle"
	"perigee/bundle/dtntime"
	"perigee/bundle/internal/timers"
	"perigee/bundle/store"
)

// Book keeps account of the bundles that this node is custodian of and has asked,
// or will ask, another node to take: each is held here or in flight to the next
// custodian.
type Book struct {
	items   map[store.Handle]*item
	byID    map[uint64][]numbered       // by sequence ID, in order of number
	timers  timers.Timers[store.Handle] // deadlines, also of bundles no longer in flight under them
	flights int
}

type item struct {
	handle   store.Handle
	seqID    uint64
	seqNum   uint64
	attempts uint32
	next     bundle.EID
	deadline dtntime.Time // zero while held
}

type numbered struct {
	seqNum uint64
	handle store.Handle
}

// NewBook returns an empty Book.
func NewBook() *Book {
	return &Book{items: make(map[store.Handle]*item), byID: make(map[uint64][]numbered)}
}

// Hold enters a bundle that this node holds under the given number. Entering it
// again does nothing.
func (b *Book) Hold(h store.Handle, seqID, seqNum uint64) {
	if b.items[h] != nil {
		return
	}
	it := &item{handle: h, seqID: seqID, seqNum: seqNum}
	b.items[h] = it
	b.enlist(it)
}

// Renumber gives a bundle another number: signals about the old one say nothing
// about it any more. Whether it is in flight stays as it is.
func (b *Book) Renumber(h store.Handle, seqID, seqNum uint64) {
	it := b.items[h]
	if it == nil {
		return
	}
	b.unlist(it)
	it.seqID, it.seqNum = seqID, seqNum
	b.enlist(it)
}

// enlist puts a bundle under its number.
func (b *Book) enlist(it *item) {
	list := b.byID[it.seqID]
	i, _ := find(list, it.seqNum)
	b.byID[it.seqID] = slices.Insert(list, i, numbered{it.seqNum, it.handle})
}

// unlist takes a bundle from under its number.
func (b *Book) unlist(it *item) {
	list := b.byID[it.seqID]
	i, _ := find(list, it.seqNum)
	for i < len(list) && list[i].handle != it.handle {
		i++
	}
	if i == len(list) {
		return
	}
	// Most are released in the order of their numbers, so the shorter side moves.
	if i < len(list)/2 {
		copy(list[1:i+1], list[:i])
		list = list[1:]
	} else {
		list = slices.Delete(list, i, i+1)
	}
	if len(list) > 0 {
		b.byID[it.seqID] = list
	} else {
		delete(b.byID, it.seqID)
	}
}

// Sent notes that the bundle has left for next and which attempt that was. When no
// signal has come by deadline, Due returns the bundle.
func (b *Book) Sent(h store.Handle, next bundle.EID, deadline dtntime.Time) {
	it := b.items[h]
	if it == nil {
		return
	}
	if it.deadline == 0 {
		b.flights++
	}
	it.next = next
	it.deadline = max(deadline, 1)
	b.timers.Add(it.deadline, h)
	b.timers.Prune(len(b.items), func(at dtntime.Time, h store.Handle) bool {
		it := b.items[h]
		return it != nil && it.deadline == at
	})
}

// Attempt counts a transmission that begins and returns its number, from 1. It
// returns 0 for a bundle that is not in the book.
func (b *Book) Attempt(h store.Handle) uint32 {
	it := b.items[h]
	if it == nil {
		return 0
	}
	it.attempts++
	return it.attempts
}

// Return takes a bundle back from flight: it is held here again.
func (b *Book) Return(h store.Handle) {
	if it := b.items[h]; it != nil && it.deadline != 0 {
		it.deadline = 0
		b.flights--
	}
}

// Drop forgets a bundle that was released or has left the store.
func (b *Book) Drop(h store.Handle) {
	it := b.items[h]
	if it == nil {
		return
	}
	if it.deadline != 0 {
		b.flights--
	}
	delete(b.items, h)
	b.unlist(it)
}

// Match returns the handles of the bundles that a signal's sequences name, in
// order of sequence ID and number, each once. The cost depends on what is in the
// book, never on the counts that the signal announces. A sequence that names a
// destination instead of an ID matches nothing, since this node issues none.
func (b *Book) Match(sequences []bundle.Sequence) []store.Handle {
	named := make(map[uint64][]bundle.Range)
	for _, s := range sequences {
		if s.SeqID != 0 && len(b.byID[s.SeqID]) > 0 {
			named[s.SeqID] = append(named[s.SeqID], s.Ranges...)
		}
	}
	var matched []store.Handle
	for _, id := range slices.Sorted(maps.Keys(named)) {
		list := b.byID[id]
		for _, run := range bundle.Normalize(named[id]) {
			i, _ := find(list, run.First)
			for ; i < len(list) && list[i].seqNum-run.First < run.Count; i++ {
				matched = append(matched, list[i].handle)
			}
		}
	}
	return matched
}

// Due takes the bundles whose deadline has passed out of flight and returns their
// handles.
func (b *Book) Due(now dtntime.Time) []store.Handle {
	var due []store.Handle
	for {
		at, h, ok := b.timers.Due(now)
		if !ok {
			return due
		}
		if it := b.items[h]; it == nil || it.deadline != at {
			continue // released, returned or sent again since
		}
		b.Return(h)
		due = append(due, h)
	}
}

// NextDue returns the time at which Due may have something to return, or
// dtntime.Forever.
func (b *Book) NextDue() dtntime.Time { return b.timers.Next() }

// Len returns how many bundles are in the book, and how many of them are in
// flight.
func (b *Book) Len() (held, inFlight int) { return len(b.items), b.flights }

// Outstanding is one bundle of the book.
type Outstanding struct {
	Handle        store.Handle
	SeqID, SeqNum uint64
	Attempts      uint32
	Next          bundle.EID   // null while it was never sent
	Deadline      dtntime.Time // 0 while it is held
}

// List returns up to limit bundles of the book, in order of handle.
func (b *Book) List(limit int) []Outstanding {
	if limit <= 0 {
		return nil
	}
	list := make([]Outstanding, 0, len(b.items))
	for _, it := range b.items {
		list = append(list, Outstanding{it.handle, it.seqID, it.seqNum, it.attempts, it.next, it.deadline})
	}
	slices.SortFunc(list, func(x, y Outstanding) int { return cmp.Compare(x.Handle, y.Handle) })
	return list[:min(limit, len(list))]
}

// find returns the place of seqNum in a list in order of number.
func find(list []numbered, seqNum uint64) (int, bool) {
	return slices.BinarySearchFunc(list, seqNum, func(n numbered, seqNum uint64) int {
		return cmp.Compare(n.seqNum, seqNum)
	})
}
