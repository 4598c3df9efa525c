// Package ground is the application of the ground. It keeps the hard samples
// that satellites send, has them labelled, trains the head of the network on
// them, and, when the gate says that the result is better, sends the satellites
// the change of model and follows it until they say what became of it.
//
// It assumes nothing about links. Every stage leaves its result on disk before
// the next begins, so the ground may be stopped at any moment and goes on.
//
// It refuses to know the node but for app.Client, and the wall clock but for the
// clock it is given.
package ground

import (
	"context"
	"errors"
	"log/slog"

	"perigee/agent/durable"
	"perigee/bundle/app"
	"perigee/bundle/dtntime"
	"perigee/models"
)

// EngineFactory starts an engine for a network. models.NewEngine with a number
// of threads is one.
type EngineFactory func(*models.Network) (models.Engine, error)

// Parts are what a Ground is made of besides its configuration. Client and Clock
// are required.
type Parts struct {
	Client   app.Client
	Clock    dtntime.Clock
	Engine   EngineFactory // nil: models.NewEngine with Config.Train.Threads
	Labeller Labeller      // nil: the label files in Config.Labels
	Log      *slog.Logger  // nil: discarded
	Observer Observer      // nil: nobody
	Disk     durable.Disk
}

// Ground is the ground's application. New makes one, Run runs it once.
type Ground struct {
	cfg Config
}

// New checks cfg and returns a ground application. It touches neither disk nor
// client.
func New(cfg Config, parts Parts) (*Ground, error) { return nil, errors.New("not yet") }

// Run does the ground's work until ctx ends, and then returns nil once all of it
// has stopped. It returns early with an error when it cannot go on.
func (g *Ground) Run(ctx context.Context) error { return nil }
