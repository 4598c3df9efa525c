package core

import (
	"perigee/bundle"
	"perigee/bundle/bpsec"
)

// CustodyPeer says how custody travels between this node and another. The zero
// value is that of a node that follows CCSDS 734.6-O-1 and has no key.
type CustodyPeer struct {
	// Points are the code points of a neighbour and of signals with a node. The
	// zero value: the standard ones.
	Points bundle.CodePoints
	// ION tells that the neighbour keeps a bundle's number when it becomes
	// custodian, as ION does. So a number that came before need not mean the
	// same custody, and a bundle that was passed on is taken again. Nor does it
	// get blocks that have a CRC and ask to be discarded where they are not known.
	ION bool
	// Off takes no custody from the neighbour and honours none of its signals.
	// What is sent to it stays in custody until its destination answers.
	Off bool
	// Key signs signals to the node, and proves those from it. Without one, no
	// signal is signed, and none needs to be.
	Key *bpsec.Key
}

// peerOf returns what is configured of a node.
func (c *Core) peerOf(node bundle.EID) CustodyPeer {
	if len(c.cfg.Peers) == 0 { // as in most nodes
		return CustodyPeer{Points: bundle.StandardCodePoints()}
	}
	p := c.cfg.Peers[node.Node()]
	if p.Points == (bundle.CodePoints{}) {
		p.Points = bundle.StandardCodePoints()
	}
	return p
}

// isProven tells whether an administrative record comes from the node that it names
// as its source, as far as that can be told: of a node with a key, by its signature.
func (c *Core) isProven(a *Arrival, from bundle.EID) bool {
	key := c.peerOf(from).Key
	return key == nil || bpsec.Verify(a.Bundle, a.Admin, from, *key) == nil
}
