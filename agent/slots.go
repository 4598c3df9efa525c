package agent

import (
	"fmt"
	"log/slog"
	"path/filepath"

	"perigee/agent/durable"
	"perigee/models"
	"perigee/models/darknet"
)

// The two places for networks. One holds the network that flies, the other the
// one before it or the one to come.
const (
	slotA = "a"
	slotB = "b"
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
}

// pointer is the file that decides which network flies. Replacing it is the swap.
type pointer struct {
	Active   flying  `json:"active"`
	Previous *flying `json:"previous,omitempty"` // in the other slot
}

// slots keeps the two networks on disk.
type slots struct {
	dir  string
	disk durable.Disk
	pointer
}

// rollback is the return to another network because the active one is damaged.
type rollback struct {
	from   flying // the damaged one
	reason string
}

func (s *slots) path(slot string) string { return filepath.Join(s.dir, slot+models.FileExt) }

func (s *slots) pointerPath() string { return filepath.Join(s.dir, "active.json") }

// openSlots reads the network that flies and checks its hash. When it is
// damaged, the other one takes its place, or else the one of the configuration;
// the rollback is then returned, and is made durable by commit, so that it can
// be reported first.
func openSlots(cfg *Config, disk durable.Disk, log *slog.Logger) (*slots, *models.Network, *rollback, error) {
	s := &slots{dir: filepath.Join(cfg.DataDir, "models"), disk: disk}
	if err := disk.MkdirAll(s.dir); err != nil {
		return nil, nil, nil, err
	}
	if err := disk.Sweep(s.dir); err != nil {
		return nil, nil, nil, err
	}
	found, err := durable.ReadJSON(s.pointerPath(), maxStateFile, &s.pointer)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("find the active network: %w", err)
	}
	if !found {
		n, err := s.launch(cfg)
		if err != nil {
			return nil, nil, nil, err
		}
		return s, n, nil, s.commit()
	}
	n, bad := s.load(s.Active)
	if bad == nil {
		return s, n, nil, nil
	}
	log.Error("active network is damaged; going back to another", "model", s.Active.Hash, "err", bad)
	back := &rollback{from: s.Active, reason: bad.Error()}
	if s.Previous != nil {
		if n, err = s.load(*s.Previous); err == nil {
			s.pointer = pointer{Active: *s.Previous}
			return s, n, back, nil
		}
		log.Error("previous network is damaged too", "model", s.Previous.Hash, "err", err)
	}
	if n, err = s.launch(cfg); err != nil {
		return nil, nil, nil, fmt.Errorf("active network is damaged (%w) and no other is left: %w", bad, err)
	}
	return s, n, back, nil
}

// load reads the network in a slot and checks that it is the one it should be.
func (s *slots) load(f flying) (*models.Network, error) {
	if f.Slot != slotA && f.Slot != slotB {
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

// launch puts the network of the configuration into the first slot.
func (s *slots) launch(cfg *Config) (*models.Network, error) {
	n, err := readLaunchModel(cfg)
	if err != nil {
		return nil, err
	}
	s.pointer = pointer{Active: flying{Slot: slotA, Hash: n.Hash()}}
	return n, s.store(slotA, n)
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

// commit makes the pointer durable.
func (s *slots) commit() error { return s.disk.WriteJSON(s.pointerPath(), s.pointer) }

// spare returns the slot that is not active.
func (s *slots) spare() string {
	if s.Active.Slot == slotA {
		return slotB
	}
	return slotA
}

// stage stores n beside the active network, which stays as it is.
func (s *slots) stage(n *models.Network) error {
	if s.Previous != nil {
		// What is in the spare slot is about to go.
		s.Previous = nil
		if err := s.commit(); err != nil {
			return err
		}
	}
	return s.store(s.spare(), n)
}

// swap makes the staged network the active one. When it fails, the old one stays
// active.
func (s *slots) swap(next flying) error {
	old := s.pointer
	active := old.Active
	next.Slot = s.spare()
	s.pointer = pointer{Active: next, Previous: &active}
	if err := s.commit(); err != nil {
		s.pointer = old
		return err
	}
	return nil
}
