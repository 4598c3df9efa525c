package main

import (
	"bytes"
	"context"
	_ "embed" // for the reference
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"perigee/bundle/contact/orbit"
)

// What Debian's python3-sgp4 brings: the published vectors, and the reference for
// passes.
const (
	sgp4Folder = "/usr/lib/python3/dist-packages/sgp4"
	python     = "/usr/bin/python3"
)

//go:embed passes.py
var passesScript string

// Bars of the measures of orbits.
const (
	sgp4Bar = 1e-6 // km
	passBar = 0.05 // s
)

func orbitMeasures() []measure {
	return []measure{
		{
			name: "orbit.sgp4", what: "the worst difference from the published vectors of SGP4 and SDP4, over all satellites, in km",
			bars: map[string]bar{"orbit.sgp4_error_km": {value: limit{sgp4Bar, atMost}}},
			take: sgp4Error,
		},
		{
			name: "orbit.pass", what: "passes of 15 days against python3-sgp4: those missed or made up, and the worst rise or set, in s",
			bars: map[string]bar{
				"orbit.passes_missed": {value: limit{0, atMost}},
				"orbit.pass_error_s":  {value: limit{passBar, atMost}},
			},
			take: passErrors,
		},
	}
}

func sgp4Error(_ context.Context, _ *bench) ([]figure, error) {
	verdicts, err := verifySGP4()
	if err != nil {
		return nil, err
	}
	worst := 0.
	for _, v := range verdicts {
		worst = max(worst, v.Position)
	}
	return []figure{{name: "orbit.sgp4_error_km", value: worst, unit: "km"}}, nil
}

// verifySGP4 holds every satellite of the published vectors against them.
func verifySGP4() ([]orbit.Verdict, error) {
	cases, err := os.Open(filepath.Join(sgp4Folder, "SGP4-VER.TLE"))
	if err != nil {
		return nil, fmt.Errorf("opening the published vectors: %w; install Debian's python3-sgp4", err)
	}
	defer cases.Close()
	states, err := os.Open(filepath.Join(sgp4Folder, "tcppver.out"))
	if err != nil {
		return nil, fmt.Errorf("opening the published vectors: %w; install Debian's python3-sgp4", err)
	}
	defer states.Close()
	return orbit.Verify(cases, states)
}

// passTask is what both sides search, in the form of passes.py.
type passTask struct {
	Satellites [][2]string `json:"satellites"`
	Sites      []passSite  `json:"sites"`
	Start      time.Time   `json:"start"`
	Days       int         `json:"days"`
	Step       float64     `json:"step"` // seconds, of the reference
}

type passSite struct {
	Lat  float64      `json:"lat"`
	Lon  float64      `json:"lon"`
	Alt  float64      `json:"alt"`
	Mask [][2]float64 `json:"mask,omitempty"`
}

// newPassTask returns satellites in a low polar, a low inclined, an eccentric and a
// twelve-hour resonant orbit over sites with an even and an uneven horizon.
func newPassTask() passTask {
	const epoch = "26152.50000000" // 2026-06-01T12:00:00Z
	satellite := func(number int, drag, elements string) [2]string {
		lines := [2]string{
			fmt.Sprintf("1 %05dU 26001A   %s  .00000000  00000-0 %s 0    1", number, epoch, drag),
			fmt.Sprintf("2 %05d %s    1", number, elements),
		}
		for i, line := range lines {
			lines[i] = fmt.Sprintf("%s%d", line, orbit.Checksum(line))
		}
		return lines
	}
	return passTask{
		Satellites: [][2]string{
			satellite(1, " 50000-4", " 97.4100 220.0000 0010000  90.0000 270.0000 15.22000000"),
			satellite(2, " 30000-3", " 51.6400  40.0000 0005000  60.0000 300.0000 15.50000000"),
			satellite(3, " 10000-3", " 63.4000 100.0000 1200000 270.0000  10.0000 12.80000000"),
			satellite(4, " 00000-0", " 63.4000 300.0000 6900000 270.0000  20.0000  2.00600000"),
		},
		Sites: []passSite{
			{Lat: 78.2298, Lon: 15.4078, Alt: 0.45, Mask: [][2]float64{{0, 5}}},
			{Lat: 49.8710, Lon: 8.6226, Alt: 0.15, Mask: [][2]float64{{0, 10}, {90, 4}, {200, 25}, {270, 12}}},
			{Lat: -33.9, Lon: 18.5, Alt: 0.02},
		},
		Start: time.Date(2026, 6, 2, 0, 0, 0, 0, time.UTC), Days: 15, Step: 10,
	}
}

func passErrors(ctx context.Context, b *bench) ([]figure, error) {
	task := newPassTask()
	b.progress.note("the reference")
	reference, err := task.reference(ctx)
	if err != nil {
		return nil, err
	}
	b.progress.note("ours")
	ours, err := task.passes(ctx)
	if err != nil {
		return nil, err
	}
	missed, worst, count := 0, 0., 0
	for i := range reference {
		for j := range reference[i] {
			m, w := comparePasses(ours[i][j], reference[i][j])
			missed, worst, count = missed+m, max(worst, w), count+len(reference[i][j])
		}
	}
	if count == 0 {
		return nil, errors.New("the reference found no pass, so there is nothing to compare")
	}
	return []figure{
		{name: "orbit.passes_missed", value: float64(missed), unit: "passes"},
		{name: "orbit.pass_error_s", value: worst, unit: "s"},
	}, nil
}

// span is a pass as rise and set in seconds from the start.
type span [2]float64

// comparePasses counts the passes that one side alone has, and finds the largest
// difference among the others. Passes are the same when they overlap.
func comparePasses(ours, reference []span) (missed int, worst float64) {
	i, j := 0, 0
	for i < len(ours) && j < len(reference) {
		a, b := ours[i], reference[j]
		switch {
		case a[1] < b[0]:
			missed++
			i++
		case b[1] < a[0]:
			missed++
			j++
		default:
			worst = max(worst, math.Abs(a[0]-b[0]), math.Abs(a[1]-b[1]))
			i++
			j++
		}
	}
	return missed + len(ours) - i + len(reference) - j, worst
}

// reference asks python3-sgp4 for the passes.
func (t passTask) reference(ctx context.Context) ([][][]span, error) {
	text, err := json.Marshal(t)
	if err != nil {
		return nil, fmt.Errorf("describing the passes to search: %w", err)
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, python, "-c", passesScript)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(text), &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("searching passes with %s: %w; is Debian's python3-sgp4 installed?\n%s", python, err, stderr.String())
	}
	var found [][][]span
	if err := json.Unmarshal(out, &found); err != nil {
		return nil, fmt.Errorf("reading the passes of the reference: %w", err)
	}
	return found, nil
}

// passes searches for the passes with package orbit. Those that the span cuts are left
// out.
func (t passTask) passes(ctx context.Context) ([][][]span, error) {
	found := make([][][]span, len(t.Satellites))
	end := t.Start.AddDate(0, 0, t.Days)
	for i, lines := range t.Satellites {
		elements, err := orbit.ParseTLE(lines[0], lines[1])
		if err != nil {
			return nil, err
		}
		p, err := orbit.NewPropagator(elements)
		if err != nil {
			return nil, err
		}
		for _, s := range t.Sites {
			ground, err := orbit.NewGround(s.site())
			if err != nil {
				return nil, err
			}
			passes, err := orbit.Passes(ctx, p, ground, t.Start, end)
			if err != nil {
				return nil, err
			}
			spans := []span{}
			for _, pass := range passes {
				if !pass.Begun && !pass.Unended {
					spans = append(spans, span{pass.Rise.At.Sub(t.Start).Seconds(), pass.Set.At.Sub(t.Start).Seconds()})
				}
			}
			found[i] = append(found[i], spans)
		}
	}
	return found, nil
}

func (s passSite) site() orbit.Site {
	site := orbit.Site{Latitude: s.Lat, Longitude: s.Lon, Altitude: s.Alt}
	for _, m := range s.Mask {
		site.Mask = append(site.Mask, orbit.Horizon{Azimuth: m[0], Elevation: m[1]})
	}
	return site
}
