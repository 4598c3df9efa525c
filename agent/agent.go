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
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"

	"perigee/agent/durable"
	"perigee/agent/mail"
	"perigee/agent/record"
	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/dtntime"
	"perigee/models"
	"perigee/models/delta"
	"perigee/models/golden"
	"perigee/models/payload"
)

// Service numbers of the applications under their node (ipn:N.SERVICE).
const (
	ServiceTelemetry = 10 // on the ground
	ServiceSamples   = 11 // on the ground
	ServiceModels    = 12 // on the satellite
	ServiceVerdicts  = 13 // on the satellite
	ServiceReceipts  = 14 // on the ground
	ServiceLessons   = 15 // on the satellite
)

// EngineFactory starts an engine for a network that uses up to threads cores.
// models.NewEngine is one.
type EngineFactory func(n *models.Network, threads int) (models.Engine, error)

// Parts are what an Agent is made of besides its configuration. Client and Clock
// are required.
type Parts struct {
	Client app.Client
	Clock  dtntime.Clock
	Engine EngineFactory // nil: models.NewEngine
	Rand   *rand.Rand    // waits and the Random filter; nil: seeded with Config.Craft.Seed
	Log    *slog.Logger  // nil: discarded
	Disk   durable.Disk
}

// Agent is the satellite's application. New makes one, Run runs it once.
type Agent struct {
	cfg       Config
	client    app.Client
	clock     dtntime.Clock
	newEngine EngineFactory
	rand      *rand.Rand
	log       *slog.Logger
	disk      durable.Disk
	commands  chan command // of the operator

	// Made by Run.
	node     bundle.EID
	runner   *runner
	miner    *miner
	receipts *outbox
	words    mail.Inbox          // verdicts and requests
	keys     []ed25519.PublicKey // whose signatures count
	slots    *slots
	lessons  *lessons
	offers   chan offer    // parts of updates
	settled  chan struct{} // the node has heard what became of one
	updates  *updates      // belongs to keepUpdates
}

// New checks cfg and returns an agent. It touches neither disk nor client.
// Errors about cfg wrap ErrConfig.
func New(cfg Config, parts Parts) (*Agent, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if parts.Client == nil || parts.Clock == nil {
		return nil, fmt.Errorf("%w: an agent needs a client and a clock", ErrConfig)
	}
	a := &Agent{
		cfg: cfg, client: parts.Client, clock: parts.Clock, newEngine: parts.Engine,
		rand: parts.Rand, log: parts.Log, disk: parts.Disk,
		commands: make(chan command),
	}
	if a.newEngine == nil {
		a.newEngine = models.NewEngine
	}
	if a.rand == nil {
		a.rand = rand.New(rand.NewPCG(cfg.Craft.Seed, 0x6167656e74))
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	return a, nil
}

// Run does the agent's work until ctx ends, and then returns nil once all of it
// has stopped. It returns early with an error when the agent cannot go on: no
// usable network, a disk that fails, or a client that was closed.
func (a *Agent) Run(ctx context.Context) error {
	err := a.run(ctx)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

func (a *Agent) run(ctx context.Context) (err error) {
	if err := a.prepare(ctx); err != nil {
		return fmt.Errorf("start the satellite application: %w", err)
	}
	defer func() { err = errors.Join(err, a.runner.engine.Close()) }()
	group, ctx := errgroup.WithContext(ctx)
	for _, work := range []func(context.Context) error{
		a.miner.run, a.miner.outbox.run, a.miner.previews.run, a.miner.answers.run,
		a.receipts.run, a.sendTelemetry, a.receiveUpdates, a.keepUpdates,
		a.receiveVerdicts,
		a.receiveLessons, a.study,
	} {
		group.Go(func() error { return work(ctx) })
	}
	return group.Wait()
}

// prepare brings the agent to where an earlier run stopped.
func (a *Agent) prepare(ctx context.Context) error {
	if _, err := a.disk.OpenDir(a.cfg.DataDir); err != nil {
		return err
	}
	var err error
	if a.node, err = mail.FindNode(ctx, a.client, a.newBackoff(), a.log); err != nil {
		return err
	}
	if a.receipts, err = a.openOutbox("receipts", nil); err != nil {
		return err
	}
	a.receipts.out = app.Outgoing{
		To: a.cfg.Ground.WithService(ServiceReceipts), Custody: true,
		Lifetime: a.cfg.Updates.ReceiptLifetime, Priority: bundle.PriorityExpedited,
	}
	if a.updates, err = openUpdates(&a.cfg, a.disk, a.log); err != nil {
		return err
	}
	if a.lessons, err = openLessons(a.cfg.DataDir, a.disk, a.log); err != nil {
		return err
	}
	a.lessons.wait = a.newBackoff()
	if a.keys, err = readKeys(a.cfg.Updates.Keys); err != nil {
		return err
	}
	n, err := a.findNetwork()
	if err != nil {
		return err
	}
	if err := a.prepareMiner(); err != nil {
		return err
	}
	if err := a.prepareChooser(n); err != nil {
		return err
	}
	if err := a.prepareAnnouncer(); err != nil {
		return err
	}
	a.words = mail.Inbox{
		Client: a.client, Endpoint: a.node.WithService(ServiceVerdicts), Limit: payload.MaxSmall, Wait: a.newBackoff(), Log: a.log,
	}
	if a.miner.record, err = record.Open(a.recordDir(), a.disk, a.cfg.Record.Max); err != nil {
		return err
	}
	if err := a.prepareRunner(ctx, n); err != nil {
		return err
	}
	a.miner.runner, a.runner.sketches = a.runner, a.cfg.Select.Sketches() || a.cfg.Preview.FeaturesFirst
	if len(a.keys) == 0 && !a.cfg.Updates.AllowUnsigned {
		a.log.Warn("no keys: every update will be refused until updates.keys names the mission's, or updates.allow_unsigned is set")
	}
	if names, err := durable.Names(a.goldenDir()); err != nil || !slices.ContainsFunc(names, golden.IsPicture) {
		a.log.Warn("no golden pictures: every update will be refused until labelled pictures are there", "folder", a.goldenDir())
	}
	a.log.Info("satellite application starts", "node", a.node, "model", a.runner.active.Hash, "version", a.runner.active.Version)
	return nil
}

// maxKeyFile bounds a file of keys, in bytes.
const maxKeyFile = 64 << 10

func readKeys(paths []string) ([]ed25519.PublicKey, error) {
	var keys []ed25519.PublicKey
	for _, path := range paths {
		text, err := durable.Read(path, maxKeyFile)
		if err != nil {
			return nil, fmt.Errorf("%w: updates.keys: %w", ErrConfig, err)
		}
		found, err := delta.ParsePublicKeys(text)
		if err != nil {
			return nil, fmt.Errorf("%w: updates.keys: %s: %w", ErrConfig, path, err)
		}
		keys = append(keys, found...)
	}
	return keys, nil
}

func (a *Agent) findNetwork() (n *models.Network, err error) {
	a.slots, n, err = openSlots(&a.cfg, a.disk, a.log)
	return n, err
}

func (a *Agent) prepareRunner(ctx context.Context, n *models.Network) error {
	kept, err := openRecent(&a.cfg, a.disk)
	if err != nil {
		return err
	}
	engine, err := a.startEngine(ctx, n)
	if err != nil {
		return fmt.Errorf("start the engine: %w", err)
	}
	a.offers, a.settled = make(chan offer), make(chan struct{})
	a.runner = &runner{
		clock: a.clock, slots: a.slots, recent: kept, patience: a.cfg.Updates.Watchdog.Patience, returned: make(chan struct{}, 1), log: a.log,
		engine: engine, active: a.slots.active(),
		detect: models.DetectOptions{Threshold: a.cfg.Detect.Threshold, NMS: a.cfg.Detect.NMS},
	}
	return nil
}

func (a *Agent) prepareMiner() error {
	state, err := readMined(a.cfg.DataDir)
	if err != nil {
		return err
	}
	// A batch that the state does not count yet is made again.
	box, err := a.openOutbox("outbox", func(l letter) bool { return l.key < batchKey(state.Batch) })
	if err != nil {
		return err
	}
	box.out = app.Outgoing{
		To: a.cfg.Ground.WithService(ServiceSamples), Custody: true,
		Lifetime: a.cfg.Batch.Lifetime, Priority: a.cfg.Batch.Priority,
	}
	kept, err := openHeld(a.cfg.DataDir, a.disk, a.cfg.Training.KeepBytes)
	if err != nil {
		return err
	}
	a.miner = &miner{
		cfg: &a.cfg, clock: a.clock, disk: a.disk, log: a.log, source: newSource(a.cfg.Source),
		outbox: box, held: kept, open: filepath.Join(a.cfg.DataDir, "open"), state: state,
	}
	return a.miner.tidy()
}

func (a *Agent) openOutbox(name string, keep func(letter) bool) (*outbox, error) {
	o, err := newOutbox(filepath.Join(a.cfg.DataDir, name), a.disk, keep)
	if err != nil {
		return nil, err
	}
	o.client, o.log, o.wait = a.client, a.log, a.newBackoff()
	return o, nil
}

// stream returns a source of randomness for one goroutine.
func (a *Agent) stream() *rand.Rand { return rand.New(rand.NewPCG(a.rand.Uint64(), a.rand.Uint64())) }

func (a *Agent) newBackoff() mail.Backoff {
	return mail.Backoff{First: a.cfg.Retry.First.Std(), Most: a.cfg.Retry.Most.Std(), Rand: a.stream()}
}

func (a *Agent) goldenDir() string {
	if a.cfg.Updates.Golden != "" {
		return a.cfg.Updates.Golden
	}
	return filepath.Join(a.cfg.DataDir, "golden")
}
