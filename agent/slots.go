package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"

	"perigee/agent/durable"
	"perigee/models"
	"perigee/models/darknet"
	"perigee/models/payload"
)

// The places for networks. One holds the network that flies, one the last that
// has proved itself, and one is free for what is on its way.
const (
	slotA = "a"
	slotB = "b"
	slotC = "c"
)

// maxStateFile bounds the small JSON files that the agent keeps, in bytes.
const maxStateFile = 1 << 20

// flying says which slot holds which network.
type flying struct {
	Slot    string      `json:"slot"`
	Hash    models.Hash `json:"hash"`
	Version uint64      `json:"version"`
	// Update is the update that brought the network, 0 for the one that the
	// satellite was launched with.
	Update uint64 `json:"update,omitempty"`
	// Threshold is the lowest score that counts, 0 to take the configuration's.
	Threshold float32 `json:"threshold,omitempty"`
	// Trial is what its trial found, for people.
	Trial string `json:"trial,omitempty"`
}

// pointer is the file that decides which network flies. Replacing it is the swap.
type pointer struct {
	Active flying `json:"active"`
	// Previous is the network to go back to: the last one that has proved itself.
	Previous *flying `json:"previous,omitempty"`
	// Probation is that of the active network, nil when it has proved itself.
	Probation *probation `json:"probation,omitempty"`
	// Returns are those that the ground has not been told of.
	Returns []rollback `json:"returns,omitempty"`
}

// rollback is a return to another network.
type rollback struct {
	From   flying `json:"from"`
	Reason string `json:"reason"`
}

// slots keeps the networks on disk and the pointer to the one that flies. Its
// methods may be called concurrently, but for store and launch.
type slots struct {
	cfg  *Config
	dir  string
	disk durable.Disk
	log  *slog.Logger

	mu  sync.Mutex // guards now
	now pointer
}

func (s *slots) path(slot string) string { return filepath.Join(s.dir, slot+models.FileExt) }

func (s *slots) pointerPath() string { return filepath.Join(s.dir, "active.json") }

// openSlots reads the network that flies and checks its hash. When it is damaged,
// the one before takes its place, or else the one of the configuration.
func openSlots(cfg *Config, disk durable.Disk, log *slog.Logger) (*slots, *models.Network, error) {
	s := &slots{cfg: cfg, dir: filepath.Join(cfg.DataDir, "models"), disk: disk, log: log}
	if _, err := disk.OpenDir(s.dir); err != nil {
		return nil, nil, err
	}
	found, err := durable.ReadJSON(s.pointerPath(), maxStateFile, &s.now)
	if err != nil {
		return nil, nil, fmt.Errorf("find the active network: %w", err)
	}
	if !found {
		launched, n, err := s.launch()
		if err != nil {
			return nil, nil, err
		}
		return s, n, s.commit(pointer{Active: launched})
	}
	n, bad := s.load(s.now.Active)
	if bad == nil {
		return s, n, nil
	}
	log.Error("active network is damaged", "model", s.now.Active.Hash, "err", bad)
	if n, err = s.revert(bad.Error()); err != nil {
		return nil, nil, fmt.Errorf("active network is damaged (%w): %w", bad, err)
	}
	return s, n, nil
}

// active returns what flies.
func (s *slots) active() flying {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now.Active
}

// load reads the network in a slot and checks that it is the one it should be.
func (s *slots) load(f flying) (*models.Network, error) {
	if f.Slot != slotA && f.Slot != slotB && f.Slot != slotC {
		return nil, fmt.Errorf("there is no slot %.20q", f.Slot)
	}
	n, err := models.ReadFile(s.path(f.Slot))
	if err != nil {
		return nil, err
	}
	if n.Hash() != f.Hash {
		return nil, fmt.Errorf("%s holds network %v, want %v", s.path(f.Slot), n.Hash(), f.Hash)
	}
	return n, nil
}

// launch puts the network of the configuration into a free slot.
func (s *slots) launch() (flying, *models.Network, error) {
	n, err := readLaunchModel(s.cfg)
	if err != nil {
		return flying{}, nil, err
	}
	f := flying{Slot: free(&s.now), Hash: n.Hash()}
	return f, n, s.store(f.Slot, n)
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

// store writes n into a slot and reads it back, so that a disk that damages what
// it is given is found now and not in flight.
func (s *slots) store(slot string, n *models.Network) error {
	path := s.path(slot)
	err := s.disk.With(path, func(path string) error { return models.WriteFile(path, n) })
	if err != nil {
		return err
	}
	if _, err := s.load(flying{Slot: slot, Hash: n.Hash()}); err != nil {
		return fmt.Errorf("check what was written: %w", err)
	}
	return nil
}

// commit makes next the pointer, on disk first. s.mu is held, or nobody else is
// there yet.
func (s *slots) commit(next pointer) error {
	if err := s.disk.WriteJSON(s.pointerPath(), next); err != nil {
		return err
	}
	s.now = next
	return nil
}

// free returns a slot that p does not name.
func free(p *pointer) string {
	for _, slot := range []string{slotA, slotB} {
		if slot != p.Active.Slot && (p.Previous == nil || slot != p.Previous.Slot) {
			return slot
		}
	}
	return slotC
}

// stage stores n in a free slot and returns which.
func (s *slots) stage(n *models.Network) (string, error) {
	s.mu.Lock()
	slot := free(&s.now)
	s.mu.Unlock()
	// A return meanwhile leaves the slot free.
	return slot, s.store(slot, n)
}

// errMoved: the network that the staged one was made of does not fly any more.
var errMoved = errors.New("the active network has changed meanwhile")

// swap makes a staged network the active one in the place of the network from,
// on probation. When it fails, the old one stays active.
func (s *slots) swap(next flying, from models.Hash, p *probation) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now.Active.Hash != from {
		return errMoved
	}
	to := pointer{Active: next, Previous: s.now.Previous, Probation: p, Returns: s.now.Returns}
	// What is on probation itself is nothing to go back to.
	if s.now.Probation == nil || to.Previous == nil {
		old := s.now.Active
		to.Previous = &old
	}
	return s.commit(to)
}

// hasPrevious tells whether there is a network that flew before.
func (s *slots) hasPrevious() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now.Previous != nil
}

// errNoOther: there is no network to go back to.
var errNoOther = errors.New("no network is left to go back to")

// revert takes the active network out of use and makes the one before it active,
// or else the one of the configuration. When there is neither, everything stays
// and the error wraps errNoOther.
func (s *slots) revert(reason string) (*models.Network, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	to := pointer{Returns: append(s.now.Returns[:len(s.now.Returns):len(s.now.Returns)], rollback{s.now.Active, shorten(reason, payload.MaxReason)})}
	var n *models.Network
	var err error
	if s.now.Previous != nil {
		to.Active = *s.now.Previous
		if n, err = s.load(to.Active); err != nil {
			s.log.Error("network to go back to is damaged", "model", to.Active.Hash, "err", err)
			n = nil
		}
	}
	if n == nil {
		if to.Active, n, err = s.launch(); err != nil {
			return nil, fmt.Errorf("%w: %w", errNoOther, err)
		}
	}
	if err := s.commit(to); err != nil {
		return nil, err
	}
	s.log.Error("active network is taken out of use; another flies", "reason", reason, "model", to.Active.Hash, "version", to.Active.Version)
	return n, nil
}

// untold returns the first return that the ground was not told of, or nil.
func (s *slots) untold() *rollback {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.now.Returns) == 0 {
		return nil
	}
	first := s.now.Returns[0]
	return &first
}

// told forgets the first return.
func (s *slots) told() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.now
	next.Returns = next.Returns[1:]
	return s.commit(next)
}
