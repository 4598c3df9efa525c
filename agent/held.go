package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"perigee/agent/durable"
	"perigee/models"
	"perigee/models/labels"
	"perigee/models/payload"
)

// held are the samples that were sent and whose labels have not come yet, a file
// each. They are bounded by bytes; the oldest go first.
type held struct {
	dir   string
	disk  durable.Disk
	limit int64

	mu    sync.Mutex // guards what follows
	all   []heldSample
	bytes int64
}

type heldSample struct {
	name string
	id   models.Hash
	size int64
}

func heldName(batch uint64, id models.Hash) string {
	return fmt.Sprintf("%016d-%s.cbor", batch, id.Digits())
}

// parseHeld returns the sample that a file holds.
func parseHeld(name string) (id models.Hash, ok bool) {
	_, sample, _ := strings.Cut(name, "-")
	return parseSample(sample)
}

// openHeld finds what an earlier run held.
func openHeld(dataDir string, disk durable.Disk, limit int64) (*held, error) {
	h := &held{dir: filepath.Join(dataDir, "held"), disk: disk, limit: limit}
	names, err := disk.OpenDir(h.dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		id, ok := parseHeld(name)
		if !ok {
			continue
		}
		info, err := os.Stat(filepath.Join(h.dir, name))
		if err != nil {
			return nil, fmt.Errorf("look at a held sample: %w", err)
		}
		h.all = append(h.all, heldSample{name, id, info.Size()})
		h.bytes += info.Size()
	}
	return h, h.makeRoom()
}

// keep moves the file of a sample that was sent here, or removes it when none are
// held.
func (h *held) keep(batch uint64, id models.Hash, path string) error {
	if h.limit == 0 {
		return h.disk.Remove(path)
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("hold sample %v: %w", id, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if slices.ContainsFunc(h.all, func(s heldSample) bool { return s.id == id }) {
		return h.disk.Remove(path)
	}
	s := heldSample{heldName(batch, id), id, info.Size()}
	if err := h.disk.Rename(path, filepath.Join(h.dir, s.name)); err != nil {
		return err
	}
	h.all = append(h.all, s)
	h.bytes += s.size
	return h.makeRoom()
}

// makeRoom removes the oldest above the limit.
func (h *held) makeRoom() error {
	for h.bytes > h.limit {
		if err := h.remove(0); err != nil {
			return err
		}
	}
	return nil
}

func (h *held) remove(i int) error {
	if err := h.disk.Remove(filepath.Join(h.dir, h.all[i].name)); err != nil {
		return err
	}
	h.bytes -= h.all[i].size
	h.all = slices.Delete(h.all, i, i+1)
	return nil
}

// find returns the sample with a key; none when it is not held, or when two have
// that key.
func (h *held) find(key labels.Key) (models.Hash, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var found models.Hash
	count := 0
	for _, s := range h.all {
		if labels.KeyOf(s.id) == key {
			found = s.id
			count++
		}
	}
	return found, count == 1
}

// picture reads the picture of a sample that is held.
func (h *held) picture(id models.Hash) ([]byte, error) {
	h.mu.Lock()
	i := slices.IndexFunc(h.all, func(s heldSample) bool { return s.id == id })
	var path string
	if i >= 0 {
		path = filepath.Join(h.dir, h.all[i].name)
	}
	h.mu.Unlock()
	if i < 0 {
		return nil, fmt.Errorf("sample %v is not held", id)
	}
	data, err := durable.Read(path, payload.MaxMessage)
	if err != nil {
		return nil, err
	}
	batch, err := payload.DecodeSampleBatch(data)
	if err != nil {
		return nil, fmt.Errorf("held sample %v: %w", id, err)
	}
	if len(batch.Samples) != 1 || batch.Samples[0].ID != id {
		return nil, fmt.Errorf("held sample %v is another", id)
	}
	return batch.Samples[0].Picture, nil
}

// drop removes samples that are of no further use.
func (h *held) drop(ids []models.Hash) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range ids {
		if i := slices.IndexFunc(h.all, func(s heldSample) bool { return s.id == id }); i >= 0 {
			if err := h.remove(i); err != nil {
				return err
			}
		}
	}
	return nil
}
