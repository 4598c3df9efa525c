package ground

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"perigee/agent/durable"
	"perigee/bundle"
	"perigee/models"
	"perigee/models/lesson"
)

// maxRecord bounds the record of one sample, in bytes.
const maxRecord = 1 << 20

// kept is a sample and what is known to be in it. It is the record beside the
// picture.
type kept struct {
	Sample
	// Labelled is the sample's number among those labelled, from 1; 0 when it
	// has no label.
	Labelled uint64         `json:"labelled"`
	Truth    []models.Truth `json:"truth,omitempty"`
	// Guess is what the larger network says, and Told is whose verdict the
	// satellite was told last.
	Guess *guess `json:"guess,omitempty"`
	Told  string `json:"told,omitempty"`
}

// library is the samples on disk: ID.jpg and behind it ID.json, so a record
// without its picture cannot be.
type library struct {
	dir  string
	disk durable.Disk
	most int

	mu sync.Mutex // guards what follows
	// order is by arrival.
	order    []*kept
	byID     map[models.Hash]*kept
	labelled uint64 // highest number given
	again    int    // samples that came more than once
}

func openLibrary(dir string, disk durable.Disk, most int, log *slog.Logger) (*library, error) {
	l := &library{dir: dir, disk: disk, most: most, byID: map[models.Hash]*kept{}}
	names, err := disk.OpenDir(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".json") {
			continue
		}
		k := new(kept)
		_, err := durable.ReadJSON(filepath.Join(dir, name), maxRecord, k)
		if err == nil && filepath.Base(l.recordPath(k.ID)) != name {
			err = fmt.Errorf("it is about sample %v", k.ID)
		}
		if err != nil {
			log.Error("record of a sample is damaged; the sample is left out", "file", name, "err", err)
			continue
		}
		l.order = append(l.order, k)
		l.byID[k.ID] = k
		l.labelled = max(l.labelled, k.Labelled)
	}
	slices.SortFunc(l.order, func(a, b *kept) int {
		return cmp.Or(cmp.Compare(a.Received, b.Received), slices.Compare(a.ID[:], b.ID[:]))
	})
	return l, nil
}

func (l *library) picturePath(id models.Hash) string { return filepath.Join(l.dir, id.Digits()+".jpg") }

func (l *library) recordPath(id models.Hash) string { return filepath.Join(l.dir, id.Digits()+".json") }

// add keeps a sample, and says whether it is new. busy tells which samples may
// not make room.
func (l *library) add(s Sample, picture []byte, busy func(models.Hash) bool) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byID[s.ID] != nil {
		l.again++
		return false, nil
	}
	if err := l.makeRoom(busy); err != nil {
		return false, err
	}
	if err := l.disk.Write(l.picturePath(s.ID), picture); err != nil {
		return false, err
	}
	k := &kept{Sample: s}
	if err := l.disk.WriteJSON(l.recordPath(s.ID), k); err != nil {
		return false, err
	}
	l.order = append(l.order, k)
	l.byID[s.ID] = k
	return true, nil
}

// makeRoom removes the oldest samples that are not busy. l.mu is held.
func (l *library) makeRoom(busy func(models.Hash) bool) error {
	for i := 0; len(l.order) >= l.most && i < len(l.order); {
		k := l.order[i]
		if busy(k.ID) {
			i++
			continue
		}
		if err := l.disk.Remove(l.recordPath(k.ID)); err != nil {
			return err
		}
		if err := l.disk.Remove(l.picturePath(k.ID)); err != nil {
			return err
		}
		l.order = slices.Delete(l.order, i, i+1)
		delete(l.byID, k.ID)
	}
	return nil
}

// unlabelled returns the samples without a label, oldest first.
func (l *library) unlabelled() []Sample {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []Sample
	for _, k := range l.order {
		if k.Labelled == 0 {
			out = append(out, k.Sample)
		}
	}
	return out
}

// label keeps what is in a sample. A sample that is gone is no error.
func (l *library) label(id models.Hash, truth []models.Truth) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.byID[id]
	if old == nil || old.Labelled != 0 {
		return nil
	}
	next := *old
	next.Labelled, next.Truth = l.labelled+1, truth
	if err := l.disk.WriteJSON(l.recordPath(id), next); err != nil {
		return err
	}
	l.labelled++
	*old = next
	return nil
}

// get returns a labelled sample.
func (l *library) get(id models.Hash) (kept, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.byID[id]
	if k == nil || k.Labelled == 0 {
		return kept{}, false
	}
	return *k, true
}

// picture reads the picture of a sample.
func (l *library) picture(id models.Hash) ([]byte, error) {
	data, err := durable.Read(l.picturePath(id), maxPicture)
	if err != nil {
		return nil, err
	}
	if models.HashBytes(data) != id {
		return nil, fmt.Errorf("picture of sample %v is damaged", id)
	}
	return data, nil
}

// tally counts samples: all, labelled ones, those labelled after number since,
// and those that came again.
func (l *library) tally(since uint64) (all, labelled, fresh, again int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range l.order {
		if k.Labelled > 0 {
			labelled++
		}
		if k.Labelled > since {
			fresh++
		}
	}
	return len(l.order), labelled, fresh, l.again
}

// freshOf returns the samples of a satellite that were labelled after number since,
// the newest of them if there are more than most.
func (l *library) freshOf(node bundle.EID, since uint64, most int) []models.Hash {
	l.mu.Lock()
	defer l.mu.Unlock()
	var fresh []*kept
	for _, k := range l.order {
		if k.Labelled > since && k.Satellite.Node() == node {
			fresh = append(fresh, k)
		}
	}
	slices.SortFunc(fresh, func(a, b *kept) int { return cmp.Compare(a.Labelled, b.Labelled) })
	var ids []models.Hash
	for _, k := range fresh[max(0, len(fresh)-most):] {
		ids = append(ids, k.ID)
	}
	return ids
}

// sides are the samples of a round by what they are for.
type sides struct {
	Learn  []models.Hash `json:"learn,omitempty"`  // trained on
	Replay []models.Hash `json:"replay,omitempty"` // of earlier rounds, trained on now and then
	Check  []models.Hash `json:"check,omitempty"`  // end the training
	Judge  []models.Hash `json:"judge,omitempty"`  // judge the networks
}

func (s *sides) all() []models.Hash { return slices.Concat(s.Learn, s.Replay, s.Check, s.Judge) }

// without returns the sides without some samples.
func (s *sides) without(gone func(models.Hash) bool) sides {
	rest := func(ids []models.Hash) []models.Hash { return slices.DeleteFunc(slices.Clone(ids), gone) }
	return sides{rest(s.Learn), rest(s.Replay), rest(s.Check), rest(s.Judge)}
}

// newest picks the labelled samples of a round, of each side the last labelled
// ones: those labelled up to learned were learnt from in an earlier round. It also
// returns the highest label number.
func (l *library) newest(learned uint64, c *Config) (s sides, last uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := slices.Clone(l.order)
	slices.SortFunc(all, func(a, b *kept) int {
		return cmp.Or(cmp.Compare(b.Labelled, a.Labelled), slices.Compare(a.ID[:], b.ID[:]))
	})
	add := func(to *[]models.Hash, id models.Hash) {
		if len(*to) < c.Train.MaxSamples {
			*to = append(*to, id)
		}
	}
	for _, k := range all {
		switch {
		case k.Labelled == 0:
		case isHeldOut(k.ID, c.Samples.HeldOut):
			add(&s.Judge, k.ID)
		case isCheck(k.ID, c.Train.Check):
			add(&s.Check, k.ID)
		case k.Labelled > learned:
			add(&s.Learn, k.ID)
		case c.Train.Replay > 0:
			add(&s.Replay, k.ID)
		}
	}
	if len(s.Check) < fewestChecks {
		s.Learn, s.Check = append(s.Learn, s.Check...), nil
	}
	return s, l.labelled
}

// fewestChecks is how many samples at least can say that a training should end.
// Fewer are learnt from instead.
const fewestChecks = 8

// isHeldOut tells whether a sample judges networks and is never trained on. It
// depends on the picture alone, so it is the same for ever.
func isHeldOut(id models.Hash, share float64) bool { return lesson.HeldOut(id, share) }

// isCheck likewise tells whether a sample that does not judge ends trainings.
func isCheck(id models.Hash, share float64) bool { return fraction(id[8:16]) < share }

// fraction reads 8 bytes of a hash as a number from 0 to 1.
func fraction(of []byte) float64 { return float64(binary.BigEndian.Uint64(of)) / math.MaxUint64 }
