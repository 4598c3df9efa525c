package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"perigee/agent/durable"
	"perigee/agent/mail"
	"perigee/models"
	"perigee/models/labels"
	"perigee/models/payload"
)

// Limits of the folder of lessons.
const (
	maxOpenLessons = 4
	maxLessonBytes = 4 << 20 // of the labels of one lesson
	maxLessonFile  = payload.MaxSmall
)

// Files in the folder of a lesson.
const (
	lessonCheckpoint = "training.ckpt" // of the training that runs
	lessonSpent      = "spent.json"    // milliseconds that it took up to there
	lessonFeatures   = "features"      // of the backbone
	lessonLearned    = "learned.cbor"  // what came of it; there is nothing left to train
)

// pupil is a lesson whose parts are being collected. Once it is complete it does not
// change.
type pupil struct {
	dir   string
	meta  payload.Lesson // of any part, without labels and signature
	have  map[uint32][]labels.Labelled
	bytes int
}

func (p *pupil) complete() bool { return len(p.have) == int(p.meta.Parts) }

func (p *pupil) path(name string) string { return filepath.Join(p.dir, name) }

// lessons collects the parts of lessons on disk, and remembers how they ended.
type lessons struct {
	dir  string
	disk durable.Disk
	log  *slog.Logger
	wake chan struct{} // a part was added
	wait mail.Backoff  // of the goroutine that receives

	mu    sync.Mutex // guards what follows
	open  map[uint64]*pupil
	ended []payload.Receipt // of lessons that were refused, and markers of others; oldest first
	files []models.Hash     // deltas that were made on board; oldest first
}

func openLessons(dataDir string, disk durable.Disk, log *slog.Logger) (*lessons, error) {
	l := &lessons{
		dir: filepath.Join(dataDir, "lessons"), disk: disk, log: log, wake: make(chan struct{}, 1), open: map[uint64]*pupil{},
	}
	names, err := disk.OpenDir(l.dir)
	if err != nil {
		return nil, err
	}
	if _, err := durable.ReadJSON(l.endedPath(), maxStateFile, &l.ended); err != nil {
		return nil, fmt.Errorf("recall lessons: %w", err)
	}
	if _, err := durable.ReadJSON(l.madePath(), maxStateFile, &l.files); err != nil {
		return nil, fmt.Errorf("recall deltas made on board: %w", err)
	}
	for _, name := range names {
		id, err := strconv.ParseUint(name, 16, 64)
		if err != nil || name != updateName(id) {
			continue
		}
		if l.outcome(id) != nil {
			if err := disk.Remove(l.path(id)); err != nil {
				return nil, err
			}
			continue
		}
		if err := l.reopen(id); err != nil {
			return nil, err
		}
	}
	signal(l.wake)
	return l, nil
}

func (l *lessons) path(id uint64) string { return filepath.Join(l.dir, updateName(id)) }
func (l *lessons) endedPath() string     { return filepath.Join(l.dir, "ended.json") }
func (l *lessons) madePath() string      { return filepath.Join(l.dir, "made.json") }

func lessonPart(number uint32) string { return fmt.Sprintf("part-%03d.cbor", number) }

// reopen finds the parts of a lesson that an earlier run received.
func (l *lessons) reopen(id uint64) error {
	if err := l.disk.Sweep(l.path(id)); err != nil {
		return err
	}
	for number := range uint32(payload.MaxLessonParts) {
		path := filepath.Join(l.path(id), lessonPart(number))
		data, err := durable.Read(path, maxLessonFile)
		if err != nil {
			continue // it was not received
		}
		part, err := payload.DecodeLesson(data)
		if err == nil && (part.Update != id || part.Part != number) {
			err = errors.New("belongs elsewhere")
		}
		if err == nil {
			err = l.note(part)
		}
		if err != nil {
			l.log.Warn("a kept part of a lesson is of no use", "update", id, "part", number, "err", err)
			if err := l.disk.Remove(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// errLesson is wrapped by the reasons for which a lesson is refused when a part of it
// comes.
var errLesson = errors.New("lesson refused")

// add makes a part durable; data is its payload. The error wraps errLesson when the
// lesson is to be refused.
func (l *lessons) add(part *payload.Lesson, data []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.fits(part); err != nil {
		return err
	}
	if p := l.open[part.Update]; p == nil {
		if err := l.disk.MkdirAll(l.path(part.Update)); err != nil {
			return err
		}
	} else if p.have[part.Part] != nil {
		return nil // whoever learns may be reading it
	}
	if err := l.disk.Write(filepath.Join(l.path(part.Update), lessonPart(part.Part)), data); err != nil {
		return err
	}
	if err := l.note(part); err != nil {
		return err
	}
	signal(l.wake)
	return nil
}

// fits checks a part against what is there.
func (l *lessons) fits(part *payload.Lesson) error {
	p := l.open[part.Update]
	if p == nil {
		if len(l.open) >= maxOpenLessons {
			return fmt.Errorf("%w: %d others wait", errLesson, len(l.open))
		}
		return nil
	}
	m := &p.meta
	if m.Version != part.Version || m.Base != part.Base || m.Parts != part.Parts || m.Course != part.Course {
		return fmt.Errorf("%w: its parts describe different lessons", errLesson)
	}
	if p.have[part.Part] == nil && p.bytes+len(part.Labels) > maxLessonBytes {
		return fmt.Errorf("%w: more than %d bytes of labels", errLesson, maxLessonBytes)
	}
	return nil
}

// note counts a part that is on disk.
func (l *lessons) note(part *payload.Lesson) error {
	if err := l.fits(part); err != nil {
		return err
	}
	pictures, err := labels.Unpack(part.Labels)
	if err != nil {
		return fmt.Errorf("%w: %w", errLesson, err)
	}
	p := l.open[part.Update]
	if p == nil {
		p = &pupil{dir: l.path(part.Update), meta: *part, have: map[uint32][]labels.Labelled{}}
		p.meta.Labels, p.meta.Signature = nil, nil
		l.open[part.Update] = p
	}
	if p.have[part.Part] == nil {
		p.bytes += len(part.Labels)
	}
	p.have[part.Part] = slices.Grow(pictures, 1) // not nil
	return nil
}

// next returns the complete lesson of the lowest version, or nil.
func (l *lessons) next() *pupil {
	l.mu.Lock()
	defer l.mu.Unlock()
	var first *pupil
	for _, p := range l.open {
		if p.complete() && (first == nil || p.before(first)) {
			first = p
		}
	}
	return first
}

func (p *pupil) before(q *pupil) bool {
	if p.meta.Version != q.meta.Version {
		return p.meta.Version < q.meta.Version
	}
	return p.meta.Update < q.meta.Update
}

// outcome returns the receipt of a lesson that has ended, or nil. Its status is 0
// when it became an update, which has receipts of its own.
func (l *lessons) outcome(id uint64) *payload.Receipt {
	for i := range l.ended {
		if l.ended[i].Update == id {
			return &l.ended[i]
		}
	}
	return nil
}

// over is outcome for whoever does not hold the lock.
func (l *lessons) over(id uint64) *payload.Receipt {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.outcome(id)
}

// end remembers how a lesson ended and drops its folder.
func (l *lessons) end(r payload.Receipt) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = slices.DeleteFunc(l.ended, func(old payload.Receipt) bool { return old.Update == r.Update })
	l.ended = append(l.ended, r)
	l.ended = l.ended[max(0, len(l.ended)-keepOutcomes):]
	if err := l.disk.WriteJSON(l.endedPath(), l.ended); err != nil {
		return err
	}
	delete(l.open, r.Update)
	return l.disk.Remove(l.path(r.Update))
}

// vouch remembers that a delta file was made on board, so that it needs no
// signature.
func (l *lessons) vouch(file []byte) error {
	hash := models.HashBytes(file)
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.Contains(l.files, hash) {
		return nil
	}
	l.files = append(l.files, hash)
	l.files = l.files[max(0, len(l.files)-keepOutcomes):]
	return l.disk.WriteJSON(l.madePath(), l.files)
}

// made tells whether a delta file was made on board.
func (l *lessons) made(hash models.Hash) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Contains(l.files, hash)
}
