package node

import (
	"slices"
	"time"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/dtntime"
	"perigee/convergence"
)

// linkState is what the node knows of the link with a neighbour.
type linkState struct {
	layer, address string
	rate           uint64 // of the configuration, in bits per second; 0: none
	lastError      string
	lastErrorAt    dtntime.Time
	retryAt        dtntime.Time         // while the dialer waits, or 0
	sessions       uint64               // that there were
	past           convergence.Counters // of sessions that have ended
	current        []*session           // two for a while when both nodes dial
}

// link changes the state of the link with peer.
func (n *Node) link(peer bundle.EID, change func(*linkState)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.links[peer]
	if l == nil {
		l = new(linkState)
		n.links[peer] = l
	}
	change(l)
}

// hasSession tells whether there is a session with a neighbour, whoever opened it.
func (n *Node) hasSession(peer bundle.EID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.links[peer]
	return l != nil && len(l.current) > 0
}

// failed notes what last went wrong with a link.
func (n *Node) failed(peer bundle.EID, err error) {
	n.link(peer, func(l *linkState) { l.lastError, l.lastErrorAt = err.Error(), n.now() })
}

// retryAt notes when the dialer of a link tries again, 0 for now.
func (n *Node) retryAt(peer bundle.EID, at dtntime.Time) {
	n.link(peer, func(l *linkState) { l.retryAt = at })
}

// joined notes a session with a neighbour.
func (n *Node) joined(s *session, layer string) {
	s.meter.add(time.Now(), s.Counters())
	n.link(s.peer, func(l *linkState) {
		l.current = append(l.current, s)
		l.sessions++
		if l.layer == "" {
			l.layer, l.address = layer, s.RemoteAddr()
		}
	})
}

// parted notes its end.
func (n *Node) parted(s *session) {
	n.link(s.peer, func(l *linkState) {
		l.past = add(l.past, s.Counters())
		l.current = slices.DeleteFunc(l.current, func(o *session) bool { return o == s })
	})
	if d := n.dialers[s.peer]; d != nil {
		d.ended.notify()
	}
}

// measure takes a sample of every session, once a second. The loop calls it.
func (n *Node) measure() {
	now := time.Now()
	if now.Sub(n.measured) < sampleTime {
		return
	}
	n.measured = now
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.live {
		s.meter.add(now, s.Counters())
	}
}

// describeLinks adds what the sessions know.
func (n *Node) describeLinks(links []app.Link) {
	now := time.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range links {
		if state := n.links[links[i].Peer]; state != nil {
			state.describe(&links[i], now)
		}
	}
}

func (s *linkState) describe(l *app.Link, now time.Time) {
	sum := s.past
	for _, s := range s.current {
		c := s.Counters()
		sum = add(sum, c)
		sent, received := s.meter.rates(now, c)
		l.SentBPS, l.ReceivedBPS = l.SentBPS+sent, l.ReceivedBPS+received
	}
	switch {
	case l.Physical == app.LinkDown && len(s.current) > 0:
		l.Physical = app.LinkClosing // to the core it has ended
	case l.Physical == app.LinkConnecting && s.retryAt != 0:
		l.Physical, l.RetryAt = app.LinkBackingOff, s.retryAt
	}
	if l.RateBPS == 0 {
		l.RateBPS = s.rate
	}
	l.Layer, l.Address, l.Sessions = s.layer, s.address, s.sessions
	l.LastError, l.LastErrorAt = s.lastError, s.lastErrorAt
	l.BundlesSent, l.BundlesReceived, l.BundlesRefused = sum.BundlesSent, sum.BundlesReceived, sum.BundlesRefused
	l.BytesSent, l.BytesReceived = sum.BytesSent, sum.BytesReceived
}

func add(a, b convergence.Counters) convergence.Counters {
	return convergence.Counters{
		BundlesSent: a.BundlesSent + b.BundlesSent, BundlesReceived: a.BundlesReceived + b.BundlesReceived,
		BundlesRefused: a.BundlesRefused + b.BundlesRefused,
		BytesSent:      a.BytesSent + b.BytesSent, BytesReceived: a.BytesReceived + b.BytesReceived,
	}
}
