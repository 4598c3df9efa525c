package agent

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"

	"perigee/agent/durable"
	"perigee/models"
	"perigee/models/payload"
)

// Limits of the update folder.
const (
	maxPartFile  = payload.MaxPart + 4096 // bytes of a part's payload
	keepOutcomes = 64                     // updates whose end is remembered
)

// update is one update whose parts are being collected.
type update struct {
	dir   string
	meta  payload.ModelPart // of any part, without its data
	steps []step
	done  progress
}

// progress is how far an update has come besides its parts.
type progress struct {
	Told   int `json:"told,omitempty"`   // steps whose network a receipt called active
	Failed int `json:"failed,omitempty"` // steps that led to a network that failed its trial
	// Tries counts the trials since a network was last used or refused: more than
	// one, when the process did not live to see the end.
	Tries int `json:"tries,omitempty"`
}

// step is one step of an update.
type step struct {
	meta payload.ModelPart // of any of its parts, without its data
	have map[uint32]bool   // nil: no part has come
}

func (s *step) complete() bool { return s.have != nil && len(s.have) == int(s.meta.Count) }

// ready returns how many of the first steps are complete.
func (u *update) ready() int {
	for i := range u.steps {
		if !u.steps[i].complete() {
			return i
		}
	}
	return len(u.steps)
}

// next returns the first of the ready steps that active has not taken in. It
// reports false when no step starts from active, or ends there.
func (u *update) next(active models.Hash, ready int) (int, bool) {
	for i := range ready {
		if u.steps[i].meta.Result == active {
			return i + 1, true
		}
	}
	if u.meta.Type == payload.UpdateModel {
		return 0, true
	}
	for i := range ready {
		if u.steps[i].meta.Base == active {
			return i, true
		}
	}
	return 0, false
}

// bytes is the size of all steps that are known.
func (u *update) bytes() uint64 {
	var sum uint64
	for i := range u.steps {
		sum += u.steps[i].meta.Size
	}
	return sum
}

// updates collects the parts of updates on disk. It belongs to one goroutine.
// An update's folder is there until its end is remembered, so an update that a
// crash interrupted is taken up again.
type updates struct {
	cfg  *UpdateConfig
	dir  string
	disk durable.Disk
	log  *slog.Logger
	open map[uint64]*update
	// ended holds the receipts of the last updates, oldest first.
	ended []payload.Receipt
}

func openUpdates(cfg *Config, disk durable.Disk, log *slog.Logger) (*updates, error) {
	u := &updates{
		cfg: &cfg.Updates, dir: filepath.Join(cfg.DataDir, "updates"), disk: disk, log: log,
		open: map[uint64]*update{},
	}
	names, err := disk.OpenDir(u.dir)
	if err != nil {
		return nil, err
	}
	if _, err := durable.ReadJSON(u.endedPath(), maxStateFile, &u.ended); err != nil {
		return nil, fmt.Errorf("recall updates: %w", err)
	}
	for _, name := range names {
		id, err := strconv.ParseUint(name, 16, 64)
		if err != nil || name != updateName(id) {
			continue
		}
		if u.outcome(id) != nil {
			if err := disk.Remove(u.path(id)); err != nil {
				return nil, err
			}
			continue
		}
		if err := u.reopen(id); err != nil {
			return nil, err
		}
	}
	return u, nil
}

func updateName(id uint64) string        { return fmt.Sprintf("%016x", id) }
func (u *updates) path(id uint64) string { return filepath.Join(u.dir, updateName(id)) }
func (u *updates) endedPath() string     { return filepath.Join(u.dir, "ended.json") }

// progressName is the file of an update's folder that holds its progress.
const progressName = "progress.json"

func partPath(dir string, step, index uint32) string {
	return filepath.Join(dir, fmt.Sprintf("part-%02d-%05d.cbor", step, index))
}

// reopen finds the parts of an update that an earlier run received. What does
// not check is removed and counts as not received.
func (u *updates) reopen(id uint64) error {
	if err := u.disk.Sweep(u.path(id)); err != nil {
		return err
	}
	names, err := durable.Names(u.path(id))
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == progressName {
			continue
		}
		path := filepath.Join(u.path(id), name)
		p, err := readPart(path)
		if err == nil && (p.Update != id || path != partPath(u.path(id), p.Step, p.Index)) {
			err = errors.New("belongs elsewhere")
		}
		if err == nil {
			err = u.note(p)
		}
		if err != nil {
			u.log.Warn("a kept part of an update is of no use", "update", id, "file", name, "err", err)
			if err := u.disk.Remove(path); err != nil {
				return err
			}
		}
	}
	if open := u.open[id]; open != nil {
		if _, err := durable.ReadJSON(filepath.Join(u.path(id), progressName), maxStateFile, &open.done); err != nil {
			return fmt.Errorf("recall update %d: %w", id, err)
		}
	}
	return nil
}

func readPart(path string) (*payload.ModelPart, error) {
	data, err := durable.Read(path, maxPartFile)
	if err != nil {
		return nil, err
	}
	return payload.DecodeModelPart(data)
}

// errPartsDisagree: two parts of one update describe different wholes.
var errPartsDisagree = errors.New("parts of the update describe different wholes")

// agrees checks a part against those of its update that are there.
func (u *update) agrees(p *payload.ModelPart) error {
	m := &u.meta
	if m.Version != p.Version || m.Type != p.Type || m.Steps != p.Steps || m.Backbone != p.Backbone {
		return errPartsDisagree
	}
	if s := &u.steps[p.Step]; s.have != nil && !sameStep(&s.meta, p) {
		return errPartsDisagree
	}
	if p.Step > 0 {
		if before := &u.steps[p.Step-1]; before.have != nil && before.meta.Result != p.Base {
			return errPartsDisagree
		}
	}
	if p.Step+1 < p.Steps {
		if behind := &u.steps[p.Step+1]; behind.have != nil && behind.meta.Base != p.Result {
			return errPartsDisagree
		}
	}
	return nil
}

func sameStep(a, b *payload.ModelPart) bool {
	return a.Draft == b.Draft && a.Encoding == b.Encoding && a.Base == b.Base && a.Result == b.Result &&
		a.Size == b.Size && a.Hash == b.Hash && a.Count == b.Count && a.Golden == b.Golden
}

// note counts a part that is on disk. It fails when the part does not belong to
// the others of its update.
func (u *updates) note(p *payload.ModelPart) error {
	open := u.open[p.Update]
	if open == nil {
		open = &update{dir: u.path(p.Update), meta: *p, steps: make([]step, p.Steps)}
		open.meta.Data = nil
	}
	if err := open.agrees(p); err != nil {
		return err
	}
	u.open[p.Update] = open
	s := &open.steps[p.Step]
	if s.have == nil {
		s.meta, s.have = *p, map[uint32]bool{}
		s.meta.Data = nil
	}
	s.have[p.Index] = true
	return nil
}

// add makes a part durable. data is its payload.
func (u *updates) add(p *payload.ModelPart, data []byte) error {
	if open := u.open[p.Update]; open != nil {
		if err := open.agrees(p); err != nil {
			return err
		}
		if open.steps[p.Step].have[p.Index] {
			return nil
		}
	} else if err := u.disk.MkdirAll(u.path(p.Update)); err != nil {
		return err
	}
	if err := u.disk.Write(partPath(u.path(p.Update), p.Step, p.Index), data); err != nil {
		return err
	}
	return u.note(p)
}

// bytes is how many bytes the update of a part has, as far as is known.
func (u *updates) bytes(p *payload.ModelPart) uint64 {
	open := u.open[p.Update]
	switch {
	case open == nil:
		return p.Size
	case open.steps[min(int(p.Step), len(open.steps)-1)].have == nil:
		return open.bytes() + p.Size
	}
	return open.bytes()
}

// oldest returns the open update of the lowest version.
func (u *updates) oldest() *update { return slices.MinFunc(u.inOrder(), byVersion) }

// inOrder returns the open updates by version.
func (u *updates) inOrder() []*update {
	all := make([]*update, 0, len(u.open))
	for _, open := range u.open {
		all = append(all, open)
	}
	slices.SortFunc(all, byVersion)
	return all
}

func byVersion(a, b *update) int {
	return cmp.Or(cmp.Compare(a.meta.Version, b.meta.Version), cmp.Compare(a.meta.Update, b.meta.Update))
}

// outcome returns the receipt of an update that has ended, or nil.
func (u *updates) outcome(id uint64) *payload.Receipt {
	for i := range u.ended {
		if u.ended[i].Update == id {
			return &u.ended[i]
		}
	}
	return nil
}

// end remembers how an update ended and drops its parts.
func (u *updates) end(r payload.Receipt) error {
	u.ended = slices.DeleteFunc(u.ended, func(old payload.Receipt) bool { return old.Update == r.Update })
	u.ended = append(u.ended, r)
	u.ended = u.ended[max(0, len(u.ended)-keepOutcomes):]
	if err := u.disk.WriteJSON(u.endedPath(), u.ended); err != nil {
		return err
	}
	delete(u.open, r.Update)
	return u.disk.Remove(u.path(r.Update))
}

// assemble joins the parts of a complete step and checks the whole.
func (u *update) assemble(number int) ([]byte, error) {
	m := &u.steps[number].meta
	whole := bytes.NewBuffer(make([]byte, 0, m.Size))
	for i := range m.Count {
		p, err := readPart(partPath(u.dir, uint32(number), i))
		if err != nil {
			return nil, fmt.Errorf("part %d: %w", i, err)
		}
		if p.Offset != uint64(whole.Len()) {
			return nil, fmt.Errorf("part %d begins at %d, the one before ends at %d", i, p.Offset, whole.Len())
		}
		whole.Write(p.Data)
	}
	if got := models.HashBytes(whole.Bytes()); got != m.Hash {
		return nil, fmt.Errorf("the parts make %v, announced was %v", got, m.Hash)
	}
	return whole.Bytes(), nil
}

// keep makes the progress of an update durable.
func (u *updates) keep(open *update) error {
	return u.disk.WriteJSON(filepath.Join(open.dir, progressName), open.done)
}
