package ground

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"image/jpeg"
	"math"
	"path/filepath"
	"strings"

	"perigee/agent/durable"
	"perigee/models"
	"perigee/models/payload"
)

// Limits on pictures.
const (
	maxPicture = payload.MaxPicture // bytes
	maxPixels  = 64 << 20
)

// cache keeps what a backbone makes of samples, which does not change while the
// head is trained: a file ID.features for each, its float32 values in little
// endian behind their SHA-256.
type cache struct {
	dir  string // of one backbone
	disk durable.Disk
}

func openCache(dir string, disk durable.Disk, n *models.Network) (*cache, error) {
	c := &cache{dir: filepath.Join(dir, hexName(n.BackboneHash())), disk: disk}
	if err := disk.MkdirAll(c.dir); err != nil {
		return nil, err
	}
	return c, disk.Sweep(c.dir)
}

func (c *cache) path(id models.Hash) string { return filepath.Join(c.dir, hexName(id)+".features") }

// load returns the features of a sample for n, or an error when they are not
// there whole.
func (c *cache) load(id models.Hash, n *models.Network) (models.Features, error) {
	size := 0
	for _, layer := range n.Taps() {
		size += n.Shape(layer).Size()
	}
	data, err := durable.Read(c.path(id), int64(sha256.Size+4*size))
	if err != nil {
		return nil, err
	}
	if len(data) != sha256.Size+4*size || sha256.Sum256(data[sha256.Size:]) != [sha256.Size]byte(data) {
		return nil, fmt.Errorf("features %s are damaged", c.path(id))
	}
	data = data[sha256.Size:]
	var f models.Features
	for _, layer := range n.Taps() {
		t := models.NewTensor(n.Shape(layer))
		for i := range t.Data {
			t.Data[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		}
		data = data[4*len(t.Data):]
		f = append(f, t)
	}
	return f, nil
}

func (c *cache) save(id models.Hash, f models.Features) error {
	data := make([]byte, sha256.Size)
	for _, t := range f {
		data = models.AppendFloats(data, t.Data)
	}
	sum := sha256.Sum256(data[sha256.Size:])
	copy(data, sum[:])
	return c.disk.Write(c.path(id), data)
}

// keepOnly removes the features of samples that keep does not name.
func (c *cache) keepOnly(keep map[models.Hash]bool) error {
	wanted := make(map[string]bool, len(keep))
	for id := range keep {
		wanted[hexName(id)] = true
	}
	names, err := durable.Names(c.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !wanted[strings.TrimSuffix(name, ".features")] {
			if err := c.disk.Remove(filepath.Join(c.dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// errPicture is wrapped by errors about a picture that cannot be used.
var errPicture = errors.New("unusable picture")

// compute runs the backbone on a picture.
func compute(ctx context.Context, e models.Engine, data []byte) (models.Features, error) {
	header, err := jpeg.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errPicture, err)
	}
	if int64(header.Width)*int64(header.Height) > maxPixels {
		return nil, fmt.Errorf("%w: %d x %d pixels, limit %d in all", errPicture, header.Width, header.Height, maxPixels)
	}
	img, err := jpeg.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errPicture, err)
	}
	in := e.Network().Input()
	return e.Backbone(ctx, models.FromImage(img, in.W, in.H))
}
