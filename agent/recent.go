package agent

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"perigee/agent/durable"
	"perigee/bundle/dtntime"
)

// recent keeps copies of some of the last pictures, for the canary: a new network
// is tried out on what the satellite really sees. Until there are enough, every
// picture is kept, then one in every interval.
type recent struct {
	dir  string
	disk durable.Disk
	cfg  CanaryConfig

	mu    sync.Mutex   // guards what follows
	names []string     // oldest first
	last  dtntime.Time // when one was kept, 0 if never by this process
}

func openRecent(cfg *Config, disk durable.Disk) (*recent, error) {
	r := &recent{dir: filepath.Join(cfg.DataDir, "recent"), disk: disk, cfg: cfg.Updates.Canary}
	var err error
	if r.names, err = disk.OpenDir(r.dir); err != nil {
		return nil, err
	}
	return r, r.prune()
}

// number returns the number of a kept picture, 0 of any other file.
func number(name string) uint64 {
	n, err := strconv.ParseUint(strings.TrimSuffix(name, ".jpg"), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// prune removes the oldest pictures above the limit. r.mu is held, or nobody else
// is there yet.
func (r *recent) prune() error {
	for len(r.names) > r.cfg.Pictures {
		if err := r.disk.Remove(filepath.Join(r.dir, r.names[0])); err != nil {
			return err
		}
		r.names = r.names[1:]
	}
	return nil
}

// keep keeps a picture if one is due. Errors wrap errGrave.
func (r *recent) keep(now dtntime.Time, data []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.names) >= r.cfg.Pictures && (r.cfg.Pictures == 0 || now.Sub(r.last) < r.cfg.Interval) {
		return nil
	}
	next := uint64(1)
	if len(r.names) > 0 {
		next = number(r.names[len(r.names)-1]) + 1
	}
	name := fmt.Sprintf("%016d.jpg", next)
	if err := r.disk.Write(filepath.Join(r.dir, name), data); err != nil {
		return grave(err)
	}
	r.names, r.last = append(r.names, name), now
	return grave(r.prune())
}

// pictures reads what is kept, oldest first. What cannot be read is left out.
func (r *recent) pictures() [][]byte {
	r.mu.Lock()
	names := slices.Clone(r.names)
	r.mu.Unlock()
	var all [][]byte
	for _, name := range names {
		if data, err := durable.Read(filepath.Join(r.dir, name), MaxPictureBytes); err == nil {
			all = append(all, data)
		}
	}
	return all
}
