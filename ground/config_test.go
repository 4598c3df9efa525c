package ground

import (
	"errors"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"

	"perigee/bundle"
	"perigee/bundle/dtntime"
	"perigee/models/gate"
	"perigee/models/payload"
)

// sednaJob has the conditions of an incremental learning job of Sedna.
const sednaJob = `
satellites = ['ipn:2.0']
label_every = '7s'
[trigger]
timer = { start = "02:00", end = "20:00" }
condition = { operator = ">", threshold = 500, metric = "num_of_samples" }
[deploy]
condition = { operator = "gt", threshold = 0.1, metric = "precision_delta" }
`

func TestValidate(t *testing.T) {
	good := newWorld(t, 2).cfg
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for key, spoil := range map[string]func(*Config){
		"data_dir":                            func(c *Config) { c.DataDir = "" },
		"satellites lists 0":                  func(c *Config) { c.Satellites = nil },
		"satellites: ":                        func(c *Config) { c.Satellites = []bundle.EID{satellite(), satellite().WithService(3)} },
		"samples.held_out":                    func(c *Config) { c.Samples.HeldOut = 0 },
		"samples.max":                         func(c *Config) { c.Samples.Max = 10 },
		"use one of num_of_samples":           func(c *Config) { c.Trigger.Condition.Metric = "num_of_pictures" },
		"use one of > gt >= ge == eq =":       func(c *Config) { c.Trigger.Condition.Operator = "above" },
		"holds with less than 2":              func(c *Config) { c.Trigger.Condition.Threshold = 1 },
		"no more than samples.max":            func(c *Config) { c.Trigger.Condition.Threshold = 1e6 },
		"trigger.timer: start":                func(c *Config) { c.Trigger.Timer = Timer{"2:00", "20:00"} },
		"trigger.timer: end":                  func(c *Config) { c.Trigger.Timer = Timer{"02:00", ""} },
		"use one of precision_delta, recall_": func(c *Config) { c.Deploy.Condition.Metric = "accuracy_delta" },
		"would let worse networks fly":        func(c *Config) { c.Deploy.Condition.Operator = "<" },
		"deploy.condition: threshold":         func(c *Config) { c.Deploy.Condition.Threshold = 2 },
		"deploy.confidence":                   func(c *Config) { c.Deploy.Confidence = 1 },
		"deploy.resamples":                    func(c *Config) { c.Deploy.Resamples = 0 },
		"deploy.class_margin":                 func(c *Config) { c.Deploy.ClassMargin = -0.1 },
		"deploy.pictures":                     func(c *Config) { c.Deploy.Pictures = 0 },
		"deploy.golden_f1":                    func(c *Config) { c.Deploy.GoldenF1 = -1 },
		"train.epochs":                        func(c *Config) { c.Train.Epochs = 0 },
		"train.layers":                        func(c *Config) { c.Train.Layers = "some" },
		"train.rank":                          func(c *Config) { c.Train.Rank = 1000 },
		"train.learning_rate":                 func(c *Config) { c.Train.LearningRate = 0 },
		"train.replay":                        func(c *Config) { c.Train.Replay = 1 },
		"train.check":                         func(c *Config) { c.Train.Check = 0.6 },
		"train.program":                       func(c *Config) { c.Train.Program = []string{""} },
		"delta.steps: ":                       func(c *Config) { c.Delta.Steps = []string{"int4", "int9"} },
		"delta.steps has":                     func(c *Config) { c.Delta.Steps = make([]string, payload.MaxSteps+1) },
		"send.part_bytes":                     func(c *Config) { c.Send.PartBytes = 1 },
		"verdicts.threshold":                  func(c *Config) { c.Verdicts.Threshold = 2 },
		"verdicts.lifetime":                   func(c *Config) { c.Verdicts.Lifetime = 0 },
		"verdicts.model_config":               func(c *Config) { c.Verdicts.ModelConfig = "yolo.cfg" },
		"send.retry":                          func(c *Config) { c.Send.Retry = 0 },
	} {
		c := good
		spoil(&c)
		if err := c.Validate(); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: error %v", key, err)
		}
	}
	c := DefaultConfig()
	if err := toml.Unmarshal([]byte(sednaJob), &c); err != nil {
		t.Fatal(err)
	}
	if c.Satellites[0] != satellite() || c.LabelEvery != 7*dtntime.Second {
		t.Errorf("config %+v", c)
	}
	trigger := TriggerConfig{Condition: gate.Condition{Operator: ">", Threshold: 500, Metric: "num_of_samples"}, Timer: Timer{"02:00", "20:00"}}
	deploy := gate.Condition{Operator: "gt", Threshold: 0.1, Metric: "precision_delta"}
	if c.Trigger != trigger || c.Deploy.Condition != deploy || c.Deploy.Confidence != 0.95 {
		t.Errorf("trigger %+v, deploy %+v", c.Trigger, c.Deploy)
	}
}
