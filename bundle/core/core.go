// Package core is the node without input and output: an event goes in, effects
// come out. It decides which bundles are taken, kept in custody, sent, delivered
// and deleted, and asks the deciders below it: custody, route, schedule.
//
// It refuses to know goroutines, sockets, disks and clocks. Its state is only
// changed by Step, one event at a time, and the same events at the same times
// give the same effects.
package core

import (
	"fmt"
	"slices"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/contact"
	"perigee/bundle/custody"
	"perigee/bundle/dtntime"
	"perigee/bundle/internal/timers"
	"perigee/bundle/route"
	"perigee/bundle/schedule"
	"perigee/bundle/store"
)

// Core is the state of a node.
type Core struct {
	cfg           Config
	router        *route.Router
	plan          *contact.Plan
	numbers       *custody.Numbers
	reportNumbers *custody.Numbers
	book          *custody.Book
	signals       *custody.Signals
	told          *custody.Reports
	issued        *custody.Issued
	neighbours    map[bundle.EID]*neighbour
	order         []*neighbour // in order of EID
	contactsTill  dtntime.Time // until then no contact of this node changes; 0: to be looked at
	links         map[LinkID]*neighbour
	entries       map[store.Handle]*entry
	arriving      map[bundle.ID]bool
	commits       map[Token]pending
	endpoints     map[bundle.EID]*endpoint
	receivers     map[Token]seat
	registrations map[uint64]*registration
	groups        groups
	expiries      timers.Timers[store.Handle]
	holds         timers.Timers[store.Handle] // of entries that no route takes for the time being
	assembling    assembling
	reports       reports
	counters      app.Counters
	declined      [custody.Refusals]uint64 // custody that this node did not take, by reason
	answered      episodes                 // of fragments that were refused
	rejected      [custody.Rejections]uint64
	allowance     *custody.Allowance
	flushNext     dtntime.Time // when flushSignals may have something to do
	lastToken     Token
	stopping      bool

	// What is to become durable: Puts, Deletes, and Updates with whether a Delete
	// has followed.
	storing, leaving map[store.Handle]bool
	updating         map[store.Handle]*update

	lanes     map[store.Lane]*lane
	laneOrder []*lane // as they were opened, with some that are closed
	lastLane  uint64
	wanting   [wants][]*lane // by urgency, first come, first served
	loads     map[Token]*load
	reading   int  // loads that are no sweeps
	incoming  int  // bundles that these may bring
	unread    bool // a lane was not read since no memory was free
	reviewing bool // all lanes are to be looked at anew
	rewinding bool // and what was set aside in them
	reviewAt  dtntime.Time
	rewindAt  dtntime.Time
	cramped   dtntime.Time // until then no room is looked for
	sweeps    timers.Timers[uint64]
	sweepable map[uint64]*lane // by number, those in sweeps
	sweep     sweep
	started   dtntime.Time

	now     dtntime.Time
	effects []Effect
}

// New returns a node without bundles.
func New(cfg Config) (*Core, error) {
	if cfg.Node.IsNull() || cfg.Node != cfg.Node.Node() {
		return nil, fmt.Errorf("node ID %s is not an administrative endpoint; write ipn:NUMBER.0 or dtn://NAME/", cfg.Node)
	}
	if cfg.MaxResident == 0 {
		cfg.MaxResident = DefaultMaxResident
	}
	cfg.MaxResident = max(cfg.MaxResident, minResident)
	if cfg.PeerAggregate == 0 {
		cfg.PeerAggregate = route.DefaultAggregation
	}
	if cfg.RetransmitShare == 0 {
		cfg.RetransmitShare = schedule.DefaultShare
	}
	c := &Core{
		cfg:           cfg,
		plan:          cfg.Plan,
		numbers:       custody.NewNumbers(custody.ForCustody, cfg.Counter),
		book:          custody.NewBook(),
		signals:       custody.NewSignals(),
		reportNumbers: custody.NewNumbers(custody.ForReports, cfg.Counter),
		told:          custody.NewReports(),
		issued:        custody.NewIssued(),
		allowance:     custody.NewAllowance(),
		neighbours:    make(map[bundle.EID]*neighbour),
		links:         make(map[LinkID]*neighbour),
		entries:       make(map[store.Handle]*entry),
		arriving:      make(map[bundle.ID]bool),
		commits:       make(map[Token]pending),
		endpoints:     make(map[bundle.EID]*endpoint),
		receivers:     make(map[Token]seat),
		registrations: make(map[uint64]*registration),
		storing:       make(map[store.Handle]bool),
		leaving:       make(map[store.Handle]bool),
		updating:      make(map[store.Handle]*update),
		lanes:         make(map[store.Lane]*lane),
		loads:         make(map[Token]*load),
		sweepable:     make(map[uint64]*lane),
		rewindAt:      dtntime.Forever,
		reviewAt:      dtntime.Forever,
		lastToken:     FirstOwnToken,
	}
	c.assembling.units = make(map[bundle.ID]*assembly)
	for _, n := range cfg.Neighbours {
		if n.Peer != n.Peer.Node() || n.Peer.IsNull() || n.Peer == cfg.Node {
			return nil, fmt.Errorf("link peer %s is not the node ID of another node", n.Peer)
		}
		if c.neighbours[n.Peer] != nil {
			return nil, fmt.Errorf("link peer %s is named twice", n.Peer)
		}
		c.addNeighbour(n).configured = true
	}
	for _, r := range cfg.Registrations {
		if err := checkRegistration(r); err != nil {
			return nil, err
		}
		c.register(r)
	}
	if c.cfg.Custody.MaxBundles <= 0 {
		c.cfg.Custody.MaxBundles = DefaultMaxCustody
	}
	c.makeRouter()
	return c, nil
}

// Restore takes up lanes of bundles that the store kept, before the first Step.
// Custody that was accepted within the last day is signalled again when the bundles
// are read, since a signal may have been lost with the crash.
func (c *Core) Restore(now dtntime.Time, lanes []store.Lane) {
	c.now, c.started = now, now
	for _, key := range lanes {
		l := c.lane(key)
		l.more, l.mark = true, 0
		c.outlives(l, 0) // unknown until it is swept
	}
	c.reviewing = true
}

// NumbersLost tells whether the counters of custody are lost although bundles are
// stored, and then Seen must be told of all of them before the first Step.
func (c *Core) NumbersLost() (bool, error) {
	lost, err := c.numbers.Lost()
	return lost && len(c.lanes) > 0, err
}

// Seen tells of stored bundles, so that none of their custody numbers comes again.
func (c *Core) Seen(records []store.Record) {
	for i := range records {
		c.numbers.Seen(records[i].Own.SeqID)
		if r, ok := reportingIn(&records[i]); ok && records[i].Previous.IsNull() {
			c.reportNumbers.Seen(r.SeqID)
		}
	}
}

// Step takes one event and returns what is to be done. The returned slice is the
// caller's until the next call.
func (c *Core) Step(now dtntime.Time, event Event) []Effect {
	if _, ok := event.(ClockStepped); ok {
		c.now = now
	}
	c.now = max(c.now, now)
	c.effects = c.effects[:0]
	c.expire()
	switch e := event.(type) {
	case Arrival:
		c.arrive(e)
	case Committed:
		c.committed(e)
	case LinkUp:
		c.linkUp(e)
	case LinkDown:
		c.linkDown(e)
	case HoldLink:
		c.holdLink(e)
	case Loaded:
		c.loaded(e)
	case Sent:
		c.sent(e)
	case Receive:
		c.receive(e)
	case Cancel:
		c.cancel(e)
	case Ack:
		c.ack(e)
	case Release:
		c.release(e)
	case Register:
		c.register(e.Registration)
	case Unregister:
		c.unregister(e.Number)
	case Remove:
		c.remove(e)
	case Malformed:
		c.malformed(e)
	case Assembled:
		c.assembled(e)
	case PlanChanged:
		c.setPlan(e.Plan)
		c.unexclude()
		c.redateAll()
		c.rerouteAll()
	case ClockStepped:
		c.clockStepped(e.Was)
	case Tick:
	case Shutdown:
		c.stopping, c.flushNext = true, 0
	}
	c.settle()
	return c.effects
}

// settle does what time and the last event have made due.
func (c *Core) settle() {
	c.checkContacts()
	c.expire()
	c.retry()
	c.assemble()
	c.flushSignals()
	c.feed()
	c.pump()
	c.feed()
}

// NextWake returns when Step wants a Tick at the latest.
func (c *Core) NextWake() dtntime.Time {
	wake := min(c.nextFeed(), c.book.NextDue(), c.expiries.Next(), c.holds.Next(), c.contactsTill, c.flushNext, c.nextAssembly())
	for _, n := range c.order {
		if n.refusedTill > c.now {
			wake = min(wake, n.refusedTill)
		}
		if n.paceTill != 0 {
			wake = min(wake, n.paceTill)
		}
	}
	return max(wake, c.now+1)
}

// do adds an effect.
func (c *Core) do(e Effect) { c.effects = append(c.effects, e) }

// notify tells watchers about a bundle. Peer may be null.
func (c *Core) notify(kind app.EventKind, id bundle.ID, peer bundle.EID, size int64, detail string) {
	e := app.Event{At: c.now, Kind: kind, Bundle: &id, Size: size, Detail: detail}
	if !peer.IsNull() {
		e.Peer = &peer
	}
	c.do(Notify{e})
}

// notifyLink tells watchers about a link.
func (c *Core) notifyLink(kind app.EventKind, peer bundle.EID, detail string) {
	c.do(Notify{app.Event{At: c.now, Kind: kind, Peer: &peer, Detail: detail}})
}

// Status is the core's part of a node's status. At most limit contacts and
// outstanding custodies are listed.
func (c *Core) Status(limit int) app.Status {
	s := app.Status{Node: c.cfg.Node, Now: c.now, Counters: c.counters}
	for _, n := range c.order {
		s.Links = append(s.Links, c.linkStatus(n))
	}
	for _, w := range c.plan.Upcoming(c.cfg.Node, c.now, limit) {
		s.Contacts = append(s.Contacts, app.Contact{
			From: w.From, To: w.To, Start: w.Start, End: w.End, RateBPS: uint64(w.Rate), Open: w.ActiveAt(c.now),
		})
	}
	held, flying := c.book.Len()
	s.Custody.Held, s.Custody.InFlight = int64(held), int64(flying)
	s.Custody.Rejected = make(map[string]uint64)
	for why, times := range c.rejected {
		if times > 0 {
			s.Custody.Rejected[custody.Rejection(why).String()] = times
		}
	}
	s.Custody.Declined = make(map[string]uint64)
	for why, times := range c.declined {
		if times > 0 {
			s.Custody.Declined[custody.Refusal(why).String()] = times
		}
	}
	for _, o := range c.book.List(limit) {
		out := app.Outstanding{Next: o.Next, SeqID: o.SeqID, SeqNum: o.SeqNum, Attempts: o.Attempts, Deadline: o.Deadline, State: "held"}
		if o.Deadline != 0 {
			out.State = "in-flight"
		}
		if e := c.entries[o.Handle]; e != nil {
			out.Bundle = e.rec.ID
		}
		s.Custody.Outstanding = append(s.Custody.Outstanding, out)
	}
	return s
}

// Idle tells whether nothing is being stored or transmitted.
func (c *Core) Idle() bool {
	for _, n := range c.order {
		if len(n.flying) > 0 {
			return false
		}
	}
	return len(c.commits) == 0
}

// isLocal tells whether an endpoint is at this node.
func (c *Core) isLocal(e bundle.EID) bool {
	return !e.IsNull() && e.IsSingleton() && e.Node() == c.cfg.Node
}

// sortNeighbours keeps the order of neighbours fixed.
func (c *Core) sortNeighbours() {
	slices.SortFunc(c.order, func(a, b *neighbour) int { return contact.CompareEID(a.Peer, b.Peer) })
}
