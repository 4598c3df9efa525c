// Package record keeps what the network on board found in each picture, and what
// a larger network or a person said of it later. It is a folder of JSON files, one
// for each picture, which any application on board may read while it is written.
//
// What was said last counts, by the time when it was said, so verdicts may come
// late, more than once and in any order. The folder is bounded: the picture that
// was looked at the longest ago goes first.
package record

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"perigee/agent/durable"
	"perigee/bundle/dtntime"
	"perigee/models"
)

// maxEntry bounds the file of one picture, in bytes.
const maxEntry = 1 << 20

// Entry is what is known of one picture.
type Entry struct {
	ID      models.Hash        `json:"id"` // SHA-256 of the picture
	Name    string             `json:"picture"`
	Taken   dtntime.Time       `json:"taken"`
	Seen    dtntime.Time       `json:"seen"`   // when the network looked
	Sample  bool               `json:"sample"` // it is sent to the ground, so a verdict may come
	Model   models.Hash        `json:"model"`  // that looked
	Found   []models.Detection `json:"found"`
	Verdict *Verdict           `json:"verdict,omitempty"`
}

// Verdict is what somebody said is in a picture. No objects mean that nothing is.
type Verdict struct {
	Source   string         `json:"source"` // who said so, such as label or model
	Given    dtntime.Time   `json:"given"`
	Received dtntime.Time   `json:"received"`
	Objects  []models.Truth `json:"objects"`
}

// Objects returns what is in the picture as far as is known: by the verdict if
// there is one, else by what the network found.
func (e *Entry) Objects() []models.Truth {
	if e.Verdict != nil {
		return e.Verdict.Objects
	}
	objects := make([]models.Truth, len(e.Found))
	for i, d := range e.Found {
		objects[i] = models.Truth{Class: d.Class, Box: d.Box}
	}
	return objects
}

// ErrUnknown is wrapped by errors about a picture that is not in the record.
var ErrUnknown = errors.New("picture is not in the record")

// Book is the record as its one writer has it. Its methods may be called from
// several goroutines.
type Book struct {
	dir  string
	disk durable.Disk
	most int

	mu    sync.Mutex // guards what follows, and changes of the files
	order []string   // names of the files, the longest ago first
	names map[models.Hash]string
}

// fileName has the time first, so that names are in its order.
func fileName(e *Entry) string { return fmt.Sprintf("%016x-%s.json", uint64(e.Seen), e.ID.Digits()) }

func parseName(name string) (id models.Hash, ok bool) {
	base, ok := strings.CutSuffix(name, ".json")
	at, digits, cut := strings.Cut(base, "-")
	if !ok || !cut || len(at) != 16 {
		return id, false
	}
	if _, err := strconv.ParseUint(at, 16, 64); err != nil {
		return id, false
	}
	return models.ParseDigits(digits)
}

// Open opens the record in the folder dir, which it makes if need be, for at most
// so many pictures.
func Open(dir string, disk durable.Disk, most int) (*Book, error) {
	b := &Book{dir: dir, disk: disk, most: most, names: map[models.Hash]string{}}
	names, err := disk.OpenDir(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if id, ok := parseName(name); ok {
			b.order = append(b.order, name)
			b.names[id] = name
		}
	}
	return b, b.makeRoom()
}

// makeRoom removes what is too much. b.mu is held, or nobody else has b.
func (b *Book) makeRoom() error {
	for len(b.order) > b.most {
		name := b.order[0]
		if err := b.disk.Remove(filepath.Join(b.dir, name)); err != nil {
			return err
		}
		b.order = b.order[1:]
		if id, ok := parseName(name); ok && b.names[id] == name {
			delete(b.names, id)
		}
	}
	return nil
}

// Note keeps what the network found in a picture. Of one that is there, what is
// said anew replaces what was, but its verdict stays.
func (b *Book) Note(e Entry) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.most < 1 {
		return nil
	}
	if old, err := b.read(e.ID); err == nil {
		e.Seen, e.Verdict, e.Sample = old.Seen, old.Verdict, e.Sample || old.Sample
	}
	return b.write(&e)
}

func (b *Book) read(id models.Hash) (Entry, error) {
	name, ok := b.names[id]
	if !ok {
		return Entry{}, fmt.Errorf("%w: %v", ErrUnknown, id)
	}
	return readFile(filepath.Join(b.dir, name), id)
}

func readFile(path string, id models.Hash) (Entry, error) {
	var e Entry
	found, err := durable.ReadJSON(path, maxEntry, &e)
	switch {
	case err != nil:
		return Entry{}, err
	case !found:
		return Entry{}, fmt.Errorf("%w: %v", ErrUnknown, id)
	case e.ID != id:
		return Entry{}, fmt.Errorf("read %s: it is about picture %v", path, e.ID)
	}
	return e, nil
}

func (b *Book) write(e *Entry) error {
	name := fileName(e)
	if err := b.disk.WriteJSON(filepath.Join(b.dir, name), e); err != nil {
		return err
	}
	if old, ok := b.names[e.ID]; ok && old != name {
		// The old file was damaged, so its time is lost.
		if err := b.disk.Remove(filepath.Join(b.dir, old)); err != nil {
			return err
		}
		b.order = slices.DeleteFunc(b.order, func(have string) bool { return have == old })
	}
	b.names[e.ID] = name
	if at, there := slices.BinarySearch(b.order, name); !there {
		b.order = slices.Insert(b.order, at, name)
	}
	return b.makeRoom()
}

// Correct keeps a verdict of a picture, unless a later one is there, and tells
// whether it did. An error that wraps ErrUnknown says that the picture is not in
// the record, no longer, or cannot be read there.
func (b *Book) Correct(id models.Hash, v Verdict) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, err := b.read(id)
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	if e.Verdict != nil && !v.overrules(e.Verdict) {
		return false, nil
	}
	e.Verdict = &v
	return true, b.write(&e)
}

// overrules tells whether v counts rather than old. Of two that were given at the
// same time it is always the same one, whichever comes first.
func (v *Verdict) overrules(old *Verdict) bool {
	return cmp.Or(cmp.Compare(v.Given, old.Given), cmp.Compare(v.Source, old.Source), bytes.Compare(objectsText(v), objectsText(old))) > 0
}

func objectsText(v *Verdict) []byte {
	text, err := json.Marshal(v.Objects)
	if err != nil {
		return nil // numbers that JSON does not know are never kept
	}
	return text
}

// Read returns what the record in a folder says of a picture. It may be called by
// any process. An error that wraps ErrUnknown says that it is not there.
func Read(dir string, id models.Hash) (Entry, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "????????????????-"+id.Digits()+".json"))
	if err != nil || len(paths) == 0 {
		return Entry{}, fmt.Errorf("%w: %v", ErrUnknown, id)
	}
	return readFile(paths[len(paths)-1], id)
}

// Each calls do with every picture of the record in a folder, in the order in
// which the network looked, until it returns an error. Pictures that go meanwhile
// are left out. It may be called by any process.
func Each(dir string, do func(Entry) error) error {
	names, err := durable.Names(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		id, ok := parseName(name)
		if !ok {
			continue
		}
		e, err := readFile(filepath.Join(dir, name), id)
		if errors.Is(err, ErrUnknown) || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := do(e); err != nil {
			return err
		}
	}
	return nil
}
