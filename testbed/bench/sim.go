package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"perigee/testbed/lab"
)

// Scenarios of simulated constellations, by the folder in which bench is run.
const (
	scenario24x3   = "testbed/scenarios/constellation-24x3.toml"
	scenario200x10 = "testbed/scenarios/constellation-200x10.toml"
)

// Bars of the simulations.
const (
	simSeconds = 60.
	flowRatio  = 0.92
	simMemory  = 4000. // MB
)

func simMeasures() []measure {
	return []measure{
		{
			name: "sim.24x3", what: "24 satellites, 3 stations, a day of full passes: time, loss, and whether a second run is the same",
			bars: map[string]bar{
				"sim.24x3":           {value: limit{simSeconds, atMost}},
				"sim.24x3_lost":      {value: limit{0, atMost}},
				"sim.24x3_different": {value: limit{0, atMost}},
			},
			take: simulateTwice,
		},
		{
			name: "sim.maxflow_ratio", what: "bytes delivered in that day against the greatest flow through the contacts",
			bars: map[string]bar{"sim.maxflow_ratio": {value: limit{flowRatio, atLeast}}},
			take: simulateFlow,
		},
	}
}

// growthMeasures come behind those that wait for a clock: they take their time on one
// core, and no bar says how long.
func growthMeasures() []measure {
	return []measure{
		{
			name: "sim.200x10", what: "200 satellites, 10 stations, a day: time, memory, and time for each event against sim.24x3",
			bars: map[string]bar{
				"sim.200x10_MB":   {value: limit{simMemory, atMost}},
				"sim.200x10_lost": {value: limit{0, atMost}},
			},
			take: simulateMany,
		},
	}
}

// simulation is what a run of a network took and gave.
type simulation struct {
	lab.NetworkReport
	wall   time.Duration
	memory float64 // MB at most
}

// fullDay returns the last run of scenario24x3, or runs it if there is none.
func (b *bench) fullDay(ctx context.Context) (*simulation, error) {
	if b.day != nil {
		return b.day, nil
	}
	return b.simulate(ctx, scenario24x3)
}

// endPatience is how long a scenario may take to end when it is told to.
const endPatience = time.Minute

// simulate runs a scenario in a process of its own, as people do.
func (b *bench) simulate(ctx context.Context, scenario string) (*simulation, error) {
	dir, err := b.folder("sim")
	if err != nil {
		return nil, err
	}
	var out, messages bytes.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(filepath.Dir(b.perigeed), "perigee"), "-o", "json", "lab", "run", "--out", dir, scenario)
	cmd.Stdout, cmd.Stderr = &out, &messages
	// Told once to end, so that it takes down what it has made: its own group, which an
	// interrupt at the terminal does not reach.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = endPatience
	begun := time.Now()
	runErr := cmd.Run()
	s := &simulation{wall: time.Since(begun)}
	if err := json.Unmarshal(out.Bytes(), &s.NetworkReport); err != nil {
		return nil, fmt.Errorf("running %s: %w\n%s", scenario, errors.Join(runErr, err), messages.String())
	}
	// What was not kept is in the report, so runErr has nothing to add.
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return nil, errors.New("this system does not tell how much memory a process took")
	}
	s.memory = float64(usage.Maxrss) * 1024 / 1e6
	return s, nil
}

// perEvent is the time for each line of the trace in microseconds.
func (s *simulation) perEvent() float64 {
	return float64(s.wall.Microseconds()) / float64(max(s.Events, 1))
}

// unkept counts what was not kept of what every run must: bundles lost or delivered
// twice, and whatever else was found in its history.
func (s *simulation) unkept() float64 {
	return float64(max(s.Lost+s.Twice, len(s.Failures)))
}

func simulateTwice(ctx context.Context, b *bench) ([]figure, error) {
	b.progress.note("a day")
	first, err := b.simulate(ctx, scenario24x3)
	if err != nil {
		return nil, err
	}
	b.progress.note("the same day again")
	second, err := b.simulate(ctx, scenario24x3)
	if err != nil {
		return nil, err
	}
	b.day = second
	different := 0.
	if first.Hash != second.Hash {
		different = 1
	}
	return []figure{
		{name: "sim.24x3", value: max(first.wall, second.wall).Seconds(), unit: "s"},
		{name: "sim.24x3_lost", value: first.unkept() + second.unkept(), unit: "bundles"},
		{name: "sim.24x3_different", value: different, unit: "runs"},
		{name: "sim.24x3_MB", value: max(first.memory, second.memory), unit: "MB"},
	}, nil
}

func simulateFlow(ctx context.Context, b *bench) ([]figure, error) {
	b.progress.note("a day")
	s, err := b.fullDay(ctx)
	if err != nil {
		return nil, err
	}
	return []figure{{name: "sim.maxflow_ratio", value: s.Bound.Ratio(), unit: "of the bound"}}, nil
}

func simulateMany(ctx context.Context, b *bench) ([]figure, error) {
	b.progress.note("24 satellites")
	few, err := b.fullDay(ctx)
	if err != nil {
		return nil, err
	}
	b.progress.note("200 satellites")
	many, err := b.simulate(ctx, scenario200x10)
	if err != nil {
		return nil, err
	}
	return []figure{
		{name: "sim.200x10", value: many.wall.Seconds(), unit: "s"},
		{name: "sim.200x10_MB", value: many.memory, unit: "MB"},
		{name: "sim.200x10_lost", value: many.unkept(), unit: "bundles"},
		{name: "sim.200x10_growth", value: many.perEvent(), unit: "us/event", reference: few.perEvent()},
	}, nil
}
