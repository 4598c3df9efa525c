package core

import (
	"slices"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
)

// Limits on how finely a bundle is cut. A piece carries at least leastPiece bytes
// of payload and at least one part in mostPieces of it, unless it is the last, so
// that a bundle is not ground to dust by short contacts.
const (
	leastPiece = 1024
	mostPieces = 256
	// pieceGrowth is what the header of a fragment may take beyond that of the
	// bundle that it is of, beside the EID of this node.
	pieceGrowth = 96
	// answerTime is how long a neighbour takes to store and acknowledge a piece,
	// beside the light time.
	answerTime = dtntime.Second
)

// Piece is a part of a bundle's payload, in bytes. The zero Piece stands for the
// whole bundle.
type Piece struct{ Offset, Length uint64 }

// isDivisible tells whether a bundle may be sent in pieces (RFC 9171 section 5.8).
// Those under custody, and those that ask for compressed reports, never are.
func (e *entry) isDivisible() bool {
	return !e.whole && !e.rec.Custodial && e.rec.Reporting == "" && e.rec.Duty == store.DutyForward &&
		e.rec.Flags&bundle.FlagMustNotFragment == 0 && e.rec.PayloadLen > leastPiece
}

// around is how many bytes a fragment takes beside its payload, at most.
func (c *Core) around(e *entry) int64 {
	return e.rec.Size - e.rec.PayloadLen + pieceGrowth + int64(len(c.cfg.Node.String()))
}

// size is how many bytes go over a link with what is left of a bundle.
func (c *Core) size(e *entry) int64 {
	if e.rec.Forwarded == 0 {
		return e.rec.Size
	}
	return c.around(e) + e.rec.PayloadLen - e.rec.Forwarded
}

// least is the fewest bytes that are worth sending of a bundle; 0 when it has to go
// in one piece.
func (c *Core) least(e *entry) int64 {
	if !e.isDivisible() {
		return 0
	}
	least := c.around(e) + max(leastPiece, e.rec.PayloadLen/mostPieces)
	if least >= c.size(e) {
		return 0
	}
	return least
}

// piece is the part of a bundle that is sent next to a neighbour where room bytes
// fit, and how many bytes it takes.
//
// What would fill the contact is made shorter, if it may be cut, so that its
// acknowledgement comes before the contact ends: else it would be sent again in the next
// one, and so on.
func (c *Core) piece(n *neighbour, e *entry, room int64) (Piece, int64) {
	e.rest = 0
	size := c.size(e)
	answered := room
	if n.rate != 0 && room != n.most {
		answered -= min(n.rate.Bytes(2*n.light+answerTime), room/2)
	}
	if size <= answered || size <= room && !e.isDivisible() {
		if e.rec.Forwarded == 0 {
			return Piece{}, size
		}
		return Piece{Offset: uint64(e.rec.Forwarded), Length: uint64(e.rec.PayloadLen - e.rec.Forwarded)}, size
	}
	if answered < room {
		e.rest = n.end
	}
	left := min(e.rec.PayloadLen-e.rec.Forwarded, max(answered-c.around(e), leastPiece))
	if left == e.rec.PayloadLen {
		return Piece{}, size
	}
	return Piece{Offset: uint64(e.rec.Forwarded), Length: uint64(left)}, c.around(e) + left
}

// part is the record of the fragment that a piece of a bundle goes as.
func (e *entry) part() store.Record {
	rec := e.rec
	if rec.ID.Fragment {
		rec.ID.Offset += e.piece.Offset
	} else {
		rec.ID.Fragment, rec.ID.Offset = true, e.piece.Offset
	}
	rec.ID.Length = e.piece.Length
	rec.Flags |= bundle.FlagFragment
	return rec
}

// pieceReached goes on with a bundle of which the neighbour has a piece: the rest
// is sent when and where a route leads. After a crash pieces may come to overlap.
func (c *Core) pieceReached(n *neighbour, e *entry) {
	part := e.part()
	c.counters.FragmentsSent++
	c.notify(app.EventSent, part.ID, n.Peer, part.PayloadLen, "")
	c.report(&part, bundle.FlagReportForwarded, bundle.ReasonNone)
	piece := e.piece
	e.piece, e.rec.Attempts = Piece{}, 0
	if e.rec.Custodial {
		c.dispatch(e, false) // it came into custody meanwhile, and goes as a whole now
		return
	}
	e.rec.Forwarded += int64(piece.Length)
	if e.rec.Forwarded >= e.rec.PayloadLen {
		c.drop(e, 0, store.GoneForwarded, nil)
		return
	}
	if c.updating[e.rec.Handle] == nil {
		// A bundle that leaves memory before its next contact must not begin anew.
		c.persist(0, nil, nil, store.Update{Record: e.rec})
	}
	if e.rest > c.now {
		c.toLimbo(e, e.rest) // what is left of the contact was for the answer
		return
	}
	c.dispatch(e, false)
}

// narrow returns the neighbours that take neither a bundle nor a piece of it.
func (c *Core) narrow(e *entry) []bundle.EID {
	need := c.least(e)
	if need == 0 {
		need = c.size(e)
	}
	var peers []bundle.EID
	for _, n := range c.order {
		if n.most > 0 && n.most < need {
			peers = append(peers, n.Peer)
		}
	}
	return peers
}

// setMost notes the largest bundle that a neighbour takes, and finds other ways for
// those in its queue that are larger.
func (c *Core) setMost(n *neighbour, most uint64) {
	n.most = int64(min(most, 1<<62))
	if n.most == 0 {
		return
	}
	var large []store.Handle
	for item := range n.queue.All() {
		if item.Size > n.most && (item.Least == 0 || item.Least > n.most) {
			large = append(large, item.Handle)
		}
	}
	for _, h := range large {
		e := c.entries[h]
		if e.place == placeGroup {
			c.served(e, n.Peer) // it will never take it
			continue
		}
		item, _ := n.queue.Remove(h)
		c.dispatch(e, item.Retransmission)
	}
}

// wholeAgain has a bundle sent in one piece from now on, because its blocks forbid
// to cut it.
func (c *Core) wholeAgain(e *entry) {
	e.whole, e.rec.Forwarded, e.piece = true, 0, Piece{}
	c.dispatch(e, true)
}

// joined joins two lists of neighbours.
func joined(a, b []bundle.EID) []bundle.EID {
	if len(b) == 0 {
		return a
	}
	return append(slices.Clone(a), b...)
}
