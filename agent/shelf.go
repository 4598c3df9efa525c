package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"perigee/agent/durable"
	"perigee/bundle/dtntime"
	"perigee/models"
	"perigee/models/payload"
)

// waiting is a picture that waits. Its file name is SINCE-ID.cbor, so that names
// are in order of time.
type waiting struct {
	since dtntime.Time
	id    models.Hash
	size  int64
}

func (p waiting) name() string { return fmt.Sprintf("%016x-%s.cbor", uint64(p.since), p.id.Digits()) }

func parseWaiting(name string) (p waiting, ok bool) {
	since, rest, _ := strings.Cut(strings.TrimSuffix(name, ".cbor"), "-")
	at, err := strconv.ParseUint(since, 16, 64)
	p.since = dtntime.Time(at)
	p.id, ok = models.ParseDigits(rest)
	return p, ok && err == nil && p.name() == name
}

// shelf is the samples whose pictures wait on board, each a file. Those that have
// waited too long go, and the longest there when they are too much.
type shelf struct {
	dir  string
	disk durable.Disk
	cfg  *PreviewConfig
	log  *slog.Logger

	mu   sync.Mutex // guards what follows, and changes of the files
	list []waiting  // the longest there first
	size int64
}

// errNotWaiting: the picture is not on the shelf, or no longer.
var errNotWaiting = errors.New("picture does not wait on board")

func openShelf(dir string, disk durable.Disk, cfg *PreviewConfig, log *slog.Logger) (*shelf, error) {
	s := &shelf{dir: dir, disk: disk, cfg: cfg, log: log}
	names, err := disk.OpenDir(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		p, ok := parseWaiting(name)
		if !ok {
			continue
		}
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("open shelf: %w", err)
		}
		p.size = info.Size()
		s.list = append(s.list, p)
		s.size += p.size
	}
	return s, nil
}

func (s *shelf) index(id models.Hash) int {
	return slices.IndexFunc(s.list, func(p waiting) bool { return p.id == id })
}

// put has a sample wait from now on, unless it does.
func (s *shelf) put(id models.Hash, data []byte, now dtntime.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.index(id) >= 0 {
		return nil
	}
	p := waiting{since: now, id: id, size: int64(len(data))}
	if err := s.tidy(now, p.size); err != nil {
		return err
	}
	if err := s.disk.Write(filepath.Join(s.dir, p.name()), data); err != nil {
		return err
	}
	s.list = append(s.list, p)
	s.size += p.size
	return nil
}

// get returns a sample that waits. The error wraps errNotWaiting when it does not.
func (s *shelf) get(id models.Hash, now dtntime.Time) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.tidy(now, 0); err != nil {
		return nil, err
	}
	at := s.index(id)
	if at < 0 {
		return nil, fmt.Errorf("%w: %v", errNotWaiting, id)
	}
	data, err := durable.Read(filepath.Join(s.dir, s.list[at].name()), payload.MaxMessage)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, durable.ErrTooLarge) {
		return nil, fmt.Errorf("%w: %w", errNotWaiting, err)
	}
	return data, err
}

// tidy removes what has waited too long, and what is too much with so many bytes
// more. s.mu is held.
func (s *shelf) tidy(now dtntime.Time, more int64) error {
	for len(s.list) > 0 {
		p := s.list[0]
		old, full := now.Sub(p.since) >= s.cfg.Wait, s.size+more > s.cfg.Bytes
		if !old && !full {
			return nil
		}
		if err := s.disk.Remove(filepath.Join(s.dir, p.name())); err != nil {
			return err
		}
		s.log.Info("picture waits no longer", "sample", p.id, "old", old, "full", full)
		s.list, s.size = s.list[1:], s.size-p.size
	}
	return nil
}
