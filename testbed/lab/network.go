package lab

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/bundle/contact/orbit"
	"perigee/bundle/contact/predict"
	"perigee/bundle/dtntime"
	"perigee/testbed/sim"
)

// Network is a scenario file of kind "network": nodes in orbit and on the ground, what
// their applications send, what goes wrong, and what is expected.
type Network struct {
	Name    string `toml:"name"`
	Kind    string `toml:"kind"`
	Seed    uint64 `toml:"seed"`
	Backend string `toml:"backend"`

	Clock struct {
		Start  time.Time        `toml:"start"`
		Length dtntime.Duration `toml:"length"` // while applications send
		Drain  dtntime.Duration `toml:"drain"`  // at most, until all has arrived
		// Speed is how many times faster than in the file everything goes: each time
		// of the file but light's is divided by it, while rates and sizes stay. 0 is 1.
		Speed float64 `toml:"speed"`
	} `toml:"clock"`
	Constellations []Constellation `toml:"constellation"`
	Nodes          []NetworkNode   `toml:"node"`
	Orbits         Orbits          `toml:"orbits"`
	Links          []NetworkLink   `toml:"link"`
	Layer          struct {
		Name string  `toml:"name"` // one of sim.Layers
		MTU  int     `toml:"mtu"`
		Loss float64 `toml:"loss"`
	} `toml:"layer"`
	Traffic []NetworkTraffic `toml:"traffic"`
	Faults  struct {
		Crashes int              `toml:"crashes"`
		Down    dtntime.Duration `toml:"down"`
		Missed  float64          `toml:"missed"`
	} `toml:"faults"`
	Fault  []NetworkFault `toml:"fault"`
	Expect Expectations   `toml:"expect"`
}

// Constellation is satellites in orbits that a rule gives, named NAME-1, NAME-2 and so
// on, with the node numbers from First on.
type Constellation struct {
	Name        string  `toml:"name"`
	First       uint64  `toml:"first"`
	Satellites  int     `toml:"satellites"`
	Planes      int     `toml:"planes"`
	Phasing     int     `toml:"phasing"`
	Height      float64 `toml:"height"` // km
	Inclination float64 `toml:"inclination"`
	Storage     Bytes   `toml:"storage"`
}

// NetworkNode is one node: a satellite if it has a TLE, a station if it has a place, and
// neither otherwise.
type NetworkNode struct {
	Name     string     `toml:"name"`
	EID      bundle.EID `toml:"eid"`
	TLE      []string   `toml:"tle"` // two lines
	Lat      *float64   `toml:"lat"`
	Lon      *float64   `toml:"lon"`
	Alt      float64    `toml:"alt"`      // km
	Mask     float64    `toml:"mask"`     // degrees
	Antennas int        `toml:"antennas"` // satellites followed at a time; 0 for any number
	Storage  Bytes      `toml:"storage"`
}

// Orbits says what satellites and stations make of seeing each other.
type Orbits struct {
	Down  Rate             `toml:"down"`
	Up    Rate             `toml:"up"`
	Cross Rate             `toml:"cross"` // between satellites; none: no such contacts
	Range float64          `toml:"range"` // km, between satellites at most
	Above float64          `toml:"above"` // km, that their line of sight stays above the ground
	Guard dtntime.Duration `toml:"guard"` // taken off both ends of contacts
	Least dtntime.Duration `toml:"least"` // shortest contact that an antenna takes up
	Grid  bool             `toml:"grid"`  // satellites of a constellation have links with the next ones only
}

// NetworkLink is a link that does not follow orbits: it is there at all times.
type NetworkLink struct {
	Between []string         `toml:"between"` // patterns of the names of two ends
	Rate    Rate             `toml:"rate"`
	Delay   dtntime.Duration `toml:"delay"`
}

// NetworkTraffic is what applications send, from every node whose name a pattern fits to
// every other.
type NetworkTraffic struct {
	Kind     sim.Kind         `toml:"kind"`
	From     string           `toml:"from"`
	To       string           `toml:"to"`
	Every    dtntime.Duration `toml:"every"`
	Size     Bytes            `toml:"size"`
	Part     Bytes            `toml:"part"`
	Priority bundle.Priority  `toml:"priority"`
	Lifetime dtntime.Duration `toml:"lifetime"`
	Custody  *bool            `toml:"custody"` // true unless it says otherwise
}

// NetworkFault is a fault at a time: power fails at a node, or nothing passes between
// it and a peer.
type NetworkFault struct {
	At   dtntime.Duration `toml:"at"`
	Node string           `toml:"node"`
	Peer string           `toml:"peer"`
	For  dtntime.Duration `toml:"for"`
}

// Expectations are what a run has to keep. That nothing is lost and nothing delivered
// twice is expected in any case.
type Expectations struct {
	Delivered float64          `toml:"delivered"` // part of what was accepted
	OfBound   float64          `toml:"of_bound"`  // part of what could have been delivered
	Within    dtntime.Duration `toml:"within"`    // the slowest telemetry
	Drained   bool             `toml:"drained"`   // everything has arrived in the end
}

// ReadNetwork reads a scenario file of kind "network". Errors wrap ErrScenario and name
// the key.
func ReadNetwork(file string) (*Network, error) {
	var n Network
	if err := decode(file, &n); err != nil {
		return nil, err
	}
	if err := n.check(); err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrScenario, file, err)
	}
	return &n, nil
}

// SetBackend chooses the backend in place of the scenario's.
func (n *Network) SetBackend(name string) error {
	n.Backend = name
	return n.check()
}

func (n *Network) check() error {
	switch {
	case n.Name == "":
		return errors.New("name is empty")
	case n.Kind != KindNetwork:
		return fmt.Errorf("kind is %q, want %q", n.Kind, KindNetwork)
	case !slices.Contains(NetworkBackends(), n.Backend):
		return fmt.Errorf("backend is %q, want one of %s", n.Backend, strings.Join(NetworkBackends(), ", "))
	case n.Clock.Start.IsZero():
		return errors.New("clock.start is missing")
	case n.Clock.Length == 0:
		return errors.New("clock.length is missing")
	case n.Clock.Speed != 0 && !(n.Clock.Speed >= 1 && n.Clock.Speed <= maxSpeed):
		return fmt.Errorf("clock.speed is %v, want 1 to %d", n.Clock.Speed, maxSpeed)
	case len(n.Traffic) == 0:
		return errors.New("there is no traffic")
	}
	names := make(map[string]bool)
	for _, node := range n.Nodes {
		if node.Name == "" || names[node.Name] {
			return fmt.Errorf("node name %q is empty or there twice", node.Name)
		}
		names[node.Name] = true
		switch {
		case node.EID.IsNull():
			return fmt.Errorf("node %s has no eid", node.Name)
		case len(node.TLE) != 0 && len(node.TLE) != 2:
			return fmt.Errorf("node %s: tle has %d lines, want 2", node.Name, len(node.TLE))
		case (node.Lat == nil) != (node.Lon == nil), len(node.TLE) != 0 && node.Lat != nil:
			return fmt.Errorf("node %s: want lat and lon, or tle, or neither", node.Name)
		}
	}
	return nil
}

// network is one that is being laid out.
type network struct {
	*Network
	config     sim.Config // in the times of the file
	names      map[bundle.EID]string
	ids        []bundle.EID
	satellites []predict.Satellite
	stations   []predict.Station
	antennas   map[bundle.EID]int
	pairs      [][2]int // of satellites that may have a link
	contacts   []contact.Contact
}

// lay works out what is to be run: nodes, contacts and traffic.
func (n *Network) lay(ctx context.Context) (*layout, error) {
	w := &network{Network: n, names: make(map[bundle.EID]string), antennas: make(map[bundle.EID]int)}
	w.config = sim.Config{
		Seed: n.Seed, Start: dtntime.FromTime(n.Clock.Start), Length: n.Clock.Length, Drain: n.Clock.Drain,
		Link:   sim.Link{Layer: n.Layer.Name, MTU: n.Layer.MTU, Loss: n.Layer.Loss},
		Faults: sim.Faults{Crashes: n.Faults.Crashes, Down: n.Faults.Down, Missed: n.Faults.Missed},
	}
	for _, step := range []func(context.Context) error{w.addConstellations, w.addNodes, w.predict, w.addLinks, w.addTraffic, w.addFaults} {
		if err := step(ctx); err != nil {
			return nil, fmt.Errorf("%w %s: %w", ErrScenario, n.Name, err)
		}
	}
	l, err := compress(w.config, max(n.Clock.Speed, 1))
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrScenario, n.Name, err)
	}
	l.members = w.members()
	return l, nil
}

// members lists the nodes.
func (w *network) members() []Member {
	var list []Member
	for _, id := range w.ids {
		list = append(list, Member{ID: id, Name: w.names[id], Satellite: slices.ContainsFunc(w.satellites, func(s predict.Satellite) bool { return s.Node == id })})
	}
	return list
}

func (w *network) add(name string, id bundle.EID, storage Bytes) {
	w.config.Nodes = append(w.config.Nodes, sim.Node{Name: name, ID: id, Storage: int64(storage)})
	w.names[id] = name
	w.ids = append(w.ids, id)
}

func (w *network) addSatellite(name string, id bundle.EID, storage Bytes, e orbit.Elements) error {
	p, err := orbit.NewPropagator(e)
	if err != nil {
		return err
	}
	w.add(name, id, storage)
	w.satellites = append(w.satellites, predict.Satellite{
		Node: id, Orbit: p, Down: contact.BitRate(w.Orbits.Down), Up: contact.BitRate(w.Orbits.Up),
	})
	return nil
}

func (w *network) addConstellations(context.Context) error {
	for _, c := range w.Constellations {
		walker := sim.Walker{Satellites: c.Satellites, Planes: c.Planes, Phasing: c.Phasing, Height: c.Height, Inclination: c.Inclination}
		elements, err := walker.Elements(w.Clock.Start)
		if err != nil {
			return fmt.Errorf("constellation %s: %w", c.Name, err)
		}
		base := len(w.satellites)
		for i, e := range elements {
			if err := w.addSatellite(fmt.Sprintf("%s-%d", c.Name, i+1), bundle.IPN(c.First+uint64(i), 0), c.Storage, e); err != nil {
				return fmt.Errorf("constellation %s: %w", c.Name, err)
			}
		}
		if w.Orbits.Grid {
			for _, p := range walker.Neighbours() {
				w.pairs = append(w.pairs, [2]int{base + p[0], base + p[1]})
			}
		}
	}
	return nil
}

func (w *network) addNodes(context.Context) error {
	for _, n := range w.Nodes {
		switch {
		case len(n.TLE) == 2:
			e, err := orbit.ParseTLE(n.TLE[0], n.TLE[1])
			if err != nil {
				return fmt.Errorf("node %s: %w", n.Name, err)
			}
			if err := w.addSatellite(n.Name, n.EID, n.Storage, e); err != nil {
				return fmt.Errorf("node %s: %w", n.Name, err)
			}
		case n.Lat != nil:
			site := orbit.Site{Latitude: *n.Lat, Longitude: *n.Lon, Altitude: n.Alt, Mask: []orbit.Horizon{{Elevation: n.Mask}}}
			ground, err := orbit.NewGround(site)
			if err != nil {
				return fmt.Errorf("node %s: %w", n.Name, err)
			}
			w.add(n.Name, n.EID, n.Storage)
			w.stations = append(w.stations, predict.Station{Node: n.EID, Ground: ground})
			w.antennas[n.EID] = n.Antennas
		default:
			w.add(n.Name, n.EID, n.Storage)
		}
	}
	return nil
}

// predict finds the contacts that follow orbits.
func (w *network) predict(ctx context.Context) error {
	if len(w.satellites) == 0 {
		return nil
	}
	options := predict.Options{From: w.config.Start, To: w.end(), Guard: w.Orbits.Guard}
	windows, err := predict.Predict(ctx, predict.Network{Satellites: w.satellites, Stations: w.stations}, options)
	if err != nil {
		return err
	}
	if w.Orbits.Cross > 0 {
		more, err := w.sights(ctx, options)
		if err != nil {
			return err
		}
		windows = append(windows, more...)
	}
	w.contacts = sim.ShareAntennas(windows, w.antennas, w.Orbits.Least)
	return nil
}

// sights finds the contacts between satellites.
func (w *network) sights(ctx context.Context, options predict.Options) ([]predict.Window, error) {
	all := slices.Clone(w.satellites)
	for i := range all {
		all[i].Cross = contact.BitRate(w.Orbits.Cross)
	}
	reach := orbit.Reach{Height: w.Orbits.Above, Range: w.Orbits.Range}
	if !w.Orbits.Grid {
		return predict.Predict(ctx, predict.Network{Satellites: all, Reach: reach}, options)
	}
	var windows []predict.Window
	for _, p := range w.pairs {
		two := predict.Network{Satellites: []predict.Satellite{all[p[0]], all[p[1]]}, Reach: reach}
		more, err := predict.Predict(ctx, two, options)
		if err != nil {
			return nil, err
		}
		windows = append(windows, more...)
	}
	return windows, nil
}

func (w *network) end() dtntime.Time { return w.config.Start.Add(w.Clock.Length).Add(w.Clock.Drain) }

// named returns the nodes whose names fit a pattern, in the order of the file.
func (w *network) named(pattern string) ([]bundle.EID, error) {
	var list []bundle.EID
	for _, id := range w.ids {
		fits, err := path.Match(pattern, w.names[id])
		if err != nil {
			return nil, fmt.Errorf("pattern %q: %w", pattern, err)
		}
		if fits {
			list = append(list, id)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("no node is named %q", pattern)
	}
	return list, nil
}

// each calls f with every two different nodes of two patterns.
func (w *network) each(a, b string, f func(a, b bundle.EID)) error {
	from, err := w.named(a)
	if err != nil {
		return err
	}
	to, err := w.named(b)
	if err != nil {
		return err
	}
	for _, x := range from {
		for _, y := range to {
			if x != y {
				f(x, y)
			}
		}
	}
	return nil
}

// addLinks adds the links that are there at all times, and makes the plan.
func (w *network) addLinks(context.Context) (err error) {
	for _, l := range w.Links {
		if len(l.Between) != 2 || l.Rate == 0 {
			return errors.New("link: want the names of two ends under between, and a rate")
		}
		if err := w.each(l.Between[0], l.Between[1], func(a, b bundle.EID) {
			c := contact.Contact{From: a, To: b, Start: w.config.Start, End: w.end(), Rate: contact.BitRate(l.Rate), Light: l.Delay}
			back := c
			back.From, back.To = b, a
			w.contacts = append(w.contacts, c, back)
		}); err != nil {
			return fmt.Errorf("link: %w", err)
		}
	}
	w.config.Plan, err = contact.New(w.contacts)
	return err
}

func (w *network) addTraffic(context.Context) error {
	for _, t := range w.Traffic {
		one := sim.Traffic{
			Kind: t.Kind, Every: t.Every, Size: int(t.Size), Part: int(t.Part), Priority: t.Priority, Lifetime: t.Lifetime,
			Custody: t.Custody == nil || *t.Custody,
		}
		if err := w.each(t.From, t.To, func(a, b bundle.EID) {
			one.From, one.To = a, b
			w.config.Traffic = append(w.config.Traffic, one)
		}); err != nil {
			return fmt.Errorf("traffic: %w", err)
		}
	}
	return nil
}

func (w *network) addFaults(context.Context) error {
	for _, f := range w.Fault {
		node, err := w.named(f.Node)
		if err != nil {
			return fmt.Errorf("fault: %w", err)
		}
		one := sim.Fault{At: f.At, Node: node[0], For: f.For}
		if f.Peer != "" {
			peer, err := w.named(f.Peer)
			if err != nil {
				return fmt.Errorf("fault: %w", err)
			}
			one.Peer = peer[0]
		}
		w.config.Faults.At = append(w.config.Faults.At, one)
	}
	return nil
}
