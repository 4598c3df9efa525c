package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"

	"perigee/bundle/store"
)

// A log is cleaned from its old end: what is still in use in the oldest segment is
// written again at the new end, or in the log of gone bundles, then the segment is
// removed. Because segments leave in order, a delete never leaves before the put that
// it undoes, and the logs without their index tell the same story.

// moveBatch is how many bytes of bundles are moved in one group.
const moveBatch = 1 << 20

// janitorLoop is the janitor's goroutine: it removes the files of large bundles that
// left, cleans the log, and gives back what waits too long to be used again.
func (s *Store) janitorLoop(ctx context.Context) {
	for {
		s.tidy(ctx)
		if ctx.Err() != nil {
			return
		}
		s.restSpares()
	}
}

// tidy does what commits leave to be done, for spareRest.
func (s *Store) tidy(ctx context.Context) {
	spell, cancel := context.WithTimeout(ctx, spareRest)
	defer cancel()
	for {
		select {
		case <-s.wake:
		case <-spell.Done():
			return
		}
		s.removeFreed()
		s.uncleanable.Store(!s.cleanLog(ctx))
		select {
		case s.rested <- struct{}{}:
		default:
		}
	}
}

// cleanLog cleans the log until it is within its bound, and tells whether it is.
func (s *Store) cleanLog(ctx context.Context) bool {
	for s.writable() == nil && ctx.Err() == nil {
		num, ok := s.oldest()
		if !ok {
			return true
		}
		err := s.clean(ctx, num)
		if errors.Is(err, context.Canceled) || errors.Is(err, ErrClosed) {
			return false
		}
		if err != nil {
			s.log.Warn("cannot clean the log; it is tried again after the next change", "segment", segmentName(num), "error", err)
			return false
		}
	}
	return false
}

// chore runs fn in the committer, between groups of commits and ahead of those that
// wait.
func (s *Store) chore(ctx context.Context, fn func() error) error {
	return s.ask(ctx, s.chores, &request{do: fn})
}

// removeFreed removes the files of large bundles whose delete is durable. A file
// that stays is removed at the next start.
func (s *Store) removeFreed() {
	s.mu.Lock()
	freed := s.freed
	s.freed = nil
	s.mu.Unlock()
	for _, num := range freed {
		if err := s.fs.Remove(s.largeFile(num)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("cannot remove a large bundle that left", "file", s.largeFile(num), "error", err)
		}
	}
}

// oldest returns the oldest segment of a log when it should be cleaned: it holds
// nothing in use, or the log is larger than what is in use and a quarter, and one
// segment.
func (s *Store) oldest() (uint64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, log := range []struct {
		mark    uint64
		segment int64
	}{{0, s.o.SegmentSize}, {goneLog, s.o.SegmentSize / goneShare}} {
		first, last, excess := s.excess(log.mark)
		if first != last && (s.segments[first].bytes == 0 || excess > log.segment) {
			return first, true
		}
	}
	return 0, false
}

// overfull tells whether the log of bundles is so far over its bound that commits
// must wait.
func (s *Store) overfull() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	first, last, excess := s.excess(0)
	return first != last && excess > 4*s.o.SegmentSize
}

// excess returns the numbers of the oldest and the newest segment of the log with a
// mark, and how many bytes it holds beyond what is in use and a quarter. The caller
// holds s.mu.
func (s *Store) excess(mark uint64) (first, last uint64, excess int64) {
	var size, live int64
	for num, seg := range s.segments {
		if num&goneLog != mark {
			continue
		}
		if first == 0 || num < first {
			first = num
		}
		last = max(last, num)
		size += seg.size
		live += seg.bytes
	}
	return first, last, size - live - live/4
}

// clean moves what is in use out of segment num and takes it out of the log.
func (s *Store) clean(ctx context.Context, num uint64) error {
	damaged, err := s.moveAll(ctx, num)
	if err != nil {
		return err
	}
	s.mu.Lock()
	left := s.segments[num].bytes
	s.mu.Unlock()
	if left != 0 {
		damaged = true
		if err := s.rescue(ctx, num); err != nil {
			return err
		}
	}
	err = s.chore(ctx, func() error {
		// The next start must not want to replay the segment.
		if s.tailOf(num).checkpoint <= num {
			if err := s.saveCheckpoint(); err != nil {
				return err
			}
		}
		s.mu.Lock()
		delete(s.segments, num)
		s.mu.Unlock()
		return nil
	})
	if err != nil {
		return err
	}
	return s.retire(num, damaged)
}

// tailOf returns the end of the log that segment num belongs to.
func (s *Store) tailOf(num uint64) *tail {
	if num&goneLog != 0 {
		return &s.committer.gone
	}
	return &s.committer.bundles
}

// moveAll moves the records of segment num that are in use and not damaged. It
// tells whether there was damage.
func (s *Store) moveAll(ctx context.Context, num uint64) (damaged bool, err error) {
	f, err := s.fs.Open(s.segmentFile(num), false)
	if err != nil {
		return false, fmt.Errorf("open %s: %w", segmentName(num), err)
	}
	defer f.Close() // read only
	s.mu.Lock()
	size, puts, key := s.segments[num].size, s.segments[num].puts, s.segments[num].key
	s.mu.Unlock()
	var batch []move
	weight := int64(0)
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := s.ask(ctx, s.chores, &request{moves: batch})
		batch, weight = nil, 0
		return err
	}
	w := walker{file: f, num: num, key: key, from: segmentHeaderSize, size: size}
	w.frame = func(fr *frame) error {
		damaged = damaged || len(fr.damage) > 0
		for _, r := range fr.records {
			m, err := readMove(f, r)
			if err != nil {
				return err
			}
			batch = append(batch, m)
			if weight += r.size; weight >= moveBatch {
				if err := flush(); err != nil {
					return err
				}
			}
		}
		return nil
	}
	w.gap = func(damage) error {
		damaged = true
		return nil
	}
	w.skip = s.isDead
	if puts == 0 {
		w.skip = func(r *record) (bool, error) { return r.kind == kindPut, nil }
	}
	if err := w.walk(ctx); err != nil {
		return damaged, err
	}
	return damaged, flush()
}

// isDead tells whether r is a bundle that is not stored any more. Whether other
// records are in use is left to the committer.
func (s *Store) isDead(r *record) (bool, error) {
	if r.kind != kindPut {
		return false, nil
	}
	d := decoder{b: r.meta}
	d.putFile()
	h := store.Handle(d.uint())
	e, err := s.index.entry(h)
	return err == nil && (e == nil || e.put != r.place), err
}

// readMove reads the data of r.
func readMove(f File, r record) (move, error) {
	m := move{record: r}
	if r.data == 0 {
		return m, nil
	}
	m.data = make([]byte, r.data)
	if _, err := f.ReadAt(m.data, r.dataOffset()); err != nil {
		return m, fmt.Errorf("read %s at %d: %w", segmentName(r.segment), r.dataOffset(), err)
	}
	return m, nil
}

// rescue saves what the index still knows of the damaged records of segment num.
// Bundles whose bytes were in them are lost, and said to be.
func (s *Store) rescue(ctx context.Context, num uint64) error {
	return s.chore(ctx, func() error {
		c := newChange(s.index)
		if err := s.beginFrames(); err != nil {
			return err
		}
		if err := s.rescueBundles(ctx, c, num); err != nil {
			return err
		}
		err := s.index.each(ctx, prefixTrace, nil, func(key, value []byte) (bool, error) {
			t, err := decodeTrace(string(key), value)
			if err != nil || !t.isGone() || t.at.segment != num {
				return true, err
			}
			at, err := s.remember(appendGone(appendID(nil, t.gone.ID), &t.gone))
			if err != nil {
				return false, err
			}
			return true, c.remember(t.gone, at)
		})
		if err != nil {
			return err
		}
		err = s.index.each(ctx, prefixCounter, nil, func(key, value []byte) (bool, error) {
			n, err := decodeCounter(value)
			if err != nil || n.at.segment != num {
				return true, err
			}
			return true, s.planCounter(c, string(key), n.value)
		})
		if err != nil {
			return err
		}
		if err := s.writeFrames(); err != nil {
			return err
		}
		if err := s.index.apply(c); err != nil {
			return s.fail(err)
		}
		s.settle(c)
		return nil
	})
}

func (s *Store) rescueBundles(ctx context.Context, c *change, num uint64) error {
	return s.index.each(ctx, prefixEntry, nil, func(_, value []byte) (bool, error) {
		e, err := decodeEntry(value)
		if err != nil {
			return false, err
		}
		switch {
		case e.put.segment == num && e.file != 0:
			crc, err := s.fileCRC(ctx, e.file)
			if err != nil {
				return false, err
			}
			meta := appendPut(nil, e.file, crc, &e.record)
			return true, c.putEntry(&entry{record: e.record, put: s.add(kindPut, meta, nil, 0), file: e.file})
		case e.put.segment == num:
			s.quarantined.Add(1)
			s.log.Error("bundle is lost: its stored bytes are damaged", "bundle", e.record.ID, "handle", e.record.Handle)
			g := store.Gone{ID: e.record.ID}
			return true, c.remove(e.record.Handle, g, s.add(kindDelete, appendDelete(nil, e.record.Handle, &g), nil, 0))
		case e.update.segment == num && e.update.size > 0:
			return true, c.update(e.record, s.add(kindUpdate, appendRecord(nil, &e.record), nil, 0))
		}
		return true, nil
	})
}

// fileCRC returns the checksum of a large bundle's file.
func (s *Store) fileCRC(ctx context.Context, num uint64) (uint32, error) {
	f, err := s.fs.Open(s.largeFile(num), false)
	if err != nil {
		return 0, fmt.Errorf("read a large bundle: %w", err)
	}
	defer f.Close() // read only
	size, err := f.Size()
	if err != nil {
		return 0, fmt.Errorf("read a large bundle: %w", err)
	}
	return sectionCRC(ctx, f, size)
}

// sectionCRC returns the checksum of the first size bytes of f.
func sectionCRC(ctx context.Context, f io.ReaderAt, size int64) (uint32, error) {
	crc, table := uint32(0), newCRC()
	buf := make([]byte, 256<<10)
	for off := int64(0); off < size; {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		n := int(min(int64(len(buf)), size-off))
		if _, err := f.ReadAt(buf[:n], off); err != nil {
			return 0, fmt.Errorf("read a large bundle at %d: %w", off, err)
		}
		crc = crc32.Update(crc, table, buf[:n])
		off += int64(n)
	}
	return crc, nil
}
