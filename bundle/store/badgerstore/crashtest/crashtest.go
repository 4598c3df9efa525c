// Package crashtest is a file system for tests of what survives a loss of power.
//
// It stands under a badgerstore in the place of the machine's own, and forgets on Crash
// what was not synced.
package crashtest

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"perigee/bundle/store/badgerstore"
)

// ErrCut is what a test lets every operation return once the power is cut.
var ErrCut = errors.New("power was cut")

// FS is a file system in memory that knows what would survive a loss of
// power: bytes that were synced, under names whose folder was synced. It counts
// the operations that change something and can fail at any of them.
type FS struct {
	mu      sync.Mutex
	names   map[string]*node
	durable map[string]*node // names as of the last SyncDir of their folder
	ops     int
	fail    func(op int, kind string) error // asked before each operation
	free    int64                           // bytes; below 0 no limit
}

// node is a file. Its bytes outlive its names while it is open.
type node struct {
	data   []byte
	synced []byte
}

// New returns an empty file system without a limit of space.
func New() *FS {
	return &FS{names: map[string]*node{}, durable: map[string]*node{}, free: -1}
}

// Torn says what a crash keeps of bytes that were not synced.
type Torn int

// What may be kept. TornModes is how many ways there are.
const (
	TornNone Torn = iota // nothing
	TornAll              // everything
	TornHalf             // the first half
	TornTail             // the second half; before it zeros
	TornModes
)

// Crash returns the file system that is found after a loss of power.
func (c *FS) Crash(how Torn) *FS {
	c.mu.Lock()
	defer c.mu.Unlock()
	after := New()
	names := c.durable
	if how == TornAll {
		names = c.names
	}
	for name, n := range names {
		data := n.crash(how)
		after.names[name] = &node{data: data, synced: slices.Clone(data)}
	}
	after.durable = maps.Clone(after.names)
	return after
}

// crash returns the bytes of n that are found after a loss of power. Of those that
// differ from the synced ones, all or those before or behind the middle are new.
func (n *node) crash(how Torn) []byte {
	switch {
	case how == TornNone:
		return slices.Clone(n.synced)
	case how == TornAll || len(n.data) < len(n.synced): // cut short, or not
		return slices.Clone(n.data)
	}
	data := append(slices.Clone(n.synced), make([]byte, len(n.data)-len(n.synced))...)
	first, end := 0, len(data)
	for first < end && data[first] == n.data[first] {
		first++
	}
	for end > first && end <= len(n.synced) && data[end-1] == n.data[end-1] {
		end--
	}
	middle := (first + end) / 2
	if how == TornTail {
		copy(data[middle:end], n.data[middle:end])
		return data
	}
	copy(data[first:middle], n.data[first:middle])
	return data[:max(middle, len(n.synced))]
}

// begin counts an operation and tells whether it fails.
func (c *FS) begin(kind string) error {
	c.ops++
	if c.fail != nil {
		return c.fail(c.ops, kind)
	}
	return nil
}

// Count returns how many operations there were that change something.
func (c *FS) Count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ops
}

// SetFail lets fail decide the fate of every operation from now on: it is given the
// number of the operation, from 1, and its kind, which is "create", "write", "sync",
// "syncdir", "remove" (renaming too), "truncate" or "allocate". An operation for which
// it returns an error fails with that; a failing write writes half. Nil ends this.
func (c *FS) SetFail(fail func(op int, kind string) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail = fail
}

// SetFree sets how many bytes may still be written; below 0 there is no limit.
func (c *FS) SetFree(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.free = n
}

// MkdirAll implements badgerstore.FS.
func (c *FS) MkdirAll(string) error { return nil }

// Create implements badgerstore.FS.
func (c *FS) Create(name string) (badgerstore.File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.names[name] != nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	if err := c.begin("create"); err != nil {
		return nil, err
	}
	n := &node{}
	c.names[name] = n
	return &file{c, n}, nil
}

// Open implements badgerstore.FS.
func (c *FS) Open(name string, _ bool) (badgerstore.File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.names[name]
	if n == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &file{c, n}, nil
}

// Remove implements badgerstore.FS.
func (c *FS) Remove(name string) error { return c.Rename(name, "") }

// Rename implements badgerstore.FS.
func (c *FS) Rename(from, to string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.names[from]
	if n == nil {
		return &fs.PathError{Op: "remove", Path: from, Err: fs.ErrNotExist}
	}
	if err := c.begin("remove"); err != nil {
		return err
	}
	delete(c.names, from)
	if to != "" {
		c.names[to] = n
	} else if c.free >= 0 {
		c.free += int64(len(n.data))
	}
	return nil
}

// SyncDir implements badgerstore.FS.
func (c *FS) SyncDir(dir string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.begin("syncdir"); err != nil {
		return err
	}
	maps.DeleteFunc(c.durable, func(name string, _ *node) bool { return filepath.Dir(name) == dir })
	for name, n := range c.names {
		if filepath.Dir(name) == dir {
			c.durable[name] = n
		}
	}
	return nil
}

// ReadDir implements badgerstore.FS.
func (c *FS) ReadDir(dir string) (map[string]int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]int64{}
	for name, n := range c.names {
		if filepath.Dir(name) == dir {
			out[filepath.Base(name)] = int64(len(n.data))
		}
	}
	return out, nil
}

// Free implements badgerstore.FS.
func (c *FS) Free(string) (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.free < 0 {
		return 1 << 40, nil
	}
	return c.free, nil
}

type file struct {
	c *FS
	n *node
}

func (f *file) Close() error { return nil }

func (f *file) ReadAt(b []byte, off int64) (int, error) {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if off >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(b, f.n.data[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt writes half of b when it fails.
func (f *file) WriteAt(b []byte, off int64) (int, error) {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	err := f.c.begin("write")
	grow := off + int64(len(b)) - int64(len(f.n.data))
	if err == nil && f.c.free >= 0 {
		if grow > f.c.free {
			err = unix.ENOSPC
		} else {
			f.c.free -= max(grow, 0)
		}
	}
	if err != nil {
		b = b[:len(b)/2]
	}
	if missing := off + int64(len(b)) - int64(len(f.n.data)); missing > 0 {
		f.n.data = append(f.n.data, make([]byte, missing)...)
	}
	return copy(f.n.data[off:], b), err
}

func (f *file) Size() (int64, error) {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	return int64(len(f.n.data)), nil
}

func (f *file) Truncate(size int64) error {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if err := f.c.begin("truncate"); err != nil {
		return err
	}
	f.n.data = f.n.data[:size]
	return nil
}

func (f *file) Allocate(size int64) error {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if err := f.c.begin("allocate"); err != nil {
		return err
	}
	f.n.data = make([]byte, size)
	if f.c.free >= 0 {
		f.c.free -= size
	}
	return nil
}

func (f *file) Sync() error {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if err := f.c.begin("sync"); err != nil {
		return err
	}
	f.n.synced = slices.Clone(f.n.data)
	return nil
}
