package agent

import (
	"errors"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"

	"perigee/bundle/dtntime"
)

func TestValidate(t *testing.T) {
	good := newWorld(t, 0).cfg
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for key, spoil := range map[string]func(*Config){
		"data_dir":                 func(c *Config) { c.DataDir = "" },
		"ground":                   func(c *Config) { c.Ground = DefaultConfig().Ground },
		"source":                   func(c *Config) { c.Source.List = "list" },
		"source.max_picture_bytes": func(c *Config) { c.Source.MaxPictureBytes = MaxPictureBytes + 1 },
		"source.interval":          func(c *Config) { c.Source.Interval = 0 },
		"detect.threads":           func(c *Config) { c.Detect.Threads = 0 },
		"detect.threshold":         func(c *Config) { c.Detect.Threshold = 1.5 },
		"mining":                   func(c *Config) { c.Mining.Name = "Guess" },
		"batch.samples":            func(c *Config) { c.Batch.Samples = MaxBatchSamples + 1 },
		"batch.bytes":              func(c *Config) { c.Batch.Bytes = MaxBatchBytes + 1 },
		"batch.outbox_bytes":       func(c *Config) { c.Batch.OutboxBytes = 1 },
		"updates.max_open":         func(c *Config) { c.Updates.MaxOpen = 0 },
		"updates.max_bytes":        func(c *Config) { c.Updates.MaxBytes = 1 << 40 },
		"retry.most":               func(c *Config) { c.Retry.First = dtntime.Hour },
		"spacecraft.period":        func(c *Config) { c.Craft.Period = 0 },
		"spacecraft.eclipse":       func(c *Config) { c.Craft.Eclipse = 1 },
		"spacecraft.capacity_wh":   func(c *Config) { c.Craft.CapacityWh = 0 },
	} {
		c := good
		spoil(&c)
		if err := c.Validate(); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: error %v", key, err)
		}
	}
}

func TestConfigReadsFromTOML(t *testing.T) {
	c := DefaultConfig()
	err := toml.Unmarshal([]byte("ground = 'ipn:1.0'\n[source]\nfolder = 'x'\ninterval = '90s'\n[batch]\npriority = 'expedited'\n"), &c)
	if err != nil {
		t.Fatal(err)
	}
	if c.Ground != groundNode() || c.Source.Interval != 90*dtntime.Second || c.Batch.Priority.String() != "expedited" || c.Batch.Samples != 32 {
		t.Errorf("config %+v", c)
	}
	if err := toml.Unmarshal([]byte("[source]\ninterval = 'soon'\n"), &c); err == nil {
		t.Error("a duration of soon was taken")
	}
}

// TestSpacecraft follows two orbits: the battery goes down in the shadow and up
// in the sun, duty costs charge, and the same moment always gives the same.
func TestSpacecraft(t *testing.T) {
	s := DefaultSpacecraft()
	s.Seed = 4
	start := dtntime.Time(820454400000)
	sunlit, shadow := 0, 0
	last := s.At(start, 0)
	for at := start; at < start.Add(2*s.Period); at = at.Add(dtntime.Minute) {
		v := s.At(at, 0)
		if v != s.At(at, 0) {
			t.Fatalf("two answers for %v", at)
		}
		if v.Battery < 0.3 || v.Battery > 1 || v.Temperature < -20 || v.Temperature > 60 {
			t.Fatalf("at %v: %+v", at, v)
		}
		if busy := s.At(at, 1); busy.Battery > v.Battery {
			t.Errorf("at %v a busy computer leaves %v, an idle one %v", at, busy.Battery, v.Battery)
		}
		switch {
		case v.Sunlit && last.Sunlit:
			sunlit++
			if v.Battery < last.Battery {
				t.Errorf("battery falls in the sun at %v", at)
			}
		case !v.Sunlit && !last.Sunlit:
			shadow++
			if v.Battery > last.Battery {
				t.Errorf("battery rises in the shadow at %v", at)
			}
		}
		last = v
	}
	if share := float64(shadow) / float64(sunlit+shadow); share < 0.3 || share > 0.42 {
		t.Errorf("shadow for %.2f of the time, want about %.2f", share, s.Eclipse)
	}
}
