package ground

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/jpeg"
	"os"
	"path/filepath"

	"perigee/models"
	"perigee/models/payload"
	"perigee/models/train"
)

// Limits on pictures.
const (
	maxPicture = payload.MaxPicture // bytes
	maxPixels  = 64 << 20
)

// errPicture is wrapped by errors about a picture that cannot be used.
var errPicture = errors.New("unusable picture")

// featuresOf returns what the backbone of e makes of a sample, computed once and
// then kept in a folder.
func (g *Ground) featuresOf(ctx context.Context, e models.Engine, id models.Hash) (models.Features, error) {
	cache := train.FeatureCache{Dir: g.path("features")}
	return cache.Features(ctx, e, id.Digits(), func() (models.Tensor, error) {
		data, err := g.library.picture(id)
		if err != nil {
			return models.Tensor{}, fmt.Errorf("%w: %w", errPicture, err)
		}
		return tensorOf(data, e.Network().Input())
	})
}

func tensorOf(data []byte, in models.Shape) (models.Tensor, error) {
	header, err := jpeg.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return models.Tensor{}, fmt.Errorf("%w: %w", errPicture, err)
	}
	if int64(header.Width)*int64(header.Height) > maxPixels {
		return models.Tensor{}, fmt.Errorf("%w: %d x %d pixels, limit %d in all", errPicture, header.Width, header.Height, maxPixels)
	}
	img, err := jpeg.Decode(bytes.NewReader(data))
	if err != nil {
		return models.Tensor{}, fmt.Errorf("%w: %w", errPicture, err)
	}
	return models.FromImage(img, in.W, in.H), nil
}

// boundFeatures empties the folder of features once it holds more than two
// rounds' worth. What a later round needs is computed again.
func (g *Ground) boundFeatures() error {
	files, err := filepath.Glob(filepath.Join(g.path("features"), "*", "*"))
	if err != nil {
		return fmt.Errorf("list features: %w", err)
	}
	if len(files) <= 4*g.cfg.Train.MaxSamples {
		return nil
	}
	if err := os.RemoveAll(g.path("features")); err != nil {
		return fmt.Errorf("remove features: %w", err)
	}
	return nil
}
