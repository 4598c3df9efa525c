package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"perigee/bundle/contact/orbit"
	"perigee/bundle/contact/predict"
	"perigee/bundle/dtntime"
)

type contactPredictOptions struct {
	elements, network    string
	satellites, stations []string
	start                moment
	span                 dtntime.Duration
	down, up, cross      bitRate
	guard, lightStep     dtntime.Duration
	confidence           float64
	layer                string
	plan                 planForm
	track                time.Duration
}

func newContactPredict(e *env) *cobra.Command {
	o := contactPredictOptions{span: dtntime.Day, guard: 5 * dtntime.Second}
	cmd := &cobra.Command{
		Use: "predict", Short: "Predict passes of satellites and the contacts they allow",
		Long: `Predict computes when satellites pass over stations, and see each other, from their
elements, and prints the passes with the data that each can carry. With --plan it
writes the contacts as a plan instead. It needs no daemon.

--elements names a file of two-line element sets or orbit mean-elements messages
(key = value, JSON, CSV or XML), as CelesTrak and Space-Track hand them out; - is
standard input. Satellites and stations come from a network file (see
docs/contacts.md), from flags, or from both. A contact is shorter than its pass by the
guard at either end, since clocks and elements are off: elements are good to about
1 km when they are made and lose 1 to 3 km a day.`,
		Example: `  perigee contact predict --elements sat.tle --satellite ipn:2.0 --station ipn:1.0=78.23,15.39,450,5 --down 100Mbit/s --up 256kbit/s
  perigee contact predict --elements gp.json --network network.toml --start 2026-12-01T00:00:00Z --span 168h --plan perigee >plan.jsonl
  perigee contact predict --elements gp.json --network network.toml --track 30s -o json`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return runContactPredict(cmd.Context(), e, o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.elements, "elements", "", "`file` of the satellites' elements")
	f.StringVar(&o.network, "network", "", "`file` of satellites and stations (TOML)")
	f.StringArrayVar(&o.satellites, "satellite", nil, "`node` of a satellite: NODE, or NODE=NAME or NODE=NUMBER as in the elements")
	f.StringArrayVar(&o.stations, "station", nil, "`place` of a station: NODE=LATITUDE,LONGITUDE[,METRES[,MASK]]")
	f.Var(&o.start, "start", "`time` from which to predict (default now)")
	f.TextVar(&o.span, "span", o.span, "`time` for which to predict")
	f.Var(&o.down, "down", "`rate` from satellites to stations, where the network has none")
	f.Var(&o.up, "up", "`rate` from stations to satellites, where the network has none")
	f.Var(&o.cross, "cross", "`rate` between satellites, where the network has none")
	f.TextVar(&o.guard, "guard", o.guard, "`time` that contacts begin later and end earlier than passes")
	f.TextVar(&o.lightStep, "owlt-step", dtntime.Duration(0), "cut contacts so that light `time` changes by no more in each")
	f.Float64Var(&o.confidence, "confidence", 1, "likelihood of the contacts, above 0 and at most 1")
	f.StringVar(&o.layer, "layer", "", "convergence `layer` of the contacts; empty for the nodes' own choice")
	f.Var(&o.plan, "plan", "write a plan in a `form`: perigee, ion or hdtn")
	f.DurationVar(&o.track, "track", 0, "also print where the satellite stands, at least this often")
	return cmd
}

func runContactPredict(ctx context.Context, e *env, o contactPredictOptions) error {
	switch {
	case o.elements == "":
		return usagef("give --elements FILE")
	case !(o.confidence > 0 && o.confidence <= 1):
		return usagef("--confidence %v is not above 0 and at most 1", o.confidence)
	case o.span == 0 || o.span.Std() > orbit.MaxSearch:
		return usagef("--span %v is not above 0 and at most %v", o.span, orbit.MaxSearch)
	case o.track < 0:
		return usagef("--track %v is negative", o.track)
	case o.track > 0 && o.plan != "":
		return usagef("give --track or --plan, not both")
	}
	network, err := o.read(e)
	if err != nil {
		return err
	}
	from := e.now()
	if o.start.given() {
		from = o.start.time(e.now())
	}
	warnOfAge(e, network, from, from.Add(o.span))
	windows, err := predict.Predict(ctx, network, predict.Options{
		From: from, To: from.Add(o.span), Guard: o.guard, Confidence: o.confidence, Layer: o.layer, LightStep: o.lightStep,
	})
	if err != nil {
		return fmt.Errorf("contact predict: %w", err)
	}
	if o.plan != "" {
		plan, err := predict.Plan(windows)
		if err != nil {
			return fmt.Errorf("contact predict: %w", err)
		}
		return contextual("contact predict", o.plan.write(plan, e.out))
	}
	views := []windowView{}
	for _, w := range windows {
		v, err := viewWindow(w, network, o.track)
		if err != nil {
			return fmt.Errorf("contact predict: %w", err)
		}
		views = append(views, v)
	}
	return e.print(views, func(w io.Writer) { windowTable(w, views) })
}

// read reads the elements and the network.
func (o *contactPredictOptions) read(e *env) (predict.Network, error) {
	var n predict.Network
	file, err := o.readNetwork(e)
	if err != nil {
		return n, err
	}
	in, err := e.openInput(o.elements)
	if err != nil {
		return n, err
	}
	defer in.Close()
	all, err := orbit.Read(in)
	if err != nil {
		return n, fmt.Errorf("contact predict: %s: %w", o.elements, err)
	}
	for _, entry := range file.Satellite {
		for _, r := range []struct{ rate, def *bitRate }{{&entry.Down, &o.down}, {&entry.Up, &o.up}, {&entry.Cross, &o.cross}} {
			if *r.rate == 0 {
				*r.rate = *r.def
			}
		}
		s, err := entry.satellite(all)
		if err != nil {
			return n, fmt.Errorf("contact predict: %s: %w", o.elements, err)
		}
		n.Satellites = append(n.Satellites, s)
	}
	for _, entry := range file.Station {
		s, err := entry.ground()
		if err != nil {
			return n, fmt.Errorf("contact predict: %w", err)
		}
		n.Stations = append(n.Stations, s)
	}
	n.Reach = orbit.Reach{Range: file.Crosslink.Range, Height: file.Crosslink.Height}
	return n, nil
}

// readNetwork reads the network file, if there is one, and adds the flags.
func (o *contactPredictOptions) readNetwork(e *env) (networkFile, error) {
	var n networkFile
	if o.network != "" {
		in, err := e.openInput(o.network)
		if err != nil {
			return n, err
		}
		defer in.Close()
		if n, err = readNetwork(in); err != nil {
			return n, fmt.Errorf("contact predict: %s: %w", o.network, err)
		}
	}
	for _, text := range o.satellites {
		s, err := parseSatellite(text)
		if err != nil {
			return n, err
		}
		n.Satellite = append(n.Satellite, s)
	}
	for _, text := range o.stations {
		s, err := parseStation(text)
		if err != nil {
			return n, err
		}
		n.Station = append(n.Station, s)
	}
	switch {
	case len(n.Satellite) == 0:
		return n, usagef("give --satellite NODE, or --network FILE with satellites")
	case len(n.Satellite) == 1 && len(n.Station) == 0:
		return n, usagef("give --station NODE=LATITUDE,LONGITUDE, or --network FILE with stations; there is nobody to see the satellite")
	}
	return n, nil
}

// oldElements is the age of elements from which a prediction is worth a warning.
const oldElements = 14 * 24 * time.Hour

// warnOfAge tells of elements whose epoch is far from the span.
func warnOfAge(e *env, n predict.Network, from, to dtntime.Time) {
	for _, s := range n.Satellites {
		elements := s.Orbit.Elements()
		age := max(to.Time().Sub(elements.Epoch), elements.Epoch.Sub(from.Time()))
		if age > oldElements {
			fmt.Fprintf(e.err, "perigee: the elements of %s are of %s, %d days from the end of the prediction; take newer ones or a wider --guard\n",
				elements, elements.Epoch.Format(time.DateOnly), age/(24*time.Hour))
		}
	}
}
