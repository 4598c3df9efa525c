package ground

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"perigee/agent/durable"
	"perigee/bundle/app"
	"perigee/models"
)

// OnGround tells which networks the ground keeps, what the satellites fly and where
// the loop stands. It may be called at any time, also while Run works.
func (g *Ground) OnGround() *app.OnGround {
	g.mu.Lock()
	p := g.progress
	g.mu.Unlock()
	// The lists of p are replaced and not changed.
	on := &app.OnGround{Stage: string(p.Stage), Version: p.Version, Waiting: p.Waiting, Satellites: []app.Flying{}}
	for _, s := range p.Satellites {
		on.Satellites = append(on.Satellites, app.Flying{Satellite: s.Node, Network: s.Active.String(), Version: s.Version, At: s.At})
	}
	var err error
	if on.Networks, err = g.keptNetworks(); err != nil {
		on.Failure = fmt.Sprintf("list the networks: %v", err)
	}
	return on
}

// keptNetworks lists the networks in the data folder.
func (g *Ground) keptNetworks() ([]app.Kept, error) {
	kept := []app.Kept{}
	names, err := durable.Names(g.path("models"))
	if err != nil {
		return kept, err
	}
	for _, name := range names {
		digits, isModel := strings.CutSuffix(name, models.FileExt)
		hash, ok := models.ParseDigits(digits)
		if !isModel || !ok {
			continue // the head that is being trained, or a stranger's
		}
		info, err := os.Stat(g.path("models", name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed a moment ago
		}
		if err != nil {
			return kept, err
		}
		kept = append(kept, app.Kept{Network: hash.String(), Bytes: info.Size()})
	}
	return kept, nil
}
