package agent

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"perigee/agent/durable"
	"perigee/bundle/dtntime"
	"perigee/models/golden"
)

// maxListLine bounds a line of a list of pictures, in bytes.
const maxListLine = 64 << 10

// cursor says how far a source was read. It is kept across restarts.
type cursor struct {
	Name   string `json:"name,omitempty"`   // folder: the last picture taken
	Offset int64  `json:"offset,omitempty"` // list: bytes read
}

// picture is one picture to look at. Its file has not been read.
type picture struct {
	path  string
	name  string
	taken dtntime.Time  // 0: now
	pause time.Duration // before it, instead of the interval
	next  cursor        // once it is done
	bad   error         // why there is no picture behind this entry
}

// source hands out pictures behind a cursor.
type source interface {
	// next returns the first picture behind at, or nil when there is none now.
	next(at cursor) (*picture, error)
	// ended tells that having no picture means that this was the last.
	ended() bool
}

func newSource(c SourceConfig) source {
	if c.Folder != "" {
		return &folder{dir: c.Folder}
	}
	return &list{path: c.List}
}

// folder is a source of pictures that appear in a folder.
type folder struct {
	dir   string
	names []string // of the last listing, still to come
}

func (*folder) ended() bool { return false }

func (f *folder) next(at cursor) (*picture, error) {
	if p := f.behind(at); p != nil {
		return p, nil
	}
	names, err := durable.Names(f.dir)
	if err != nil {
		return nil, err
	}
	f.names = names
	return f.behind(at), nil
}

func (f *folder) behind(at cursor) *picture {
	for len(f.names) > 0 {
		name := f.names[0]
		if name > at.Name && golden.IsPicture(name) {
			return &picture{path: filepath.Join(f.dir, name), name: name, next: cursor{Name: name}}
		}
		f.names = f.names[1:]
	}
	return nil
}

// list is a source of pictures that a file names.
type list struct{ path string }

func (*list) ended() bool { return true }

// listLine is a line of a list. Other keys are left to other readers.
type listLine struct {
	Image string           `json:"image"`
	Taken time.Time        `json:"taken"`
	Pause dtntime.Duration `json:"pause"`
}

func (l *list) next(at cursor) (*picture, error) {
	line, err := l.line(at.Offset)
	if err != nil {
		return nil, fmt.Errorf("read list %s: %w", l.path, err)
	}
	if line == nil {
		return nil, nil
	}
	p := &picture{next: cursor{Offset: at.Offset + int64(len(line))}}
	var entry listLine
	if err := json.Unmarshal(line, &entry); err != nil {
		p.bad = fmt.Errorf("list %s at byte %d: %w", l.path, at.Offset, err)
		return p, nil
	}
	if !filepath.IsLocal(entry.Image) {
		p.bad = fmt.Errorf("list %s at byte %d: image %.80q is not a file within its folder", l.path, at.Offset, entry.Image)
		return p, nil
	}
	p.path, p.name = filepath.Join(filepath.Dir(l.path), entry.Image), filepath.Base(entry.Image)
	p.taken, p.pause = dtntime.FromTime(entry.Taken), entry.Pause.Std()
	return p, nil
}

// line returns the line at offset with its end, or nil when it is not there or
// not whole yet.
func (l *list) line(offset int64) ([]byte, error) {
	f, err := os.Open(l.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return nil, err
	}
	line, err := bufio.NewReaderSize(f, maxListLine).ReadSlice('\n')
	switch {
	case errors.Is(err, io.EOF):
		if json.Valid(line) {
			return line, nil // the last line, without its end
		}
		return nil, nil
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, fmt.Errorf("line at byte %d is longer than %d bytes", offset, maxListLine)
	case err != nil:
		return nil, err
	}
	return line, nil
}
