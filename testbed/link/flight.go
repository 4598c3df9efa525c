package link

import "math/bits"

// flight holds packets on their way, the next to arrive first. It implements
// heap.Interface. Packets that come in their order of arrival cost one comparison.
type flight []*packet

func (f flight) Len() int { return len(f) }

func (f flight) Less(i, j int) bool {
	if f[i].arrives != f[j].arrives {
		return f[i].arrives < f[j].arrives
	}
	return f[i].order < f[j].order
}

func (f flight) Swap(i, j int) { f[i], f[j] = f[j], f[i] }

// Push implements heap.Interface.
func (f *flight) Push(k any) { *f = append(*f, k.(*packet)) }

// Pop implements heap.Interface.
func (f *flight) Pop() any {
	last := len(*f) - 1
	k := (*f)[last]
	(*f)[last] = nil
	*f = (*f)[:last]
	return k
}

// MaxHeld is how many bytes of memory one direction of a tun link may hold for the
// packets in it. What comes beyond is lost.
const MaxHeld = 512 << 20

// memory holds the packets of a pipe that are not in use, by size. Sizes are powers of
// two, so that a small packet does not take the room of a large one.
type memory struct {
	limit int64 // in bytes
	spare [maxClass + 1][]*packet
	made  int64 // bytes, in use and spare
	used  int64
}

const (
	minShift = 7 // the smallest size is 128 bytes
	maxClass = 16 - minShift
)

func sizeClass(n int) int { return max(bits.Len(uint(max(n, 1)-1))-minShift, 0) }

// take returns a packet with room for n bytes, at most 64 KiB, or nil when too much is
// held.
func (m *memory) take(n int) *packet {
	class := sizeClass(n)
	size := int64(1) << (class + minShift)
	if m.used+size > m.limit {
		return nil
	}
	m.used += size
	if s := m.spare[class]; len(s) > 0 {
		k := s[len(s)-1]
		m.spare[class] = s[:len(s)-1]
		k.data = k.data[:n]
		return k
	}
	if m.made+size > m.limit {
		// All that is spare has other sizes.
		m.spare, m.made = [maxClass + 1][]*packet{}, m.used-size
	}
	m.made += size
	return &packet{data: make([]byte, n, size)}
}

// give takes back a packet that is not used any more.
func (m *memory) give(k *packet) {
	class := sizeClass(cap(k.data))
	m.used -= int64(cap(k.data))
	m.spare[class] = append(m.spare[class], k)
}
