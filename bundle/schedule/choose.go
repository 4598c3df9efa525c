package schedule

import (
	"math"

	"perigee/bundle/dtntime"
)

// Next returns the first item that can leave before w ends when its first byte
// leaves at now, without taking it out. Items that do not fit are passed over;
// one that may be cut fits where its Least does.
//
// Retransmissions that would go beyond their share of the window wait for as long
// as a first transmission fits; one in each window may go however large it is, so
// that none waits for ever.
//
// A class with a share goes before more urgent ones as soon as its share of what was sent
// while it waited is enough for its first item.
func (q *Queue) Next(w *Window, now dtntime.Time) (Item, bool) {
	if i := q.choose(w, now); i != nil {
		return *i, true
	}
	return Item{}, false
}

func (q *Queue) choose(w *Window, now dtntime.Time) *Item {
	room := w.Room(now)
	if room < 0 {
		return nil
	}
	q.part(w.Resume)
	again := room
	if w.spent > 0 && q.fits(room) {
		again = min(room, w.budget-w.spent)
	}
	for rank := signals; rank >= 0; rank-- {
		i := q.lines[rank].next(room, again)
		if i == nil {
			continue
		}
		if rank == signals {
			return i
		}
		for lower := rank - 1; lower >= 0; lower-- {
			if q.lines[lower].credit == 0 {
				continue
			}
			if owed := q.lines[lower].next(room, again); owed != nil && q.lines[lower].credit >= min(owed.Size, room) {
				return owed
			}
		}
		return i
	}
	return nil
}

// fits tells whether a first transmission fits into room bytes.
func (q *Queue) fits(room int64) bool {
	for rank := range q.lines {
		if q.lines[rank].fits(room) {
			return true
		}
	}
	return false
}

// part finds out anew what expires before the next contact.
func (q *Queue) part(resume dtntime.Time) {
	if resume == q.resume {
		return
	}
	for rank := range q.lines {
		q.lines[rank].part(q.resume, resume)
	}
	q.resume = resume
}

// Take takes the item that Next returns out of the queue and books it in w and in the
// shares.
func (q *Queue) Take(w *Window, now dtntime.Time) (Item, bool) {
	found := q.choose(w, now)
	if found == nil {
		return Item{}, false
	}
	i, bytes := *found, min(found.Size, w.Room(now))
	for rank := range q.shares.Classes {
		if l := &q.lines[rank]; l.n > 0 {
			l.credit += min(percent(bytes, q.shares.Classes[rank]), math.MaxInt64-l.credit)
		}
	}
	q.lines[i.rank()].serve(&i, bytes, q.shares.weight(i.Tenant))
	q.Remove(i.Handle)
	if i.Retransmission {
		w.spent += min(bytes, math.MaxInt64-w.spent)
	}
	return i, true
}
