// Package timers keeps what is to be looked at, in order of time.
//
// It refuses to know what that is, and whether there still is a reason to look.
package timers

import (
	"cmp"
	"container/heap"
	"slices"

	"perigee/bundle/dtntime"
)

// Timers are values, each with a time. The zero value is empty. An entry may
// outlive its reason, so whoever takes one out checks it against the present
// state.
type Timers[T cmp.Ordered] struct{ entries entries[T] }

// Add enters a value, which may be there already.
func (t *Timers[T]) Add(at dtntime.Time, value T) { heap.Push(&t.entries, entry[T]{at, value}) }

// Due takes out the first entry if its time has come. Of those of one time, the
// least value is first.
func (t *Timers[T]) Due(now dtntime.Time) (at dtntime.Time, value T, ok bool) {
	if len(t.entries) == 0 || t.entries[0].at > now {
		return 0, value, false
	}
	e := heap.Pop(&t.entries).(entry[T])
	return e.at, e.value, true
}

// Next returns the time of the first entry, or dtntime.Forever.
func (t *Timers[T]) Next() dtntime.Time {
	if len(t.entries) == 0 {
		return dtntime.Forever
	}
	return t.entries[0].at
}

// Len returns the number of entries.
func (t *Timers[T]) Len() int { return len(t.entries) }

// Prune drops the entries that have outlived their reason, or are there twice, when there are more than
// twice as many entries as reasons, and some: keep tells which are wanted. So what
// is kept stays in proportion to what there is to look at, at little cost each.
func (t *Timers[T]) Prune(reasons int, keep func(at dtntime.Time, value T) bool) {
	if len(t.entries) <= 2*reasons+pruneSlack {
		return
	}
	kept := make(map[entry[T]]bool, reasons)
	t.entries = slices.DeleteFunc(t.entries, func(e entry[T]) bool {
		if kept[e] || !keep(e.at, e.value) {
			return true
		}
		kept[e] = true
		return false
	})
	heap.Init(&t.entries)
}

// pruneSlack keeps Prune from going through short lists again and again.
const pruneSlack = 64

type entry[T cmp.Ordered] struct {
	at    dtntime.Time
	value T
}

// entries implements heap.Interface.
type entries[T cmp.Ordered] []entry[T]

func (e entries[T]) Len() int { return len(e) }
func (e entries[T]) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(e[i].at, e[j].at), cmp.Compare(e[i].value, e[j].value)) < 0
}
func (e entries[T]) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *entries[T]) Push(x any)   { *e = append(*e, x.(entry[T])) }
func (e *entries[T]) Pop() any {
	old := *e
	last := old[len(old)-1]
	*e = old[:len(old)-1]
	return last
}
