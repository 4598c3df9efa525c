// Package node runs a node: it gives the core its events and carries out its
// effects. It owns what the core refuses to know, namely goroutines, links, the
// store and the clock, and decides nothing itself.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/contact"
	"perigee/bundle/core"
	"perigee/bundle/dtntime"
	"perigee/bundle/route"
	"perigee/bundle/schedule"
	"perigee/bundle/store"
	"perigee/convergence"
)

// Limits of a node.
const (
	// EchoService is the service number of the echo service, which sends
	// payloads back to their source.
	EchoService = 7

	inputBacklog = 1024
	// assemblingShare is the part of the store's quota, as its inverse, that
	// fragments may take while they wait for the rest of their bundles.
	assemblingShare = 4
	// groupShare is the same for bundles for non-singleton endpoints.
	groupShare = 4
	// closeGrace is how long running transfers may take to finish when a session
	// or the node ends.
	closeGrace = 2 * time.Second
)

// Config is what a node is made of. Node, Store and Clock are required.
type Config struct {
	Node    bundle.EID // node ID, an administrative endpoint
	Version string     // of the program, for people
	Store   store.Store
	Clock   dtntime.Clock
	Log     *slog.Logger // default: nothing is logged

	Links     []Link
	Listeners []Listener // the node closes them when it ends
	Routes    *route.Table
	Plan      *contact.Plan
	// KeepPlan makes a plan durable that a client sets, before it is in force.
	// Default: it lasts as long as the node.
	KeepPlan func(*contact.Plan) error

	AcceptCustody bool
	// Custody says of which bundles. Unless it says otherwise, they have the
	// room that the store has for custody.
	Custody       core.CustodyPolicy
	Peers         map[bundle.EID]core.CustodyPeer // how custody travels with other nodes
	Aggregate     dtntime.Duration                // how long custody signals are gathered
	PeerAggregate dtntime.Duration                // how long others are taken to; see core.Config, as for the next two
	ClockError    dtntime.Duration
	Retransmit    int              // percent
	Shares        schedule.Shares  // of links
	Flood         bool             // send what has no route to every neighbour; see core.Config
	StatusReports bool             // send the reports that bundles ask for
	NoClock       bool             // Clock measures spans of time but does not know the date
	MaxLifetime   dtntime.Duration // of what passes by without custody; 0 for no limit
	MaxBundle     int64            // bytes; 0 for no limit
	MaxResident   int              // bundles in memory; 0: core.DefaultMaxResident

	// RegistrationsFile keeps the registrations of applications at non-singleton
	// endpoints. Without it, they end with the node.
	RegistrationsFile string

	// SpoolDir holds payloads of unknown length while they are read. Default:
	// the system's folder for temporary files.
	SpoolDir string
}

// Link is a neighbour and the way to it.
type Link struct {
	Peer    bundle.EID
	Layer   string // of the convergence layer, for people
	Address string // empty when the neighbour opens the session
	Dialer  convergence.Dialer
	Always  bool // up at all times, not only in contacts
	// Rate is how fast may be sent without a contact, in bits per second; 0 for no
	// limit. It is for people: the layer keeps it.
	Rate uint64
}

// Listener is where neighbours open sessions.
type Listener struct {
	Layer string
	// Unnamed tells that neighbours do not say who they are over this layer. Their
	// sessions only receive.
	Unnamed bool
	convergence.Listener
}

// Node is a running node.
type Node struct {
	cfg      Config
	log      *slog.Logger
	core     *core.Core // owned by loop
	inputs   chan input
	loads    chan core.Load
	stamps   stamper
	hub      *hub
	registry *registry
	started  dtntime.Time

	committer *committer
	buffers   sync.Pool // of *[copyBuffer]byte, to copy through
	dialers   map[bundle.EID]*dialer
	sessions  sync.WaitGroup
	works     sync.WaitGroup  // started by loop
	working   context.Context // of works
	stopWorks context.CancelFunc
	lastLink  atomic.Uint64
	stopped   chan struct{} // closed when the loop has ended

	// Owned by loop.
	pending   map[core.Token]*request
	lastToken core.Token
	live      map[core.LinkID]*session
	measured  time.Time // when sessions were last measured

	planning sync.Mutex // held while the plan changes, guards plan
	plan     *contact.Plan

	mu    sync.Mutex // guards links
	links map[bundle.EID]*linkState
}

// input is an event for the core. Events that are answered come with a request.
type input struct {
	event   core.Event
	request *request
	call    func(*core.Core) // run between events instead of an event
}

// request is something that waits for the core's answer.
type request struct {
	token    core.Token
	staged   store.Staged
	incoming convergence.Incoming
	reply    chan error        // of capacity 1
	deliver  chan core.Deliver // of capacity 1
	cancel   bool              // the input withdraws the request of
	of       *request
}

// New makes a node and takes up the bundles that its store holds. It holds the
// listeners of cfg from then on; Run must be called.
func New(cfg Config) (*Node, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.SpoolDir == "" {
		cfg.SpoolDir = os.TempDir()
	}
	n := &Node{
		cfg: cfg, log: cfg.Log, inputs: make(chan input, inputBacklog), loads: make(chan core.Load, maxLoads), hub: newHub(),
		dialers: make(map[bundle.EID]*dialer), stopped: make(chan struct{}),
		pending: make(map[core.Token]*request), live: make(map[core.LinkID]*session),
		links: make(map[bundle.EID]*linkState), started: cfg.Clock.Now(), plan: cfg.Plan,
	}
	n.buffers.New = func() any { return new([copyBuffer]byte) }
	n.working, n.stopWorks = context.WithCancel(context.Background())
	if cfg.NoClock {
		if err := n.stamps.withoutClock(cfg.Store); err != nil {
			return nil, fmt.Errorf("making the node: %w", err)
		}
	}
	registry, err := openRegistry(cfg.RegistrationsFile)
	if err != nil {
		return nil, fmt.Errorf("making the node: %w", err)
	}
	n.registry = registry
	n.committer = newCommitter(cfg.Store, n.post)
	var neighbours []core.Neighbour
	for _, l := range cfg.Links {
		dials := l.Address != "" && l.Dialer != nil
		neighbours = append(neighbours, core.Neighbour{Peer: l.Peer, Always: l.Always, Dial: dials})
		n.links[l.Peer] = &linkState{layer: l.Layer, address: l.Address, rate: l.Rate}
		if dials {
			n.dialers[l.Peer] = newDialer(n, l)
		}
	}
	c, err := core.New(core.Config{
		Node: cfg.Node, Neighbours: neighbours, Routes: cfg.Routes, Plan: cfg.Plan,
		AcceptCustody: cfg.AcceptCustody, Custody: n.custodyPolicy(), Peers: cfg.Peers, Aggregate: cfg.Aggregate,
		PeerAggregate: cfg.PeerAggregate, ClockError: cfg.ClockError, RetransmitShare: cfg.Retransmit, Shares: cfg.Shares, Flood: cfg.Flood, StatusReports: cfg.StatusReports, NoClock: cfg.NoClock, MaxLifetime: cfg.MaxLifetime, MaxBundle: cfg.MaxBundle,
		MaxAssembling: cfg.Store.Stats().Quota / assemblingShare, MaxGroup: cfg.Store.Stats().Quota / groupShare, MaxResident: cfg.MaxResident,
		Registrations: registry.forCore(),
		NextHandle:    cfg.Store.NextHandle, Counter: cfg.Store.Counter, Stamp: n.stamps.next,
	})
	if err != nil {
		return nil, fmt.Errorf("making the node: %w", err)
	}
	n.core = c
	return n, n.restore()
}

// custodyPolicy is that of the configuration, with the room that the store has.
func (n *Node) custodyPolicy() core.CustodyPolicy {
	p := n.cfg.Custody
	if p.Space == nil {
		p.Space = func() int64 {
			s := n.cfg.Store.Stats()
			if s.Quota <= 0 {
				return math.MaxInt64
			}
			return min(s.CustodyQuota-s.CustodyBytes, s.Quota-s.Bytes)
		}
	}
	if p.Held == nil {
		p.Held = func() int { return int(n.cfg.Store.Stats().Custodial) }
	}
	return p
}

// Run runs the node until ctx ends, and returns when everything that it started
// has ended. What was accepted by then is durable.
func (n *Node) Run(ctx context.Context) error {
	// The parts outlast ctx: they end one after the other, below.
	inner := context.WithoutCancel(ctx)
	committing, stopCommitting := context.WithCancel(inner)
	looping, stopLooping := context.WithCancel(inner)
	linking, stopLinking := context.WithCancel(inner)
	defer stopLinking()

	var commits, loop, outer sync.WaitGroup
	commits.Go(func() { n.committer.run(committing) })
	loop.Go(func() { n.loop(looping) })
	loop.Go(func() { n.load(looping) })
	for _, l := range n.cfg.Listeners {
		outer.Go(func() { n.listen(linking, l) })
	}
	for _, d := range n.dialers {
		outer.Go(func() { d.run(linking) })
	}
	outer.Go(func() { n.echo(linking) })

	<-ctx.Done()
	n.settle(inner)
	stopLinking()
	outer.Wait()
	n.sessions.Wait()
	n.committer.drain()
	stopLooping()
	loop.Wait()
	n.stopWorks()
	n.works.Wait()
	stopCommitting()
	commits.Wait()
	n.hub.close()
	var errs []error
	for _, l := range n.cfg.Listeners {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// settle lets the core send what it owes and waits a little for it to leave.
func (n *Node) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, closeGrace)
	defer cancel()
	n.post(input{event: core.Shutdown{}})
	pause := time.NewTicker(10 * time.Millisecond)
	defer pause.Stop()
	for {
		idle := make(chan bool, 1)
		n.post(input{call: func(c *core.Core) { idle <- c.Idle() }})
		select {
		case done := <-idle:
			if done && n.committer.idle() {
				return
			}
		case <-ctx.Done():
			return
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
	}
}

// post gives an input to the loop. After the loop has ended it does nothing.
func (n *Node) post(in input) {
	select {
	case n.inputs <- in:
	case <-n.stopped:
		in.request.fail(app.ErrClosed)
	}
}

// fail answers a request that the loop will not see.
func (r *request) fail(err error) {
	if r == nil {
		return
	}
	if r.staged != nil {
		r.staged.Discard()
	}
	if r.reply != nil {
		r.reply <- err
	}
}
