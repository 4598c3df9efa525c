package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"path/filepath"
	"strings"

	"perigee/agent/durable"
	"perigee/models"
	"perigee/models/labels"
	"perigee/models/payload"
)

// Limits on pictures and on the self-test.
const (
	maxPixels       = 64 << 20 // of one picture
	maxGolden       = 64       // pictures of the self-test
	goldenThreshold = 0.25     // lowest score that counts when the update names none
)

// errGolden is wrapped by the reasons for which a network fails its self-test.
var errGolden = errors.New("self-test failed")

// decodePicture reads a JPEG picture of bounded size.
func decodePicture(data []byte) (image.Image, error) {
	header, err := jpeg.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("decode picture: %w", err)
	}
	if int64(header.Width)*int64(header.Height) > maxPixels {
		return nil, fmt.Errorf("decode picture: %d x %d pixels, limit %d in all", header.Width, header.Height, maxPixels)
	}
	img, err := jpeg.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("decode picture: %w", err)
	}
	return img, nil
}

func tensorOf(data []byte, n *models.Network) (models.Tensor, error) {
	img, err := decodePicture(data)
	if err != nil {
		return models.Tensor{}, err
	}
	return models.FromImage(img, n.Input().W, n.Input().H), nil
}

// selfTest runs a network on the golden pictures. It passes when every output is
// a finite number and F1 is at least what the ground and the configuration ask.
func selfTest(ctx context.Context, dir string, e models.Engine, want payload.Golden, floor float32) error {
	threshold, iou := want.Threshold, want.MatchIoU
	if threshold == 0 {
		threshold = goldenThreshold
	}
	if iou == 0 {
		iou = models.MatchIoU
	}
	var judged []models.Judged
	names, err := durable.Names(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !isPicture(name) || len(judged) == maxGolden {
			continue
		}
		j, err := judgeGolden(ctx, filepath.Join(dir, name), e, threshold)
		if err != nil {
			return fmt.Errorf("golden picture %s: %w", name, err)
		}
		judged = append(judged, j)
	}
	if len(judged) == 0 {
		return fmt.Errorf("%w: %s holds no picture: put labelled ones there", errGolden, dir)
	}
	score := models.F1At(judged, iou, threshold)
	if least := max(want.MinF1, floor); score.F1 < least {
		return fmt.Errorf("%w: F1 %.3f on %d golden pictures, want at least %.3f", errGolden, score.F1, len(judged), least)
	}
	return nil
}

func judgeGolden(ctx context.Context, path string, e models.Engine, threshold float32) (models.Judged, error) {
	data, err := durable.Read(path, MaxPictureBytes)
	if err != nil {
		return models.Judged{}, err
	}
	text, err := durable.Read(strings.TrimSuffix(path, filepath.Ext(path))+".txt", labels.MaxBytes)
	if err != nil {
		return models.Judged{}, err
	}
	truth, err := labels.Parse(text)
	if err != nil {
		return models.Judged{}, err
	}
	n := e.Network()
	tensor, err := tensorOf(data, n)
	if err != nil {
		return models.Judged{}, err
	}
	features, err := e.Backbone(ctx, tensor)
	if err != nil {
		return models.Judged{}, err
	}
	outputs, err := e.Head(ctx, features)
	if err != nil {
		return models.Judged{}, err
	}
	for _, o := range outputs {
		for _, v := range o.Data {
			if v-v != 0 {
				return models.Judged{}, fmt.Errorf("%w: output %v is not finite", errGolden, v)
			}
		}
	}
	found, err := n.Decode(outputs, threshold)
	if err != nil {
		return models.Judged{}, err
	}
	return models.Judged{Truth: truth, Found: models.NMS(found, models.DefaultDetectOptions().NMS)}, nil
}
