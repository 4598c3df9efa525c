package agent

import (
	"fmt"
	"path/filepath"

	"perigee/agent/durable"
	"perigee/models"
)

// OnBoard is what the data folder of a satellite says of its networks.
type OnBoard struct {
	Slot         string      `json:"slot"`
	Model        models.Hash `json:"model"`
	Version      uint64      `json:"version"`
	Update       uint64      `json:"update"`        // that brought it; 0: it was launched with
	PicturesLeft uint64      `json:"pictures_left"` // of its probation; 0: it has proved itself
	Previous     models.Hash `json:"previous"`      // to go back to; zero: none but the one of the launch
}

// Look reads which network is active in the data folder of a satellite that does
// not run, and the network itself, whose hash is checked. The folder stays as it is.
func Look(cfg *Config) (OnBoard, *models.Network, error) {
	s := &slots{cfg: cfg, dir: filepath.Join(cfg.DataDir, "models")}
	found, err := durable.ReadJSON(s.pointerPath(), maxStateFile, &s.now)
	if err == nil && !found {
		err = fmt.Errorf("%s names none", s.pointerPath())
	}
	if err != nil {
		return OnBoard{}, nil, fmt.Errorf("find the active network: %w", err)
	}
	f := &s.now.Active
	b := OnBoard{Slot: f.Slot, Model: f.Hash, Version: f.Version, Update: f.Update, PicturesLeft: s.picturesLeft()}
	if s.now.Previous != nil {
		b.Previous = s.now.Previous.Hash
	}
	n, err := s.load(*f)
	if err != nil {
		return b, nil, fmt.Errorf("read the active network: %w", err)
	}
	return b, n, nil
}
