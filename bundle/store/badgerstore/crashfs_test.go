package badgerstore_test

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

// errCut is what every operation returns once the power is cut.
var errCut = errors.New("power was cut")

// crashFS is a file system in memory that knows what would survive a loss of
// power: bytes that were synced, under names whose folder was synced. It counts
// the operations that change something and can fail at any of them.
type crashFS struct {
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

func newCrashFS() *crashFS {
	return &crashFS{names: map[string]*node{}, durable: map[string]*node{}, free: -1}
}

// torn says what a crash keeps of bytes that were not synced.
type torn int

const (
	tornNone torn = iota // nothing
	tornAll              // everything
	tornHalf             // the first half
	tornTail             // the second half; before it zeros
	tornModes
)

// crash returns the file system that is found after a loss of power.
func (c *crashFS) crash(how torn) *crashFS {
	c.mu.Lock()
	defer c.mu.Unlock()
	after := newCrashFS()
	names := c.durable
	if how == tornAll {
		names = c.names
	}
	for name, n := range names {
		data := slices.Clone(n.synced)
		if len(n.data) > len(n.synced) {
			fresh := slices.Clone(n.data[len(n.synced):])
			switch how {
			case tornNone:
				fresh = nil
			case tornHalf:
				fresh = fresh[:len(fresh)/2]
			case tornTail:
				clear(fresh[:len(fresh)/2])
			}
			data = append(data, fresh...)
		}
		after.names[name] = &node{data: data, synced: slices.Clone(data)}
	}
	after.durable = maps.Clone(after.names)
	return after
}

// begin counts an operation and tells whether it fails.
func (c *crashFS) begin(kind string) error {
	c.ops++
	if c.fail != nil {
		return c.fail(c.ops, kind)
	}
	return nil
}

func (c *crashFS) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ops
}

func (c *crashFS) setFail(fail func(op int, kind string) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail = fail
}

func (c *crashFS) setFree(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.free = n
}

func (c *crashFS) MkdirAll(string) error { return nil }

func (c *crashFS) Create(name string) (badgerstore.File, error) {
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
	return &crashFile{c, n}, nil
}

func (c *crashFS) Open(name string, _ bool) (badgerstore.File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.names[name]
	if n == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &crashFile{c, n}, nil
}

func (c *crashFS) Remove(name string) error { return c.Rename(name, "") }

func (c *crashFS) Rename(from, to string) error {
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

func (c *crashFS) SyncDir(dir string) error {
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

func (c *crashFS) ReadDir(dir string) (map[string]int64, error) {
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

func (c *crashFS) Free(string) (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.free < 0 {
		return 1 << 40, nil
	}
	return c.free, nil
}

type crashFile struct {
	c *crashFS
	n *node
}

func (f *crashFile) Close() error { return nil }

func (f *crashFile) ReadAt(b []byte, off int64) (int, error) {
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
func (f *crashFile) WriteAt(b []byte, off int64) (int, error) {
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

func (f *crashFile) Size() (int64, error) {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	return int64(len(f.n.data)), nil
}

func (f *crashFile) Truncate(size int64) error {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if err := f.c.begin("truncate"); err != nil {
		return err
	}
	f.n.data = f.n.data[:size]
	return nil
}

func (f *crashFile) Allocate(size int64) error {
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

func (f *crashFile) Sync() error {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if err := f.c.begin("sync"); err != nil {
		return err
	}
	f.n.synced = slices.Clone(f.n.data)
	return nil
}
