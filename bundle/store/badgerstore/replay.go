package badgerstore

import (
	"context"
	"errors"
	"fmt"
)

// replayBatch is how many index keys are changed at once during a replay.
const replayBatch = 4000

// replay applies the log from cp on to the index and finds its end. It tells
// whether there was anything to apply.
func (s *Store) replay(nums []uint64, cp checkpoint) (bool, error) {
	c := newChange(s.index)
	replayed := false
	s.committer.bundles.seq, s.committer.gone.seq = cp.bundles.seq, cp.gone.seq
	for i, num := range nums {
		at := cp.bundles
		if num&goneLog != 0 {
			at = cp.gone
		}
		if num < at.segment {
			continue
		}
		t := s.tailOf(num)
		from := int64(segmentHeaderSize)
		if num == at.segment {
			from = at.offset
			t.last, t.sign = at.last, at.signature
		}
		r := replayer{s: s, tail: t, num: num, from: from, last: isLast(nums, i), change: &c}
		if err := r.run(); err != nil {
			return false, err
		}
		replayed = replayed || r.frames > 0
	}
	if err := s.index.apply(c); err != nil {
		return false, err
	}
	return replayed, nil
}

// replayer replays one segment.
type replayer struct {
	s      *Store
	tail   *tail // of the log
	num    uint64
	from   int64
	last   bool // the segment is the last one of its log
	change **change

	frames  int
	bad     bool     // damage was found
	pending *frame   // found, not yet applied
	gap     *damage  // found behind pending
	head    [32]byte // header of the last whole frame
	headAt  int64
}

// run applies the frames in order. Of the last segment, a damaged end is a write
// that was never acknowledged, and is cut off.
func (r *replayer) run() error {
	s := r.s
	f, err := s.fs.Open(s.segmentFile(r.num), r.last)
	if err != nil {
		return fmt.Errorf("replay %s: %w", segmentName(r.num), err)
	}
	w := walker{file: f, num: r.num, key: s.segments[r.num].key, from: r.from, size: s.segments[r.num].size}
	w.frame = func(fr *frame) error {
		if err := r.settle(); err != nil {
			return err
		}
		r.pending = fr
		return nil
	}
	w.gap = func(d damage) error {
		// A damaged frame and then none may be the end of the log, too: a write
		// that was half done on a file that was a segment before.
		if r.pending == nil || len(r.pending.damage) == 0 {
			if err := r.settle(); err != nil {
				return err
			}
		}
		r.gap = &d
		return nil
	}
	err = w.walk(context.Background())
	if err == nil && !r.last {
		err = r.settle()
	}
	if err == nil && r.last {
		err = r.finish(f)
	}
	if !r.last || err != nil || r.bad {
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("replay %s: %w", segmentName(r.num), err)
	}
	return nil
}

// settle applies what is pending: it turned out not to be the end of the log.
func (r *replayer) settle() error {
	if r.gap != nil {
		r.bad = true
		r.s.damaged(r.num, *r.gap)
		r.gap = nil
	}
	fr := r.pending
	if fr == nil {
		return nil
	}
	r.pending = nil
	for _, d := range fr.damage {
		r.bad = true
		r.s.damaged(r.num, d)
	}
	r.frames++
	r.tail.seq = max(r.tail.seq, fr.seq)
	r.headAt = fr.offset
	c := *r.change
	for i := range fr.records {
		rec := &fr.records[i]
		err := c.replay(rec)
		if errors.Is(err, errEncoding) {
			r.bad = true
			r.s.damaged(r.num, damage{rec.offset, rec.offset + rec.size, err.Error()})
		} else if err != nil {
			return err
		}
	}
	if c.size() < replayBatch {
		return nil
	}
	if err := r.s.index.apply(c); err != nil {
		return err
	}
	*r.change = newChange(r.s.index)
	return nil
}

// finish looks at the end of the last segment, and takes the file as the active
// one. A segment with damage before its end is not written to again.
func (r *replayer) finish(f File) error {
	t := r.tail
	end := r.s.segments[r.num].size
	cut := int64(-1)
	switch {
	case r.pending != nil && len(r.pending.damage) > 0:
		cut = r.pending.offset
		r.pending, r.gap = nil, nil
	case r.gap != nil:
		cut = r.gap.offset
		r.gap = nil
	}
	if err := r.settle(); err != nil {
		return err
	}
	if cut >= 0 {
		r.s.log.Info("cut off the end of the log that was not written whole", "segment", segmentName(r.num), "at", cut, "bytes", end-cut)
		if err := errors.Join(f.Truncate(cut), f.Sync()); err != nil {
			return fmt.Errorf("cut off a half-done write: %w", err)
		}
		end = cut
		r.s.segments[r.num].size = end
	}
	t.num, t.key, t.size, t.reach = r.num, r.s.segments[r.num].key, end, 0
	if r.bad {
		return nil // the next commit begins a new segment
	}
	t.active = f
	if r.headAt > 0 {
		if _, err := f.ReadAt(r.head[:], r.headAt); err != nil {
			return err
		}
		t.last, t.sign = r.headAt, signature(r.head[:])
	} else if r.from == segmentHeaderSize {
		t.last, t.sign = 0, 0
	}
	return nil
}
