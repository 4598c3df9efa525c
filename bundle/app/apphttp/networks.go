package apphttp

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"perigee/bundle/app"
)

// pathRollBack is where the operator wants the network before.
const pathRollBack = "/v1/rollback"

// rollBack has the network before fly again.
func (s *Server) rollBack(w http.ResponseWriter, r *http.Request) error {
	satellite, ok := s.client.(app.Satellite)
	if !ok {
		return fmt.Errorf("%w: no satellite application runs here", app.ErrNotFound)
	}
	if err := satellite.RollBack(r.Context(), r.URL.Query().Get("reason")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// RollBack implements app.Satellite.
func (c *Client) RollBack(ctx context.Context, reason string) error {
	return c.ask(ctx, http.MethodPost, pathRollBack, url.Values{"reason": {reason}}, nil)
}
