package core

// Sizes are the lengths of what a node keeps in memory.
type Sizes struct {
	Entries, Queued, Flying, Book           int
	Commits, Arriving, Endpoints, Receivers int
	Links, Neighbours, Custodians           int
	Expiries, Holds                         int
	Groups, Copies, Registrations           int // Copies: of groups, in all queues; not in Queued
}

// Sizes measures the state of a node, for tests that hold it to its bounds.
func (c *Core) Sizes() Sizes {
	s := Sizes{
		Entries: len(c.entries),
		Commits: len(c.commits), Arriving: len(c.arriving), Endpoints: len(c.endpoints), Receivers: len(c.receivers),
		Links: len(c.links), Neighbours: len(c.order), Custodians: len(c.signals.Custodians()),
		Expiries: c.expiries.Len(), Holds: c.holds.Len(),
		Groups: c.groups.n, Registrations: len(c.registrations),
	}
	s.Book, _ = c.book.Len()
	for _, n := range c.order {
		s.Queued += n.queue.Len()
		s.Flying += len(n.flying)
	}
	for _, h := range c.groups.order {
		e := c.entries[h]
		for _, n := range c.order {
			if _, queued := n.queue.Get(h); queued && e != nil {
				s.Copies++
				s.Queued--
			}
		}
	}
	return s
}
