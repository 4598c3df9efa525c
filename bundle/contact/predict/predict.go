// Package predict makes contact plans out of orbits: satellites and stations with
// their node IDs go in, and passes with the contacts that they allow come out.
//
// It owns what lies between geometry and plan: rates, the guard for what a prediction
// is off by, and the rounding. It refuses to know how satellites move, which is package
// orbit's business, and the present time.
package predict

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/bundle/contact/orbit"
	"perigee/bundle/dtntime"
)

// MaxWindows is the most windows of one prediction.
const MaxWindows = 100_000

// Satellite is a node in orbit.
type Satellite struct {
	Node  bundle.EID
	Orbit *orbit.Propagator
	// Down and Up are the rates to and from stations, and Cross that to other
	// satellites; with a rate of 0 there is no contact that way.
	Down, Up, Cross contact.BitRate
}

// Station is a node on the ground.
type Station struct {
	Node   bundle.EID
	Ground *orbit.Ground
}

// Network is what a prediction is made for.
type Network struct {
	Satellites []Satellite
	Stations   []Station
	// Reach says when satellites see each other. It counts for those with a
	// cross rate.
	Reach orbit.Reach
}

// Options are of a prediction.
type Options struct {
	From, To dtntime.Time
	// Guard is how much later contacts begin and how much earlier they end than
	// the passes, because clocks and elements are off.
	Guard dtntime.Duration
	// Confidence and Layer are written into every contact.
	Confidence float64
	Layer      string
	// LightStep cuts a contact with a station into parts within which the
	// one-way light time changes by no more; 0 leaves contacts whole. Each has
	// the longest light time of its own.
	LightStep dtntime.Duration
}

// Window is a span in which a satellite sees a station or another satellite.
type Window struct {
	Satellite, Peer bundle.EID
	Start, End      dtntime.Time
	// Pass has the details of a pass over a station, and is nil between
	// satellites.
	Pass *orbit.Pass
	// Nearest and Farthest are the least and the greatest range in kilometres.
	Nearest, Farthest float64
	// Contacts are what the window allows, in both directions; none where the
	// guard leaves nothing.
	Contacts []contact.Contact
}

// Predict finds the windows of a network, by start, several satellites at a time. It is
// cancelled with ctx.
func Predict(ctx context.Context, n Network, o Options) ([]Window, error) {
	if err := n.check(); err != nil {
		return nil, err
	}
	lists := make([][]Window, len(n.Satellites))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range n.Satellites {
		group.Go(func() (err error) {
			lists[i], err = n.windows(ctx, i, o)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	windows := slices.Concat(lists...)
	if len(windows) > MaxWindows {
		return nil, errTooMany
	}
	slices.SortStableFunc(windows, func(a, b Window) int { return cmp.Compare(a.Start, b.Start) })
	return windows, nil
}

var errTooMany = fmt.Errorf("predicting contacts: more than %d windows; take a shorter span", MaxWindows)

// windows finds those of a satellite with all stations, and with the satellites that
// come after it.
func (n *Network) windows(ctx context.Context, number int, o Options) ([]Window, error) {
	a, from, to := n.Satellites[number], o.From.Time(), o.To.Time()
	var windows []Window
	for _, s := range n.Stations {
		passes, err := orbit.Passes(ctx, a.Orbit, s.Ground, from, to)
		if err != nil {
			return nil, fmt.Errorf("predicting contacts of %s with %s: %w", a.Node, s.Node, err)
		}
		for _, p := range passes {
			w := windowOf(a.Node, s.Node, p.Rise.At, p.Set.At, p.Nearest, p.Farthest)
			w.Pass = &p
			if err := w.overStation(a, s, o); err != nil {
				return nil, err
			}
			windows = append(windows, w)
		}
	}
	for _, b := range n.Satellites[number+1:] {
		if a.Cross == 0 && b.Cross == 0 {
			continue
		}
		sights, err := orbit.Sights(ctx, a.Orbit, b.Orbit, n.Reach, from, to)
		if err != nil {
			return nil, fmt.Errorf("predicting contacts of %s with %s: %w", a.Node, b.Node, err)
		}
		for _, s := range sights {
			w := windowOf(a.Node, b.Node, s.Start, s.End, s.Nearest, s.Farthest)
			w.between(a, b, o)
			windows = append(windows, w)
		}
		if len(windows) > MaxWindows {
			return nil, errTooMany
		}
	}
	return windows, nil
}

// check refuses networks whose nodes cannot be told apart.
func (n *Network) check() error {
	seen := make(map[bundle.EID]bool)
	add := func(e bundle.EID) error {
		if e.IsNull() || seen[e] {
			return fmt.Errorf("predicting contacts: node %s is there twice or has no number", e)
		}
		seen[e] = true
		return nil
	}
	for _, s := range n.Satellites {
		if err := add(s.Node); err != nil {
			return err
		}
	}
	for _, s := range n.Stations {
		if err := add(s.Node); err != nil {
			return err
		}
	}
	if len(n.Satellites) == 0 {
		return errors.New("predicting contacts: there is no satellite")
	}
	return nil
}

func windowOf(a, b bundle.EID, start, end time.Time, nearest, farthest float64) Window {
	return Window{
		Satellite: a, Peer: b, Nearest: nearest, Farthest: farthest,
		Start: dtntime.FromTime(start.Round(time.Millisecond)), End: dtntime.FromTime(end.Round(time.Millisecond)),
	}
}

// usable returns the span that the guard leaves, and whether there is one.
func (w *Window) usable(guard dtntime.Duration) (start, end dtntime.Time, ok bool) {
	start, end = w.Start.Add(guard), dtntime.Time(w.End.Sub(dtntime.Time(guard)))
	return start, end, start < end
}

// contacts adds a span in both directions.
func (w *Window) contacts(start, end dtntime.Time, light dtntime.Duration, there, back contact.BitRate, o Options) {
	c := contact.Contact{Start: start, End: end, Light: light, Confidence: o.Confidence, Layer: o.Layer}
	if c.Confidence == 0 {
		c.Confidence = 1
	}
	if there > 0 {
		c.From, c.To, c.Rate = w.Satellite, w.Peer, there
		w.Contacts = append(w.Contacts, c)
	}
	if back > 0 {
		c.From, c.To, c.Rate = w.Peer, w.Satellite, back
		w.Contacts = append(w.Contacts, c)
	}
}

// between adds the contacts of two satellites.
func (w *Window) between(a, b Satellite, o Options) {
	if start, end, ok := w.usable(o.Guard); ok {
		w.contacts(start, end, lightTime(w.Farthest), a.Cross, b.Cross, o)
	}
}

// overStation adds the contacts of a pass, cut by light time.
func (w *Window) overStation(a Satellite, s Station, o Options) error {
	start, end, ok := w.usable(o.Guard)
	if !ok {
		return nil
	}
	if o.LightStep == 0 {
		w.contacts(start, end, lightTime(w.Farthest), a.Down, a.Up, o)
		return nil
	}
	track, err := orbit.Track(a.Orbit, s.Ground, start.Time(), end.Time(), trackStep(end.Sub(start)))
	if err != nil {
		return err
	}
	// Parts end at places of the track, so that both neighbours hold the place
	// between them.
	begin, least, most := start, lightTime(track[0].Range), lightTime(track[0].Range)
	for i, m := range track[1:] {
		light := lightTime(m.Range)
		if before := dtntime.FromTime(track[i].At); max(most, light)-min(least, light) > o.LightStep && before > begin {
			w.contacts(begin, before, most, a.Down, a.Up, o)
			edge := lightTime(track[i].Range)
			begin, least, most = before, edge, edge
		}
		least, most = min(least, light), max(most, light)
	}
	w.contacts(begin, end, most, a.Down, a.Up, o)
	return nil
}

// trackStep is how far apart a pass is looked at for its light times.
func trackStep(length dtntime.Duration) time.Duration {
	const places = 500
	return max(time.Second, length.Std()/places)
}

// lightTime is how long light takes for a way in kilometres, rounded up.
func lightTime(way float64) dtntime.Duration {
	light := time.Duration(way / orbit.LightSpeed * float64(time.Second))
	return dtntime.Of(light + time.Millisecond - 1)
}

// Plan returns the contacts of all windows as a contact plan.
func Plan(windows []Window) (*contact.Plan, error) {
	var contacts []contact.Contact
	for _, w := range windows {
		contacts = append(contacts, w.Contacts...)
	}
	return contact.New(contacts)
}
