package scenes

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"perigee/models/labels"
)

// JPEGQuality is the quality scenes are written with, as Go's encoder counts.
const JPEGQuality = 90

// Limits on a scene list.
const (
	MaxEntries = 100_000 // lines of it
	maxLine    = 1 << 12 // bytes of one line
)

// ErrMalformed is wrapped by errors about scene lists that do not parse.
var ErrMalformed = errors.New("malformed scene file")

// Entry is one line of a scene list. Image and Labels are file names in the
// list's folder.
type Entry struct {
	ID      string  `json:"id"`
	Split   string  `json:"split"`
	Seed    uint64  `json:"seed"`
	Drifted bool    `json:"drifted"`
	Lat     float64 `json:"lat"`
	Lon     float64 `json:"lon"`
	Objects int     `json:"objects"`
	Image   string  `json:"image"`
	Labels  string  `json:"labels"`
}

// JPEG encodes the scene's picture.
func (s Scene) JPEG() ([]byte, error) {
	var out bytes.Buffer
	if err := jpeg.Encode(&out, s.Image, &jpeg.Options{Quality: JPEGQuality}); err != nil {
		return nil, fmt.Errorf("encode scene %s: %w", s.ID(), err)
	}
	return out.Bytes(), nil
}

// Photograph returns the scene's picture as it is after JPEG: what a detector
// on board really sees.
func (s Scene) Photograph() (image.Image, error) {
	data, err := s.JPEG()
	if err != nil {
		return nil, err
	}
	img, err := jpeg.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("decode scene %s: %w", s.ID(), err)
	}
	return img, nil
}

// Write puts the scene's picture (ID.jpg) and labels (ID.txt) into dir, each
// under its name only once it is whole, and returns its line of the scene list.
func (s Scene) Write(dir string) (Entry, error) {
	picture, err := s.JPEG()
	if err != nil {
		return Entry{}, err
	}
	entry := Entry{
		ID: s.ID(), Split: s.Split.String(), Seed: s.Seed, Drifted: s.Drifted,
		Lat: s.Lat, Lon: s.Lon, Objects: len(s.Truth),
		Image: s.ID() + ".jpg", Labels: s.ID() + ".txt",
	}
	if err := renameio.WriteFile(filepath.Join(dir, entry.Image), picture, 0o644); err != nil {
		return Entry{}, fmt.Errorf("write scene %s: %w", s.ID(), err)
	}
	if err := renameio.WriteFile(filepath.Join(dir, entry.Labels), labels.Append(nil, s.Truth), 0o644); err != nil {
		return Entry{}, fmt.Errorf("write labels of scene %s: %w", s.ID(), err)
	}
	return entry, nil
}

// WriteList writes a scene list to path, one JSON object a line, under its name
// only once it is whole.
func WriteList(path string, entries []Entry) error {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	for _, entry := range entries {
		if err := encoder.Encode(entry); err != nil {
			return fmt.Errorf("write scene list %s: %w", path, err)
		}
	}
	if err := renameio.WriteFile(path, out.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write scene list: %w", err)
	}
	return nil
}

// ReadList reads a scene list, at most MaxEntries. File names that leave the
// list's folder are refused. Errors wrap ErrMalformed or the file's error.
func ReadList(path string) ([]Entry, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read scene list: %w", err)
	}
	defer file.Close()
	var entries []Entry
	err = eachLine(file, MaxEntries, func(line []byte) error {
		var entry Entry
		if err := json.Unmarshal(line, &entry); err != nil {
			return err
		}
		for _, name := range []string{entry.Image, entry.Labels} {
			if name == "" || name != filepath.Base(name) || !filepath.IsLocal(name) {
				return fmt.Errorf("file name %.80q, want a plain name", name)
			}
		}
		entries = append(entries, entry)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read scene list %s: %w", path, err)
	}
	return entries, nil
}

// eachLine calls do for every line that is not blank, at most limit of them.
func eachLine(from io.Reader, limit int, do func(line []byte) error) error {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, maxLine)
	taken := 0
	for number := 1; lines.Scan(); number++ {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		if taken++; taken > limit {
			return fmt.Errorf("line %d: %w: more than %d entries", number, ErrMalformed, limit)
		}
		if err := do(line); err != nil {
			return fmt.Errorf("line %d: %w: %w", number, ErrMalformed, err)
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("%w: a line is longer than %d bytes", ErrMalformed, maxLine)
	} else if err != nil {
		return err
	}
	return nil
}
