// Package sim runs whole constellations in simulated time on one goroutine: the
// node's own core, codec, stores, custody, routing, scheduling and link machines,
// with an event heap where the runner has goroutines, sockets and disks.
//
// Everything random comes from the seed of a run, so that a run can be repeated
// exactly; its trace hash tells whether it was. The package refuses to know the
// wall clock and files, and it decides nothing that a node decides.
package sim

import (
	"context"
	"errors"
	"fmt"

	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
)

// Config is what is simulated.
type Config struct {
	// Seed is what everything random comes from.
	Seed  uint64
	Start dtntime.Time
	// Length is how long applications send and things go wrong, and Drain how long
	// at most the run goes on after that, until everything has arrived.
	Length, Drain dtntime.Duration

	Nodes []Node
	// Plan is what every node knows and, but for faults, what is possible. It
	// should reach to the end of Drain.
	Plan    *contact.Plan
	Traffic []Traffic
	Link    Link
	Faults  Faults

	// Progress, if not nil, is told how far the run is, about once for each
	// hundredth of it.
	Progress func(done, of dtntime.Duration)
	// Log, if not nil, gets every line of the trace. It makes a run slow.
	Log func(line string)
}

// Node is a node of a run.
type Node struct {
	Name string
	ID   bundle.EID
	// Storage is the quota of its store in bytes; 0 for no limit.
	Storage int64
}

// Link says how sessions carry bundles.
type Link struct {
	// Layer is the convergence layer, one of Layers; empty: the first of them.
	Layer string
	// MTU is the size of the largest datagram in bytes, 0 for DefaultMTU.
	MTU int
	// Loss is the likelihood that a datagram is lost, and with LayerAcked the one that
	// a session is cut during a transfer.
	Loss float64
}

// DefaultMTU is the size of the largest datagram in bytes when none is given.
const DefaultMTU = 1400

// Faults are what goes wrong while applications send.
type Faults struct {
	// Crashes is how many times power fails somewhere, and Down how long a node is
	// without it at most.
	Crashes int
	Down    dtntime.Duration
	// Missed is the part of all passes that do not come to pass although the plan
	// has them, 0 to 1.
	Missed float64
	// At are further faults, at given times.
	At []Fault
}

// Fault is one that happens at a given time: power fails at Node, or, if Peer is
// not null, nothing passes between Node and Peer.
type Fault struct {
	At         dtntime.Duration // since the start
	Node, Peer bundle.EID
	For        dtntime.Duration
}

// ErrConfig is wrapped by every error about a Config.
var ErrConfig = errors.New("invalid simulation")

// Check finds mistakes in a Config.
func (c *Config) Check() error {
	known := make(map[bundle.EID]bool)
	for _, n := range c.Nodes {
		if n.ID.IsNull() || n.ID != n.ID.Node() || known[n.ID] {
			return fmt.Errorf("%w: node %q has the ID %s, which is no node ID or is there twice", ErrConfig, n.Name, n.ID)
		}
		known[n.ID] = true
	}
	for k := range c.Plan.All() {
		if !known[k.From] || !known[k.To] {
			return fmt.Errorf("%w: the plan has a contact from %s to %s, and there is no such node", ErrConfig, k.From, k.To)
		}
	}
	for _, t := range c.Traffic {
		if err := t.check(known); err != nil {
			return err
		}
	}
	for _, f := range c.Faults.At {
		if !known[f.Node] || !f.Peer.IsNull() && !known[f.Peer] {
			return fmt.Errorf("%w: a fault at %s is of %s and %s, and there is no such node", ErrConfig, f.At, f.Node, f.Peer)
		}
	}
	switch {
	case len(c.Nodes) < 2:
		return fmt.Errorf("%w: it takes two nodes at least", ErrConfig)
	case c.Length < dtntime.Second:
		return fmt.Errorf("%w: its length is %s, want 1s at least", ErrConfig, c.Length)
	case c.Link.Loss < 0 || c.Link.Loss >= 1 || c.Faults.Missed < 0 || c.Faults.Missed >= 1:
		return fmt.Errorf("%w: parts that are lost or missed must be 0 or more and below 1", ErrConfig)
	case c.Faults.Crashes < 0 || c.Faults.Crashes > 0 && c.Faults.Down == 0:
		return fmt.Errorf("%w: crashes need a time for which nodes are down", ErrConfig)
	case !isLayer(c.Link.Layer):
		return fmt.Errorf("%w: there is no layer %q; want one of %v", ErrConfig, c.Link.Layer, Layers())
	}
	return nil
}

// Run simulates. What the run did not keep is in the Result; an error tells that it
// could not be carried out, or that ctx ended.
func Run(ctx context.Context, c Config) (*Result, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	w := newWorld(c)
	if err := w.run(ctx); err != nil {
		return nil, fmt.Errorf("simulating: %w", err)
	}
	return w.result(), nil
}
