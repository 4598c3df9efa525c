package ground

import (
	"cmp"
	"errors"
	"fmt"

	"perigee/bundle"
	"perigee/bundle/dtntime"
	"perigee/models"
	"perigee/models/delta"
	"perigee/models/gate"
	"perigee/models/payload"
	"perigee/models/train"
)

// Limits on what a Config may ask for.
const (
	maxSatellites = 1000
	maxKept       = 1_000_000 // samples
)

// ErrConfig is wrapped by every error about a Config.
var ErrConfig = errors.New("unusable ground configuration")

// Config describes the ground application. DefaultConfig fills in what is not
// marked as required.
type Config struct {
	DataDir string `toml:"data_dir"` // required; everything the ground keeps
	// Satellites are the nodes that are served: any endpoint of each. Required.
	Satellites []bundle.EID `toml:"satellites"`

	// Model is the network that the satellites were launched with: a model
	// file, or Darknet weights when ModelConfig names their configuration.
	// Required until the data folder holds a network.
	Model       string `toml:"model"`
	ModelConfig string `toml:"model_config"`
	ModelHead   int    `toml:"model_head"` // first layer that is retrained, for Darknet; 13

	// Labels is the folder of the default Labeller: for a sample of the picture
	// NAME.jpg the file NAME.txt in YOLO's text format. Required unless a
	// Labeller is passed to New.
	Labels string `toml:"labels"`
	// LabelEvery is how often labels are looked for; 2s.
	LabelEvery dtntime.Duration `toml:"label_every"`

	// Strategy says what goes up: delta, a change of the network that is trained
	// here, or labels, from which each satellite trains it itself; delta.
	Strategy string `toml:"strategy"`

	Samples  SampleConfig  `toml:"samples"`
	Trigger  TriggerConfig `toml:"trigger"`
	Deploy   DeployConfig  `toml:"deploy"`
	Train    TrainConfig   `toml:"train"`
	Delta    DeltaConfig   `toml:"delta"`
	Send     SendConfig    `toml:"send"`
	Verdicts VerdictConfig `toml:"verdicts"`
	Previews PreviewConfig `toml:"previews"`
}

// SampleConfig bounds the samples that are kept.
type SampleConfig struct {
	// Max is how many samples are kept; 4000. The oldest go first, but for
	// those that the running round uses.
	Max int `toml:"max"`
	// HeldOut is the share of samples that judge a network and are never
	// trained on; 0.2. Which these are follows from the hash of the picture.
	HeldOut float64 `toml:"held_out"`
}

// DeployConfig says when a trained network may fly, in Sedna's words: the lower
// end of the confidence interval of the metric, on the held-out samples, must
// meet Condition.
type DeployConfig struct {
	Condition  gate.Condition `toml:"condition"`  // f1_delta > 0.1
	Confidence float64        `toml:"confidence"` // of the interval, two-sided; 0.95
	Resamples  int            `toml:"resamples"`  // drawings that the interval comes from; 2000
	// ClassMargin is what the F1 of a class may lose at most; 0.1.
	ClassMargin float64 `toml:"class_margin"`
	// Pictures is how many held-out samples must be there to judge; 8.
	Pictures int `toml:"pictures"`
	// GoldenF1 is the lowest F1 that the network must reach in the satellite's
	// self-test, besides the satellite's own limit; 0.
	GoldenF1 float32 `toml:"golden_f1"`
	// Golden is the folder of the golden pictures that the satellites have. What a
	// new network computes for some of them goes up with it, and a satellite
	// refuses it when something else comes out. Default: none.
	Golden string `toml:"golden"`
}

// TrainConfig steers training.
type TrainConfig struct {
	Epochs       int     `toml:"epochs"`        // 30
	LearningRate float64 `toml:"learning_rate"` // of Adam, at the start; 0.003
	Batch        int     `toml:"batch"`         // samples of a step; 8
	// Rank of the difference of each convolution's weights; 0 trains the whole
	// weights; 2.
	Rank    int    `toml:"rank"`
	Layers  string `toml:"layers"`  // of the head: all, or last for those before the outputs; all
	Seed    uint64 `toml:"seed"`    // 1
	Threads int    `toml:"threads"` // cores; 2
	// Replay is the share of every epoch that comes from samples of earlier
	// rounds, so that the network does not forget; 0.25, and 0 for none.
	Replay float64 `toml:"replay"`
	// Check is the share of the samples that is not learnt from, but ends the
	// training once the loss on it no longer falls; 0.1, and 0 for none.
	Check float64 `toml:"check"`
	// Program, if not empty, trains in place of Perigee's own training: a
	// program and its arguments, run in the folder DataDir/training.
	Program []string `toml:"program"`
	// MaxSamples is how many of the newest samples are trained on, and at most
	// judge; 200. Training yolov3-tiny holds 1.4 MB of features for each.
	MaxSamples int `toml:"max_samples"`
}

// The choices of Config.Strategy.
const (
	StrategyDelta  = "delta"
	StrategyLabels = "labels"
)

// The choices of TrainConfig.Layers.
const (
	LayersAll  = "all"
	LayersLast = "last"
)

// DeltaConfig steers how a change of network is packed.
type DeltaConfig struct {
	// Steps are the encodings of the steps that a change goes in, coarse to
	// fine, such as int2-rank1, int4-rank2. Empty: what suits train.rank.
	Steps []string `toml:"steps"`
	// Key is the file of the Ed25519 key in PEM (PKCS #8) that signs; empty for
	// no signature, which satellites refuse unless they are told not to.
	Key string `toml:"key"`
}

// SendConfig steers how an update travels.
type SendConfig struct {
	// PartBytes is the payload of one part; 16 KiB, so that it fits easily in a
	// pass at 0.1 Mbit/s.
	PartBytes int              `toml:"part_bytes"`
	Lifetime  dtntime.Duration `toml:"lifetime"` // of the bundles; 7 days
	Priority  bundle.Priority  `toml:"priority"` // normal
	// ReceiptTimeout is how long receipts are waited for before the round ends
	// without them; 7 days.
	ReceiptTimeout dtntime.Duration `toml:"receipt_timeout"`
	// Retry is the wait while the node's store is full; 2s.
	Retry dtntime.Duration `toml:"retry"`
}

// DefaultConfig returns a Config with every default filled in.
func DefaultConfig() Config {
	const week = 7 * dtntime.Day
	rule := gate.DefaultRule()
	return Config{
		ModelHead:  13,
		Strategy:   StrategyDelta,
		LabelEvery: 2 * dtntime.Second,
		Samples:    SampleConfig{Max: 4000, HeldOut: 0.2},
		Trigger:    TriggerConfig{Condition: gate.Condition{Operator: ">=", Threshold: 40, Metric: MetricNumOfSamples}},
		Deploy: DeployConfig{
			Condition: rule.Condition, Confidence: rule.Confidence, Resamples: rule.Resamples,
			ClassMargin: rule.ClassMargin, Pictures: rule.Pictures,
		},
		Train: TrainConfig{Epochs: 30, LearningRate: 0.003, Batch: 8, Rank: 2, Layers: LayersAll, Seed: 1, Threads: 2, Replay: 0.25, Check: 0.1, MaxSamples: 200},
		Send: SendConfig{
			PartBytes: 16 << 10, Lifetime: week, Priority: bundle.PriorityNormal,
			ReceiptTimeout: week, Retry: 2 * dtntime.Second,
		},
		Previews: PreviewConfig{Ask: 40, Period: dtntime.Day, Lifetime: week},
		Verdicts: VerdictConfig{Send: true, Threshold: 0.5, Lifetime: 30 * dtntime.Day, Priority: bundle.PriorityBulk},
	}
}

// Validate reports the first thing in c that cannot work. Errors wrap ErrConfig
// and name the key.
func (c *Config) Validate() error {
	if err := c.validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return nil
}

func (c *Config) validate() error {
	switch {
	case c.DataDir == "":
		return errors.New("data_dir is empty: name a folder")
	case len(c.Satellites) == 0 || len(c.Satellites) > maxSatellites:
		return fmt.Errorf("satellites lists %d EIDs, want 1 to %d", len(c.Satellites), maxSatellites)
	case !(c.Samples.HeldOut > 0 && c.Samples.HeldOut < 1):
		return fmt.Errorf("samples.held_out is %v, want above 0 and below 1", c.Samples.HeldOut)
	case c.Samples.Max < 2*c.Train.MaxSamples || c.Samples.Max > maxKept:
		return fmt.Errorf("samples.max is %d, want twice train.max_samples = %d to %d", c.Samples.Max, c.Train.MaxSamples, maxKept)
	case c.Deploy.Pictures > c.Train.MaxSamples:
		return fmt.Errorf("deploy.pictures is %d, want 1 to train.max_samples = %d", c.Deploy.Pictures, c.Train.MaxSamples)
	case !(c.Deploy.GoldenF1 >= 0 && c.Deploy.GoldenF1 <= 1):
		return fmt.Errorf("deploy.golden_f1 is %v, want 0 to 1", c.Deploy.GoldenF1)
	}
	if err := c.gate().Validate(); err != nil {
		return fmt.Errorf("deploy.%w", err)
	}
	return cmp.Or(c.Trigger.validate(c.Samples.Max), c.validateTrain(), c.validateSend(), c.Verdicts.validate(), c.Previews.validate(), c.validateSatellites())
}

func (c *Config) validateTrain() error {
	switch t := c.Train; {
	case c.Strategy != StrategyDelta && c.Strategy != StrategyLabels:
		return fmt.Errorf("strategy is %q, want %q or %q", c.Strategy, StrategyDelta, StrategyLabels)
	case c.Strategy == StrategyLabels && (t.Rank == 0 || t.Layers != LayersAll || len(t.Program) > 0):
		return fmt.Errorf("strategy is %q: satellites train all layers at a train.rank of 1 to %d, without train.program", c.Strategy, train.MaxRank)
	case t.Epochs < 1 || t.Epochs > train.MaxEpochs:
		return fmt.Errorf("train.epochs is %d, want 1 to %d", t.Epochs, train.MaxEpochs)
	case t.Batch < 1 || t.Batch > train.MaxBatch:
		return fmt.Errorf("train.batch is %d, want 1 to %d", t.Batch, train.MaxBatch)
	case t.Rank < 0 || t.Rank > min(train.MaxRank, delta.MaxRank):
		return fmt.Errorf("train.rank is %d, want 0 to %d", t.Rank, min(train.MaxRank, delta.MaxRank))
	case !(t.LearningRate > 0 && t.LearningRate <= 1):
		return fmt.Errorf("train.learning_rate is %v, want above 0 and up to 1", t.LearningRate)
	case t.Layers != LayersAll && t.Layers != LayersLast:
		return fmt.Errorf("train.layers is %q, want %q or %q", t.Layers, LayersAll, LayersLast)
	case !(t.Replay >= 0 && t.Replay < 1):
		return fmt.Errorf("train.replay is %v, want 0 to below 1", t.Replay)
	case !(t.Check >= 0 && t.Check <= 0.5):
		return fmt.Errorf("train.check is %v, want 0 to 0.5", t.Check)
	case len(t.Program) > 0 && t.Program[0] == "":
		return errors.New("train.program begins with an empty name: name the program")
	case t.Threads < 1 || t.Threads > models.MaxThreads:
		return fmt.Errorf("train.threads is %d, want 1 to %d", t.Threads, models.MaxThreads)
	}
	if len(c.Delta.Steps) > payload.MaxSteps {
		return fmt.Errorf("delta.steps has %d entries, want at most %d", len(c.Delta.Steps), payload.MaxSteps)
	}
	if _, err := delta.ParseSteps(c.Delta.Steps); err != nil {
		return fmt.Errorf("delta.steps: %w", err)
	}
	return nil
}

func (c *Config) validateSend() error {
	if c.Send.PartBytes < 256 || c.Send.PartBytes > payload.MaxPart {
		return fmt.Errorf("send.part_bytes is %d, want 256 to %d", c.Send.PartBytes, payload.MaxPart)
	}
	if c.Send.Priority > bundle.PriorityExpedited {
		return fmt.Errorf("send.priority %v is unknown", c.Send.Priority)
	}
	for _, d := range []struct {
		key   string
		value dtntime.Duration
	}{
		{"label_every", c.LabelEvery},
		{"send.lifetime", c.Send.Lifetime},
		{"send.receipt_timeout", c.Send.ReceiptTimeout},
		{"send.retry", c.Send.Retry},
	} {
		if d.value < dtntime.Millisecond {
			return fmt.Errorf("%s is %v, want at least 1ms", d.key, d.value)
		}
	}
	return nil
}

func (c *Config) validateSatellites() error {
	seen := map[bundle.EID]bool{}
	for _, s := range c.Satellites {
		if s.IsNull() || seen[s.Node()] {
			return fmt.Errorf("satellites: %v is null or there twice", s)
		}
		seen[s.Node()] = true
	}
	return nil
}
