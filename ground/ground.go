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
	"fmt"
	"log/slog"
	"sync"

	"golang.org/x/sync/errgroup"

	"perigee/agent/durable"
	"perigee/agent/mail"
	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/dtntime"
	"perigee/models"
	"perigee/models/darknet"
	"perigee/models/payload"
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
	cfg       Config
	client    app.Client
	clock     dtntime.Clock
	newEngine EngineFactory
	labeller  Labeller
	log       *slog.Logger
	observer  Observer
	disk      durable.Disk
	wake      chan struct{} // something was received

	// Made by Run.
	node     bundle.EID
	library  *library
	previews *previews
	roster   *roster
	launched models.Hash
	classes  int

	// Of the loop's goroutine.
	state     state
	badLabels map[models.Hash]bool // samples whose label was complained about

	badGuesses map[models.Hash]bool // likewise, of the goroutine that answers

	keeping sync.Mutex // held while networks are put into the data folder or removed from it

	mu       sync.Mutex // guards what follows
	progress Progress
	written  dtntime.Time         // when the progress was last written
	busy     map[models.Hash]bool // samples of the running round
}

// New checks cfg and returns a ground application. It touches neither disk nor
// client. Errors about cfg wrap ErrConfig.
func New(cfg Config, parts Parts) (*Ground, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if parts.Client == nil || parts.Clock == nil {
		return nil, fmt.Errorf("%w: a ground needs a client and a clock", ErrConfig)
	}
	if parts.Labeller == nil && cfg.Labels == "" {
		return nil, fmt.Errorf("%w: labels is empty: name the folder of label files", ErrConfig)
	}
	g := &Ground{
		cfg: cfg, client: parts.Client, clock: parts.Clock, newEngine: parts.Engine, labeller: parts.Labeller,
		log: parts.Log, observer: parts.Observer, disk: parts.Disk,
		wake: make(chan struct{}, 1), badLabels: map[models.Hash]bool{}, badGuesses: map[models.Hash]bool{},
	}
	if g.newEngine == nil {
		g.newEngine = func(n *models.Network) (models.Engine, error) { return models.NewEngine(n, cfg.Train.Threads) }
	}
	if g.labeller == nil {
		g.labeller = LabelFolder(cfg.Labels)
	}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	return g, nil
}

// Run does the ground's work until ctx ends, and then returns nil once all of it
// has stopped. It returns early with an error when it cannot go on: no usable
// network, a disk that fails, or a client that was closed.
func (g *Ground) Run(ctx context.Context) error {
	err := g.run(ctx)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

func (g *Ground) run(ctx context.Context) error {
	if err := g.prepare(ctx); err != nil {
		return fmt.Errorf("start the ground application: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return g.loop(ctx) })
	group.Go(func() error { return g.answer(ctx) })
	group.Go(func() error { return g.ask(ctx) })
	for _, in := range []struct {
		service uint64
		limit   int64
		keep    func(bundle.EID, []byte) error
	}{
		{serviceTelemetry, payload.MaxSmall, g.keepTelemetry},
		{serviceSamples, payload.MaxMessage, g.keepWord},
		{serviceReceipts, payload.MaxSmall, g.keepAnswer},
	} {
		group.Go(func() error { return g.receive(ctx, in.service, in.limit, in.keep) })
	}
	return group.Wait()
}

// prepare brings the ground to where an earlier run stopped.
func (g *Ground) prepare(ctx context.Context) error {
	for _, dir := range []string{"", "samples", "telemetry", "features", "models", "deltas", "reports"} {
		if _, err := g.disk.OpenDir(g.path(dir)); err != nil {
			return err
		}
	}
	var err error
	if g.node, err = mail.FindNode(ctx, g.client, g.newBackoff(), g.log); err != nil {
		return err
	}
	if err := g.findLaunched(); err != nil {
		return err
	}
	if g.library, err = openLibrary(g.path("samples"), g.disk, g.cfg.Samples.Max, g.log); err != nil {
		return err
	}
	if g.previews, err = openPreviews(g.path("previews"), g.disk, g.cfg.Samples.Max, g.log); err != nil {
		return err
	}
	if g.roster, err = openRoster(g.path("satellites.json"), g.disk, g.cfg.Satellites, g.launched); err != nil {
		return err
	}
	if err := g.recall(); err != nil {
		return err
	}
	g.publish(func(*Progress) {})
	g.log.Info("ground application starts", "node", g.node, "stage", g.state.Stage, "version", g.state.Version)
	return nil
}

// newBackoff returns a wait for the node, the same each time.
func (g *Ground) newBackoff() mail.Backoff {
	return mail.Backoff{First: g.cfg.Send.Retry.Std(), Most: g.cfg.Send.Retry.Std()}
}

// launch is the file that names the network that the satellites began with.
type launch struct {
	Model models.Hash `json:"model"`
}

// findLaunched makes sure that the network which the satellites were launched
// with is kept under its hash.
func (g *Ground) findLaunched() error {
	var known launch
	path := g.path("launched.json")
	found, err := durable.ReadJSON(path, maxStateFile, &known)
	if err != nil {
		return fmt.Errorf("recall the first network: %w", err)
	}
	if found {
		n, err := models.ReadFile(g.modelPath(known.Model))
		if err == nil {
			g.launched, g.classes = known.Model, n.Classes()
			return nil
		}
		g.log.Error("the first network is damaged; reading it again", "err", err)
	}
	n, err := readLaunchModel(&g.cfg)
	if err != nil {
		return err
	}
	if err := g.storeModel(g.modelPath(n.Hash()), n); err != nil {
		return err
	}
	g.launched, g.classes = n.Hash(), n.Classes()
	return g.disk.WriteJSON(path, launch{Model: n.Hash()})
}

func readLaunchModel(cfg *Config) (*models.Network, error) {
	if cfg.Model == "" {
		return nil, fmt.Errorf("%w: model is empty and %s holds no network: name a model file", ErrConfig, cfg.DataDir)
	}
	if cfg.ModelConfig != "" {
		return darknet.ReadFiles(cfg.ModelConfig, cfg.Model, cfg.ModelHead)
	}
	return models.ReadFile(cfg.Model)
}
