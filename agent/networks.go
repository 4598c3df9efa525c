package agent

import (
	"fmt"
	"path/filepath"

	"perigee/agent/durable"
	"perigee/bundle/app"
)

// OnBoard tells which networks are in the slots. It may be called at any time, also
// while Run works: it reads the file that decides what flies, which is always whole.
// The networks themselves are not read.
func (a *Agent) OnBoard() *app.OnBoard {
	s := &slots{cfg: &a.cfg, dir: filepath.Join(a.cfg.DataDir, "models")}
	found, err := durable.ReadJSON(s.pointerPath(), maxStateFile, &s.now)
	if err != nil {
		return &app.OnBoard{Slots: []app.Slot{}, Failure: fmt.Sprintf("find the active network: %v", err)}
	}
	on := &app.OnBoard{Slots: []app.Slot{}}
	if !found {
		return on
	}
	active := s.now.Active.report()
	active.Active, active.PicturesLeft = true, s.picturesLeft()
	on.Slots = append(on.Slots, active)
	if s.now.Previous != nil {
		on.Slots = append(on.Slots, s.now.Previous.report())
	}
	return on
}

func (f *flying) report() app.Slot {
	return app.Slot{Slot: f.Slot, Network: f.Hash.String(), Version: f.Version, Update: f.Update}
}
