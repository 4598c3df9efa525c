package ground

import (
	"context"
	"errors"

	"perigee/models"
	"perigee/models/golden"
)

// expect says what a network of the round computes for the satellite's golden
// pictures. Without them it says nothing.
func (g *Ground) expect(ctx context.Context, network models.Hash) (all []models.Expected, err error) {
	if g.cfg.Deploy.Golden == "" {
		return nil, nil
	}
	pictures, err := golden.Read(g.cfg.Deploy.Golden)
	if err != nil {
		return nil, err
	}
	n, err := models.ReadFile(g.modelPath(network))
	if err != nil {
		return nil, err
	}
	e, err := g.newEngine(n)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	return golden.Expect(ctx, e, pictures)
}
