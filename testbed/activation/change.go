package activation

import (
	"context"
	"errors"

	"perigee/models"
	"perigee/models/delta"
	"perigee/models/golden"
	"perigee/models/payload"
)

// change is a difference of networks as it is sent.
type change struct {
	d    *delta.Delta
	next *models.Network
}

// makeChange packs the way from one network towards another, with what the result
// computes for the golden pictures.
func makeChange(ctx context.Context, from, to *models.Network, enc delta.Encoding, pictures []golden.Picture) (*change, error) {
	d, next, err := delta.Build(from, to, enc)
	if err != nil {
		return nil, err
	}
	d.Expected, err = expect(ctx, next, pictures)
	return &change{d, next}, err
}

func expect(ctx context.Context, n *models.Network, pictures []golden.Picture) (all []models.Expected, err error) {
	e, err := models.NewEngine(n, 1)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	return golden.Expect(ctx, e, pictures)
}

// parts signs the change under a number and cuts it. One that is to fail its golden
// test says that something else comes out.
func (c *change) parts(update, version uint64, fails bool, partSize int) ([]payload.ModelPart, error) {
	d := *c.d
	if fails {
		wrong := d.Expected[0]
		wrong.Summary = append([]float32{2 * wrong.Summary[0]}, wrong.Summary[1:]...)
		d.Expected = append([]models.Expected{wrong}, d.Expected[1:]...)
	}
	d.Use = delta.Use{Version: version, Threshold: threshold}
	file, err := d.Encode(missionKey())
	if err != nil {
		return nil, err
	}
	return payload.Split(payload.ModelPart{
		Update: update, Version: version, Type: payload.UpdateDelta, Encoding: d.Encoding.String(),
		Base: d.Base, Result: d.Result, Backbone: d.Backbone, Golden: payload.Golden{Threshold: threshold},
	}, file, partSize)
}

// threshold is the lowest score that counts with the networks that are sent.
const threshold = 0.25
