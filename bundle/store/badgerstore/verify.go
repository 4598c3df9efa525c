package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	"perigee/bundle/store"
)

// maxReported is how many bad records a report names.
const maxReported = 100

// Verify implements store.Store. It reads every segment and every large bundle and
// checks their checksums, while the store is in use. Close ends it.
func (s *Store) Verify(ctx context.Context, progress func(done, total int64)) (store.Report, error) {
	done, err := s.enter()
	if err != nil {
		return store.Report{}, err
	}
	defer done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	s.mu.Lock()
	segments := map[uint64]int64{}
	for num, seg := range s.segments {
		segments[num] = seg.size
	}
	s.mu.Unlock()
	v := verifier{layout: s.layout, fs: s.fs, salt: s.committer.salt, segments: segments, progress: progress}
	v.open = s.openSegment
	v.holds = func(h store.Handle) (bool, error) {
		e, err := s.index.entry(h)
		return e != nil, err
	}
	return v.run(ctx)
}

// Verify checks the store in dir while no daemon has it open, and changes nothing.
// It fails with ErrLocked when one has.
func Verify(ctx context.Context, dir string, o Options, progress func(done, total int64)) (store.Report, error) {
	o = o.withDefaults()
	l := layout{dir}
	if _, err := os.Stat(dir); err != nil {
		return store.Report{}, fmt.Errorf("verify store: %w", err)
	}
	lock, err := lockDir(l.lockFile())
	if err != nil {
		return store.Report{}, err
	}
	defer lock.Close() // gives up the lock
	segments, err := allSegments(o.FS, l)
	if err != nil {
		return store.Report{}, fmt.Errorf("verify store %s: %w", dir, err)
	}
	v := verifier{layout: l, fs: o.FS, segments: segments, progress: progress}
	for _, num := range inOrder(maps.Keys(segments)) {
		salt, _, err := readSegmentHeader(o.FS, l.segmentFile(num), num)
		if err == nil {
			v.salt = salt
		} else if !errors.Is(err, errSegmentHeader) {
			return store.Report{}, fmt.Errorf("verify store %s: %w", dir, err)
		}
	}
	v.offline = true
	v.open = func(num uint64) (File, func() error, error) {
		f, err := o.FS.Open(l.segmentFile(num), false)
		if err != nil {
			return nil, nil, err
		}
		return f, f.Close, nil
	}
	return v.run(ctx)
}

// verifier reads a store.
type verifier struct {
	layout
	fs       FS
	open     func(segment uint64) (File, func() error, error)
	salt     uint64
	segments map[uint64]int64 // sizes
	offline  bool
	holds    func(store.Handle) (bool, error) // nil: ask the log alone
	progress func(done, total int64)

	report      store.Report
	large       map[store.Handle]largeBundle // that the log tells of
	done, total int64
}

// largeBundle is what the log says of a bundle in a file of its own.
type largeBundle struct {
	file uint64
	size int64
	crc  uint32
}

func (v *verifier) run(ctx context.Context) (store.Report, error) {
	if err := ctx.Err(); err != nil {
		return v.report, fmt.Errorf("verify store: %w", err)
	}
	v.large = map[store.Handle]largeBundle{}
	for _, size := range v.segments {
		v.total += size
	}
	files, err := numbered(v.fs, v.largeDir(), ".big")
	if err != nil {
		return v.report, fmt.Errorf("verify the large bundles: %w", err)
	}
	for _, size := range files {
		v.total += size
	}
	nums := inOrder(maps.Keys(v.segments))
	for i, num := range nums {
		if err := v.segment(ctx, num, isLast(nums, i)); err != nil {
			return v.report, fmt.Errorf("verify %s: %w", segmentName(num), err)
		}
	}
	for _, h := range slices.Sorted(maps.Keys(v.large)) {
		if err := v.file(ctx, h, v.large[h]); err != nil {
			return v.report, fmt.Errorf("verify large bundle %d: %w", h, err)
		}
	}
	v.step(v.total - v.done)
	return v.report, nil
}

func (v *verifier) step(n int64) {
	v.done = min(v.done+n, v.total)
	if v.progress != nil {
		v.progress(v.done, v.total)
	}
}

func (v *verifier) bad(format string, args ...any) {
	switch len(v.report.Corrupt) {
	case maxReported:
	case maxReported - 1:
		v.report.Corrupt = append(v.report.Corrupt, "and more")
	default:
		v.report.Corrupt = append(v.report.Corrupt, fmt.Sprintf(format, args...))
	}
}

func (v *verifier) segment(ctx context.Context, num uint64, last bool) error {
	f, done, err := v.open(num)
	if errors.Is(err, fs.ErrNotExist) && !v.offline {
		return nil // cleaned meanwhile
	}
	if err != nil {
		return err
	}
	defer func() { _ = done() }() // read only
	size := v.segments[num]
	_, key, err := segmentHeaderOf(f, num)
	if errors.Is(err, errSegmentHeader) {
		v.bad("%s: %v", segmentName(num), err)
		key = frameKey(v.salt, num)
	} else if err != nil {
		return err
	}
	w := walker{file: f, num: num, key: key, from: segmentHeaderSize, size: size}
	// What is half written when the power goes makes no sense, and the next start
	// cuts it off: a damaged frame that is the last, and what is behind it.
	var torn *frame
	w.frame = func(fr *frame) error {
		if torn != nil {
			v.frame(torn)
			torn = nil
		}
		if v.offline && last && len(fr.damage) > 0 {
			torn = fr
			return nil
		}
		v.frame(fr)
		return nil
	}
	w.gap = func(d damage) error {
		if v.offline && last && d.end == size {
			return nil
		}
		v.bad("%s, %v", segmentName(num), d)
		return nil
	}
	return w.walk(ctx)
}

// frame counts what is in fr.
func (v *verifier) frame(fr *frame) {
	for _, d := range fr.damage {
		v.bad("%s, %v", segmentName(fr.num), d)
	}
	for i := range fr.records {
		v.record(&fr.records[i])
	}
	v.step(fr.end - fr.offset)
}

// record counts r and follows the large bundles.
func (v *verifier) record(r *record) {
	v.report.Records++
	v.report.Bytes += r.size
	d := decoder{b: r.meta}
	switch r.kind {
	case kindPut:
		file, crc := d.putFile()
		rec := d.record()
		if file != 0 {
			v.large[rec.Handle] = largeBundle{file, rec.Size, crc}
		}
	case kindDelete:
		delete(v.large, store.Handle(d.uint()))
	}
}

func (v *verifier) file(ctx context.Context, h store.Handle, b largeBundle) error {
	f, err := v.fs.Open(v.largeFile(b.file), false)
	if err == nil {
		defer f.Close() // read only
		var size int64
		if size, err = f.Size(); err == nil && size < b.size {
			err = fmt.Errorf("%d bytes of %d are there", size, b.size)
		}
	}
	if err != nil {
		if v.holds != nil {
			if there, err := v.holds(h); err != nil || !there {
				return err // deleted meanwhile
			}
		}
		v.bad("large bundle %d: %v", h, err)
		return nil
	}
	crc, err := sectionCRC(ctx, f, b.size)
	if err != nil {
		return err
	}
	if crc != b.crc {
		v.bad("large bundle %d: file %s does not match its checksum", h, v.largeFile(b.file))
	}
	v.report.Bytes += b.size
	v.step(b.size)
	return nil
}
