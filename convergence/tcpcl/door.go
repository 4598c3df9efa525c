package tcpcl

import (
	"container/list"
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
)

// errEvicted ends a connection that was not established when others came.
var errEvicted = errors.New("connection gave way to newer ones")

// addressShare is the part of the pending connections, as its inverse, that one
// address gets.
const addressShare = 4

// A door counts the connections of a listener. Whoever comes is let in; of those
// that have not established a session the oldest must go when there are too many,
// so that honest peers, who need a moment only, get past any number of idle ones.
// Sessions are counted apart, also those that outlive the listener.
type door struct {
	maxPending, maxSessions, maxPerAddress int

	mu       sync.Mutex // guards all below
	pending  *list.List // of *guest, the oldest first
	waiting  map[netip.Prefix]int
	sessions map[netip.Prefix]int
	total    int // sessions
}

// A guest is one connection.
type guest struct {
	from   netip.Prefix
	evict  context.CancelCauseFunc
	at     *list.Element // in pending; nil after
	seated bool
}

func newDoor(maxPending, maxSessions, maxPerAddress int) *door {
	return &door{
		maxPending: maxPending, maxSessions: maxSessions, maxPerAddress: maxPerAddress,
		pending: list.New(), waiting: make(map[netip.Prefix]int), sessions: make(map[netip.Prefix]int),
	}
}

// network is what counts as one address: all that one host of IPv6 can take, or
// everything where the transport has no addresses.
func network(a net.Addr) netip.Prefix {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Prefix{}
	}
	addr := ap.Addr().Unmap()
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	prefix, err := addr.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}

// enter lets a connection in. Evict is called when it must go, which it then does by
// itself; leave must be called in any case.
func (d *door) enter(a net.Addr, evict context.CancelCauseFunc) *guest {
	d.mu.Lock()
	defer d.mu.Unlock()
	g := &guest{from: network(a), evict: evict}
	share := max(d.maxPending/addressShare, 1)
	switch {
	case d.waiting[g.from] >= share:
		d.evictOldest(func(old *guest) bool { return old.from == g.from })
	case d.pending.Len() >= d.maxPending:
		d.evictOldest(func(*guest) bool { return true })
	}
	g.at = d.pending.PushBack(g)
	d.waiting[g.from]++
	return g
}

func (d *door) evictOldest(which func(*guest) bool) {
	for e := d.pending.Front(); e != nil; e = e.Next() {
		if old := e.Value.(*guest); which(old) {
			d.remove(old)
			old.evict(errEvicted)
			return
		}
	}
}

func (d *door) remove(g *guest) {
	if g.at == nil {
		return
	}
	d.pending.Remove(g.at)
	g.at = nil
	count(d.waiting, g.from, -1)
}

// leave says that a connection has ended, or was accepted.
func (d *door) leave(g *guest) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.remove(g)
}

// hasSeat says whether there is room for a session.
func (d *door) hasSeat(g *guest) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.total < d.maxSessions && d.sessions[g.from] < d.maxPerAddress
}

// sit takes room for a session, and returns false when there is none.
func (d *door) sit(g *guest) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.total >= d.maxSessions || d.sessions[g.from] >= d.maxPerAddress {
		return false
	}
	d.total++
	count(d.sessions, g.from, 1)
	g.seated = true
	return true
}

// rise gives the room back.
func (d *door) rise(g *guest) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !g.seated {
		return
	}
	g.seated = false
	d.total--
	count(d.sessions, g.from, -1)
}

// count changes a count, and forgets it when it is zero.
func count(counts map[netip.Prefix]int, from netip.Prefix, by int) {
	if counts[from] += by; counts[from] == 0 {
		delete(counts, from)
	}
}
