package agent

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"

	"perigee/agent/durable"
	"perigee/agent/mail"
	"perigee/bundle"
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
	dir  string
	meta payload.ModelPart // of any part, without its data
	have map[uint32]bool
}

func (u *update) complete() bool { return len(u.have) == int(u.meta.Count) }

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
	if err := disk.MkdirAll(u.dir); err != nil {
		return nil, err
	}
	if err := disk.Sweep(u.dir); err != nil {
		return nil, err
	}
	if _, err := durable.ReadJSON(u.endedPath(), maxStateFile, &u.ended); err != nil {
		return nil, fmt.Errorf("recall updates: %w", err)
	}
	names, err := durable.Names(u.dir)
	if err != nil {
		return nil, err
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
func partPath(dir string, i uint32) string {
	return filepath.Join(dir, fmt.Sprintf("part-%05d.cbor", i))
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
		path := filepath.Join(u.path(id), name)
		p, err := readPart(path)
		if err == nil && (p.Update != id || path != partPath(u.path(id), p.Index)) {
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
	return nil
}

func readPart(path string) (*payload.ModelPart, error) {
	data, err := durable.Read(path, maxPartFile)
	if err != nil {
		return nil, err
	}
	return payload.DecodeModelPart(data)
}

// note counts a part that is on disk. It fails when the part does not belong to
// the others of its update.
func (u *updates) note(p *payload.ModelPart) error {
	open := u.open[p.Update]
	if open == nil {
		open = &update{dir: u.path(p.Update), meta: *p, have: map[uint32]bool{}}
		open.meta.Data = nil
		u.open[p.Update] = open
	}
	if !sameUpdate(&open.meta, p) {
		return errPartsDisagree
	}
	open.have[p.Index] = true
	return nil
}

// errPartsDisagree: two parts of one update describe different wholes.
var errPartsDisagree = errors.New("parts of the update describe different wholes")

func sameUpdate(a, b *payload.ModelPart) bool {
	return a.Update == b.Update && a.Version == b.Version && a.Type == b.Type && a.Encoding == b.Encoding &&
		a.Base == b.Base && a.Result == b.Result && a.Backbone == b.Backbone &&
		a.Size == b.Size && a.Hash == b.Hash && a.Count == b.Count && a.Golden == b.Golden
}

// add makes a part durable. data is its payload.
func (u *updates) add(p *payload.ModelPart, data []byte) error {
	if open := u.open[p.Update]; open != nil {
		if !sameUpdate(&open.meta, p) {
			return errPartsDisagree
		}
		if open.have[p.Index] {
			return nil
		}
	} else if err := u.disk.MkdirAll(u.path(p.Update)); err != nil {
		return err
	}
	if err := u.disk.Write(partPath(u.path(p.Update), p.Index), data); err != nil {
		return err
	}
	return u.note(p)
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

// assemble joins the parts of a complete update and checks the whole.
func (u *update) assemble() ([]byte, error) {
	whole := bytes.NewBuffer(make([]byte, 0, u.meta.Size))
	for i := range u.meta.Count {
		p, err := readPart(partPath(u.dir, i))
		if err != nil {
			return nil, fmt.Errorf("part %d: %w", i, err)
		}
		if p.Offset != uint64(whole.Len()) {
			return nil, fmt.Errorf("part %d begins at %d, the one before ends at %d", i, p.Offset, whole.Len())
		}
		whole.Write(p.Data)
	}
	if got := models.HashBytes(whole.Bytes()); got != u.meta.Hash {
		return nil, fmt.Errorf("the parts make %v, announced was %v", got, u.meta.Hash)
	}
	return whole.Bytes(), nil
}

// receiveUpdates takes parts from the node until ctx ends.
func (a *Agent) receiveUpdates(ctx context.Context) error {
	if err := a.installComplete(ctx); err != nil {
		return err
	}
	in := mail.Inbox{
		Client: a.client, Endpoint: a.node.WithService(ServiceModels), Limit: maxPartFile, Wait: a.newBackoff(), Log: a.log,
	}
	for {
		if err := in.Next(ctx, a.takePart); err != nil {
			return fmt.Errorf("receive updates: %w", err)
		}
		if err := a.installComplete(ctx); err != nil {
			return err
		}
	}
}

// takePart keeps a part of an update. What is none, or not from the ground, is
// useless.
func (a *Agent) takePart(from bundle.EID, data []byte) error {
	if from != a.cfg.Ground.Node() {
		return fmt.Errorf("%w: it is not from the ground, %v", mail.ErrUseless, a.cfg.Ground.Node())
	}
	p, err := payload.DecodeModelPart(data)
	if err != nil {
		return fmt.Errorf("%w: %w", mail.ErrUseless, err)
	}
	if err := a.keepPart(p, data); err != nil {
		return err
	}
	a.log.Info("part of an update received", "update", p.Update, "version", p.Version, "part", p.Index, "of", p.Count)
	return nil
}

// keepPart makes a part durable, or refuses its update.
func (a *Agent) keepPart(p *payload.ModelPart, data []byte) error {
	if r := a.updates.outcome(p.Update); r != nil {
		if p.Index > 0 {
			return nil
		}
		// The ground sends again what has ended: it has no receipt yet.
		return a.post(*r)
	}
	if reason := a.unwanted(p); reason != "" {
		return a.refuse(p, reason)
	}
	if a.updates.open[p.Update] == nil && len(a.updates.open) >= a.cfg.Updates.MaxOpen {
		oldest := a.updates.oldest()
		if oldest.meta.Version >= p.Version {
			return a.refuse(p, fmt.Sprintf("%d newer updates are being collected", len(a.updates.open)))
		}
		if err := a.refuse(&oldest.meta, "newer updates take its place"); err != nil {
			return err
		}
	}
	err := a.updates.add(p, data)
	if errors.Is(err, errPartsDisagree) {
		return a.refuse(p, err.Error())
	}
	return err
}

// unwanted says why an update is refused before its parts are there, or "".
func (a *Agent) unwanted(p *payload.ModelPart) string {
	active := a.slots.Active
	switch {
	case p.Update == active.Update && p.Result == active.Hash:
		return ""
	case p.Version <= active.Version:
		return fmt.Sprintf("version %d is not above the active version %d", p.Version, active.Version)
	case p.Size > uint64(a.cfg.Updates.MaxBytes):
		return fmt.Sprintf("%d bytes, limit %d", p.Size, a.cfg.Updates.MaxBytes)
	}
	return ""
}
