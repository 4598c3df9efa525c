package assets

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func testAsset(content string) Asset {
	sum := sha256.Sum256([]byte(content))
	return Asset{"picture.png", "package/picture.png", int64(len(content)), hex.EncodeToString(sum[:])}
}

func archiveOf(t *testing.T, members map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	archive := tar.NewWriter(zip)
	for name, content := range members {
		if err := archive.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(archive.Close(), zip.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestExtract(t *testing.T) {
	asset := testAsset("a picture")
	tests := []struct {
		name    string
		members map[string]string
		want    error
	}{
		{"right", map[string]string{"package/other": "x", asset.Origin: "a picture"}, nil},
		{"absent", map[string]string{"package/other": "x"}, ErrMissing},
		{"changed", map[string]string{asset.Origin: "a pictura"}, ErrCorrupt},
		{"short", map[string]string{asset.Origin: "a pic"}, ErrCorrupt},
		{"long", map[string]string{asset.Origin: "a picture and more"}, ErrCorrupt},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			opts := Options{Dir: t.TempDir(), Progress: func(string) {}}
			err := opts.extract(bytes.NewReader(archiveOf(t, test.members)), []Asset{asset})
			if !errors.Is(err, test.want) || (test.want == nil && err != nil) {
				t.Fatalf("extract: %v, want %v", err, test.want)
			}
			entries, err := os.ReadDir(opts.Dir)
			if err != nil {
				t.Fatal(err)
			}
			if want := test.want == nil; (len(entries) == 1) != want {
				t.Errorf("folder holds %v, want a file: %v", entries, want)
			}
		})
	}
}

func TestExtractTruncated(t *testing.T) {
	asset := testAsset("a picture")
	whole := archiveOf(t, map[string]string{asset.Origin: "a picture"})
	for n := range whole {
		opts := Options{Dir: t.TempDir(), Progress: func(string) {}}
		err := opts.extract(bytes.NewReader(whole[:n]), []Asset{asset})
		if err == nil {
			// The member may be whole while the archive's trailer is cut.
			if asset.Verify(filepath.Join(opts.Dir, asset.Name)) != nil {
				t.Fatalf("cut at %d: no error and no file", n)
			}
		}
	}
}

func TestLocate(t *testing.T) {
	dir := t.TempDir()
	if _, err := Locate(dir); !errors.Is(err, ErrMissing) {
		t.Errorf("empty folder: %v, want ErrMissing", err)
	}
	if err := os.WriteFile(filepath.Join(dir, configName), []byte("cut off"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Locate(dir); !errors.Is(err, ErrCorrupt) {
		t.Errorf("short file: %v, want ErrCorrupt", err)
	}
}

func TestMissingToolSaysWhatToInstall(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Fetch(context.Background(), Options{Dir: t.TempDir()})
	if !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), "install Go") {
		t.Errorf("fetch without tools: %v, want what to install", err)
	}
	_, err = run(context.Background(), "npm", "install npm", "")
	if !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), "install npm") {
		t.Errorf("run without tool: %v, want what to install", err)
	}
}

func TestRunReportsToolAndContext(t *testing.T) {
	if _, err := run(context.Background(), "go", "", "", "no-such-verb"); err == nil ||
		!strings.Contains(err.Error(), "no-such-verb") {
		t.Errorf("failing tool: %v, want its words", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := run(ctx, "go", "", "", "version"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v, want context.Canceled", err)
	}
}

// TestFetchNetwork uses the module cache; the module is a requirement of this
// repository, so it is there whenever the tests compile.
func TestFetchNetwork(t *testing.T) {
	opts := Options{Dir: t.TempDir(), Progress: func(line string) { t.Log(line) }}
	if err := opts.fetchNetwork(context.Background()); err != nil {
		t.Fatal(err)
	}
	if missing := opts.wanted(NetworkAssets()); len(missing) != 0 {
		t.Errorf("still missing after fetch: %v", missing)
	}
	path := filepath.Join(opts.Dir, weightsName)
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt([]byte{0xff}, 1000); err != nil {
		t.Fatal(err)
	}
	file.Close()
	if err := opts.fetchNetwork(context.Background()); err != nil {
		t.Fatal(err)
	}
	if missing := opts.wanted(NetworkAssets()); len(missing) != 0 {
		t.Errorf("a damaged file was not replaced: %v", missing)
	}
}

func TestFetchedFilesAreRight(t *testing.T) {
	dir, err := DefaultDir()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Locate(dir); err != nil {
		t.Skipf("no assets to check: %v", err)
	}
	opts := Options{Dir: dir}
	if wrong := opts.wanted(append(NetworkAssets(), EarthAssets()...)); len(wrong) != 0 {
		t.Errorf("wrong files in the cache: %v", wrong)
	}
	t.Setenv("PATH", "") // nothing is run when all is there
	if _, err := Fetch(context.Background(), opts); err != nil {
		t.Error(err)
	}
}
