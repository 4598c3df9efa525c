package train

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"perigee/models"
)

// FeatureCache keeps what a backbone made of pictures in a folder, so that it
// is computed once. A file is named by the picture's name and lies in a folder
// named by the backbone; it appears whole or not at all. Files are float32 with
// a checksum, 1.4 MB a picture for yolov3-tiny. Nothing removes them: the folder may be
// deleted at any time.
type FeatureCache struct {
	Dir string
}

// errStale reports a cached file that cannot be used: it is made again.
var errStale = errors.New("unusable cached features")

// Features returns the features of a picture, from the folder when it holds
// them and else from the engine's backbone, and then keeps them. id names the picture: the
// same id must always be the same picture. A damaged file is made again.
func (c FeatureCache) Features(ctx context.Context, engine models.Engine, id string, picture func() (models.Tensor, error)) (models.Features, error) {
	net := engine.Network()
	if net == nil {
		return nil, fmt.Errorf("features of %q: the engine holds no network", id)
	}
	path := c.path(net, id)
	features, err := readFeatures(path, net)
	if err == nil {
		return features, nil
	}
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errStale) {
		return nil, fmt.Errorf("features of %q: %w", id, err)
	}
	tensor, err := picture()
	if err != nil {
		return nil, fmt.Errorf("features of %q: %w", id, err)
	}
	if features, err = engine.Backbone(ctx, tensor); err != nil {
		return nil, fmt.Errorf("features of %q: %w", id, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("keep features of %q: %w", id, err)
	}
	if err := renameio.WriteFile(path, appendFeatures(nil, features), 0o644); err != nil {
		return nil, fmt.Errorf("keep features of %q: %w", id, err)
	}
	return features, nil
}

func (c FeatureCache) path(net *models.Network, id string) string {
	name := sha256.Sum256([]byte(id))
	return filepath.Join(c.Dir, net.BackboneHash().Short(), hex.EncodeToString(name[:16])+".features")
}

// appendFeatures appends all maps, little-endian, and their CRC-32.
func appendFeatures(to []byte, f models.Features) []byte {
	start := len(to)
	for _, m := range f {
		to = models.AppendFloats(to, m.Data)
	}
	return binary.LittleEndian.AppendUint32(to, crc32.ChecksumIEEE(to[start:]))
}

// readFeatures reads maps of the shapes that the network's head reads.
func readFeatures(path string, net *models.Network) (models.Features, error) {
	size := 4
	for _, tap := range net.Taps() {
		size += 4 * net.Shape(tap).Size()
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() != int64(size) {
		return nil, fmt.Errorf("%w: %s is %d bytes, want %d", errStale, path, info.Size(), size)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(data) != size || crc32.ChecksumIEEE(data[:size-4]) != binary.LittleEndian.Uint32(data[size-4:]) {
		return nil, fmt.Errorf("%w: %s is damaged", errStale, path)
	}
	var features models.Features
	for _, tap := range net.Taps() {
		m := models.NewTensor(net.Shape(tap))
		for i := range m.Data {
			m.Data[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		}
		data = data[4*len(m.Data):]
		features = append(features, m)
	}
	return features, nil
}
