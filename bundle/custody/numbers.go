package custody

import (
	"fmt"

	"perigee/bundle"
	"perigee/bundle/dtntime"
)

// Numbers hands out the sequence numbers under which this node asks for custody, or
// for compressed reports. Each next node and class of service has a sequence of its
// own. Numbers are reserved in blocks before they are used, so that none is used
// twice for different bundles, whatever crashes.
type Numbers struct {
	use    string // that counters are named after
	load   func(name string) (uint64, error)
	seqs   map[seqKey]*sequence
	kept   map[string]uint64 // what Kept told of this node's counters
	lastID uint64            // the highest sequence ID given out or seen
}

type seqKey struct {
	next  bundle.EID
	class bundle.Priority
}

type sequence struct {
	name     string // of the counter that keeps the ID
	id       uint64
	next     uint64
	reserved uint64 // numbers below this one are reserved, or about to be
}

// Reservation is a counter that must be durable before the number that came with
// it leaves the node.
type Reservation struct {
	Name  string
	Value uint64
}

// unseenIDs is more than the sequence IDs that a node whose counters are lost has given
// out without a bundle here that shows them. The clock may not tell either, when it is
// behind.
const unseenIDs = 1 << 16

// Uses of numbers, which have counters of their own.
const (
	ForCustody = "custody"
	ForReports = "reports"
)

// NewNumbers returns Numbers for a use that read counters kept earlier through load,
// which returns 0 for a counter that is not kept.
func NewNumbers(use string, load func(name string) (uint64, error)) *Numbers {
	return &Numbers{use: use, load: load, seqs: make(map[seqKey]*sequence), kept: make(map[string]uint64)}
}

// Next returns the next number for bundles of the class that go to the node next,
// and the counters to keep with it. They come again with every number until Kept
// tells that they are durable, so that a commit that fails takes no reservation of
// other numbers with it. When the counters of a node are lost, its sequence IDs
// begin anew from now, so that no old number comes again.
func (n *Numbers) Next(next bundle.EID, class bundle.Priority, now dtntime.Time) (seqID, seqNum uint64, keep []Reservation, err error) {
	key := seqKey{next, class}
	s := n.seqs[key]
	if s == nil || s.next > MaxSeqNum {
		s, err = n.open(key, now)
		if err != nil {
			return 0, 0, nil, err
		}
		n.seqs[key] = s
	}
	if s.next >= s.reserved {
		s.reserved = s.next + ReserveBlock
	}
	if n.kept[s.name] != s.id {
		keep = append(keep, Reservation{n.lastIDName(), n.lastID}, Reservation{s.name, s.id})
	}
	if num := n.numName(s.id); n.kept[num] < s.reserved {
		keep = append(keep, Reservation{num, s.reserved})
	}
	seqNum = s.next
	s.next++
	return s.id, seqNum, keep, nil
}

// Kept tells that the counters that Next returned are durable.
func (n *Numbers) Kept(keep []Reservation) {
	for _, r := range keep {
		n.kept[r.Name] = max(n.kept[r.Name], r.Value)
	}
}

// Lost tells whether no counter is kept, as on a new node.
func (n *Numbers) Lost() (bool, error) {
	last, err := n.counter(n.lastIDName())
	return last == 0, err
}

// Seen tells that a stored bundle bears a number of a sequence, so that a sequence
// that is made hereafter has another ID even if the counters are lost.
func (n *Numbers) Seen(seqID uint64) { n.lastID = max(n.lastID, seqID) }

// open finds the sequence of a next node and class, or makes it.
func (n *Numbers) open(key seqKey, now dtntime.Time) (*sequence, error) {
	name := fmt.Sprintf("%s/id/%s/%s", n.use, key.next, key.class)
	id, err := n.counter(name)
	if err != nil {
		return nil, err
	}
	if id != 0 {
		reserved, err := n.counter(n.numName(id))
		if err != nil {
			return nil, err
		}
		if reserved != 0 && reserved <= MaxSeqNum { // else it is lost or at its end, and with it the sequence
			n.Seen(id)
			n.kept[name], n.kept[n.numName(id)] = id, reserved
			return &sequence{name: name, id: id, next: reserved, reserved: reserved}, nil
		}
		n.Seen(id)
	}
	last, err := n.counter(n.lastIDName())
	if err != nil {
		return nil, err
	}
	if last == 0 {
		last = max(uint64(now)/uint64(dtntime.Second), n.lastID) + unseenIDs
	}
	n.lastID = max(n.lastID, last) + 1
	return &sequence{name: name, id: n.lastID}, nil
}

func (n *Numbers) counter(name string) (uint64, error) {
	value, err := n.load(name)
	if err != nil {
		return 0, fmt.Errorf("reading counter %q: %w", name, err)
	}
	return value, nil
}

func (n *Numbers) numName(id uint64) string { return fmt.Sprintf("%s/num/%d", n.use, id) }

// lastIDName names the counter of the highest sequence ID ever given out.
func (n *Numbers) lastIDName() string { return n.use + "/last-id" }
