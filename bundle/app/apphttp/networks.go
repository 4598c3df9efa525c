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
	done, err := satellite.RollBack(r.Context(), r.URL.Query().Get("reason"))
	if err != nil {
		return err
	}
	return s.answer(w, done)
}

// RollBack implements app.Satellite.
func (c *Client) RollBack(ctx context.Context, reason string) (done app.RolledBack, err error) {
	err = c.ask(ctx, http.MethodPost, pathRollBack, url.Values{"reason": {reason}}, &done)
	return done, err
}
