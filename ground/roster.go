package ground

import (
	"fmt"
	"slices"
	"sync"

	"perigee/agent/durable"
	"perigee/agent/mail"
	"perigee/bundle"
	"perigee/models"
)

// maxStateFile bounds the JSON files that the ground keeps, in bytes.
const maxStateFile = 64 << 20

// roster is what is known of the satellites, durable in one file.
type roster struct {
	path string
	disk durable.Disk

	mu  sync.Mutex // guards all
	all []Satellite
}

// openRoster recalls the satellites of the configuration. One that was never
// heard is believed to fly the network that it was launched with.
func openRoster(path string, disk durable.Disk, nodes []bundle.EID, launched models.Hash) (*roster, error) {
	var old []Satellite
	if _, err := durable.ReadJSON(path, maxStateFile, &old); err != nil {
		return nil, fmt.Errorf("recall the satellites: %w", err)
	}
	r := &roster{path: path, disk: disk}
	for _, node := range nodes {
		s := Satellite{Node: node.Node(), Active: launched}
		if i := slices.IndexFunc(old, func(o Satellite) bool { return o.Node == s.Node }); i >= 0 {
			s = old[i]
		}
		r.all = append(r.all, s)
	}
	return r, nil
}

func (r *roster) index(node bundle.EID) int {
	return slices.IndexFunc(r.all, func(s Satellite) bool { return s.Node == node })
}

func (r *roster) knows(node bundle.EID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.index(node) >= 0
}

// get returns what is known of a satellite.
func (r *roster) get(node bundle.EID) (Satellite, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.index(node)
	if i < 0 {
		return Satellite{}, false
	}
	return r.all[i], true
}

// change changes what is known of a satellite and makes it durable.
func (r *roster) change(node bundle.EID, how func(*Satellite)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.index(node)
	if i < 0 {
		return fmt.Errorf("%w: satellite %v is not in the configuration", mail.ErrUseless, node)
	}
	next := slices.Clone(r.all)
	how(&next[i])
	if err := r.disk.WriteJSON(r.path, next); err != nil {
		return err
	}
	r.all = next
	return nil
}

// snapshot returns what is known of all.
func (r *roster) snapshot() []Satellite {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}
