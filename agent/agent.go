// Package agent is the satellite's application. It runs a network on pictures,
// sends down the ones that the network was unsure of, reports how the satellite
// is, and takes changes of model from the ground, each checked before it flies.
//
// It assumes nothing about links: whatever it sends is handed to the node, which
// keeps it until a pass. Everything it must not forget is on disk before the step
// that relies on it, so it may be killed at any moment.
//
// It refuses to know the node but for app.Client, and the wall clock but for the
// clock it is given.
package agent

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"

	"perigee/agent/durable"
	"perigee/bundle/app"
	"perigee/bundle/dtntime"
	"perigee/models"
)

// Service numbers of the applications under their node (ipn:N.SERVICE).
const (
	ServiceTelemetry = 10 // on the ground
	ServiceSamples   = 11 // on the ground
	ServiceModels    = 12 // on the satellite
	ServiceVerdicts  = 13 // on the satellite
	ServiceReceipts  = 14 // on the ground
)

// EngineFactory starts an engine for a network. models.NewEngine with a number
// of threads is one.
type EngineFactory func(*models.Network) (models.Engine, error)

// Parts are what an Agent is made of besides its configuration. Client and Clock
// are required.
type Parts struct {
	Client app.Client
	Clock  dtntime.Clock
	Engine EngineFactory // nil: models.NewEngine with Config.Detect.Threads
	Rand   *rand.Rand    // waits and the Random filter; nil: seeded with Config.Craft.Seed
	Log    *slog.Logger  // nil: discarded
	Disk   durable.Disk
}

// Agent is the satellite's application. New makes one, Run runs it once.
type Agent struct {
	cfg    Config
	client app.Client
	clock  dtntime.Clock
	engine EngineFactory
	rand   *rand.Rand
	log    *slog.Logger
	disk   durable.Disk
}

// New checks cfg and returns an agent. It touches neither disk nor client.
func New(cfg Config, parts Parts) (*Agent, error) {
	return nil, errors.New("not yet")
}

// Run does the agent's work until ctx ends, and then returns nil once all of it
// has stopped. It returns early with an error when the agent cannot go on: no
// usable network, or a disk that fails.
func (a *Agent) Run(ctx context.Context) error { return nil }
