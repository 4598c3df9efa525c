// Package durable keeps small application state on disk so that it survives the
// process being killed at any moment: a file is there as it was before or as it
// is after, never in between.
//
// It knows nothing of what it keeps, and starts no goroutine.
package durable

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// ErrTooLarge is wrapped by errors about a file above the limit of its reader.
var ErrTooLarge = errors.New("file is larger than its limit")

// A Step is told of every change before it is made and may forbid it. Tests use
// it to stop an application between any two changes.
type Step func(op, path string) error

// Disk makes durable changes. The zero Disk is ready for use. Its methods may be
// called concurrently on different paths.
type Disk struct {
	// Before is called before every change if it is not nil.
	Before Step
}

func (d Disk) before(op, path string) error {
	if d.Before == nil {
		return nil
	}
	return d.Before(op, path)
}

// Write replaces the file at path by data: a temporary file is written and
// synced, renamed, and the folder is synced.
func (d Disk) Write(path string, data []byte) error {
	if err := d.before("write", path); err != nil {
		return err
	}
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithPermissions(0o644))
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer f.Cleanup()
	if _, err := f.Write(data); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

// WriteJSON replaces the file at path by value as indented JSON.
func (d Disk) WriteJSON(path string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	return d.Write(path, append(data, '\n'))
}

// With makes a change that write performs on path, which must be atomic, and
// syncs the folder behind it.
func (d Disk) With(path string, write func(path string) error) error {
	if err := d.before("write", path); err != nil {
		return err
	}
	if err := write(path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// Append adds data to the file at path, which it creates if need be, and syncs
// it. After a crash a part of data may be there, so readers must know its end.
func (d Disk) Append(path string, data []byte) error {
	if err := d.before("append", path); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("append: %w", err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("append to %s: %w", path, err)
	}
	return nil
}

// Remove deletes the file or the whole folder at path. What is not there is no
// error.
func (d Disk) Remove(path string) error {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := d.before("remove", path); err != nil {
		return err
	}
	if err := os.RemoveAll(path); err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

// Rename moves a file within one file system and syncs both folders.
func (d Disk) Rename(from, to string) error {
	if err := d.before("rename", to); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return fmt.Errorf("rename: %w", err)
	}
	return errors.Join(syncDir(filepath.Dir(from)), syncDir(filepath.Dir(to)))
}

// MkdirAll makes the folder at path and those above it, unless it is there.
func (d Disk) MkdirAll(path string) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil
	}
	if err := d.before("mkdir", path); err != nil {
		return err
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

// OpenDir makes the folder dir unless it is there, removes the temporary files that
// interrupted writes left in it, and lists what it holds as Names does. Nobody may
// be writing there.
func (d Disk) OpenDir(dir string) (names []string, err error) {
	if err := d.MkdirAll(dir); err != nil {
		return nil, err
	}
	if err := d.Sweep(dir); err != nil {
		return nil, err
	}
	return Names(dir)
}

// Read reads a file of at most limit bytes. A larger one wraps ErrTooLarge and a
// missing one fs.ErrNotExist.
func Read(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	defer f.Close()
	data, err := ReadAll(f, limit)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return data, nil
}

// ReadAll reads r to its end, at most limit bytes. More wraps ErrTooLarge.
func ReadAll(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%w of %d bytes", ErrTooLarge, limit)
	}
	return data, nil
}

// ReadJSON reads a JSON file of at most limit bytes into value. It returns false
// when there is no such file.
func ReadJSON(path string, limit int64, value any) (bool, error) {
	data, err := Read(path, limit)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(data, value); err != nil {
		return false, fmt.Errorf("read %s: %w", path, err)
	}
	return true, nil
}

// Names lists the files and folders in dir in order of their names, without the
// temporary files of writes that a crash interrupted. A missing folder is empty.
func Names(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list folder: %w", err)
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		if e.Name()[0] != '.' {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Sweep removes the temporary files that interrupted writes left in dir: those
// whose names begin with a dot. Nobody may be writing there.
func (d Disk) Sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("sweep folder: %w", err)
	}
	for _, e := range entries {
		if e.Name()[0] != '.' || !e.Type().IsRegular() {
			continue
		}
		if err := d.Remove(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("sync folder %s: %w", dir, err)
	}
	return nil
}
