package agent

import (
	"cmp"
	"errors"
	"fmt"

	"perigee/bundle"
	"perigee/bundle/dtntime"
	"perigee/models"
	"perigee/models/mining"
	"perigee/models/payload"
)

// Limits on what a Config may ask for.
const (
	MaxBatchBytes   = payload.MaxBatch   // of the pictures of one batch
	MaxBatchSamples = payload.MaxSamples // samples of one batch
	MaxPictureBytes = payload.MaxPicture // of one picture file
)

// ErrConfig is wrapped by every error about a Config.
var ErrConfig = errors.New("unusable satellite configuration")

// Config describes the satellite application. DefaultConfig fills in what is
// not marked as required.
type Config struct {
	DataDir string     `toml:"data_dir"` // required; everything the agent keeps
	Ground  bundle.EID `toml:"ground"`   // required; any endpoint of the ground's node

	// Model is the network that a new data folder starts from: a model file
	// (models.ReadFile), or Darknet weights when ModelConfig names their
	// configuration. Required until the data folder holds a network.
	Model       string `toml:"model"`
	ModelConfig string `toml:"model_config"`
	ModelHead   int    `toml:"model_head"` // first layer that is retrained, for Darknet; 13

	Source    SourceConfig    `toml:"source"`
	Detect    DetectConfig    `toml:"detect"`
	Mining    mining.Config   `toml:"mining"`
	Select    SelectConfig    `toml:"select"`
	Budget    BudgetConfig    `toml:"budget"`
	Record    RecordConfig    `toml:"record"`
	Preview   PreviewConfig   `toml:"preview"`
	Batch     BatchConfig     `toml:"batch"`
	Telemetry TelemetryConfig `toml:"telemetry"`
	Updates   UpdateConfig    `toml:"updates"`
	Training  TrainingConfig  `toml:"training"`
	Craft     Spacecraft      `toml:"spacecraft"`
	Retry     RetryConfig     `toml:"retry"`
}

// SourceConfig says where pictures come from: a folder or a list, not both.
type SourceConfig struct {
	// Folder is searched for .jpg and .jpeg files, taken in order of their
	// names. Files that appear later must sort behind those that were there,
	// as a camera numbers them, and must appear under their name when whole.
	Folder string `toml:"folder"`
	// List is a file of JSON objects, one a line, whose "image" names a picture
	// in the list's folder. "taken" (RFC 3339) and "pause" ("2s", waited before
	// the picture in place of Interval) may be given. Lines may be appended.
	List string `toml:"list"`
	// Interval is the time from one picture to the next; 1s.
	Interval dtntime.Duration `toml:"interval"`
	// MaxPictureBytes bounds one picture file; 1 MiB. Larger ones are counted
	// and left out.
	MaxPictureBytes int64 `toml:"max_picture_bytes"`
}

// DetectConfig steers the network on board.
type DetectConfig struct {
	Threshold float32 `toml:"threshold"` // lowest score that counts; 0.25
	NMS       float32 `toml:"nms"`       // overlap above which the lesser box goes; 0.4
	Threads   int     `toml:"threads"`   // cores; 1
}

// BatchConfig bounds the batches of hard samples. A batch must fit easily in one
// pass, because it travels whole.
type BatchConfig struct {
	Samples int   `toml:"samples"` // closed at so many; 32
	Bytes   int64 `toml:"bytes"`   // closed before its pictures exceed this; 1 MiB
	// MaxWait closes a batch when its first sample is that old; 1m.
	MaxWait  dtntime.Duration `toml:"max_wait"`
	Lifetime dtntime.Duration `toml:"lifetime"` // of the bundle; 7 days
	Priority bundle.Priority  `toml:"priority"` // bulk
	// OutboxBytes bounds the closed batches that the node has not taken. When
	// they reach it, no further picture is processed until it takes one; 64 MiB.
	OutboxBytes int64 `toml:"outbox_bytes"`
}

// TelemetryConfig steers telemetry, of which the latest matters: it travels
// without custody and expires.
type TelemetryConfig struct {
	Interval dtntime.Duration `toml:"interval"` // 30s
	Lifetime dtntime.Duration `toml:"lifetime"` // of the bundle; 1h
}

// UpdateConfig steers changes of model.
type UpdateConfig struct {
	// Golden is the folder of the self-test: pictures with their labels beside
	// them in YOLO's text format. Default: DataDir/golden.
	Golden string `toml:"golden"`
	// MinF1 is the lowest F1 on the golden pictures, at the best threshold,
	// with which a network may fly; 0.3.
	MinF1 float32 `toml:"min_f1"`
	// Keys are files of Ed25519 public keys in PEM (PKIX), one or more in each.
	// Only updates that one of them signed are used.
	Keys []string `toml:"keys"`
	// AllowUnsigned lets updates without a signature pass, and whole models,
	// which have none; false. Without keys it lets everything pass.
	AllowUnsigned bool `toml:"allow_unsigned"`
	// MaxBytes bounds the parts of one update; 48 MiB. MaxOpen bounds the
	// updates that are collected at once; 4.
	MaxBytes int64 `toml:"max_bytes"`
	MaxOpen  int   `toml:"max_open"`
	// ReceiptLifetime is how long a receipt may be on its way; 7 days.
	ReceiptLifetime dtntime.Duration `toml:"receipt_lifetime"`

	Canary   CanaryConfig   `toml:"canary"`
	Watchdog WatchdogConfig `toml:"watchdog"`
}

// CanaryConfig says on what recent pictures a new network is held against the
// active one before it flies, and what it must not do there.
type CanaryConfig struct {
	Pictures int `toml:"pictures"` // that are kept on board for it; 8; 0: no canary
	// Interval is the time from one picture that is kept to the next; 1m. Until
	// there are enough, every one is.
	Interval dtntime.Duration `toml:"interval"`
	// Blind is the share of the pictures in which the active network sees Plenty of
	// objects or more, and the new one may see none; 0.5 of those with 3.
	Plenty int     `toml:"plenty"`
	Blind  float32 `toml:"blind"`
	// Confidence is how sure the new network must be, as a share of how sure the
	// active one is: of the mean of the best score in each picture; 0.3.
	Confidence float32 `toml:"confidence"`
	// MostObjects is how many objects a picture it may see on average; 100.
	MostObjects float32 `toml:"most_objects"`
}

// WatchdogConfig says how a network proves itself once it flies, and when the one
// before it takes its place again.
type WatchdogConfig struct {
	// Pictures ends the probation after so many; 20. Time ends it earlier if there
	// was a picture at least; 1h.
	Pictures int              `toml:"pictures"`
	Time     dtntime.Duration `toml:"time"`
	// Tries is how often the process may go down before a network on probation has
	// finished a picture, or while an update is tried out; 3.
	Tries int `toml:"tries"`
	// Patience is how long a picture may take in trials and on probation; 1m.
	Patience dtntime.Duration `toml:"patience"`
	// LeastObjects and MostObjects bound how many objects a picture the network
	// sees on average; 0 and 100.
	LeastObjects float32 `toml:"least_objects"`
	MostObjects  float32 `toml:"most_objects"`
}

// Limits on what is kept for the canary and looked at on probation.
const (
	maxCanaryPictures   = 64
	maxWatchdogPictures = 100_000
	maxTries            = 100
)

func (c *CanaryConfig) validate() error {
	switch {
	case c.Pictures < 0 || c.Pictures > maxCanaryPictures:
		return fmt.Errorf("updates.canary.pictures is %d, want 0 to %d", c.Pictures, maxCanaryPictures)
	case c.Plenty < 1:
		return fmt.Errorf("updates.canary.plenty is %d, want at least 1", c.Plenty)
	case !(c.Blind >= 0 && c.Blind <= 1):
		return fmt.Errorf("updates.canary.blind is %v, want 0 to 1", c.Blind)
	case !(c.Confidence >= 0 && c.Confidence <= 1):
		return fmt.Errorf("updates.canary.confidence is %v, want 0 to 1", c.Confidence)
	case !(c.MostObjects > 0):
		return fmt.Errorf("updates.canary.most_objects is %v, want above 0", c.MostObjects)
	}
	return nil
}

func (c *WatchdogConfig) validate() error {
	switch {
	case c.Pictures < 1 || c.Pictures > maxWatchdogPictures:
		return fmt.Errorf("updates.watchdog.pictures is %d, want 1 to %d", c.Pictures, maxWatchdogPictures)
	case c.Tries < 1 || c.Tries > maxTries:
		return fmt.Errorf("updates.watchdog.tries is %d, want 1 to %d", c.Tries, maxTries)
	case !(c.LeastObjects >= 0):
		return fmt.Errorf("updates.watchdog.least_objects is %v, want at least 0", c.LeastObjects)
	case !(c.MostObjects > 0) || c.MostObjects < c.LeastObjects:
		return fmt.Errorf("updates.watchdog.most_objects is %v, want above 0 and at least least_objects", c.MostObjects)
	}
	return nil
}

// RetryConfig says how to wait for a node that cannot take a bundle now: First,
// then twice as long each time, up to Most, with a random share of half taken off.
type RetryConfig struct {
	First dtntime.Duration `toml:"first"` // 200ms
	Most  dtntime.Duration `toml:"most"`  // 30s
}

// DefaultConfig returns a Config with every default filled in.
func DefaultConfig() Config {
	const week = 7 * dtntime.Day
	return Config{
		ModelHead: 13,
		Source:    SourceConfig{Interval: dtntime.Second, MaxPictureBytes: 1 << 20},
		Detect:    DetectConfig{Threshold: 0.25, NMS: 0.4, Threads: 1},
		Mining:    mining.Config{Name: mining.IBT},
		Select:    SelectConfig(mining.DefaultOptions()),
		Budget:    BudgetConfig{Period: dtntime.Day},
		Record:    RecordConfig{Max: 10_000},
		Preview:   PreviewConfig{Thumbnail: 64, Bytes: 256 << 20, Wait: week, Lifetime: week, Priority: bundle.PriorityNormal},
		Batch: BatchConfig{
			Samples: 32, Bytes: 1 << 20, MaxWait: dtntime.Minute, Lifetime: week,
			Priority: bundle.PriorityBulk, OutboxBytes: 64 << 20,
		},
		Telemetry: TelemetryConfig{Interval: 30 * dtntime.Second, Lifetime: dtntime.Hour},
		Updates: UpdateConfig{
			MinF1: 0.3, MaxBytes: 48 << 20, MaxOpen: 4, ReceiptLifetime: week,
			Canary:   CanaryConfig{Pictures: 8, Interval: dtntime.Minute, Plenty: 3, Blind: 0.5, Confidence: 0.3, MostObjects: 100},
			Watchdog: WatchdogConfig{Pictures: 20, Time: dtntime.Hour, Tries: 3, Patience: dtntime.Minute, MostObjects: 100},
		},
		Training: DefaultTraining(),
		Craft:    DefaultSpacecraft(),
		Retry:    RetryConfig{First: 200 * dtntime.Millisecond, Most: 30 * dtntime.Second},
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
	case c.Ground.IsNull():
		return errors.New("ground is empty: name the ground's node, such as ipn:1.0")
	case (c.Source.Folder == "") == (c.Source.List == ""):
		return errors.New("source: set either folder or list")
	case c.Source.MaxPictureBytes < 1 || c.Source.MaxPictureBytes > MaxPictureBytes:
		return fmt.Errorf("source.max_picture_bytes is %d, want 1 to %d", c.Source.MaxPictureBytes, MaxPictureBytes)
	case c.Detect.Threads < 1 || c.Detect.Threads > models.MaxThreads:
		return fmt.Errorf("detect.threads is %d, want 1 to %d", c.Detect.Threads, models.MaxThreads)
	}
	for _, s := range []struct {
		key   string
		value float32
	}{{"detect.threshold", c.Detect.Threshold}, {"detect.nms", c.Detect.NMS}, {"updates.min_f1", c.Updates.MinF1}} {
		if !(s.value >= 0 && s.value <= 1) {
			return fmt.Errorf("%s is %v, want 0 to 1", s.key, s.value)
		}
	}
	if err := c.Mining.Validate(); err != nil {
		return fmt.Errorf("mining: %w", err)
	}
	if err := cmp.Or(c.Select.validate(), c.Budget.validate(), c.Record.validate(), c.Preview.validate(c.Batch.Bytes)); err != nil {
		return err
	}
	if err := c.validateAmounts(); err != nil {
		return err
	}
	if err := c.validateTimes(); err != nil {
		return err
	}
	return cmp.Or(c.Updates.Canary.validate(), c.Updates.Watchdog.validate(), c.Training.validate(), c.Craft.validate())
}

func (c *Config) validateAmounts() error {
	switch b := c.Batch; {
	case b.Samples < 1 || b.Samples > MaxBatchSamples:
		return fmt.Errorf("batch.samples is %d, want 1 to %d", b.Samples, MaxBatchSamples)
	case b.Bytes < 1 || b.Bytes > MaxBatchBytes:
		return fmt.Errorf("batch.bytes is %d, want 1 to %d", b.Bytes, MaxBatchBytes)
	case c.Source.MaxPictureBytes > b.Bytes:
		return fmt.Errorf("source.max_picture_bytes is %d, but a batch holds only batch.bytes = %d", c.Source.MaxPictureBytes, b.Bytes)
	case b.OutboxBytes < 2*b.Bytes:
		return fmt.Errorf("batch.outbox_bytes is %d, want at least twice batch.bytes", b.OutboxBytes)
	case b.Priority > bundle.PriorityExpedited:
		return fmt.Errorf("batch.priority %v is unknown", b.Priority)
	case c.Updates.MaxBytes < 1 || c.Updates.MaxBytes > 256<<20:
		return fmt.Errorf("updates.max_bytes is %d, want 1 to %d", c.Updates.MaxBytes, 256<<20)
	case c.Updates.MaxOpen < 1 || c.Updates.MaxOpen > 64:
		return fmt.Errorf("updates.max_open is %d, want 1 to 64", c.Updates.MaxOpen)
	}
	return nil
}

func (c *Config) validateTimes() error {
	for _, d := range []struct {
		key   string
		value dtntime.Duration
	}{
		{"source.interval", c.Source.Interval},
		{"batch.max_wait", c.Batch.MaxWait},
		{"batch.lifetime", c.Batch.Lifetime},
		{"telemetry.interval", c.Telemetry.Interval},
		{"telemetry.lifetime", c.Telemetry.Lifetime},
		{"updates.receipt_lifetime", c.Updates.ReceiptLifetime},
		{"updates.canary.interval", c.Updates.Canary.Interval},
		{"updates.watchdog.time", c.Updates.Watchdog.Time},
		{"updates.watchdog.patience", c.Updates.Watchdog.Patience},
		{"retry.first", c.Retry.First},
		{"retry.most", c.Retry.Most},
	} {
		if d.value < dtntime.Millisecond {
			return fmt.Errorf("%s is %v, want at least 1ms", d.key, d.value)
		}
	}
	if c.Retry.Most < c.Retry.First {
		return errors.New("retry.most is below retry.first")
	}
	return nil
}
