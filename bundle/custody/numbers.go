package custody

import (
	"fmt"

	"perigee/bundle"
	"perigee/bundle/dtntime"
)

// Numbers hands out the sequence numbers under which this node asks for custody.
// Each next node and class of service has a sequence of its own. Numbers are
// reserved in blocks before they are used, so that none is used twice for
// different bundles, whatever crashes.
type Numbers struct {
	load func(name string) (uint64, error)
	seqs map[seqKey]*sequence
}

type seqKey struct {
	next  bundle.EID
	class bundle.Priority
}

type sequence struct {
	id       uint64
	next     uint64
	reserved uint64 // numbers below this one are reserved
}

// Reservation is a counter that must be durable before the number that came with
// it leaves the node.
type Reservation struct {
	Name  string
	Value uint64
}

// counterLastID keeps the highest sequence ID ever given out.
const counterLastID = "custody/last-id"

// NewNumbers returns Numbers that read counters kept earlier through load, which
// returns 0 for a counter that is not kept.
func NewNumbers(load func(name string) (uint64, error)) *Numbers {
	return &Numbers{load: load, seqs: make(map[seqKey]*sequence)}
}

// Next returns the next number for bundles of the class that go to the node next,
// and the counters to keep first. When the counters of a node are lost, its
// sequence IDs begin anew from now, so that no old number comes again.
func (n *Numbers) Next(next bundle.EID, class bundle.Priority, now dtntime.Time) (seqID, seqNum uint64, keep []Reservation, err error) {
	key := seqKey{next, class}
	s := n.seqs[key]
	if s == nil {
		s, keep, err = n.open(key, now)
		if err != nil {
			return 0, 0, nil, err
		}
		n.seqs[key] = s
	}
	if s.next >= s.reserved {
		s.reserved = s.next + ReserveBlock
		keep = append(keep, Reservation{numName(s.id), s.reserved})
	}
	seqNum = s.next
	s.next++
	return s.id, seqNum, keep, nil
}

// open finds the sequence of a next node and class, or makes it.
func (n *Numbers) open(key seqKey, now dtntime.Time) (*sequence, []Reservation, error) {
	name := fmt.Sprintf("custody/id/%s/%s", key.next, key.class)
	id, err := n.load(name)
	if err != nil {
		return nil, nil, fmt.Errorf("reading counter %q: %w", name, err)
	}
	if id != 0 {
		reserved, err := n.load(numName(id))
		if err != nil {
			return nil, nil, fmt.Errorf("reading counter %q: %w", numName(id), err)
		}
		return &sequence{id: id, next: reserved, reserved: reserved}, nil, nil
	}
	last, err := n.load(counterLastID)
	if err != nil {
		return nil, nil, fmt.Errorf("reading counter %q: %w", counterLastID, err)
	}
	for _, s := range n.seqs {
		last = max(last, s.id)
	}
	if last == 0 {
		last = uint64(now) / uint64(dtntime.Second)
	}
	id = last + 1
	return &sequence{id: id}, []Reservation{{counterLastID, id}, {name, id}}, nil
}

func numName(id uint64) string { return fmt.Sprintf("custody/num/%d", id) }
