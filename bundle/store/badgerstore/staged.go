package badgerstore

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"sync"

	"perigee/bundle/store"
)

// syncStep is how many bytes of a large bundle are written between syncs, so that
// its last sync is short and other commits do not wait for it.
const syncStep = 16 << 20

// staged is the bytes of a bundle on their way in: in memory while they are few, in
// a file of their own otherwise.
type staged struct {
	s     *Store
	hint  int64  // the size that was announced, at most SmallLimit; 0: unknown
	data  []byte // while file is nil
	held  int64  // bytes counted for data
	file  File
	num   uint64 // of file
	dirty int64  // bytes of file not yet synced
	crc   uint32 // of all bytes
	size  int64
	spent bool
	err   error // what ended the writing
}

var _ store.Buffered = (*staged)(nil)

// Stage implements store.Store.
func (s *Store) Stage(size int64) (store.Staged, error) {
	if err := s.writable(); err != nil {
		return nil, fmt.Errorf("stage a bundle: %w", err)
	}
	st := &staged{s: s}
	if size <= s.o.SmallLimit {
		st.hint = size
	}
	if size > 0 {
		if !s.reserve(size) {
			return nil, fmt.Errorf("stage a bundle of %d bytes: %w", size, store.ErrQuota)
		}
		s.release(size)
	}
	if size > s.o.SmallLimit {
		if err := s.room(size); err != nil {
			return nil, fmt.Errorf("stage a bundle of %d bytes: %w", size, err)
		}
		if err := st.spill(); err != nil {
			return nil, fmt.Errorf("stage a bundle of %d bytes: %w", size, err)
		}
	}
	return st, nil
}

// reserve counts n more bytes as staged if the quota allows.
func (s *Store) reserve(n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.quota.Fits(s.totals.usage.Bytes+s.reserved, n) {
		return false
	}
	s.reserved += n
	return true
}

func (s *Store) release(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reserved -= n
}

// hold counts n more bytes as staged in memory if the limit allows.
func (s *Store) hold(n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n > s.o.StageMemory-s.inMemory {
		return false
	}
	s.inMemory += n
	return true
}

// letGo gives the memory back.
func (st *staged) letGo() { st.s.memory.put(st.release()) }

// release returns the bytes in memory, which are no longer counted as staged.
func (st *staged) release() []byte {
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	st.s.inMemory -= st.held
	data := st.data
	st.held, st.data = 0, nil
	return data
}

// memoryStep is the unit in which memory for larger bundles is kept, in bytes.
const memoryStep = 64 << 10

// memory keeps the memory of bundles that were stored for those that come: to ask for
// a megabyte anew, and to clear it, takes as long as to store it. There is one pool for
// each number of steps.
type memory struct{ pools []sync.Pool }

func newMemory(limit int64) memory { return memory{make([]sync.Pool, limit/memoryStep+2)} }

// roomFor is how much memory n bytes take: whole steps unless they are few.
func roomFor(n int64) int64 {
	if n < memoryStep {
		return n
	}
	return (n + memoryStep - 1) / memoryStep * memoryStep
}

// get returns an empty slice with room for n bytes, which roomFor returned.
func (m *memory) get(n int64) []byte {
	if n >= memoryStep {
		if b, ok := m.pools[n/memoryStep].Get().(*[]byte); ok {
			return (*b)[:0]
		}
	}
	return make([]byte, 0, n)
}

// put takes back what get returned. Nobody may use it any more.
func (m *memory) put(b []byte) {
	if steps := cap(b) / memoryStep; steps > 0 && cap(b)%memoryStep == 0 && steps < len(m.pools) {
		m.pools[steps].Put(&b)
	}
}

// Size implements store.Staged.
func (st *staged) Size() int64 { return st.size }

// Write implements store.Staged.
func (st *staged) Write(p []byte) (int, error) {
	if st.err == nil && st.spent {
		st.err = errors.New("it was put or discarded before")
	}
	if st.err == nil {
		st.err = st.write(p)
	}
	if st.err != nil {
		return 0, fmt.Errorf("stage %d more bytes of a bundle: %w", len(p), st.err)
	}
	return len(p), nil
}

func (st *staged) write(p []byte) error {
	if err := st.s.writable(); err != nil {
		return err
	}
	n := int64(len(p))
	if !st.s.reserve(n) {
		return store.ErrQuota
	}
	err := st.place(p)
	if err != nil {
		st.s.release(n)
		return err
	}
	st.size += n
	return nil
}

// Buffer implements store.Buffered.
func (st *staged) Buffer(n int64) []byte {
	if st.spent || st.err != nil || st.size > 0 || st.file != nil || !st.grow(n) {
		return nil
	}
	return st.data[:0]
}

// Fill implements store.Buffered.
func (st *staged) Fill(b []byte) error {
	if err := st.s.writable(); err != nil {
		return fmt.Errorf("stage a bundle: %w", err)
	}
	if !st.s.reserve(int64(len(b))) {
		return fmt.Errorf("stage a bundle of %d bytes: %w", len(b), store.ErrQuota)
	}
	st.data, st.size = b, int64(len(b))
	st.crc = crc32.Checksum(b, newCRC())
	return nil
}

// place puts p behind what is there.
func (st *staged) place(p []byte) error {
	if st.file == nil {
		if st.grow(st.size + int64(len(p))) {
			st.crc = crc32.Update(st.crc, newCRC(), p)
			st.data = append(st.data, p...)
			return nil
		}
		if err := st.spill(); err != nil {
			return err
		}
	}
	return st.append(p, st.size)
}

// grow makes room for n bytes in memory if the limits allow. All that is allocated is
// counted, so an announced size that is a lie takes no more than its share.
func (st *staged) grow(n int64) bool {
	if n > st.s.o.SmallLimit {
		return false
	}
	if n <= st.held {
		return true
	}
	want := roomFor(max(n, st.hint))
	if !st.s.hold(want - st.held) {
		return false
	}
	st.held = want
	if st.data == nil {
		st.data = st.s.memory.get(want)
	}
	return true
}

// spill creates the bundle's file and moves what is in memory there.
func (st *staged) spill() error {
	s := st.s
	st.num = s.nextFile.Add(1) - 1
	f, err := s.fs.Create(s.largeFile(st.num))
	if err != nil {
		return s.writeError(fmt.Errorf("create the file of a large bundle: %w", err))
	}
	st.file = f
	st.crc = 0
	if len(st.data) > 0 {
		err = st.append(st.data, 0)
	}
	st.letGo()
	return err
}

// append writes p at off, the end of the file.
func (st *staged) append(p []byte, off int64) error {
	if err := st.s.room(int64(len(p))); err != nil {
		return err
	}
	if _, err := st.file.WriteAt(p, off); err != nil {
		return st.s.writeError(fmt.Errorf("write a large bundle: %w", err))
	}
	st.crc = crc32.Update(st.crc, newCRC(), p)
	if st.dirty += int64(len(p)); st.dirty >= syncStep {
		return st.sync()
	}
	return nil
}

func (st *staged) sync() error {
	st.dirty = 0
	if err := st.file.Sync(); err != nil {
		return st.s.fail(fmt.Errorf("sync a large bundle: %w", err))
	}
	return nil
}

// writeError tells a full disk from a broken one. Only the latter ends the store.
// The bytes of a bundle that is not committed are nobody's loss.
func (s *Store) writeError(err error) error {
	if isFull(err) {
		s.dropBallast()
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	return s.fail(err)
}

// Discard implements store.Staged.
func (st *staged) Discard() {
	if !st.spent {
		st.spent = true
		st.drop(true)
	}
}

// finish makes the bytes ready for the commit: a file is synced and closed.
func (st *staged) finish() error {
	if st.err != nil {
		return st.err
	}
	if st.file == nil {
		return nil
	}
	if st.dirty > 0 {
		if err := st.sync(); err != nil {
			return err
		}
	}
	f := st.file
	st.file = nil
	if err := f.Close(); err != nil {
		return st.s.fail(fmt.Errorf("close the file of a large bundle: %w", err))
	}
	return nil
}

// drop gives back what the staging held, and the file too when the bundle was not
// committed.
func (st *staged) drop(remove bool) {
	s := st.s
	s.release(st.size)
	st.letGo()
	if st.file != nil {
		st.file.Close() // its bytes are not wanted any more
		st.file = nil
	}
	if remove && st.num != 0 {
		if err := s.fs.Remove(s.largeFile(st.num)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("cannot remove the file of a bundle that was not stored; it goes at the next start",
				"file", s.largeFile(st.num), "error", err)
		}
	}
}
