package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"perigee/bundle"
	"perigee/testbed/lab"
)

// threeStations is a scenario of daemons, by the folder in which bench is run.
const threeStations = "testbed/scenarios/three-stations.toml"

func labMeasures() []measure {
	return []measure{{
		name: "lab.three_stations", what: "a day of real passes over three stations, with daemons: bundles not delivered once, and how passes are used (root)",
		bars: map[string]bar{"lab.three_stations": {value: limit{0, atMost}}},
		take: labThreeStations, idle: true,
	}}
}

// labThreeStations runs daemons through the passes of a day.
func labThreeStations(ctx context.Context, b *bench) ([]figure, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("%w: it makes network namespaces, which needs root: run bench with sudo", errSkipped)
	}
	r, err := b.simulate(ctx, threeStations)
	if err != nil {
		return nil, err
	}
	figures := []figure{{name: "lab.three_stations", value: r.notOnce(), unit: "bundles", note: r.passNote()}}
	for _, u := range r.Utilisation {
		figures = append(figures, figure{name: "lab.three_stations_" + u.Direction, value: 100 * u.Median, unit: "% used"})
	}
	return figures, nil
}

// notOnce counts the bundles that were not delivered exactly once, or what else was not
// kept if that is more.
func (s *simulation) notOnce() float64 {
	return float64(max(s.Sent-s.Delivered+s.Twice, len(s.Failures)))
}

// passNote tells of each pass what part of it was used in each direction.
func (s *simulation) passNote() string {
	names := make(map[bundle.EID]string)
	for _, m := range s.Members {
		names[m.ID] = m.Name
	}
	var passes []string
	for _, p := range s.Passes {
		satellite := func(m lab.Member) bool { return m.Satellite && (m.ID == p.From || m.ID == p.To) }
		if p.Start >= s.Start.Add(s.Length) || !slices.ContainsFunc(s.Members, satellite) {
			continue
		}
		passes = append(passes, fmt.Sprintf("%s %s to %s %.0f %%", p.Start.Time().Format("15:04"), names[p.From], names[p.To], 100*p.Utilisation))
	}
	return fmt.Sprintf("%d bundles accepted, %d delivered; %s", s.Accepted, s.Delivered, strings.Join(passes, ", "))
}
