package sim

import (
	"math/rand/v2"
	"slices"
	"time"

	"perigee/bundle"
	"perigee/bundle/contact"
)

// Trouble is a fault when it is known what it is: power fails at Node, or, if Peer is not
// null, nothing passes between Node and Peer.
type Trouble struct {
	At, For    time.Duration // At is since the start
	Node, Peer bundle.EID
}

// Troubles draws what will go wrong, but for missed passes: crashes first, and then the
// faults at given times. They follow from the seed.
func (c *Config) Troubles() []Trouble {
	var list []Trouble
	rng := c.stream("crashes", 0)
	for range c.Faults.Crashes {
		n := c.Nodes[rng.IntN(len(c.Nodes))]
		at := time.Duration(rng.Int64N(int64(c.Length.Std())))
		list = append(list, Trouble{Node: n.ID, At: at, For: time.Duration(1 + rng.Int64N(int64(c.Faults.Down.Std())))})
	}
	for _, f := range c.Faults.At {
		list = append(list, Trouble{At: f.At.Std(), For: f.For.Std(), Node: f.Node, Peer: f.Peer})
	}
	return list
}

// Missed draws whether a contact does not come to pass although the plan has it. Both
// directions of a pass have the same fate.
func (c *Config) Missed(k contact.Contact) bool {
	if c.Faults.Missed == 0 || k.Start >= c.Start.Add(c.Length) {
		return false
	}
	number := func(id bundle.EID) int {
		return slices.IndexFunc(c.Nodes, func(n Node) bool { return n.ID == id })
	}
	a, b := number(k.From), number(k.To)
	// Drawn from the two nodes and the start, so that both directions agree.
	rng := c.stream("missed", min(a, b)<<16|max(a, b))
	rng = rand.New(rand.NewPCG(rng.Uint64(), uint64(k.Start)))
	return rng.Float64() < c.Faults.Missed
}
