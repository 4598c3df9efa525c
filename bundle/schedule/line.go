package schedule

import "perigee/bundle/dtntime"

// line is what waits in one rank, by tenant.
type line struct {
	flows  []flow
	n      int
	clock  uint64 // what the tenant that was served last had got before
	credit int64  // bytes that are owed to the rank by its share
}

// flow is what waits of one tenant.
type flow struct {
	first, last      tree // first transmissions, without and with those that have their last chance
	again, lastAgain tree // retransmissions
	served           uint64
}

// served counts in units of a byte by this.
const servedScale = 256

// tree returns the one that an item is in. What expires before resume has its last
// chance.
func (f *flow) tree(i *Item, resume dtntime.Time) *tree {
	switch last := i.Expiry < resume; {
	case i.Retransmission && last:
		return &f.lastAgain
	case i.Retransmission:
		return &f.again
	case last:
		return &f.last
	}
	return &f.first
}

func (f *flow) trees() [4]*tree { return [...]*tree{&f.last, &f.lastAgain, &f.first, &f.again} }

func (f *flow) isEmpty() bool {
	return f.first.root == nil && f.last.root == nil && f.again.root == nil && f.lastAgain.root == nil
}

// fits tells whether a first transmission fits into room bytes.
func (f *flow) fits(room int64) bool { return f.last.first(room) != nil || f.first.first(room) != nil }

// next returns what goes first, nil for none: a first transmission that fits into room
// bytes, or a retransmission with its last chance that fits into again bytes.
func (f *flow) next(room, again int64) *Item {
	if i := sooner(f.last.first(room), f.lastAgain.first(again)); i != nil {
		return i
	}
	return f.first.first(room)
}

// retry returns the retransmission that goes first.
func (f *flow) retry(_, again int64) *Item { return f.again.first(again) }

// sooner returns the item that goes first. Either may be nil.
func sooner(a, b *Item) *Item {
	if a == nil || b != nil && order(b, a) < 0 {
		return b
	}
	return a
}

// flow returns that of an item.
func (l *line) flow(i *Item) *flow {
	if i.Tenant > 0 && i.Tenant < len(l.flows) {
		return &l.flows[i.Tenant]
	}
	return &l.flows[0]
}

func (l *line) insert(i Item, resume dtntime.Time) {
	f := l.flow(&i)
	if f.isEmpty() {
		f.served = max(f.served, l.clock) // who had nothing to send has saved nothing
	}
	f.tree(&i, resume).insert(i)
	l.n++
}

func (l *line) remove(i *Item, resume dtntime.Time) {
	l.flow(i).tree(i, resume).remove(i)
	if l.n--; l.n == 0 {
		l.credit = 0
	}
}

// fits tells whether a first transmission of anybody fits into room bytes.
func (l *line) fits(room int64) bool {
	for k := range l.flows {
		if l.flows[k].fits(room) {
			return true
		}
	}
	return false
}

// next returns what goes first: of the tenant that has got least for its weight, and of
// first transmissions as long as there are some.
func (l *line) next(room, again int64) *Item {
	for _, pick := range [...]func(*flow, int64, int64) *Item{(*flow).next, (*flow).retry} {
		var best *Item
		var least uint64
		for k := range l.flows {
			f := &l.flows[k]
			if i := pick(f, room, again); i != nil && (best == nil || f.served < least) {
				best, least = i, f.served
			}
		}
		if best != nil {
			return best
		}
	}
	return nil
}

// serve notes that bytes of an item are sent.
func (l *line) serve(i *Item, bytes int64, weight uint64) {
	f := l.flow(i)
	l.clock = max(l.clock, f.served)
	f.served += max(uint64(bytes)*servedScale/weight, 1)
	l.credit = max(l.credit-bytes, 0)
}

// part moves what has its last chance before a time, and what has it no more.
func (l *line) part(was, resume dtntime.Time) {
	for k := range l.flows {
		f := &l.flows[k]
		for _, t := range f.trees() {
			var moved []Item
			t.root.each(func(i Item) bool {
				if (i.Expiry < was) != (i.Expiry < resume) {
					moved = append(moved, i)
				}
				return true
			})
			for _, i := range moved {
				t.remove(&i)
				f.tree(&i, resume).insert(i)
			}
		}
	}
}
