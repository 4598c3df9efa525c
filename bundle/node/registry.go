package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/google/renameio/v2"

	"perigee/bundle/app"
	"perigee/bundle/core"
	"perigee/bundle/dtntime"
)

// maxRegistryFile is more bytes than the file of all registrations may have.
const maxRegistryFile = 1 << 20

// registry is the registrations of applications at non-singleton endpoints. They are
// in a file before anybody relies on them.
type registry struct {
	file string // empty: they end with the node

	mu   sync.Mutex // guards the rest, and is held while the file is written
	kept registrations
}

// registrations is what the file holds.
type registrations struct {
	Last uint64       `json:"last"` // number that was given out
	List []registered `json:"registrations"`
}

type registered struct {
	Number uint64 `json:"number"`
	app.Registration
}

// openRegistry reads the file, which need not exist.
func openRegistry(file string) (*registry, error) {
	r := &registry{file: file}
	if file == "" {
		return r, nil
	}
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the registrations: %w", err)
	}
	defer f.Close()
	err = json.NewDecoder(io.LimitReader(f, maxRegistryFile)).Decode(&r.kept)
	for _, k := range r.kept.List {
		err = errors.Join(err, k.Check())
		r.kept.Last = max(r.kept.Last, k.Number)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the registrations in %s: %w; move the file away to begin without any", file, err)
	}
	return r, nil
}

// forCore lists the registrations as the core knows them.
func (r *registry) forCore() []core.Registration {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]core.Registration, 0, len(r.kept.List))
	for _, k := range r.kept.List {
		list = append(list, k.forCore())
	}
	return list
}

func (k *registered) forCore() core.Registration {
	return core.Registration{Number: k.Number, Endpoint: k.Endpoint}
}

// all returns the registrations in order of endpoint and name.
func (r *registry) all() []registered {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := slices.Clone(r.kept.List)
	slices.SortFunc(list, func(a, b registered) int {
		return slices.Compare([]string{a.Endpoint.String(), a.Name}, []string{b.Endpoint.String(), b.Name})
	})
	return list
}

func (r *registry) find(reg app.Registration) int {
	return slices.IndexFunc(r.kept.List, func(k registered) bool { return k.Registration == reg })
}

// register returns the number of a registration. A new one is durable then, and tell
// was called with it.
func (r *registry) register(reg app.Registration, now dtntime.Time, tell func(core.Event)) (uint64, error) {
	if err := reg.Check(); err != nil {
		return 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := r.find(reg); i >= 0 {
		return r.kept.List[i].Number, nil
	}
	if len(r.kept.List) >= app.MaxRegistrations {
		return 0, fmt.Errorf("%w: registering at %s: the node has %d registrations, which is the limit; end one with perigee registration rm",
			app.ErrRejected, reg, len(r.kept.List))
	}
	// From the clock, so that a file that was lost gives no number of old again.
	next := registrations{Last: max(r.kept.Last, uint64(now/dtntime.Time(dtntime.Second))) + 1}
	made := registered{next.Last, reg}
	next.List = append(slices.Clone(r.kept.List), made)
	if err := r.write(next); err != nil {
		return 0, fmt.Errorf("%w: registering at %s: %w", app.ErrTryAgain, reg, err)
	}
	r.kept = next
	tell(core.Register{Registration: made.forCore()})
	return made.Number, nil
}

// unregister ends a registration, durably, and then calls tell.
func (r *registry) unregister(reg app.Registration, tell func(core.Event)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.find(reg)
	if i < 0 {
		return fmt.Errorf("%w: nobody is registered at %s", app.ErrNotFound, reg)
	}
	number := r.kept.List[i].Number
	next := registrations{Last: r.kept.Last, List: slices.Delete(slices.Clone(r.kept.List), i, i+1)}
	if err := r.write(next); err != nil {
		return fmt.Errorf("%w: ending the registration at %s: %w", app.ErrTryAgain, reg, err)
	}
	r.kept = next
	tell(core.Unregister{Number: number})
	return nil
}

// write replaces the file, durably.
func (r *registry) write(next registrations) error {
	if r.file == "" {
		return nil
	}
	text, err := json.MarshalIndent(next, "", "  ")
	if err != nil {
		return err
	}
	f, err := renameio.NewPendingFile(r.file, renameio.WithTempDir(filepath.Dir(r.file)), renameio.WithPermissions(0o644))
	if err != nil {
		return err
	}
	defer f.Cleanup()
	if _, err := f.Write(append(text, '\n')); err != nil {
		return err
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return err
	}
	folder, err := os.Open(filepath.Dir(r.file))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
