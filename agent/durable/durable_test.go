package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestWriteReplacesWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state.json")
	var d Disk
	for _, want := range []string{"first", "second and longer"} {
		if err := d.Write(path, []byte(want)); err != nil {
			t.Fatal(err)
		}
		got, err := Read(path, 100)
		if err != nil || string(got) != want {
			t.Errorf("read %q, %v; want %q", got, err, want)
		}
	}
	if names, err := Names(dir); err != nil || !slices.Equal(names, []string{"state.json"}) {
		t.Errorf("folder holds %v, %v", names, err)
	}
}

func TestReadIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, 11), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path, 10); !errors.Is(err, ErrTooLarge) {
		t.Errorf("error %v, want ErrTooLarge", err)
	}
	if data, err := Read(path, 11); err != nil || len(data) != 11 {
		t.Errorf("read %d bytes, %v", len(data), err)
	}
	if _, err := Read(path+"x", 10); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want fs.ErrNotExist", err)
	}
	var value int
	if found, err := ReadJSON(path+"x", 10, &value); found || err != nil {
		t.Errorf("missing JSON: %v, %v", found, err)
	}
	if _, err := ReadJSON(path, 11, &value); err == nil {
		t.Error("zeros were read as JSON")
	}
}

func TestForbiddenStepChangesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := (Disk{}).Write(path, []byte("old")); err != nil {
		t.Fatal(err)
	}
	cut := errors.New("cut")
	d := Disk{Before: func(string, string) error { return cut }}
	for name, change := range map[string]func() error{
		"write":  func() error { return d.Write(path, []byte("new")) },
		"json":   func() error { return d.WriteJSON(path, 1) },
		"append": func() error { return d.Append(path, []byte("new")) },
		"remove": func() error { return d.Remove(path) },
		"rename": func() error { return d.Rename(path, path+"2") },
		"mkdir":  func() error { return d.MkdirAll(path + "3") },
		"open":   func() error { _, err := d.OpenDir(path + "3"); return err },
		"with":   func() error { return d.With(path, os.Remove) },
	} {
		if err := change(); !errors.Is(err, cut) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "old" {
		t.Errorf("file holds %q, %v", data, err)
	}
	if names, err := Names(dir); err != nil || len(names) != 1 {
		t.Errorf("folder holds %v, %v", names, err)
	}
}

func TestSweepRemovesInterruptedWrites(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{".state.json123", "state.json"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, ".theirs"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := (Disk{}).Sweep(dir); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 || left[0].Name() != ".theirs" || left[1].Name() != "state.json" {
		t.Errorf("folder holds %v, %v", left, err)
	}
}

func TestOpenDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "folder")
	for range 2 { // the first makes it, the second finds what was left
		names, err := Disk{}.OpenDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if name != "a" && name != "b" {
				t.Errorf("folder lists %q", name)
			}
		}
		for _, name := range []string{"b", "a", ".b123"} {
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	names, err := Disk{}.OpenDir(dir)
	if err != nil || !slices.Equal(names, []string{"a", "b"}) {
		t.Errorf("folder lists %v, %v", names, err)
	}
	if _, err := os.Stat(filepath.Join(dir, ".b123")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the interrupted write is still there: %v", err)
	}
	if _, err := (Disk{}).OpenDir(filepath.Join(dir, "a")); err == nil {
		t.Error("a file was opened as a folder")
	}
}
