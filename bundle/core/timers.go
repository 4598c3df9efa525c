package core

import (
	"container/heap"

	"perigee/bundle/dtntime"
	"perigee/bundle/store"
)

// timers is a heap of handles by time. An entry may outlive its reason, so
// whoever takes one out checks it against the present state.
type timers []timer

type timer struct {
	at     dtntime.Time
	handle store.Handle
}

func (t timers) Len() int { return len(t) }
func (t timers) Less(i, j int) bool {
	if t[i].at != t[j].at {
		return t[i].at < t[j].at
	}
	return t[i].handle < t[j].handle
}
func (t timers) Swap(i, j int) { t[i], t[j] = t[j], t[i] }
func (t *timers) Push(x any)   { *t = append(*t, x.(timer)) }
func (t *timers) Pop() any {
	old := *t
	last := old[len(old)-1]
	*t = old[:len(old)-1]
	return last
}

func (t *timers) add(at dtntime.Time, h store.Handle) { heap.Push(t, timer{at, h}) }

// due takes out the first entry if its time has come.
func (t *timers) due(now dtntime.Time) (store.Handle, bool) {
	if len(*t) == 0 || (*t)[0].at > now {
		return 0, false
	}
	return heap.Pop(t).(timer).handle, true
}

func (t timers) next() dtntime.Time {
	if len(t) == 0 {
		return dtntime.Forever
	}
	return t[0].at
}
