package core

import (
	"errors"
	"math"
	"slices"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
	"perigee/bundle/route"
	"perigee/bundle/schedule"
	"perigee/bundle/store"
	"perigee/convergence"
)

// Limits on what is handed to one link ahead of its acknowledgement.
const (
	maxFlying      = 1024
	maxFlyingBytes = 16 << 20
	minFlyingBytes = 64 << 10
	// flyingTime is how long an acknowledgement may take on a link of known rate,
	// beside the light time, without a pause in what is sent.
	flyingTime = 2 * dtntime.Second
)

// neighbour is a node that this one has, or may have, a link with.
type neighbour struct {
	Neighbour
	configured bool
	queue      *schedule.Queue

	link    LinkID // 0 when down
	dialed  bool   // who opened the session
	lasting bool   // the session stays between contacts
	follows Follow // what it was told last
	since   dtntime.Time
	wanted  bool // Connect was asked for
	meeting bool // a contact is open in either direction, or the link is standing
	within  bool // a contact is open towards the neighbour
	pairing bool // meeting, and the link is not held down
	sending bool // within or standing, and the link is not held down
	soon    bool // one will be soon
	out     int  // bundles that were handed to it and are still in custody here
	window  schedule.Window
	light   dtntime.Duration
	rate    contact.BitRate
	end     dtntime.Time    // of the pass, 0 for a standing link
	pass    contact.Pass    // the one that window is of
	open    contact.Contact // the part of it that is now
	planned uint64          // the generation of the plan that they are of

	flying      map[store.Handle]int64
	flyingBytes int64
	pace        schedule.Pace
	paceTill    dtntime.Time // what goes next waits until then for the link, or 0
	refusedTill dtntime.Time // the neighbour has no room until then
	refusals    int

	held      bool         // the operator holds the link down
	heldSince dtntime.Time // when held has changed
	graceTill dtntime.Time // until then what is flying over a link that is held down may land

	most    int64 // bytes, the largest bundle that it takes; 0 for any
	answers bool  // it has sent a custody signal about a bundle for another node
}

func (c *Core) addNeighbour(n Neighbour) *neighbour {
	added := &neighbour{Neighbour: n, queue: schedule.New(schedule.Limits{}, c.cfg.Shares), flying: make(map[store.Handle]int64)}
	c.neighbours[n.Peer] = added
	// A new slice, since somebody may be going through the old one.
	c.order = append(slices.Clone(c.order), added)
	c.sortNeighbours()
	c.contactsTill = 0
	return added
}

// neighbour returns the neighbour of a node ID. One that is not configured has no
// address: it can be sent to while it has connected by itself.
func (c *Core) neighbour(peer bundle.EID) *neighbour {
	if n := c.neighbours[peer]; n != nil {
		return n
	}
	return c.addNeighbour(Neighbour{Peer: peer})
}

func (c *Core) makeRouter() {
	c.router = route.New(c.cfg.Node, c.cfg.Routes)
	c.router.SetGuard(Guard)
	c.setPlan(c.plan)
}

// setPlan takes up a contact plan.
func (c *Core) setPlan(plan *contact.Plan) {
	c.plan = plan
	c.contactsTill = 0
	c.router.SetPlan(plan)
	c.linkStanding()
	c.flushNext = 0
}

// linkStanding tells the router which links have no end: those configured so, and
// sessions of neighbours that neither the configuration nor the plan knows.
func (c *Core) linkStanding() {
	var standing []bundle.EID
	for _, n := range c.order {
		if c.standing(n) {
			standing = append(standing, n.Peer)
		}
	}
	c.router.SetLinked(standing)
}

// isUnplanned tells whether no contact of the plan is with the neighbour.
func (c *Core) isUnplanned(peer bundle.EID) bool {
	for w := range c.plan.Involving(c.cfg.Node) {
		if w.From == peer || w.To == peer {
			return false
		}
	}
	return true
}

// standing tells whether the link with n needs no contact.
func (c *Core) standing(n *neighbour) bool {
	return n.Always || !n.configured && n.link != 0 && c.isUnplanned(n.Peer)
}

func (c *Core) linkUp(e LinkUp) {
	n := c.neighbour(e.Peer)
	c.links[e.Link] = n // until LinkDown, since bundles may come over it meanwhile
	if n.held {
		c.do(Hangup{Peer: n.Peer, Link: e.Link})
		return
	}
	if n.link != 0 && !c.prefers(n, e) {
		c.do(Hangup{Peer: n.Peer, Link: e.Link})
		return
	}
	if n.link != 0 {
		c.do(Hangup{Peer: n.Peer, Link: n.link})
		c.lose(n)
	}
	n.link, n.dialed, n.since = e.Link, e.Dialed, c.now
	n.lasting, n.follows = e.Lasting, Follow{}
	c.contactsTill = 0
	n.refusedTill, n.refusals = 0, 0
	c.flushNext = 0
	c.setMost(n, e.MaxTransfer)
	c.notifyLink(app.EventLinkUp, n.Peer, openedBy(e.Dialed))
	c.linkStanding()
	if !n.Always && c.standing(n) {
		c.rerouteAll()
	}
	c.reviewing, c.rewinding = true, true
	c.checkContact(n)
}

// openedBy says for people who opened a session.
func openedBy(dialed bool) string {
	if dialed {
		return "opened by this node"
	}
	return "opened by the neighbour"
}

// prefers tells which of two sessions with one neighbour stays: the one opened by
// the node with the smaller ID, so that both ends choose the same, and else the
// newer.
func (c *Core) prefers(n *neighbour, e LinkUp) bool {
	if n.dialed == e.Dialed {
		return true
	}
	mineFirst := contact.CompareEID(c.cfg.Node, n.Peer) < 0
	return e.Dialed == mineFirst
}

func (c *Core) linkDown(e LinkDown) {
	n := c.links[e.Link]
	delete(c.links, e.Link)
	if n == nil || n.link != 0 && n.link != e.Link {
		return
	}
	if n.link == 0 {
		c.forget(n)
		return
	}
	c.lose(n)
	c.notifyLink(app.EventLinkDown, n.Peer, reasonText(e.Err))
	if !n.Always && c.standing(n) {
		c.rerouteAll() // the way over it has ended with it
	}
	c.forget(n)
}

// reasonText says for people why a session has ended.
func reasonText(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, convergence.ErrClosed):
		return "in an orderly way"
	}
	return err.Error()
}

// forget drops a neighbour that is not configured and for which nothing waits, so
// that peers with ever new names do not pile up.
func (c *Core) forget(n *neighbour) {
	c.abandon(n)
	if n.configured || n.held || n.queue.Len() > 0 || !c.isUnplanned(n.Peer) {
		return
	}
	delete(c.neighbours, n.Peer)
	c.order = slices.DeleteFunc(slices.Clone(c.order), func(o *neighbour) bool { return o == n })
}

// lose takes back what was handed to the session that has ended.
func (c *Core) lose(n *neighbour) {
	n.link, n.since = 0, c.now
	c.contactsTill = 0
	c.reviewing, c.rewinding = true, true
	c.linkStanding()
	for h := range n.flying {
		if e := c.entries[h]; e != nil && e.place == placeFlying {
			c.book.Return(h)
			c.move(e, placeLimbo, nil)
		}
	}
	// In order of handle, so that the queue is the same whatever the map does.
	for _, h := range sortedKeys(n.flying) {
		switch e := c.entries[h]; {
		case e == nil:
		case e.place == placeLimbo:
			c.dispatch(e, true)
		case e.place == placeGroup && slices.Contains(e.spread.neighbours, n.Peer):
			c.queueCopy(n, e, true)
		}
	}
	clear(n.flying)
	n.flyingBytes = 0
	n.pace.Idle()
}

// checkContacts opens and closes links as the plan says, when that may say something
// new.
func (c *Core) checkContacts() {
	if c.now < c.contactsTill {
		return
	}
	ended := false
	for _, n := range c.order {
		was := n.sending
		c.checkContact(n)
		ended = ended || was && !n.sending
	}
	if ended {
		c.rerouteAll()
	}
	c.contactsTill = c.plan.NextChange(c.cfg.Node, c.now)
	for _, n := range c.order {
		if n.isEnding() {
			c.contactsTill = min(c.contactsTill, n.graceTill)
		}
	}
	for _, lead := range []dtntime.Duration{hangupLead, soonTime} {
		c.contactsTill = min(c.contactsTill, c.plan.NextChange(c.cfg.Node, c.now.Add(lead))-dtntime.Time(lead))
	}
}

// meets tells whether a contact with a node is open, in either direction.
func (c *Core) meets(peer bundle.EID, at dtntime.Time) bool {
	_, out := c.plan.Active(c.cfg.Node, peer, at)
	_, in := c.plan.Active(peer, c.cfg.Node, at)
	return out || in
}

func (c *Core) checkContact(n *neighbour) {
	was, end := n.sending, n.end
	out, outOpen := c.plan.Active(c.cfg.Node, n.Peer, c.now)
	in, inOpen := c.plan.Active(n.Peer, c.cfg.Node, c.now)
	standing := c.standing(n)
	next, ok := c.plan.Next(c.cfg.Node, n.Peer, c.now)
	wasSoon := n.soon
	n.soon = ok && next.Start <= c.now.Add(soonTime)
	n.meeting = standing || (outOpen || inOpen) && c.meets(n.Peer, c.now.Add(hangupLead))
	n.pairing = n.meeting && !n.held
	n.sending = !n.held && (standing || outOpen)
	switch {
	case !n.sending:
	case outOpen && (!was || n.open != out || n.planned != c.plan.Generation()):
		if !was {
			n.pass = contact.Pass{}
		}
		c.openPass(n, out)
	case standing && !outOpen && (!was || n.end != 0):
		n.open, n.pass = contact.Contact{}, contact.Pass{}
		n.window = schedule.Standing()
		n.light, n.rate, n.end = 0, 0, 0
	}
	n.pace.SetRate(n.rate)
	if n.sending != was || n.end != end {
		c.flushNext = 0
	}
	if n.sending != was || n.soon != wasSoon {
		c.reviewing, c.rewinding = true, true
	}
	if outOpen != n.within && !standing {
		kind := app.EventContactStart
		if n.within {
			kind = app.EventContactEnd
		}
		c.notifyLink(kind, n.Peer, "")
	}
	n.within = outOpen
	c.connect(n)
	switch {
	case !n.lasting || n.link == 0:
	case outOpen:
		c.follow(n, Follow{Open: true, Rate: out.Rate, Light: out.Light})
	case inOpen: // what it receives wants answers
		c.follow(n, Follow{Open: true, Light: in.Light})
	default:
		c.follow(n, Follow{Open: standing, Light: n.follows.Light})
	}
}

// follow tells a lasting session what its link is like, when that is news.
func (c *Core) follow(n *neighbour, f Follow) {
	f.Link = n.link
	if f != n.follows {
		n.follows = f
		c.do(f)
	}
}

// openPass takes up the contact with a neighbour that is open now. What was sent in
// others of the same pass counts on.
func (c *Core) openPass(n *neighbour, open contact.Contact) {
	pass := c.plan.Pass(c.cfg.Node, n.Peer, c.now)
	if !n.pass.Equal(pass) {
		n.window = schedule.Open(pass, c.now, Guard, c.cfg.RetransmitShare)
	}
	n.window.Resume = 0
	if next, ok := c.plan.Next(c.cfg.Node, n.Peer, pass.End()); ok {
		n.window.Resume = next.Start
	}
	n.pass, n.open, n.planned = pass, open, c.plan.Generation()
	n.light, n.rate, n.end = open.Light, open.Rate, pass.End()
}

// connect asks for a session when there may be one, and for its end when there may
// not.
func (c *Core) connect(n *neighbour) {
	if n.Dial && n.pairing != n.wanted {
		n.wanted = n.pairing
		if n.wanted {
			c.do(Connect{n.Peer})
		} else {
			c.do(Hangup{Peer: n.Peer})
		}
	}
	switch {
	case n.link == 0 || n.pairing:
	case n.held:
		c.endHeld(n)
	case !n.lasting:
		c.do(Hangup{Peer: n.Peer, Link: n.link})
		c.lose(n)
		c.notifyLink(app.EventLinkDown, n.Peer, "the contact has ended")
	}
}

// handOver books a transmission of so many bytes.
func (n *neighbour) handOver(h store.Handle, size int64, now dtntime.Time) {
	n.flying[h] = size
	n.flyingBytes += size
	n.pace.Book(size, now)
}

// flyingLimit is how many bytes may be handed to the link ahead of their
// acknowledgement, which takes twice the light time.
func (n *neighbour) flyingLimit() int64 {
	if n.rate == 0 {
		return maxFlyingBytes
	}
	ahead := min(max(n.rate.Bytes(flyingTime), minFlyingBytes), maxFlyingBytes)
	return ahead + min(n.rate.Bytes(2*n.light), math.MaxInt64-ahead)
}
