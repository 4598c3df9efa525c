package badgerstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"

	"perigee/bundle/store"
)

// content is the bytes of one bundle in an open file. The file may lose its name
// meanwhile; its bytes stay until it is closed.
type content struct {
	*io.SectionReader
	close func() error
}

// Close implements store.Content.
func (c *content) Close() error { return c.close() }

// Open implements store.Store.
func (s *Store) Open(h store.Handle) (store.Content, error) {
	if s.life.Err() == nil {
		if c := s.hot.open(h); c != nil {
			return c, nil
		}
	}
	// Between the look-up and the opening, the janitor may move the bundle or a
	// commit may delete it. Each new try sees a later state.
	for try := 0; ; try++ {
		e, err := s.lookup(h)
		if err != nil {
			return nil, fmt.Errorf("open bundle %d: %w", h, err)
		}
		c, err := s.openEntry(e)
		if err == nil {
			return c, nil
		}
		if !errors.Is(err, fs.ErrNotExist) || try == 10 {
			return nil, fmt.Errorf("open bundle %d: %w", h, err)
		}
	}
}

func (s *Store) openEntry(e *entry) (*content, error) {
	if e.file != 0 {
		f, err := s.fs.Open(s.largeFile(e.file), false)
		if err != nil {
			return nil, err
		}
		return &content{io.NewSectionReader(f, 0, e.record.Size), f.Close}, nil
	}
	f, done, err := s.openSegment(e.put.segment)
	if err != nil {
		return nil, err
	}
	return &content{io.NewSectionReader(f, e.dataOffset(), e.record.Size), done}, nil
}

// openSegment opens segment num for reading. Its bytes stay until done is called, even
// if it is cleaned meanwhile.
func (s *Store) openSegment(num uint64) (f File, done func() error, err error) {
	r, err := s.reading.open(num, func() (File, error) { return s.fs.Open(s.segmentFile(num), false) })
	if err != nil {
		return nil, nil, err
	}
	return r, sync.OnceValue(func() error { return s.reading.done(num, r) }), nil
}

// maxReading is how many segments are kept open for reading while nobody reads them.
const maxReading = 16

// reading keeps segments open for those who read bundles in them, and some of them
// afterwards, since bundles that came together are read together. The zero value is
// ready for use.
type reading struct {
	mu     sync.Mutex // guards everything below
	files  map[uint64]*readFile
	idle   []uint64 // nobody reads them, the longest first
	closed bool
}

type readFile struct {
	File
	readers int
}

// open returns the file of segment num, by way of open when it is not open yet. The
// caller gives it back with done.
func (r *reading) open(num uint64, open func() (File, error)) (*readFile, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.files[num]
	if f == nil {
		file, err := open()
		if err != nil {
			return nil, err
		}
		if r.files == nil {
			r.files = make(map[uint64]*readFile)
		}
		f = &readFile{File: file}
		r.files[num] = f
	} else if f.readers == 0 {
		r.idle = slices.DeleteFunc(r.idle, func(n uint64) bool { return n == num })
	}
	f.readers++
	return f, nil
}

// done gives f back.
func (r *reading) done(num uint64, f *readFile) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	f.readers--
	switch {
	case f.readers > 0:
		return nil
	case r.files[num] != f: // forgotten meanwhile
		return f.Close()
	}
	r.idle = append(r.idle, num)
	if len(r.idle) <= maxReading && !r.closed {
		return nil
	}
	return r.dropLocked(r.idle[0])
}

// forget closes segment num as soon as nobody reads it, and tells whether somebody
// does: it was removed.
func (r *reading) forget(num uint64) (read bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.files[num]
	return f != nil && f.readers > 0, r.dropLocked(num)
}

func (r *reading) dropLocked(num uint64) error {
	f := r.files[num]
	if f == nil {
		return nil
	}
	delete(r.files, num)
	r.idle = slices.DeleteFunc(r.idle, func(n uint64) bool { return n == num })
	if f.readers > 0 {
		return nil
	}
	return f.Close()
}

// close closes what nobody reads, and everything else when its readers are done.
func (r *reading) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	var errs []error
	for len(r.idle) > 0 {
		errs = append(errs, r.dropLocked(r.idle[0]))
	}
	return errors.Join(errs...)
}
