package link

import (
	"encoding/binary"
	"testing"
	"time"
)

// simulation offers packets to a pipe and notes what comes out, on a clock of its own.
type simulation struct {
	*pipe
	t        *testing.T
	now      time.Duration
	offered  int64
	arrivals []arrival
}

type arrival struct {
	at     time.Duration
	number uint64 // in the order in which packets were offered, from 0
}

func simulate(t *testing.T, c Config) *simulation {
	t.Helper()
	if err := NewTun(nil).Check(c); err != nil {
		t.Fatal(err)
	}
	return &simulation{t: t, pipe: newPipe(c, c.Shape.Out, 0)}
}

// until lets time pass. What arrives is due then and not before.
func (s *simulation) until(at time.Duration) {
	for {
		due, ok := s.next()
		if !ok || due > at {
			break
		}
		if due < s.now {
			s.t.Fatalf("at %v a packet is due at %v", s.now, due)
		}
		if due > 0 && s.pop(due-1) != nil {
			s.t.Fatalf("a packet came before %v", due)
		}
		s.now = due
		k := s.pop(due)
		s.arrivals = append(s.arrivals, arrival{due, binary.BigEndian.Uint64(k.data)})
		s.memory.give(k)
	}
	s.now = max(s.now, at)
}

// packet offers one packet now.
func (s *simulation) packet(size int) {
	data := make([]byte, size)
	binary.BigEndian.PutUint64(data, uint64(s.offered))
	s.offered++
	s.offer(s.now, data)
	clear(data) // it is the sender's again
}

// flood offers packets for a while, as many as there is room for and some more.
func (s *simulation) flood(size int, until time.Duration) {
	every := busy(int64(size), s.lane.Rate) / 2
	for s.now < until {
		s.packet(size)
		s.until(s.now + every)
	}
}

func (s *simulation) numbers() []uint64 {
	var numbers []uint64
	for _, a := range s.arrivals {
		numbers = append(numbers, a.number)
	}
	return numbers
}

// balance checks that every packet has met exactly one fate.
func (s *simulation) balance() {
	s.t.Helper()
	f := s.stats(s.now)
	held := int64(len(s.flight) + len(s.parked))
	if got := f.Packets + f.Lost + f.Overflowed + f.Cut + held; got != s.offered+f.Duplicated {
		s.t.Errorf("%d packets offered and %d doubled, but %d met a fate: %+v, %d held", s.offered, f.Duplicated, got, f, held)
	}
}
