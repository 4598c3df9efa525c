package ground

import (
	"errors"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"

	"perigee/bundle"
	"perigee/bundle/dtntime"
	"perigee/models/payload"
)

func TestValidate(t *testing.T) {
	good := newWorld(t, 2).cfg
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for key, spoil := range map[string]func(*Config){
		"data_dir":               func(c *Config) { c.DataDir = "" },
		"0 satellites":           func(c *Config) { c.Satellites = nil },
		"satellites: ":           func(c *Config) { c.Satellites = []bundle.EID{satellite(), satellite().WithService(3)} },
		"samples.held_out":       func(c *Config) { c.Samples.HeldOut = 0 },
		"samples.max":            func(c *Config) { c.Samples.Max = 10 },
		"trigger.num_of_samples": func(c *Config) { c.Trigger.NumOfSamples = 1 },
		"deploy.metric":          func(c *Config) { c.Deploy.Metric = "precision_delta" },
		"deploy.threshold":       func(c *Config) { c.Deploy.Threshold = 2 },
		"deploy.golden_f1":       func(c *Config) { c.Deploy.GoldenF1 = -1 },
		"train.epochs":           func(c *Config) { c.Train.Epochs = 0 },
		"train.layers":           func(c *Config) { c.Train.Layers = "some" },
		"train.rank":             func(c *Config) { c.Train.Rank = 1000 },
		"train.learning_rate":    func(c *Config) { c.Train.LearningRate = 0 },
		"train.replay":           func(c *Config) { c.Train.Replay = 1 },
		"train.check":            func(c *Config) { c.Train.Check = 0.6 },
		"train.program":          func(c *Config) { c.Train.Program = []string{""} },
		"delta.steps: ":          func(c *Config) { c.Delta.Steps = []string{"int4", "int9"} },
		"delta.steps has":        func(c *Config) { c.Delta.Steps = make([]string, payload.MaxSteps+1) },
		"send.part_bytes":        func(c *Config) { c.Send.PartBytes = 1 },
		"send.retry":             func(c *Config) { c.Send.Retry = 0 },
	} {
		c := good
		spoil(&c)
		if err := c.Validate(); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: error %v", key, err)
		}
	}
	c := DefaultConfig()
	if err := toml.Unmarshal([]byte("satellites = ['ipn:2.0']\nlabel_every = '7s'\n"), &c); err != nil {
		t.Fatal(err)
	}
	if c.Satellites[0] != satellite() || c.LabelEvery != 7*dtntime.Second {
		t.Errorf("config %+v", c)
	}
}
