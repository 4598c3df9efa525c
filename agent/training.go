package agent

import (
	"fmt"

	"perigee/bundle/dtntime"
)

// TrainingConfig bounds the training on board that labels-only updates ask for.
type TrainingConfig struct {
	// KeepBytes bounds the samples that are held until their labels come; 0
	// holds none, and lessons are refused.
	KeepBytes int64 `toml:"keep_bytes"`
	Samples   int   `toml:"samples"` // most samples of a lesson that are used; 200
	// Memory bounds the arrays of the training, in bytes; 512 MiB. A lesson with
	// more samples than fit is learnt from those that do.
	Memory int64 `toml:"memory"`
	// MaxTime and EnergyWh bound one lesson, over all restarts; 1h and 12 Wh, of
	// which spacecraft.compute_w are drawn while it lasts.
	MaxTime  dtntime.Duration `toml:"max_time"`
	EnergyWh float64          `toml:"energy_wh"`
	Threads  int              `toml:"threads"` // cores, 1 or 2; 1
}

// DefaultTraining returns a TrainingConfig that holds no samples.
func DefaultTraining() TrainingConfig {
	return TrainingConfig{Samples: 200, Memory: 512 << 20, MaxTime: dtntime.Hour, EnergyWh: 12, Threads: 1}
}

func (c *TrainingConfig) validate() error {
	switch {
	case c.KeepBytes < 0:
		return fmt.Errorf("training.keep_bytes is %d, want 0 or more", c.KeepBytes)
	case c.Samples < 2 || c.Samples > 10_000:
		return fmt.Errorf("training.samples is %d, want 2 to 10000", c.Samples)
	case c.Memory < 1<<16:
		return fmt.Errorf("training.memory is %d, want at least %d", c.Memory, 1<<16)
	case c.MaxTime < dtntime.Millisecond:
		return fmt.Errorf("training.max_time is %v, want at least 1ms", c.MaxTime)
	case !(c.EnergyWh > 0 && c.EnergyWh <= 1e6):
		return fmt.Errorf("training.energy_wh is %v, want above 0", c.EnergyWh)
	case c.Threads < 1 || c.Threads > 2:
		return fmt.Errorf("training.threads is %d, want 1 or 2", c.Threads)
	}
	return nil
}

// limit is how long a lesson may train, and which of the budgets that is.
func (c *TrainingConfig) limit(craft *Spacecraft) (limit dtntime.Duration, name string) {
	if craft.ComputeW > 0 {
		byEnergy := c.EnergyWh / craft.ComputeW * float64(dtntime.Hour)
		if byEnergy < float64(c.MaxTime) {
			return dtntime.Duration(byEnergy), fmt.Sprintf("training.energy_wh = %g", c.EnergyWh)
		}
	}
	return c.MaxTime, fmt.Sprintf("training.max_time = %v", c.MaxTime)
}
