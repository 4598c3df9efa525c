// Package assets brings the public data that the demonstration and the slower
// tests need into one cache folder: the yolov3-tiny network in Darknet form
// and NASA's Blue Marble with its water mask. Nothing of it is committed.
//
// Both come through package managers (the Go module proxy and npm), because
// those are what a build machine can reach. Every file is checked against the
// size and SHA-256 named here before it appears under its final name, so a
// file that is present is a file that is right.
//
// The package knows nothing of networks or scenes; it returns paths.
package assets

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrMissing reports that a file is not in the cache folder. Fetch brings it.
var ErrMissing = errors.New("asset is not in the cache")

// ErrCorrupt reports that a file's size or SHA-256 differs from the expected one.
var ErrCorrupt = errors.New("asset differs from its known hash")

// Asset is one file: its name in the cache folder, its path inside the package
// that ships it, its exact size in bytes and its SHA-256 in lower-case hex.
type Asset struct {
	Name   string
	Origin string
	Size   int64
	SHA256 string
}

// Files are the paths of all assets in one cache folder.
type Files struct {
	Config     string // yolov3-tiny.cfg, Darknet text form
	Weights    string // yolov3-tiny.weights, Darknet binary form, COCO classes
	BlueMarble string // 4096 x 2048 JPEG, plate carrée, longitude -180 to 180
	Water      string // 1600 x 800 PNG, same projection, white is water
}

const (
	configName  = "yolov3-tiny.cfg"
	weightsName = "yolov3-tiny.weights"
	marbleName  = "earth-blue-marble.jpg"
	waterName   = "earth-water.png"
)

// The packages that ship the assets, with their versions pinned.
const (
	goModule   = "gorgonia.org/gorgonia@v0.9.18"
	npmPackage = "three-globe@2.45.2"
)

// NetworkAssets lists the files that come from the Go module.
func NetworkAssets() []Asset {
	const dir = "examples/tiny-yolo-v3-coco/data/"
	return []Asset{
		{
			configName, dir + configName, 1914,
			"a6d63d12e86eaf7b0da4d211d189733540efd9355cee2341663e965be5936ee8",
		},
		{
			weightsName, dir + weightsName, 35434956,
			"dccea06f59b781ec1234ddf8d1e94b9519a97f4245748a7d4db75d5b7080a42c",
		},
	}
}

// EarthAssets lists the files that come from the npm package.
func EarthAssets() []Asset {
	const dir = "package/example/img/"
	return []Asset{
		{
			marbleName, dir + marbleName, 1461877,
			"228deba2e4b600146bdcb6cfa359b8ead6aacc2b1c13550a29cd82824cfa1c01",
		},
		{
			waterName, dir + waterName, 430200,
			"3a8132db56aac4e64e7fcbf2928ee970c075ac6a96b38798d0bb8be82836a4d3",
		},
	}
}

// Locate returns the paths of the assets in dir and fails with ErrMissing when
// one is absent or has another size. It touches no network and does not hash.
func Locate(dir string) (Files, error) {
	for _, asset := range append(NetworkAssets(), EarthAssets()...) {
		path := filepath.Join(dir, asset.Name)
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return Files{}, fmt.Errorf("locate %s: %w; fetch the assets first", path, ErrMissing)
		}
		if err != nil {
			return Files{}, fmt.Errorf("locate asset: %w", err)
		}
		if info.Size() != asset.Size {
			return Files{}, fmt.Errorf("locate %s: %d bytes, want %d: %w; delete it and fetch again",
				path, info.Size(), asset.Size, ErrCorrupt)
		}
	}
	return paths(dir), nil
}

func paths(dir string) Files {
	return Files{
		Config:     filepath.Join(dir, configName),
		Weights:    filepath.Join(dir, weightsName),
		BlueMarble: filepath.Join(dir, marbleName),
		Water:      filepath.Join(dir, waterName),
	}
}

// DefaultDir returns .cache/assets under the folder that holds go.mod, looking
// upwards from the working folder.
func DefaultDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the default asset folder: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, ".cache", "assets"), nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("find the default asset folder: no go.mod above the working folder; name a folder instead")
		}
		dir = parent
	}
}

// Verify reads the file at path and fails with ErrCorrupt unless size and
// SHA-256 are the asset's.
func (a Asset) Verify(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("verify asset: %w", err)
	}
	defer file.Close()
	hash := sha256.New()
	// One byte more than expected is enough to see that a file is too long.
	n, err := io.Copy(hash, io.LimitReader(file, a.Size+1))
	if err != nil {
		return fmt.Errorf("verify asset %s: %w", path, err)
	}
	return a.check(n, hash.Sum(nil))
}

func (a Asset) check(size int64, sum []byte) error {
	if size != a.Size {
		return fmt.Errorf("verify %s: read %d bytes, want %d: %w", a.Name, size, a.Size, ErrCorrupt)
	}
	if got := hex.EncodeToString(sum); got != a.SHA256 {
		return fmt.Errorf("verify %s: SHA-256 %s, want %s: %w", a.Name, got, a.SHA256, ErrCorrupt)
	}
	return nil
}
