package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"

	"perigee/bundle/store"
)

// room tells whether n more bytes of bundles may go to disk without touching the
// reserve. Badger maps its files into memory, and the kernel kills a process that
// writes to a mapped page the disk has no room for; the reserve keeps that away.
func (s *Store) room(n int64) error {
	free, err := s.fs.Free(s.dir)
	if err != nil {
		return err
	}
	if n > free-s.o.Reserve {
		return fmt.Errorf("%w: %d bytes are free, %d of them reserved; free some space", store.ErrFull, free, s.o.Reserve)
	}
	return nil
}

// checkSpace lets the ballast go when the disk runs full and puts it back when
// there is room again.
func (s *Store) checkSpace() {
	free, err := s.fs.Free(s.dir)
	switch {
	case err != nil:
		s.log.Warn("cannot ask for the free space of the store", "dir", s.dir, "error", err)
	case free < s.o.Reserve/2:
		s.dropBallast()
	case free > 4*s.o.Reserve:
		s.makeBallast()
	}
}

func (s *Store) dropBallast() {
	s.dropSpares(0)
	s.ballasted.Store(false)
	err := s.fs.Remove(s.ballast())
	if err == nil {
		s.log.Warn("disk is full: let the ballast go, so that bundles can be deleted", "dir", s.dir)
	} else if !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("cannot let the ballast go", "file", s.ballast(), "error", err)
	}
}

func (s *Store) makeBallast() {
	if s.ballasted.Swap(true) {
		return
	}
	f, err := s.fs.Create(s.ballast())
	if errors.Is(err, fs.ErrExist) {
		return
	}
	if err == nil {
		err = errors.Join(f.Allocate(s.o.Reserve), f.Close())
	}
	if err != nil {
		s.log.Warn("cannot make the ballast; a full disk will be harder to get out of", "file", s.ballast(), "error", err)
		_ = s.fs.Remove(s.ballast()) // what is left of it helps nobody
	}
}
