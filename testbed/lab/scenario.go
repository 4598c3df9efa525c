// Package lab runs scenarios: real daemons as separate processes, joined by
// emulated links, with everything measured and put into a report.
//
// It looks at the daemons as an operator does, through their sockets and files,
// and refuses to know their insides.
package lab

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"perigee/bundle/dtntime"
	"perigee/testbed/link"
)

// ErrScenario is wrapped by every error about a scenario file.
var ErrScenario = errors.New("invalid scenario")

// Scenario is a scenario file.
type Scenario struct {
	Name    string `toml:"name"`
	Kind    string `toml:"kind"` // KindLearning, or empty
	Seed    uint64 `toml:"seed"`
	Backend string `toml:"backend"` // one of link.Names

	Link struct {
		Uplink   Rate `toml:"uplink"`   // ground to satellite
		Downlink Rate `toml:"downlink"` // satellite to ground
	} `toml:"link"`
	Passes struct {
		First  dtntime.Duration `toml:"first"` // from the start of the daemons
		Length dtntime.Duration `toml:"length"`
		Gap    dtntime.Duration `toml:"gap"`
		Count  int              `toml:"count"`
	} `toml:"passes"`
	Cut struct {
		After  float64          `toml:"after"` // share of the difference that has gone up; 0 for no cut
		Length dtntime.Duration `toml:"length"`
	} `toml:"cut"`
	Scenes struct {
		Clean    int              `toml:"clean"`    // learned before launch
		Sharp    int              `toml:"sharp"`    // seen in flight before the sensor drifts
		Drifted  int              `toml:"drifted"`  // seen in flight after that
		HeldOut  int              `toml:"held_out"` // of each kind, to judge
		Golden   int              `toml:"golden"`   // of the satellite's self-test
		Interval dtntime.Duration `toml:"interval"` // from one picture to the next
	} `toml:"scenes"`
	Launch Training `toml:"launch"`
	Train  struct {
		Samples int     `toml:"samples"` // labelled ones that begin a round
		F1Delta float64 `toml:"f1_delta"`
		Rank    int     `toml:"rank"` // of the difference; 0 for whole weights
		Training
	} `toml:"train"`
	Delta struct {
		Steps     []string `toml:"steps"` // encodings, coarse to fine; empty: what suits the rank
		PartBytes int      `toml:"part_bytes"`
	} `toml:"delta"`
}

// Training steers a training.
type Training struct {
	Epochs       int     `toml:"epochs"`
	LearningRate float64 `toml:"learning_rate"`
	Batch        int     `toml:"batch"`
}

// ReadScenario reads a scenario file. Errors wrap ErrScenario and name the key.
func ReadScenario(path string) (*Scenario, error) {
	var s Scenario
	if err := decode(path, &s); err != nil {
		return nil, err
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrScenario, path, err)
	}
	return &s, nil
}

// SetBackend chooses the backend in place of the scenario's.
func (s *Scenario) SetBackend(name string) error {
	s.Backend = name
	return s.check()
}

func (s *Scenario) check() error {
	for _, n := range []struct {
		key        string
		value, low int
	}{
		{"passes.count", s.Passes.Count, 1},
		{"scenes.clean", s.Scenes.Clean, 1},
		{"scenes.drifted", s.Scenes.Drifted, 1},
		{"scenes.held_out", s.Scenes.HeldOut, 1},
		{"scenes.golden", s.Scenes.Golden, 1},
		{"launch.epochs", s.Launch.Epochs, 1},
		{"launch.batch", s.Launch.Batch, 1},
		{"train.samples", s.Train.Samples, 2},
		{"train.epochs", s.Train.Epochs, 1},
		{"train.batch", s.Train.Batch, 1},
		{"delta.part_bytes", s.Delta.PartBytes, 256},
	} {
		if n.value < n.low {
			return fmt.Errorf("%s is %d, want at least %d", n.key, n.value, n.low)
		}
	}
	switch {
	case s.Name == "":
		return errors.New("name is empty")
	case !slices.Contains(link.Names(), s.Backend):
		return fmt.Errorf("backend is %q, want one of %s", s.Backend, strings.Join(link.Names(), ", "))
	case s.Link.Uplink == 0 || s.Link.Downlink == 0:
		return errors.New("link.uplink and link.downlink are required, such as \"100 kbit/s\"")
	case s.Passes.Length < dtntime.Second || s.Passes.Gap < dtntime.Second:
		return errors.New("passes.length and passes.gap must be at least 1s")
	case s.Cut.After < 0 || s.Cut.After >= 1:
		return fmt.Errorf("cut.after is %v, want 0 to below 1", s.Cut.After)
	case s.Train.Rank < 0:
		return fmt.Errorf("train.rank is %d, want at least 0", s.Train.Rank)
	case s.Train.Samples > s.Scenes.Drifted:
		return fmt.Errorf("train.samples is %d, more than the %d drifted scenes", s.Train.Samples, s.Scenes.Drifted)
	}
	return nil
}
