package emu

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"perigee/bundle"
	"perigee/bundle/app/apphttp"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
	"perigee/testbed/daemon"
	"perigee/testbed/sim"
)

// node is a daemon and its applications.
type node struct {
	*daemon.Daemon
	id     bundle.EID
	client *apphttp.Client
	down   atomic.Bool // it has been killed and not been started again
}

// table is a table of a daemon's configuration file.
type table = map[string]any

// Ports at which nodes listen, those that are registered.
const (
	portTCPCL = 4556
	portLTP   = 1113
)

// leastStorage is the smallest quota that a store takes.
const leastStorage = 16 << 20

// newNode writes the configuration of a node, with a plan that has nothing yet.
func (w *world) newNode(c sim.Node) (*node, error) {
	number := len(w.nodes)
	if c.Storage != 0 && c.Storage < leastStorage {
		return nil, fmt.Errorf("node %s has a storage of %d bytes; a daemon takes %d at least", c.Name, c.Storage, leastStorage)
	}
	dir := w.folder(number)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the folder of %s: %w", c.Name, err)
	}
	if err := os.WriteFile(filepath.Join(dir, planFile), nil, 0o644); err != nil {
		return nil, fmt.Errorf("writing the contact plan of %s: %w", c.Name, err)
	}
	space := w.spaces.Of(c.Name)
	d, err := daemon.New(c.Name, dir, w.options.Perigeed, w.configuration(c), space.Command)
	if err != nil {
		return nil, err
	}
	return &node{Daemon: d, id: c.ID, client: apphttp.Dial(d.Socket())}, nil
}

const planFile = "plan.jsonl"

// configuration makes the configuration of a daemon.
func (w *world) configuration(c sim.Node) table {
	storage := int64(1e9)
	if c.Storage != 0 {
		storage = c.Storage
	}
	t := w.timing()
	config := table{
		"node": table{
			"id": c.ID.String(), "data_dir": "data", "socket": "socket", "contact_plan": planFile,
			"clock_error": "10ms", // it is one clock
		},
		"log":     table{"level": "info"},
		"store":   table{"quota": strconv.FormatInt(storage, 10) + "B"},
		"custody": table{"accept": true, "aggregate": t.aggregate.String(), "peer_aggregate": t.aggregate.Add(slack).String()},
	}
	address := fmt.Sprintf(":%d", portTCPCL)
	if w.isLTP() {
		address = fmt.Sprintf(":%d", portLTP)
		l := table{"margin": t.margin.String()}
		if w.Link.MTU != 0 {
			l["mtu"] = w.Link.MTU
		}
		config["ltp"] = l
	}
	config["listen"] = []table{{"address": address, "layer": w.layer()}}
	if links := w.linksOf(c.ID); len(links) > 0 {
		config["link"] = links
	}
	return config
}

func (w *world) isLTP() bool { return w.Link.Layer != sim.LayerAcked }

// layer is the daemons' name of the convergence layer.
func (w *world) layer() string {
	if w.isLTP() {
		return "ltp"
	}
	return "tcpcl"
}

// linksOf are the links of a node in its configuration. Over TCPCL the end on the left
// opens the session.
func (w *world) linksOf(id bundle.EID) []table {
	var list []table
	for _, l := range w.links {
		end := slices.Index(l.ids[:], id)
		if end < 0 {
			continue
		}
		one := table{"peer": l.ids[1-end].String(), "mode": "scheduled", "layer": w.layer()}
		switch {
		case w.isLTP():
			one["address"] = fmt.Sprintf("%s:%d", l.ends[1-end].Addr, portLTP)
		case end == 0:
			one["address"] = fmt.Sprintf("%s:%d", l.ends[1].Addr, portTCPCL)
		}
		list = append(list, one)
	}
	return list
}

// timing is what daemons wait for, which follows from how long contacts are: what takes
// seconds in passes of minutes takes less when passes are compressed in time.
type timing struct {
	aggregate dtntime.Duration // of custody signals
	margin    dtntime.Duration // for a neighbour to answer over LTP
}

// Bounds of the timing.
const (
	mostAggregate  = dtntime.Second
	leastAggregate = 10 * dtntime.Millisecond
	mostMargin     = 500 * dtntime.Millisecond
	// slack is how much later than it should a signal may come, since a daemon that waits
	// for the processor is not one that has lost a bundle.
	slack       = 500 * dtntime.Millisecond
	leastMargin = 100 * dtntime.Millisecond
)

func (w *world) timing() timing {
	var lengths []dtntime.Duration
	for c := range w.Plan.All() {
		lengths = append(lengths, c.End.Sub(c.Start))
	}
	if len(lengths) == 0 {
		return timing{mostAggregate, mostMargin}
	}
	slices.Sort(lengths)
	typical := lengths[len(lengths)/2]
	const parts = 8
	return timing{
		aggregate: max(min(typical/parts, mostAggregate), leastAggregate),
		margin:    max(min(typical/parts, mostMargin), leastMargin),
	}
}

// spreadPlan sets the time at which the run starts, and gives all daemons its plan.
func (w *world) spreadPlan(ctx context.Context) error {
	w.begin = time.Now().Add(lead + time.Duration(len(w.nodes))*leadEach).Truncate(time.Millisecond)
	var contacts []contact.Contact
	for c := range w.Plan.All() {
		c.Start, c.End = w.real(c.Start), w.real(c.End)
		contacts = append(contacts, c)
	}
	plan, err := contact.New(contacts)
	if err != nil {
		return fmt.Errorf("moving the contact plan to the present: %w", err)
	}
	err = w.eachNode(ctx, func(ctx context.Context, n *node) error {
		now, err := n.client.Plan(ctx)
		if err == nil {
			err = n.client.SetPlan(ctx, plan, now.Generation())
		}
		if err != nil {
			return fmt.Errorf("giving %s its contact plan: %w", n.Name(), err)
		}
		return nil
	})
	if late := w.since(); err == nil && late > 0 {
		err = fmt.Errorf("the daemons had their contact plan %s after the run was to start: this machine is too slow or too busy for %d of them",
			late.Round(time.Millisecond), len(w.nodes))
	}
	return err
}

// real is a time of the Config as one of the daemons' clocks.
func (w *world) real(t dtntime.Time) dtntime.Time {
	return dtntime.FromTime(w.begin.Add(t.Time().Sub(w.Start.Time())))
}

// lastWords is the end of the node's log.
func (n *node) lastWords() string {
	const most = 2000
	text, err := os.ReadFile(n.Log())
	if err != nil {
		return err.Error()
	}
	text = bytes.TrimSpace(text)
	return string(text[max(0, len(text)-most):])
}
