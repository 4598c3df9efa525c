package ground

import "perigee/models/gate"

// gate is the rule by which a new network may fly.
func (c *Config) gate() gate.Rule {
	return gate.Rule{
		Condition: c.Deploy.Condition, Confidence: c.Deploy.Confidence, Resamples: c.Deploy.Resamples,
		ClassMargin: c.Deploy.ClassMargin, Pictures: c.Deploy.Pictures, Seed: c.Train.Seed,
	}
}
