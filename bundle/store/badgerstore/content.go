package badgerstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"perigee/bundle/store"
)

// content is the bytes of one bundle in an open file. The file may lose its name
// meanwhile; its bytes stay until it is closed.
type content struct {
	*io.SectionReader
	file File
}

// Close implements store.Content.
func (c *content) Close() error { return c.file.Close() }

// Open implements store.Store.
func (s *Store) Open(h store.Handle) (store.Content, error) {
	// Between the look-up and the opening, the janitor may move the bundle or a
	// commit may delete it. Each new try sees a later state.
	for try := 0; ; try++ {
		e, err := s.lookup(h)
		if err != nil {
			return nil, fmt.Errorf("open bundle %d: %w", h, err)
		}
		name, offset := s.segmentFile(e.put.segment), e.dataOffset()
		if e.file != 0 {
			name, offset = s.largeFile(e.file), 0
		}
		f, err := s.fs.Open(name, false)
		if err == nil {
			return &content{io.NewSectionReader(f, offset, e.record.Size), f}, nil
		}
		if !errors.Is(err, fs.ErrNotExist) || try == 10 {
			return nil, fmt.Errorf("open bundle %d: %w", h, err)
		}
	}
}
